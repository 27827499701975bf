from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from aiohttp import web

from streams.clock import now_ms
from streams.core.join.decode import decode
from streams.core.join.events import Action, Event, Rejected
from streams.demo.listeners import IN_FLIGHT, Activity, Listeners, Surface

Handler = Callable[[web.Request], Awaitable[web.Response]]


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
                    ts=ts + wait,
                    user_id=f"u{who}",
                    item_id="i",
                    action=Action.PLAY,
                    also=(Action.SHARE,) if wait == 50 else (),
                    event_id=f"e{self.made}",
                    request_id=request_id,
                )  # fmt: skip
            )
        return acts


async def listen(script: Script, answer: Handler, take: Handler, seconds: float, rate: float, page_share: float = 0.0) -> Activity:
    app = web.Application()
    app.router.add_post("/v1/recommendations", answer)
    app.router.add_post("/v1/pages", answer)
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
        surface = Surface(script.ask, script.react)
        return await Listeners(surface, surface, rate, page_share).run(f"http://127.0.0.1:{port}", stop)
    finally:
        await runner.cleanup()


def test_acts_are_sent_at_their_time_once_each_at_the_wanted_rate() -> None:
    script, taken, asked = Script(), [], []

    async def answer(request: web.Request) -> web.Response:
        asked.append(now_ms())
        return web.json_response({"request_id": f"r{len(asked)}", "items": []})

    async def take(request: web.Request) -> web.Response:
        records = decode(await request.read())
        assert not any(isinstance(record, Rejected) for record in records)
        nonlocal last
        last = len(records)
        taken.extend((now_ms(), record) for record in records)
        return web.json_response({})

    last = 0
    activity = asyncio.run(listen(script, answer, take, seconds=2.5, rate=200.0))
    assert activity.failed == 0
    assert len(taken) - last <= activity.feedback <= len(taken)  # the answer to one request may be under surface when they stop
    assert len(asked) - IN_FLIGHT <= activity.lists <= len(asked)
    known = [record for _, record in taken[: activity.feedback]]
    assert activity.actions == Counter(action for record in known for action in (record.action, *record.also))
    ids = [record.event_id for _, record in taken]
    assert len(set(ids)) == len(ids)
    assert all(record.ts <= at + 1 for at, record in taken)  # never before its time
    assert sorted(at - record.ts for at, record in taken)[len(taken) // 2] < 100  # and soon after it
    assert 150 < 2 * len([at for at in asked if at - asked[0] > 1_000]) / 1.5 < 250  # 200 a second, two acts a list


def test_a_service_that_is_asurface_is_asked_again_and_a_refused_batch_is_given_up() -> None:
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
    activity = asyncio.run(listen(script, answer, take, seconds=2.5, rate=40.0))
    assert activity.failed == 3
    assert "e1" in given_up and not set(given_up) & set(taken)
    assert len(taken) == len(set(taken)) == activity.feedback > 0


def test_an_answer_that_is_no_answer_is_counted_and_listening_goes_on() -> None:
    script = Script()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"{" if script.asked < 3 else b'{"request_id":"r"}')

    async def take(request: web.Request) -> web.Response:
        return web.json_response({})

    activity = asyncio.run(listen(script, answer, take, seconds=1.0, rate=40.0))
    assert activity.failed == 2 and activity.lists > 0 and activity.feedback > 0


def test_a_share_of_the_visits_is_to_pages_evenly_spread() -> None:
    script, asked = Script(), list[str]()

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"request_id": f"r{len(asked)}"})

    async def take(request: web.Request) -> web.Response:
        return web.json_response({})

    activity = asyncio.run(listen(script, answer, take, seconds=1.0, rate=100.0, page_share=0.4))
    pages = [sum(path == "/v1/pages" for path in asked[:n]) for n in range(len(asked) + 1)]
    assert len(asked) > 5 and all(abs(pages[n] - 0.4 * n) < 2 for n in range(len(asked) + 1))  # one or two may overtake each other
    assert 0 < activity.pages <= pages[-1] and activity.pages + activity.lists <= len(asked) <= activity.pages + activity.lists + IN_FLIGHT


@pytest.mark.parametrize(("rate", "share", "message"), [(0.0, 0.0, "above 0"), (1.0, -0.1, "page_share"), (1.0, 1.5, "page_share")])
def test_a_rate_of_nothing_and_a_share_outside_of_0_to_1_are_refused(rate: float, share: float, message: str) -> None:
    surface = Surface(Script().ask, Script().react)
    with pytest.raises(ValueError, match=message):
        Listeners(surface, surface, rate, share)
