"""Routes and what isn't routed: statuses and headers are HTTP's own (RFC 9110), every error has the one shape."""
from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Scope

from streams.http.entrance import Refusal
from streams.http.router import application, path_id


async def echoed(request: Request) -> Response:
    return PlainTextResponse((path_id(request).encode() if request.path_params else b"") + b"|" + await request.body())


async def nothing(request: Request) -> Response:
    path_id(request)
    return Response(status_code=204)


async def busy(request: Request) -> Response:
    raise Refusal(503, "not now", "the test", "wait", retry_after_s=1)


async def broken(request: Request) -> Response:
    raise ZeroDivisionError


APPLICATION = application([
    Route("/items", echoed, methods=["PUT"]), Route("/items/{item_id:id}", echoed, methods=["DELETE"]),
    Route("/of/{request_id:id}", nothing), Route("/busy", busy), Route("/broken", broken),
])  # fmt: skip


def answered(method: str, target: str, body: bytes = b"", raised: type[Exception] | None = None) -> tuple[int, dict[str, str], bytes]:
    raw, _, query = target.encode().partition(b"?")
    scope: Scope = {
        "type": "http", "method": method, "raw_path": raw, "path": unquote(raw.decode()), "query_string": query,
        "scheme": "http", "headers": [(b"host", b"segue")],
    }  # fmt: skip
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(raised) if raised else nullcontext():
        asyncio.run(APPLICATION(scope, receive, send))
    start, end = sent
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, end["body"]


def problem(body: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(body)
    assert set(told) == {"error", "where", "what_to_do"} and all(told.values())
    return told


def test_body_and_kind_go_through() -> None:
    status, headers, body = answered("PUT", "/items", b"[1]")
    assert (status, headers, body) == (200, {"content-type": "text/plain; charset=utf-8", "content-length": "4"}, b"|[1]")


def test_query_is_passed_over() -> None:
    assert answered("PUT", "/items?x=1")[0] == 200


def test_slash_too_many_at_the_end_leads_to_the_path_without() -> None:
    status, headers, _ = answered("PUT", "/items/")
    assert (status, headers["location"]) == (307, "http://segue/items")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a", "a"),
        ("a/b", "a/b"),
        ("/a", "/a"),
        ("%2Fa%20b%3Fc=%252F", "/a b?c=%2F"),
        ("%C3%B6?x=1", "ö"),
        ("%EF%BF%BD", "\ufffd"),
        ("a%0Ab", "a\nb"),
        ("a%0A", "a\n"),
        ("x" * 256, "x" * 256),
    ],
)
def test_id_is_what_was_encoded_slashes_and_all(path: str, name: str) -> None:
    assert answered("DELETE", f"/items/{path}")[2].decode() == f"{name}|"


@pytest.mark.parametrize(("path", "says"), [("%ff", "UTF-8"), ("x" * 257, "257 characters, and may have 1 to 256")])
def test_id_that_is_none_is_400(path: str, says: str) -> None:
    status, _, body = answered("DELETE", f"/items/{path}")
    assert status == 400 and says in problem(body)["error"]


@pytest.mark.parametrize("path", ["/", "/x", "/itemsx", "/of", "/of/", "/Items", "/busy/x", "//busy"])
def test_path_that_is_none_is_404(path: str) -> None:
    status, headers, body = answered("GET", path)
    assert status == 404 and "allow" not in headers
    assert problem(body)["error"] == f"Not Found: GET {path}"


def test_another_method_is_405_and_the_header_says_which_is_allowed() -> None:
    """RFC 9110, 15.5.6: a 405 must have the header Allow."""
    for path, allowed in (("/items", {"PUT"}), ("/items/a", {"DELETE"}), ("/of/a", {"GET", "HEAD"})):
        for method in ("PATCH", "OPTIONS"):
            status, headers, body = answered(method, path)
            assert (status, set(headers["allow"].split(", "))) == (405, allowed)
            assert problem(body)["error"] == f"Method Not Allowed: {method} {path}"


def test_204_has_neither_a_body_nor_headers_of_one() -> None:
    """RFC 9110, 8.6: no Content-Length in a 204."""
    assert answered("GET", "/of/a") == (204, {}, b"")


def test_refusal_is_its_status_and_an_error_of_ours_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    status, headers, body = answered("GET", "/busy")
    assert (status, headers["retry-after"], problem(body)["error"]) == (503, "1", "not now")
    status, _, body = answered("GET", "/broken", raised=ZeroDivisionError)  # for the server to log, once it is answered
    assert status == 500 and "ZeroDivision" not in problem(body)["error"]
    assert "GET /broken failed" in caplog.text
