from __future__ import annotations

import asyncio

import pytest

from streams.kafka_io import drain
from streams.kafka_io.drain import DrainedConsumer


class _Alone(DrainedConsumer):
    """The method under test on a consumer without a broker."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.suspend_flow = asyncio.Event()  # type: ignore[assignment]
        self._stopped = asyncio.Event()  # type: ignore[assignment]
        self._crashed = asyncio.Event()  # type: ignore[assignment]
        self._loop = loop

    @property
    def loop(self) -> asyncio.AbstractEventLoop:  # type: ignore[override]
        return self._loop


async def _alone() -> _Alone:
    return _Alone(asyncio.get_running_loop())


def test_the_installed_faust_is_the_one_this_is_made_for() -> None:
    assert drain.unknown() == []


def test_another_source_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(drain.KNOWN, "a.b", (test_another_source_is_named, "0"))
    assert [line.split(" is ")[0] for line in drain.unknown()] == ["a.b"]


def test_a_callback_that_does_not_block_runs_in_place() -> None:
    async def main() -> tuple[list[str], int]:
        consumer, seen = await _alone(), []

        async def callback() -> None:
            seen.append("in place")

        before = len(asyncio.all_tasks())
        await consumer.wait_first(callback(), consumer.suspend_flow.wait())
        return seen, len(asyncio.all_tasks()) - before

    assert asyncio.run(main()) == (["in place"], 0)


def test_a_callback_that_blocks_is_waited_for() -> None:
    async def main() -> list[str]:
        consumer, seen = await _alone(), []
        gate: asyncio.Queue[str] = asyncio.Queue()

        async def callback() -> None:
            seen.append("started")
            seen.append(await gate.get())
            await asyncio.sleep(0)
            seen.append("ended")

        asyncio.get_running_loop().call_later(0.01, gate.put_nowait, "went on")
        await consumer.wait_first(callback(), consumer.suspend_flow.wait())
        return seen

    assert asyncio.run(main()) == ["started", "went on", "ended"]


def test_suspending_the_flow_cancels_a_callback_that_blocks() -> None:
    async def main() -> list[str]:
        consumer, seen = await _alone(), []

        async def callback() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        asyncio.get_running_loop().call_later(0.01, consumer.suspend_flow.set)
        await consumer.wait_first(callback(), consumer.suspend_flow.wait())
        await asyncio.sleep(0)
        return seen

    assert asyncio.run(main()) == ["cancelled"]


def test_an_error_of_a_callback_comes_out() -> None:
    async def main(blocks: bool) -> None:
        consumer = await _alone()

        async def callback() -> None:
            if blocks:
                await asyncio.sleep(0)
            raise KeyError("of the callback")

        await consumer.wait_first(callback(), consumer.suspend_flow.wait())

    for blocks in (False, True):
        with pytest.raises(KeyError, match="of the callback"):
            asyncio.run(main(blocks))
