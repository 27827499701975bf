"""What stands before every request, on a real socket: statuses are HTTP's own (RFC 9110, RFC 6585)."""
from __future__ import annotations

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from streams.http import entrance
from streams.http.entrance import Entrance
from streams.http.server import address, bind, serve

MB = 1 << 20
BOUND = 1_000
KEY = "right"


@asynccontextmanager
async def opened(key: str = "", places: int = 4, hold: asyncio.Event | None = None) -> AsyncIterator[tuple[Entrance, str]]:
    """An application that says how many bytes it got, as soon as `hold` lets it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if hold is not None:
            await hold.wait()
        message = await receive()
        assert not message["more_body"]
        await PlainTextResponse(str(len(message["body"])))(scope, receive, send)

    made = Entrance(app, key, BOUND, places)
    listening = bind("127.0.0.1", 0, "test")
    running = asyncio.create_task(serve(made, listening))
    host, port = address(listening)
    try:
        yield made, f"http://{host}:{port}"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def chunks(n: int, size: int = 1 << 16) -> AsyncIterator[bytes]:
    for _ in range(n):
        yield b"x" * size


async def problem(answer: aiohttp.ClientResponse) -> dict[str, str]:
    told = json.loads(await answer.text())
    assert set(told) == {"error", "where", "what_to_do"} and all(told.values())
    return told


@pytest.mark.parametrize("size", [1_001, MB, 20 * MB])
def test_larger_body_is_413_with_a_reason_whether_its_length_is_said_or_not(size: int) -> None:
    async def main() -> None:
        async with opened() as (_, url), aiohttp.ClientSession(url) as client:
            for body in (io.BytesIO(b"x" * size), chunks(-(-size // (1 << 16)))):
                async with client.post("/v1/x", data=body) as answer:
                    assert answer.status == 413
                    assert "1,000" in (await problem(answer))["error"]
            async with client.post("/v1/x", data=b"x" * 1000) as answer:  # the connection, and the place, are free again
                assert (answer.status, await answer.text()) == (200, "1000")

    asyncio.run(main())


def test_a_compressed_body_arrives_unpacked_within_the_same_bound() -> None:
    async def main() -> None:
        async with opened() as (_, url), aiohttp.ClientSession(url) as client:
            for encoding, body, status, says in (
                ("gzip", gzip.compress(b"x" * 1_000), 200, "1000"), ("gzip", gzip.compress(b"x" * 1_001), 413, "unpacked"),
                ("gzip", b"x", 400, "gzip"), ("br", b"x", 415, "'br'"), ("identity", b"x", 200, "1"),
            ):  # fmt: skip
                async with client.post("/v1/x", data=body, headers={"content-encoding": encoding}) as answer:
                    assert answer.status == status
                    assert says in (await answer.text() if status == 200 else (await problem(answer))["error"])
                    assert (answer.headers.get("accept-encoding") is not None) == (status == 415)

    asyncio.run(main())


def test_client_that_asks_first_is_told_before_it_sends() -> None:
    """Expect: 100-continue (RFC 9110, 10.1.1), as curl does with a large body."""

    async def main() -> bytes:
        async with opened() as (_, url):
            host, port = url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 20000000\r\nexpect: 100-continue\r\n\r\n")
            told = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            return told

    assert asyncio.run(main()).startswith(b"HTTP/1.1 413 ")


def test_body_that_never_ends_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "BODY_S", 0.2)

    async def main() -> tuple[bytes, int]:
        async with opened() as (made, url):
            host, port = url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nonly this")
            told = await reader.read()
            writer.close()
            return told, made.in_flight

    told, left = asyncio.run(main())
    assert told.startswith(b"HTTP/1.1 408 ") and b"connection: close" in told
    assert left == 0


def test_client_that_leaves_midway_leaves_its_place() -> None:
    async def main() -> None:
        async with opened() as (made, url):
            host, port = url.removeprefix("http://").split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nonly this")
            await until(lambda: made.in_flight == 1)
            writer.transport.abort()
            await until(lambda: made.in_flight == 0)

    asyncio.run(main())


def test_one_more_than_the_places_is_429_and_what_is_cheap_still_answers() -> None:
    async def main() -> None:
        hold = asyncio.Event()
        async with opened(places=2, hold=hold) as (made, url), aiohttp.ClientSession(url) as client:
            waiting = [asyncio.create_task(client.post("/v1/x", data=b"1")) for _ in range(2)]
            await until(lambda: made.in_flight == 2)
            async with client.post("/v1/x", data=b"1") as answer:
                assert (answer.status, answer.headers["retry-after"]) == (429, "1")
                await problem(answer)
            beside = asyncio.create_task(client.get("/metrics"))
            hold.set()
            assert [(await task).status for task in (*waiting, beside)] == [200, 200, 200]
            assert made.in_flight == 0

    asyncio.run(main())


def test_token_is_asked_of_everybody_but_supervisors() -> None:
    async def main() -> None:
        async with opened(KEY) as (_, url), aiohttp.ClientSession(url) as client:
            for given in (None, "right", "Bearer wrong", "Bearer rightx", "Bearer ", "Basic right", "Bearer r\u00efght"):
                async with client.get("/metrics", headers={"authorization": given} if given else {}) as answer:
                    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
                    assert "right" not in (await problem(answer))["error"].replace("Bearer", "")
            async with client.post("/v1/x", data=io.BytesIO(b"x" * 20 * MB)) as answer:
                assert answer.status == 401
            for given in ("Bearer right", "bearer right"):
                async with client.get("/metrics", headers={"authorization": given}) as answer:
                    assert answer.status == 200
            for path in ("/healthz", "/readyz"):
                async with client.get(path) as answer:
                    assert answer.status == 200

    asyncio.run(main())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)
