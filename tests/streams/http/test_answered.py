"""A request that comes again, alone or beside the first: one answer, made once, of one user."""
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streams.core.serving.pages import Page, PageRequest
from streams.core.serving.recommend import Slate, SlateRequest
from streams.core.serving.requests import Flag
from streams.core.serving.scoring import SlateItem
from streams.http.answered import AnsweredRequests
from streams.http.entrance import Refusal


class Maker:
    """Makes another list at each call; a failing one where told to."""

    def __init__(self) -> None:
        self.made = 0
        self.fail = False

    async def slate(self) -> Slate:
        self.made += 1
        await asyncio.sleep(0)
        if self.fail:
            raise Refusal(503, "no", "here", "wait")
        item = SlateItem(item_id=f"i{self.made}", position=0, score=0.1 + self.made, source="given", propensity=1 / 3, probabilities=None)
        return Slate(request_id="r", items=[item], strategy="ranked", flags=[Flag.COLD], model_version=None, model_age_ms=3)

    async def page(self) -> Page:
        self.made += 1
        return Page(
            request_id="r", modules=[], strategy="fixed", propensity=1.0, strategy_propensities={}, segment=None, flags=[],
            model_version=None, model_age_ms=0,
        )  # fmt: skip


def asked(**fields: Any) -> SlateRequest:
    return SlateRequest(**{"user_id": "ada", "request_id": "r"} | fields)


def test_a_repeated_request_gets_the_same_answer_and_another_user_or_id_a_new_one() -> None:
    async def main() -> None:
        answered, maker = AnsweredRequests(10, 1 << 20), Maker()
        first, again = await answered.once(asked(), Slate, maker.slate)
        assert not again and await answered.once(asked(), Slate, maker.slate) == (first, True)
        for new in (asked(user_id="bob"), asked(request_id="s"), asked(request_id=None), asked(dry_run=True), asked(user_id=None)):
            other, again = await answered.once(new, Slate, maker.slate)
            assert not again and other.items != first.items
        assert await answered.once(asked(), Slate, maker.slate) == (first, True) and maker.made == 6

    asyncio.run(main())


def test_another_request_of_the_same_id_gets_that_answer_with_a_flag_and_of_another_kind_none() -> None:
    async def main() -> None:
        answered, maker = AnsweredRequests(10, 1 << 20), Maker()
        first, _ = await answered.once(asked(), Slate, maker.slate)
        other, again = await answered.once(asked(k=3), Slate, maker.slate)
        assert again and other.items == first.items and other.flags == [Flag.COLD, Flag.REQUEST_ID_REUSED]
        with pytest.raises(Refusal, match="is that of a list") as refused:
            await answered.once(PageRequest(user_id="ada", request_id="r"), Page, maker.page)
        assert refused.value.status == 409
        guests = [await answered.once(asked(user_id=None, k=k), Slate, maker.slate) for k in (1, 2, 1)]
        assert [again for _, again in guests] == [False, False, True]  # nothing but the request tells guests apart

    asyncio.run(main())


def test_of_requests_that_come_together_one_is_made_and_a_failed_one_is_made_again() -> None:
    async def main() -> None:
        answered, maker = AnsweredRequests(10, 1 << 20), Maker()
        together = await asyncio.gather(*[answered.once(asked(), Slate, maker.slate) for _ in range(5)])
        assert maker.made == 1 and [again for _, again in together] == [False, True, True, True, True]
        maker.fail = True
        failed = await asyncio.gather(*[answered.once(asked(request_id="s"), Slate, maker.slate) for _ in range(3)], return_exceptions=True)
        assert maker.made == 4 and all(isinstance(one, Refusal) for one in failed)
        maker.fail = False
        assert not (await answered.once(asked(request_id="s"), Slate, maker.slate))[1]

    asyncio.run(main())


def test_what_is_kept_is_bounded_as_explanations_are() -> None:
    async def main() -> None:
        answered, maker = AnsweredRequests(2, 1 << 20), Maker()
        for name in "abc":
            await answered.once(asked(request_id=name), Slate, maker.slate)
        assert [(await answered.once(asked(request_id=name), Slate, maker.slate))[1] for name in "cb"] == [True, True]
        assert not (await answered.once(asked(request_id="a"), Slate, maker.slate))[1]
        none = AnsweredRequests(0, 1 << 20)
        assert [(await none.once(asked(), Slate, maker.slate))[1] for _ in range(2)] == [False, False]

    asyncio.run(main())
