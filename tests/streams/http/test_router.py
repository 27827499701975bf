"""Routes over plain ASGI: statuses and headers are HTTP's own (RFC 9110), every error has the one shape."""
from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from streams.http.entrance import Message, Refusal, Scope
from streams.http.router import Request, Response, Router


async def echoed(request: Request) -> Response:
    return Response(200, request.id.encode() + b"|" + request.body, "text/plain")


async def nothing(request: Request) -> Response:
    return Response(204)


async def busy(request: Request) -> Response:
    raise Refusal(503, "not now", "the test", "wait", retry_after_s=1)


async def broken(request: Request) -> Response:
    raise ZeroDivisionError


ROUTER = Router(
    {"PUT /items": echoed, "DELETE /items/{item_id}": echoed, "GET /of/{request_id}": nothing, "GET /busy": busy, "GET /broken": broken}
)


def answered(method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    raw = path.encode()
    scope: Scope = {"method": method, "raw_path": raw, "path": unquote_to_bytes(raw.partition(b"?")[0]).decode(errors="replace")}
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(ROUTER(scope, receive, send))
    start, end = sent
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, end["body"]


def problem(body: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(body)
    assert set(told) == {"error", "where", "what_to_do"} and all(told.values())
    return told


def test_body_and_kind_go_through() -> None:
    status, headers, body = answered("PUT", "/items", b"[1]")
    assert (status, headers, body) == (200, {"content-type": "text/plain", "content-length": "4"}, b"|[1]")


@pytest.mark.parametrize("path", ["/items/", "//items", "/items?x=1"])
def test_slashes_that_say_nothing_and_queries_are_passed_over(path: str) -> None:
    assert answered("PUT", path)[0] == 200


@pytest.mark.parametrize(
    ("path", "name"),
    [("a", "a"), ("a/b", "a/b"), ("/a", "/a"), ("%2Fa%20b%3Fc=%252F", "/a b?c=%2F"), ("%C3%B6?x=1", "ö"), ("x" * 256, "x" * 256)],
)
def test_id_is_what_was_encoded_slashes_and_all(path: str, name: str) -> None:
    assert answered("DELETE", f"/items/{path}")[2].decode() == f"{name}|"


@pytest.mark.parametrize(("path", "says"), [("%ff", "UTF-8"), ("x" * 257, "257 characters, and may have 1 to 256")])
def test_id_that_is_none_is_400(path: str, says: str) -> None:
    status, _, body = answered("DELETE", f"/items/{path}")
    assert status == 400 and says in problem(body)["error"]


@pytest.mark.parametrize("path", ["/", "/x", "/itemsx", "/of", "/of/", "/Items", "/busy/x"])
def test_path_that_is_none_is_404(path: str) -> None:
    status, headers, body = answered("GET", path)
    assert status == 404 and "allow" not in headers
    assert problem(body)["error"] == f"Not Found: GET {path}"


def test_another_method_is_405_and_the_header_says_which_is_allowed() -> None:
    """RFC 9110, 15.5.6: a 405 must have the header Allow."""
    for path, allowed in (("/items", "PUT"), ("/items/a", "DELETE"), ("/of/a", "GET")):
        status, headers, body = answered("PATCH", path)
        assert (status, headers["allow"]) == (405, f"{allowed}, OPTIONS")
        assert problem(body)["error"] == f"Method Not Allowed: PATCH {path}"
        status, headers, body = answered("OPTIONS", path)
        assert (status, set(headers["allow"].split(", ")), body) == (204, {"OPTIONS", allowed}, b"")


def test_204_has_neither_a_body_nor_headers_of_one() -> None:
    """RFC 9110, 8.6: no Content-Length in a 204."""
    assert answered("GET", "/of/a") == (204, {}, b"")


def test_refusal_is_its_status_and_an_error_of_ours_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    status, headers, body = answered("GET", "/busy")
    assert (status, headers["retry-after"], problem(body)["error"]) == (503, "1", "not now")
    status, _, body = answered("GET", "/broken")
    assert status == 500 and "ZeroDivision" not in problem(body)["error"]
    assert "GET /broken failed" in caplog.text and "ZeroDivisionError" in caplog.text
