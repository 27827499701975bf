"""What a page promises: an order that follows from figures, exact chances, nothing twice, nothing that must not be there."""
from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bandit.settings import BanditSettings
from bandit.strategies import strategies
from online_model.features import Reward
from streams.core.join.events import Exposure
from streams.core.join.items import Item
from streams.core.join.keys import HOUR_MS, key
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.explain import explained
from streams.core.serving.fusion import RequestError
from streams.core.serving.model_view import ModelView, Predict
from streams.core.serving.pages import Page, PageMaker, PageRequest, PageSettings, ServedPage
from streams.core.serving.recommend import RecommendSettings
from streams.core.serving.requests import GuestEvent
from tests import frequencies
from tests.streams.core.serving.test_recommend import START, House, event, judged, k

SETTLED = RecommendSettings(explore_share=0.0, explore_candidates=0)
ARMS = [s.name for s in strategies(PageSettings().revenue_blends)]
CATEGORIES = ("rock", "jazz", "folk", "noise")


class PageHouse(House):
    """A house with pages, and the choice among strategies."""

    def __init__(self, items: Iterable[Item] = (), settings: RecommendSettings = SETTLED, pages: PageSettings | None = None) -> None:
        super().__init__(items, settings)
        pages = pages or PageSettings()
        self.strategy_bandit = StrategyBandit(
            {"page": [s.name for s in strategies(pages.revenue_blends)], "list": settings.chosen}, BanditSettings()
        )
        self.maker = PageMaker(pages, self.recommender)

    def page(
        self, predict: Predict | None = None, ts: int = START, seed: int = 1, request_id: str = "r", version: int | None = 7,
        **request: object,
    ) -> ServedPage:  # fmt: skip
        asked = PageRequest(**request)  # type: ignore[arg-type]
        model = ModelView(predict=predict, bandit=self.strategy_bandit, version=version)
        return self.maker.page(asked, request_id, self.user(asked.user_id), self.partition.item_counts, model, ts, seed)


def catalog_of(*categories: str, each: int = 8, **more: object) -> list[Item]:
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
    assert (page.strategy, page.propensity, page.strategy_propensities, page.segment, page.flags) == (strategy, 1.0, {}, None, [])
    assert {m.category: [i.item_id for i in m.items] for m in page.modules}["rock"] == ["rock0", "rock1"]
    assert exposure is not None and exposure.arm_draw is None and exposure.strategy == strategy
    assert [(s.item_id, s.position, s.module, s.monetization, s.module_propensity) for s in exposure.slots] == [
        (i.item_id, n, m.name, PAID[i.item_id], 1.0) for m in page.modules for n, i in enumerate(m.items)
    ]  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(exposure), type=Exposure) == exposure


