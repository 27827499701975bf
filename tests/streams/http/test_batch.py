"""A batch is answered user by user, in order, few at once; one user's problem is no other's."""
from __future__ import annotations

import asyncio

import msgspec
import pytest

from streams.core.serving.recommend import Slate, SlateRequest
from streams.http.batch import BatchRequest, each
from streams.http.entrance import Refusal


def test_each_user_gets_a_list_or_a_problem_in_order_and_few_are_under_way_at_once() -> None:
    under_way, most = 0, 0

    async def serve(request: SlateRequest) -> Slate:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01 if request.user_id == "u0" else 0)
        under_way -= 1
        if request.user_id == "u3":
            raise Refusal(503, "of another worker", "this worker", "ask that one")
        return Slate(request_id=f"{request.user_id}/{request.k}", items=[], strategy="ranked", flags=[], model_version=None, model_age_ms=0)

    users = tuple(f"u{n}" for n in range(9))
    got = asyncio.run(each(BatchRequest(user_ids=users, request=SlateRequest(k=3)), serve, at_once=2)).slates
    assert [one.user_id for one in got] == list(users) and most == 2
    assert [one.slate.request_id for one in got if one.slate] == [f"{user}/3" for user in users if user != "u3"]
    assert [(one.user_id, one.problem.error) for one in got if one.problem] == [("u3", "of another worker")]


@pytest.mark.parametrize("common", [{"user_id": "ada"}, {"plays": [{"item_id": "a"}]}])
def test_what_is_common_to_all_names_nobody(common: dict[str, object]) -> None:
    async def serve(request: SlateRequest) -> Slate:
        raise AssertionError

    with pytest.raises(Refusal, match="names a user"):
        asyncio.run(each(BatchRequest(user_ids=("u",), request=msgspec.convert(common, SlateRequest)), serve))
