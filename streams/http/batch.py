"""Lists for many users at once, as for mail and push: each is answered as by itself, and an error is that user's alone."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from streams.core.join.events import Id
from streams.core.json_fields import about
from streams.core.serving.recommend import Slate, SlateRequest
from streams.http.entrance import Problem, Refusal

MAX_USERS = 1_000  # of one body: at 10 ms a list, ten seconds
AT_ONCE = 4  # lists of one batch under way: one is made while others wait for Kafka, and users who ask by themselves hardly wait


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of a request for lists of many users."""

    user_ids: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=MAX_USERS), about("for whom")]
    request: Annotated[
        SlateRequest,
        about("what is requested for each of them, without `user_id`; with a `request_id`, a repeated batch gets the same lists"),
    ] = SlateRequest()


class BatchSlate(msgspec.Struct, frozen=True, kw_only=True):
    """What one user of a batch got."""

    user_id: Annotated[str, about("the user")]
    slate: Annotated[Slate | None, about("the list; null: there is none")]
    problem: Annotated[Problem | None, about("why there is none; null: there is one")]


class BatchSlates(msgspec.Struct, frozen=True, kw_only=True):
    """What the users of a batch got."""

    slates: Annotated[list[BatchSlate], about("by user, in the order of `user_ids`")]


async def each(batch: BatchRequest, serve: Callable[[SlateRequest], Awaitable[Slate]], at_once: int = AT_ONCE) -> BatchSlates:
    """Every user's list or problem, so many under way at once. Raises Refusal where the batch can't be used."""
    if batch.request.user_id is not None or batch.request.plays:
        way = "name users in `user_ids` alone; `plays` are of guests"
        raise Refusal(400, "the request of a batch names a user or a guest's plays", "the body, $.request", way)
    out: list[BatchSlate | None] = [None] * len(batch.user_ids)
    left = iter(enumerate(batch.user_ids))

    async def work() -> None:
        for n, user_id in left:
            try:
                slate = await serve(msgspec.structs.replace(batch.request, user_id=user_id))
                out[n] = BatchSlate(user_id=user_id, slate=slate, problem=None)
            except Refusal as refusal:
                out[n] = BatchSlate(user_id=user_id, slate=None, problem=refusal.problem)

    await asyncio.gather(*(work() for _ in range(min(at_once, len(out)))))
    return BatchSlates(slates=[one for one in out if one is not None])