@given(
    st.lists(st.tuples(st.sampled_from(CATEGORIES), st.integers(1, 40), st.integers(0, 9), st.integers(0, 4)), min_size=1, max_size=20),
    st.sampled_from(["blend-0", "blend-0.25", "blend-0.75", "tail"]), st.integers(1, 4), st.integers(1, 3),
)  # fmt: skip
def test_a_page_is_what_loops_over_the_whole_catalog_make(
    rows: list[tuple[str, int, int, int]], strategy: str, modules: int, per_module: int
) -> None:
    """Naive: (category, liking, monetization, plays) of every item; no index, no batch; scipy's z-scores."""
    items = {f"i{n}": row for n, row in enumerate(rows)}
    house = PageHouse([Item(item_id=name, categories=(c,), monetization=float(paid)) for name, (c, _, paid, _) in items.items()])
    house.take(*(event("play", name, user=f"v{u}") for name, (*_, plays) in items.items() for u in range(plays)))
    page, *_ = house.page(worth({n: row[1] / 64 for n, row in items.items()}), strategy=strategy, modules=modules, per_module=per_module)

    best: dict[str, list[str]] = {}
    for name in sorted(items, key=lambda n: (-items[n][1], k(n))):
        best.setdefault(items[name][0], []).append(name)
    full = [c for c in best if len(best[c]) >= per_module]
    if len(full) < modules:  # then short modules fill up, which of them is left to chance
        modules, full = (len(best), list(best)) if modules >= len(best) else (0, [])
    if not full:
        return
    figures = []
    for c in full:
        top = [items[name] for name in best[c][:per_module]]
        plays = sum(items[name][3] for name in best[c])
        figures.append((sum(0.5 * t[1] / 64 for t in top) / len(top), sum(t[2] for t in top) / len(top), math.log(1 + plays)))
    z = [np.nan_to_num(stats.zscore(column)) if np.ptp(column) > 1e-12 else np.zeros(len(full)) for column in np.array(figures).T]
    alpha = float(strategy.removeprefix("blend-")) if strategy != "tail" else 0.0
    score = z[0] - z[2] if strategy == "tail" else (1 - alpha) * z[0] + alpha * z[1]
    by_category = {m.category: m for m in page.modules}
    assert len(page.modules) == min(modules, len(full)) and set(by_category) <= set(full)
    assert [m.score for m in page.modules] == pytest.approx(sorted(score, reverse=True)[: len(page.modules)], abs=1e-6)
    for c, (preference, paid, _), of in zip(full, figures, score, strict=True):
        if c in by_category:
            found = by_category[c]
            assert [i.item_id for i in found.items] == best[c][:per_module]
            assert (found.preference, found.monetization, found.score) == pytest.approx((preference, paid, of), abs=1e-6)


def test_tasters_are_one_item_each_of_the_categories_that_come_next() -> None:
    """By hand, as above: blend-0.5 orders jazz, rock, folk, whose best items are jazz0 or jazz1, rock0, folk0."""
    house = priced()
    whole = house.page(worth(LIKED), strategy="blend-0.5", modules=3, per_module=2)[0]
    page, exposure, _ = house.page(worth(LIKED), user_id="u", strategy="blend-0.5", modules=1, per_module=2, single_item_modules=2)
    assert names(page) == names(whole) == ["category:jazz", "category:rock", "category:folk"] and page.flags == []
    assert ids(page) == [ids(whole)[0], ids(whole)[1][:1], ids(whole)[2][:1]] and ids(page)[1:] == [["rock0"], ["folk0"]]
    assert [m.score for m in page.modules] == [m.score for m in whole.modules]
    assert exposure is not None and [s.position for s in exposure.slots] == [0, 1, 0, 0]
    assert house.page(worth(LIKED), user_id="u", strategy="blend-0.5", modules=2, per_module=2, single_item_modules=2)[0].flags == ["short"]
    control = PageHouse(catalog_of("rock", "jazz", each=8))
    control.take(*(event("play", f"rock{n}", user="v") for n in range(8)))
    page = control.page(worth({}), strategy="fixed", modules=2, per_module=2, single_item_modules=6)[
        0
    ]  # its three hold the ten places, rounded up
    assert [(m.name, len(m.items)) for m in page.modules] == [("popular", 4), ("new", 4), ("for-you", 4)] and page.flags == ["guest"]
    usual = PageHouse(catalog_of("rock", "jazz", "folk"), pages=PageSettings(modules=1, single_item_modules=1, max_modules=2))
    sizes = [[len(of) for of in ids(usual.page(worth({}), strategy="blend-0", per_module=3, **more)[0])] for more in ({}, {"modules": 2})]
    assert sizes == [[3, 1], [3, 3]]  # of the settings' tasters, as many as fit


# --- chance


