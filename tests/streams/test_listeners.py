from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from aiohttp import web

from streams.core.events import Action, Event, Rejected, decode
from streams.listeners import Heard, Listeners, listen_live

Handler = Callable[[web.Request], Awaitable[web.Response]]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Script:
    """Two acts a list: one 50 ms, one 300 ms after the answer."""

    def __init__(self) -> None:
        self.asked = self.made = 0

    def ask(self, ts: int) -> tuple[bytes, int]:
        self.asked += 1
        return msgspec.json.encode({"user_id": f"u{self.asked}", "k": 1}), self.asked

    def react(self, who: int, answer: bytes, ts: int) -> list[Event]:
        request_id = msgspec.json.decode(answer)["request_id"]
        acts = []
        for wait in (50, 300):
            self.made += 1
            acts.append(
                Event(
                    ts=ts + wait, user_id=f"u{who}", item_id="i", action=Action.PLAY, also=(Action.SHARE,) if wait == 50 else (),
                    event_id=f"e{self.made}", request_id=request_id,
                )  # fmt: skip
            )
        return acts


async def listen(script: Script, answer: Handler, take: Handler, seconds: float, rate: float, token: str | None = None) -> Heard:
    app = web.Application()
    app.router.add_post("/v1/recommendations", answer)
    app.router.add_post("/v1/events", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = site._server
    assert isinstance(server, asyncio.Server)
    port = server.sockets[0].getsockname()[1]
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    try:
        url = f"http://127.0.0.1:{port}"
        return await listen_live(script.ask, script.react, url, now_ms=now_ms, stop=stop, events_per_s=rate, token=token)
    finally:
        await runner.cleanup()


def test_acts_are_sent_at_their_time_once_each_at_the_wanted_rate() -> None:
    script, taken, asked, tokens = Script(), [], [], set()

    async def answer(request: web.Request) -> web.Response:
        asked.append(now_ms())
        tokens.add(request.headers.get("authorization"))
        return web.json_response({"request_id": f"r{len(asked)}", "items": []})

    async def take(request: web.Request) -> web.Response:
        records = decode(await request.read())
        assert not any(isinstance(record, Rejected) for record in records)
        taken.extend((now_ms(), record) for record in records)
        return web.json_response({})

    heard = asyncio.run(listen(script, answer, take, seconds=2.5, rate=200.0, token="secret"))  # noqa: S106
    assert tokens == {"Bearer secret"}
    assert heard.failed == 0 and heard.acts == len(taken) and heard.lists == len(asked)
    assert heard.actions == Counter(action for _, record in taken for action in (record.action, *record.also))
    ids = [record.event_id for _, record in taken]
    assert len(set(ids)) == len(ids)
    assert all(record.ts <= at + 1 for at, record in taken)  # never before its time
    assert sorted(at - record.ts for at, record in taken)[len(taken) // 2] < 100  # and soon after it
    assert 150 < 2 * len([at for at in asked if at - asked[0] > 1_000]) / 1.5 < 250  # 200 a second, two acts a list


def test_a_service_that_is_away_is_asked_again_and_a_refused_batch_is_given_up() -> None:
    script, taken, refusals = Script(), [], [503, 503, 400]

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"request_id": "r", "items": []})

    async def take(request: web.Request) -> web.Response:
        records = [record.event_id for record in decode(await request.read()) if isinstance(record, Event)]
        if refusals:
            status = refusals.pop(0)
            if status == 400:
                given_up.extend(records)
            return web.json_response({"detail": "no"}, status=status)
        taken.extend(records)
        return web.json_response({})

    given_up: list[str | None] = []
    heard = asyncio.run(listen(script, answer, take, seconds=2.5, rate=40.0))
    assert heard.refused == {"503": 2, "400": 1} and heard.failed == 3 and "400" in heard.last_error
    assert "e1" in given_up and not set(given_up) & set(taken)
    assert len(taken) == len(set(taken)) == heard.acts > 0


def test_an_answer_that_is_no_answer_is_counted_and_listening_goes_on() -> None:
    script = Script()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"{" if script.asked < 3 else b'{"request_id":"r"}')

    async def take(request: web.Request) -> web.Response:
        return web.json_response({})

    heard = asyncio.run(listen(script, answer, take, seconds=1.0, rate=40.0))
    assert heard.failed == 2 and heard.lists > 0 and heard.acts > 0


def test_a_rate_of_nothing_is_refused() -> None:
    script = Script()
    with pytest.raises(ValueError, match="above 0"):
        Listeners(script.ask, script.react, now_ms, 0.0)
