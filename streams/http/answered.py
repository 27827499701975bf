"""Requests that were answered before: a client that sends one again gets the same answer, and nothing is written down twice.

A request is known again by its user and its `request_id`, as long as this worker remembers it; a request without an id is never
a repetition. All methods are called from the event loop.
"""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import msgspec
import xxhash

from streams.core.serving.explain import RecentRequests
from streams.core.serving.pages import Page
from streams.core.serving.recommend import Slate
from streams.core.serving.requests import Flag, ServingRequest
from streams.http.entrance import Refusal

A = TypeVar("A", Slate, Page)


class _Key(NamedTuple):
    user_id: str | None
    request_id: str
    guest: int  # of a guest the request itself, since nothing else tells one guest from another


class _Served(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a request and its answer."""

    request: int  # a hash of it, to see that another one has the same id
    kind: str  # of the answer, by its struct
    packed: bytes


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Served).decode


class AnsweredRequests:
    """The last answers, within the bounds of the explanations beside them."""

    def __init__(self, requests: int, max_bytes: int) -> None:
        self._recent = RecentRequests[_Key](requests, max_bytes)
        self._open: dict[_Key, asyncio.Event] = {}  # requests under way

    async def once(self, request: ServingRequest, kind: type[A], make: Callable[[], Awaitable[A]]) -> tuple[A, bool]:
        """(What was answered before, True), else (what `make` makes, False). Of two that come together the second waits for the first.

        Raises Refusal where the id is that of another kind of request, and what `make` raises; then nothing was answered.
        """
        if request.request_id is None or request.dry_run:
            return await make(), False
        hashed = xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(request))
        key = _Key(request.user_id, request.request_id, hashed if request.user_id is None else 0)
        while (under_way := self._open.get(key)) is not None:
            await under_way.wait()
        packed = self._recent.get(key)
        if packed is not None:
            return _again(_unpack(packed), request.request_id, hashed, kind), True
        done = self._open[key] = asyncio.Event()
        try:
            made = await make()
            self._recent.put(key, _pack(_Served(hashed, kind.__name__, _pack(made))))
            return made, False
        finally:
            del self._open[key]
            done.set()


def _again(kept: _Served, request_id: str, hashed: int, kind: type[A]) -> A:
    if kept.kind != kind.__name__:
        what = "list" if kept.kind == Slate.__name__ else "page"
        way = "send a request_id of its own with each request, or none"
        raise Refusal(409, f"the request id {request_id!r} is that of a {what} for this user", "the body, $.request_id", way)
    served: A = msgspec.msgpack.decode(kept.packed, type=kind)
    if kept.request == hashed:
        return served
    return msgspec.structs.replace(served, flags=sorted({*served.flags, Flag.REQUEST_ID_REUSED}))