def test_the_strategy_is_drawn_from_the_chances_that_are_logged() -> None:
    house = priced()
    rng = np.random.default_rng(2)
    earned = [
        Reward(
            id=n, ts=START, shown_ms=START, user=1, surface="page", strategy=arm, arms=ARMS, chances=[1 / len(ARMS)] * len(ARMS), segment=3,
            activity=0.0, domain=0, experience=float(rng.random() < 0.1 + 0.1 * n), revenue=0.0, seen=True,
        )
        for n, arm in enumerate(ARMS) for _ in range(30)
    ]  # fmt: skip
    assert house.strategy_bandit.learn(earned)["learned"] == len(earned)
    seen, n = dict.fromkeys(ARMS, 0), 1_500
    chances: dict[str, float] = {}
    for seed in range(n):
        page, exposure, trace = house.page(worth(LIKED), user_id="u", modules=2, per_module=1, seed=seed)
        seen[page.strategy] += 1
        chances = page.strategy_propensities
        assert exposure is not None and exposure.arm_draw is not None and trace.choice == exposure.arm_draw
        assert exposure.arm_draw.surface == "page" and exposure.arm_draw.arms == tuple(ARMS)
        assert dict(zip(ARMS, exposure.arm_draw.propensities, strict=True)) == page.strategy_propensities
        assert page.propensity == page.strategy_propensities[page.strategy] and page.segment == exposure.arm_draw.segment
        assert exposure.strategy == page.strategy
    assert math.fsum(chances.values()) == pytest.approx(1.0, abs=1e-9) and max(chances.values()) > 1.5 / len(ARMS)
    assert frequencies.chi_squared(list(seen.values()), [n * chances[arm] for arm in ARMS]) > 0.001


@frequencies.draws(600, 2_000)
def test_explored_orders_come_as_often_as_the_chances_of_their_modules_say(n: int) -> None:
    house = priced()
    seen: dict[tuple[str, ...], int] = {}
    said_: dict[tuple[str, ...], float] = {}
    for seed in range(n):
        page, exposure, _ = house.page(worth(LIKED), user_id="u", strategy="explore", modules=2, per_module=2, seed=seed)
        order = tuple(names(page))
        seen[order] = seen.get(order, 0) + 1
        said_[order] = math.prod(m.propensity for m in page.modules)
        assert exposure is not None and [s.module_propensity for s in exposure.slots[::2]] == [m.propensity for m in page.modules]
        assert all(slot.propensity == 1.0 for slot in exposure.slots)  # given its module, nothing is left to chance
    first = {m.name: m.propensity for seed in range(60) for m in house.page(worth(LIKED), strategy="explore", seed=seed)[0].modules[:1]}
    z = stats.zscore([0.35, 0.25, 0.15])  # by hand, as above: of rock, jazz, folk
    assert [first[f"category:{c}"] for c in ("rock", "jazz", "folk")] == pytest.approx(np.exp(z) / np.exp(z).sum(), abs=1e-6)
    assert len(said_) == 6 and math.fsum(said_.values()) == pytest.approx(1.0, abs=1e-9)
    assert frequencies.chi_squared([seen[order] for order in said_], [n * p for p in said_.values()]) > 0.001


@frequencies.draws(500, 3_000)
@pytest.mark.parametrize("strategy", ["blend-0", "fixed"])
def test_propensities_of_items_are_the_frequencies_of_many_pages(strategy: str, n: int) -> None:
    """All of a module are candidates here, so that the ranking itself is no matter of chance."""
    house = PageHouse(catalog_of("rock", "jazz", each=5), RecommendSettings(explore_share=0.4))
    score = worth({f"{c}{n}": 0.9 - 0.1 * n - (c == "jazz") * 0.05 for c in ("rock", "jazz") for n in range(5)})
    size = 3
    seen: dict[str, dict[str, list[int]]] = {}
    chances: dict[str, dict[str, list[float]]] = {}
    for seed in range(n):
        for module in house.page(score, strategy=strategy, modules=3, per_module=size, seed=seed)[0].modules:
            for item in module.items:
                seen.setdefault(module.name, {}).setdefault(item.item_id, [0] * size)[item.position] += 1
                told = chances.setdefault(module.name, {}).setdefault(item.item_id, [0.0] * size)
                assert told[item.position] in (0.0, item.propensity)
                told[item.position] = item.propensity
    assert set(seen) == ({"category:rock", "category:jazz"} if strategy == "blend-0" else {"new", "for-you"})
    for name, by_item in seen.items():
        for slot in range(size):
            counts, said_ = [row[slot] for row in by_item.values()], [chances[name][item][slot] for item in by_item]
            assert math.fsum(said_) == pytest.approx(1.0, abs=1e-9)
            if name != "new":
                assert frequencies.chi_squared(counts, [n * p for p in said_]) > 0.001


