"""A claim's offset is its epoch, and only a later one ends the learner."""
from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from streams.kafka_io import messages
from streams.kafka_io.messages import Beat, Claim, Out
from streams.kafka_io.topics import TopicSettings
from streams.learner import epochs
from streams.learner.epochs import EpochClaim


class ScriptedDelivery:
    """Gives every record offset 41."""

    rows: list[Out] = []

    async def append(self, row: Out) -> int:
        self.rows.append(row)
        return 41


def claimed(base: str = "base", version: int = 3) -> EpochClaim:
    made = EpochClaim(TopicSettings(), ScriptedDelivery())  # type: ignore[arg-type]
    assert made.epoch == -1
    asyncio.run(made.claim(base, version))
    return made


def test_the_offset_of_the_claim_is_the_epoch() -> None:
    assert claimed().epoch == 41
    update = messages.update(ScriptedDelivery.rows[-1].value)
    assert isinstance(update, Claim) and (update.base, update.version) == ("base", 3)


@pytest.mark.parametrize(("offset", "ends"), [(40, False), (41, False), (42, True)])
def test_a_later_claim_ends_the_process_and_nothing_else_does(offset: int, ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(epochs, "end", ended.append)
    updates = [(offset + 100, Beat(41, 3)), (offset, Claim("", 0, "the other"))]
    records = [SimpleNamespace(offset=at, value=messages.encode(update)) for at, update in updates]
    asyncio.run(claimed()._check(records))
    assert ended == ([f"another learner (the other) claimed epoch {offset}, ours is 41"] if ends else [])


def test_a_learner_that_claims_again_does_not_take_its_own_claim_for_anothers() -> None:
    """After a pause of the broker, say: the watch for claims behind the first epoch would read the second one before it is known."""

    async def main() -> bool:
        made = EpochClaim(TopicSettings(), ScriptedDelivery())  # type: ignore[arg-type]
        watching = made._watching = asyncio.create_task(asyncio.sleep(60))
        await made.claim("base", 4)
        await asyncio.wait({watching}, timeout=1)
        return watching.cancelled()

    assert asyncio.run(main())
