"""What a page promises: an order that follows from figures, exact chances, nothing twice, nothing that must not be there."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bandit.settings import BanditSettings
from bandit.strategies import strategies
from online_model.batch import Batch
from online_model.features import FIELDS, TASKS, Reward
from online_model.trainer import Prediction
from streams.core.choosing import Choosing
from streams.core.events import Exposure
from streams.core.explain import explained
from streams.core.fusion import RequestError
from streams.core.items import Item
from streams.core.keys import HOUR_MS, key
from streams.core.pages import MadePage, Page, PageMaker, PageRequest, PageSettings
from streams.core.recommend import RecommendSettings
from streams.core.scoring import GuestAct, Predict
from tests.streams_core.test_recommend import ITEM, START, House, event, judged, k, said

SETTLED = RecommendSettings(explore_share=0.0, explore_candidates=0)
ARMS = [s.name for s in strategies(PageSettings().blends)]
CATEGORIES = ("rock", "jazz", "folk", "noise")


class PageHouse(House):
    """A house with pages, and the choice among strategies."""

    def __init__(self, items: Iterable[Item] = (), settings: RecommendSettings = SETTLED, pages: PageSettings = PageSettings()) -> None:
        super().__init__(items, settings)
        self.choosing = Choosing({"page": [s.name for s in strategies(pages.blends)], "list": settings.chosen}, BanditSettings())
        self.maker = PageMaker(pages, self.recommender)

    def page(
        self, predict: Predict | None = None, ts: int = START, seed: int = 1, request_id: str = "r", version: int | None = 7,
        **request: object,
    ) -> MadePage:  # fmt: skip
        asked = PageRequest(**request)  # type: ignore[arg-type]
        return self.maker.page(
            asked, request_id, self.user(asked.user_id), self.partition.item_counts, predict, self.choosing, ts, seed, version
        )


def shelf_of(*categories: str, each: int = 8, **more: object) -> list[Item]:
    """Items of each category, the first the newest."""
    return [
        Item(item_id=f"{c}{n}", categories=(c,), published_ts=START - HOUR_MS * (n + 1), **more)  # type: ignore[arg-type]
        for c in categories for n in range(each)
    ]  # fmt: skip


def worth(of: dict[str, float]) -> Predict:
    """Chance of a full play by item id."""
    by_key = {k(name): value for name, value in of.items()}
    return judged(lambda item: by_key.get(item, 0.0))


def names(page: Page) -> list[str]:
    return [module.name for module in page.modules]


def ids(page: Page) -> list[list[str]]:
    return [[item.item_id for item in module.items] for module in page.modules]


# --- the order of modules

LIKED = {"rock0": 0.9, "rock1": 0.5, "jazz0": 0.5, "jazz1": 0.5, "folk0": 0.4, "folk1": 0.2}
PAID = {"rock0": 0.0, "rock1": 0.2, "jazz0": 3.0, "jazz1": 5.0, "folk0": 1.0, "folk1": 1.0}


def priced() -> PageHouse:
    return PageHouse([Item(item_id=name, categories=(name[:4],), monetization=paid) for name, paid in PAID.items()])


@pytest.mark.parametrize(
    ("strategy", "order", "best"),
    [
        # by hand: preference = .5 x mean = .35, .25, .15 (z 1.2247, 0, -1.2247); monetization .1, 4, 1 (z -.9596, 1.3794, -.4198)
        ("blend-0", ["rock", "jazz", "folk"], 1.2247),
        ("blend-0.25", ["rock", "jazz", "folk"], 0.6787),
        ("blend-0.5", ["jazz", "rock", "folk"], 0.6897),
        ("blend-0.75", ["jazz", "rock", "folk"], 1.0346),
    ],
)
def test_modules_stand_in_the_order_of_the_blend_and_say_why(strategy: str, order: list[str], best: float) -> None:
    page, exposure, _ = priced().page(worth(LIKED), user_id="u", strategy=strategy, modules=3, per_module=2)
    assert [m.category for m in page.modules] == order and names(page) == [f"category:{c}" for c in order]
    assert page.modules[0].score == pytest.approx(best, abs=1e-4)
    figures = {m.category: (m.preference, m.monetization) for m in page.modules}
    for category, (preference, paid) in {"rock": (0.35, 0.1), "jazz": (0.25, 4.0), "folk": (0.15, 1.0)}.items():
        assert figures[category] == pytest.approx((preference, paid))
    assert (page.strategy, page.propensity, page.chances, page.segment, page.flags) == (strategy, 1.0, {}, None, [])
    assert {m.category: [i.item_id for i in m.items] for m in page.modules}["rock"] == ["rock0", "rock1"]
    assert exposure is not None and exposure.choice is None and exposure.strategy == strategy
    assert [(s.item_id, s.position, s.module, s.monetization, s.module_propensity) for s in exposure.slots] == [
        (i.item_id, n, m.name, PAID[i.item_id], 1.0) for m in page.modules for n, i in enumerate(m.items)
    ]  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(exposure), type=Exposure) == exposure


def test_preference_is_of_the_best_items_alone_and_by_the_weights_of_the_request() -> None:
    house = PageHouse(shelf_of("rock", "jazz", each=4))
    score = worth({"rock0": 0.6, "rock1": 0.6, "jazz0": 0.5, "jazz1": 0.5, "jazz2": 0.5, "jazz3": 0.5})
    by_size = [house.page(score, strategy="blend-0", modules=2, per_module=size)[0] for size in (2, 4)]
    assert [names(page)[0] for page in by_size] == ["category:rock", "category:jazz"]
    assert [m.preference for m in by_size[0].modules] == pytest.approx([0.3, 0.25])
    weighed = house.page(score, strategy="blend-0", modules=2, per_module=2, weights={"full_play": -1.0})[0]
    assert [m.preference for m in weighed.modules] == pytest.approx([0.0, -0.5]) and ids(weighed)[0] == ["rock2", "rock3"]