@pytest.mark.parametrize(("n", "outcomes"), [(500, 6), pytest.param(2_500, 31, marks=pytest.mark.prove)])
def test_chances_given_what_stands_above_make_up_the_frequencies_of_whole_pages(n: int, outcomes: int) -> None:
    """Of a module in its place, and of an item in its module: together of all that a page shows."""
    house = PageHouse(catalog_of("rock", "jazz", "folk", each=3), RecommendSettings(explore_share=0.4))
    score = worth({f"{c}{i}": 0.9 - 0.1 * i - (c == "jazz") * 0.05 for c in ("rock", "jazz", "folk") for i in range(3)})
    seen: dict[str, int] = {}
    chance: dict[str, float] = {}
    for seed in range(n):
        page, exposure, _ = house.page(score, user_id="u", strategy="explore", modules=2, per_module=2, single_item_modules=0, seed=seed)
        assert exposure is not None
        shown = " ".join(slot.item_id for slot in exposure.slots)
        seen[shown] = seen.get(shown, 0) + 1
        chance[shown] = math.prod([m.propensity for m in page.modules] + [slot.conditional_propensity or 0.0 for slot in exposure.slots])
    assert frequencies.p_value(seen, chance, outcomes) > 0.001


@frequencies.draws(500, 3_000)
def test_chances_of_tasters_and_of_their_items_are_the_frequencies_of_many_pages(n: int) -> None:
    """Orders by chance, slots that explore: of the same module, what stands in a taster's one place comes as often as it says."""
    house = PageHouse(catalog_of("rock", "jazz", "folk", each=4), RecommendSettings(explore_share=0.4))
    score = worth({f"{c}{i}": 0.9 - 0.1 * i - (c == "jazz") * 0.05 for c in ("rock", "jazz", "folk") for i in range(4)})
    orders: dict[tuple[str, ...], int] = {}
    chances: dict[tuple[str, ...], float] = {}
    items: dict[str, int] = {}
    said_: dict[str, float] = {}
    for seed in range(n):
        page = house.page(score, strategy="explore", modules=1, per_module=3, single_item_modules=2, seed=seed)[0]
        order = tuple(names(page))
        assert [len(m.items) for m in page.modules] == [3, 1, 1]
        orders[order], chances[order] = orders.get(order, 0) + 1, math.prod(m.propensity for m in page.modules)
        for module in page.modules[1:]:
            if module.category == "rock":
                name = module.items[0].item_id
                items[name], said_[name] = items.get(name, 0) + 1, module.items[0].propensity
    assert len(orders) == 6 and math.fsum(chances.values()) == pytest.approx(1.0, abs=1e-9)
    assert frequencies.chi_squared([orders[o] for o in orders], [n * chances[o] for o in orders]) > 0.001
    # by hand: .6 + .4 / 4 of the best, .4 / 4 of each of the others
    assert said_ == pytest.approx({"rock0": 0.7, "rock1": 0.1, "rock2": 0.1, "rock3": 0.1})
    assert frequencies.chi_squared([items[i] for i in said_], [sum(items.values()) * p for p in said_.values()]) > 0.001


