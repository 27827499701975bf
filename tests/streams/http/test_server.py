"""An application on a real socket: how it begins, and how it ends."""
from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from streams.http.entrance import Entrance
from streams.http.server import CantListen, address, bind, serve
from tests.streams.http.test_entrance import until


def test_what_is_under_way_when_the_end_comes_is_answered_and_nothing_new_is_taken() -> None:
    async def main() -> None:
        hold = asyncio.Event()
        listening = bind("127.0.0.1", 0, "test")

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await hold.wait()
            await PlainTextResponse("late")(scope, receive, send)

        made = Entrance(app)
        running = asyncio.create_task(serve(made, listening))
        host, port = address(listening)
        async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
            waiting = asyncio.create_task(client.post("/v1/x"))
            await until(lambda: made.in_flight == 1)
            running.cancel()
            await until(lambda: _refuses(host, port))
            hold.set()
            async with await waiting as answer:
                assert await answer.text() == "late"
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def _refuses(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) != 0


def test_small_parts_of_an_answer_leave_at_once() -> None:
    """TCP_NODELAY is on for what asyncio accepts: without it, every answer in two parts waits 40 ms for the client's ACK."""

    async def main() -> int:
        seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listening = bind("127.0.0.1", 0, "test")
        async with await asyncio.start_server(accepted, sock=listening):
            _, writer = await asyncio.open_connection(*address(listening))
            writer.close()
            return await seen

    assert asyncio.run(main()) == 1


def test_taken_address_is_named_with_the_way_out() -> None:
    first = bind("127.0.0.1", 0, "service")
    with first, pytest.raises(CantListen, match=r"127\.0\.0\.1:\d+: .*set service\.host and service\.port"):
        bind(*address(first), "service")