def test_another_seed_or_request_another_draw_the_same_is_the_same_page_to_the_byte() -> None:
    settings = RecommendSettings(explore_share=0.5)
    house = PageHouse(catalog_of(*(f"c{n}" for n in range(20)), each=30), settings)
    score = judged(lambda item: item % 97 / 97)
    one = house.page(score, user_id="u")
    again = PageHouse(catalog_of(*(f"c{n}" for n in range(20)), each=30), settings).page(score, user_id="u")
    for of in range(3):
        assert msgspec.json.encode(again[of]) == msgspec.json.encode(one[of])
    assert ids(house.page(score, user_id="u", request_id="s")[0]) != ids(one.page) != ids(house.page(score, user_id="u", seed=2)[0])
    named = house.page(score, user_id="u", strategy=one.page.strategy)[0]
    assert named.modules == one.page.modules  # the choice takes nothing of the chance that the page is made with


@given(st.permutations(catalog_of(*CATEGORIES, each=4, domain="song")), st.sampled_from([None, *ARMS]), st.booleans())
def test_a_catalog_told_in_another_order_is_the_same_page(items: list[Item], strategy: str | None, cold: bool) -> None:
    def page(told: list[Item]) -> ServedPage:
        house = PageHouse(told)
        house.take(*(event("play", f"rock{n}", user="v") for n in range(3)), event("collect", "jazz1", at=START - 9 * HOUR_MS))
        return house.page(None if cold else judged(lambda item: item % 5), user_id="u", strategy=strategy, modules=3, per_module=3)

    assert page(items) == page(catalog_of(*CATEGORIES, each=4, domain="song"))


# --- what may stand in a page

NAMES = [f"i{n}" for n in range(14)]
stock = st.lists(
    st.builds(
        Item,
        item_id=st.sampled_from(NAMES),
        domain=st.sampled_from([None, "song", "video"]),
        categories=st.lists(st.sampled_from(CATEGORIES), max_size=2).map(tuple),
        published_ts=st.none() | st.integers(START - 3, START + 3),
        expires_ts=st.none() | st.integers(START - 3, START + 3),
        hidden=st.booleans(),
        monetization=st.sampled_from([0.0, 0.5, 2.0]),
    ),
    max_size=14,
)
acts = st.tuples(st.sampled_from(NAMES), st.sampled_from(["play", "skip", "dislike", "impression"]), st.integers(0, 12))


@given(
    items=stock,
    deleted=st.sets(st.sampled_from(NAMES), max_size=3),
    done=st.lists(acts, max_size=6),
    excluded=st.lists(st.sampled_from(NAMES), max_size=3),
    domain=st.none() | st.sampled_from(["song", "video", "radio"]),
    size=st.tuples(st.integers(1, 5), st.integers(1, 4)),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    with_model=st.booleans(),
    strategy=st.sampled_from([None, *ARMS]),
    seed=st.integers(0, 99),
)
def test_a_page_holds_what_it_may_hold_and_nothing_twice(
    items: list[Item], deleted: set[str], done: list[tuple[str, str, int]], excluded: list[str], domain: str | None,
    size: tuple[int, int], share: float, with_model: bool, strategy: str | None, seed: int,
) -> None:  # fmt: skip
    house = PageHouse(items, RecommendSettings(explore_share=share, popular_candidates=9, fresh_candidates=6, explore_candidates=5))
    for name in deleted:
        house.catalog.delete(name)
        house.catalog_index.delete(k(name))
    house.take(*(event(action, name, at=START + (hours - 12) * HOUR_MS) for name, action, hours in sorted(done, key=lambda d: d[2])))
    predict = judged(lambda item: item % 1000 / 1000) if with_model else None
    modules, per_module = size
    page, exposure, trace = house.page(
        predict, user_id="u", modules=modules, per_module=per_module, domain=domain, exclude=tuple(excluded), strategy=strategy, seed=seed
    )
    known = {item.item_id: item for item in items if item.item_id not in deleted}
    out = {name for name, _, hours in done if hours > 6} | set(excluded)

    def allowed(item: Item) -> bool:
        now = not item.hidden and (item.published_ts or START) <= START and (item.expires_ts is None or item.expires_ts > START)
        return now and item.item_id not in out and domain in (None, item.domain)

    may = {name: item for name, item in known.items() if allowed(item)} if known else {}
    by_category: dict[str, set[str]] = {}
    for name, item in may.items():
        for category in item.categories:
            by_category.setdefault(category, set()).add(name)
    shared = any(len(set(item.categories)) > 1 for item in may.values())  # then an item that makes one module is missing in another
    listed = [item.item_id for module in page.modules for item in module.items]
    assert len(set(listed)) == len(listed) and set(listed) <= set(may)
    assert len(set(names(page))) == len(page.modules) <= modules
    assert all([i.position for i in m.items] == list(range(len(m.items))) and 0 < len(m.items) <= per_module for m in page.modules)
    assert all(0 < i.propensity <= 1 and (i.probabilities is None) == (predict is None) for m in page.modules for i in m.items)
    assert ("uncategorised" in page.flags) == (not by_category) and ("cold" in page.flags) == (predict is None)
    if page.strategy == "fixed":
        assert [n for n in ("popular", "new", "for-you") if n in names(page)] == names(page)
        wanted = min(modules, 3)
        if modules >= 3:
            assert len(listed) >= min(per_module, len(may))
    else:
        wanted = modules
        most = min(modules, len(by_category))
        assert len(page.modules) == most or (shared and bool(by_category) <= len(page.modules) < most)
        for module in page.modules:
            assert module.category is not None and {i.item_id for i in module.items} <= by_category[module.category]
            most = min(per_module, len(by_category[module.category]))
            assert len(module.items) == most or (shared and len(module.items) < most)
    assert ("short" in page.flags) == (len(page.modules) < wanted or any(len(m.items) < per_module for m in page.modules))
    assert page.strategy == ("fixed" if not by_category else strategy or page.strategy)
    assert bool(page.strategy_propensities) == (strategy is None and bool(by_category))
    assert (exposure is None) == (not listed)
    assert trace.items == listed and trace.modules == [m.name for m in page.modules for _ in m.items]
    if exposure is not None:
        assert [(s.item_id, s.position, s.module) for s in exposure.slots] == [
            (i.item_id, i.position, m.name) for m in page.modules for i in m.items
        ]
        assert msgspec.json.decode(msgspec.json.encode(exposure), type=Exposure) == exposure
        house.take(exposure)
        again, *_ = house.page(predict, user_id="u", domain=domain, ts=START + 1)
        assert not set(listed) & {item.item_id for module in again.modules for item in module.items}


def test_without_a_catalog_or_categories_the_page_is_the_control_arms_and_says_so() -> None:
    without = PageHouse()
    for name in "abcdefg":
        without.catalog_index.add_uncatalogued(name)
    without.take(event("play", "b", user="v"))
    page, exposure, _ = without.page(judged(lambda item: item % 7), user_id="u", per_module=2)
    assert page.strategy == "fixed" and "uncategorised" in page.flags and exposure is not None and exposure.arm_draw is None
    assert ids(page)[0] == ["b"] and ids(page)[1] == ["g", "f"] and len(ids(page)[2]) == 2
    assert (page.propensity, page.strategy_propensities, page.segment) == (1.0, {}, None)
    assert all(slot.monetization is None for slot in exposure.slots)
    plain = PageHouse([Item(item_id=name) for name in "abc"])
    page, exposure, _ = plain.page(judged(lambda item: item % 7), user_id="u", strategy="blend-0.5")
    assert page.strategy == "fixed" and page.flags == ["short", "uncategorised"]
    assert exposure is not None and exposure.strategy == "fixed" and exposure.arm_draw is None
    nothing, exposure, trace = PageHouse().page(None)
    assert (nothing.modules, nothing.flags, exposure, trace.items) == ([], ["cold", "guest", "short", "uncategorised"], None, [])


def test_a_guest_gets_the_page_of_a_user_who_did_the_same_and_leaves_nothing() -> None:
    items = catalog_of(*(f"c{n}" for n in range(30)), each=8, domain="song")
    house, later = PageHouse(items), START + 9 * HOUR_MS
    did = ["c30", "c35", "c72"]
    house.take(*(event("play", name, at=START, full=True) for name in did))
    before = house.partition.user(key("user", "guest"))
    liked = judged(lambda item: item % 101 / 101)
    user, exposure, _ = house.page(liked, user_id="u", ts=later)
    guest, none, trace = house.page(liked, plays=tuple(GuestEvent(item_id=n, ts=START, full=True) for n in did), ts=later)
    assert (guest.modules, guest.strategy, guest.strategy_propensities, guest.segment) == (
        user.modules,
        user.strategy,
        user.strategy_propensities,
        user.segment,
    )
    assert guest.flags == ["guest"] and user.flags == [] and guest.strategy_propensities
    assert exposure is not None and none is None and trace.user_id is None
    assert house.partition.user(key("user", "guest")) == before is None
    assert {m.category for m in house.page(liked, user_id="u", ts=later, strategy="blend-0", modules=12)[0].modules} >= {"c3", "c7"}


def test_a_page_is_explained_module_by_module() -> None:
    house = priced()
    made = house.page(worth(LIKED), user_id="u", modules=3, per_module=2)
    why = explained("r", made.trace, house.recommender.name)
    assert made.exposure is not None and why.choice == made.exposure.arm_draw and why.strategy == made.page.strategy
    assert [(i.module, i.position, i.item_id) for i in why.items] == [(s.module, s.position, s.item_id) for s in made.exposure.slots]
    assert [sum(term.adds for term in i.terms) for i in why.items] == pytest.approx([s.score for s in made.exposure.slots])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (PageRequest(modules=0), r"\$.modules: must be in \[1, 12\], got 0"),
        (PageRequest(modules=13), r"\$.modules: must be in \[1, 12\], got 13"),
        (PageRequest(per_module=31), r"\$.per_module: must be in \[1, 30\], got 31"),
        (PageRequest(modules=10, per_module=21), r"\$.per_module: modules x per_module must be at most 200, got 10 x 21"),
        (PageRequest(modules=10, single_item_modules=3), r"\$.tasters: must be in \[0, 2\] beside 10 x 6, got 3"),
        (PageRequest(strategy="ranked"), r"\$.strategy: no such strategy 'ranked'; one of blend-0, blend-0.25, blend-0.5, blend-0.75,"),
        (PageRequest(weights={"likes": 1.0}), r"\$.weights.likes: no such weight"),
        (PageRequest(gamma_item=1.6), r"\$.gamma_item: must be in \[-1, 1.5\], got 1.6"),
        (PageRequest(user_id="u", plays=(GuestEvent(item_id="a"),)), r"\$.plays: only of a guest"),
    ],
)
def test_a_request_that_cannot_be_served_names_the_field(request_: PageRequest, message: str) -> None:
    house = priced()
    with pytest.raises(RequestError, match=message) as error:
        house.maker.page(request_, "r", None, house.partition.item_counts, ModelView(bandit=house.strategy_bandit), START, 1)
    assert f"$.{error.value.field}:" in message.replace("\\", "")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"revenue_blends": (0.5, 1.5)}, r"<= 1.0 - at `\$.revenue_blends"), ({"revenue_blends": (0.5, 0.5)}, "revenue_blends must differ"),
        ({"revenue_blends": tuple(n / 10 for n in range(10))}, "at most 9"), ({"modules": 13}, "modules must be in"),
        ({"per_module": 0}, "per_module must be in"), ({"max_modules": 201}, r"<= 200 - at `\$.max_modules`"),
        ({"categories": 0}, r">= 1 - at `\$.categories`"),
        ({"modules": 10, "single_item_modules": 3}, "single_item_modules must be in"),
        ({"modules": 10, "per_module": 20, "single_item_modules": 1}, "with single_item_modules"),
        ({"modules": 12, "per_module": 20}, "modules x per_module must be at most 200"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(wrong, PageSettings)
