"""Which categories a page considers, and what their preference is."""
from __future__ import annotations

import pytest

from streams.core.join.items import Item
from streams.core.join.keys import HOUR_MS, key
from streams.core.serving.pages import PageSettings
from streams.core.serving.preference import own_share
from tests.streams.core.serving.test_pages import PageHouse, catalog_of, ids, names, worth
from tests.streams.core.serving.test_recommend import START, event, judged


def test_preference_is_of_the_best_items_alone_and_by_the_weights_of_the_request() -> None:
    house = PageHouse(catalog_of("rock", "jazz", each=4))
    score = worth({"rock0": 0.6, "rock1": 0.6, "jazz0": 0.5, "jazz1": 0.5, "jazz2": 0.5, "jazz3": 0.5})
    by_size = [house.page(score, strategy="blend-0", modules=2, per_module=size)[0] for size in (2, 4)]
    assert [names(page)[0] for page in by_size] == ["category:rock", "category:jazz"]
    assert [m.preference for m in by_size[0].modules] == pytest.approx([0.3, 0.25])
    weighed = house.page(score, strategy="blend-0", modules=2, per_module=2, weights={"full_play": -1.0})[0]
    assert [m.preference for m in weighed.modules] == pytest.approx([0.0, -0.5]) and ids(weighed)[0] == ["rock2", "rock3"]


def test_half_of_the_categories_are_the_users_own_a_quarter_popular_and_chance_brings_the_others() -> None:
    own, popular, others = [f"own{n}" for n in range(6)], [f"pop{n}" for n in range(6)], [f"c{n}" for n in range(40)]
    house = PageHouse(catalog_of(*own, *popular, *others, each=6), pages=PageSettings(categories=8, modules=8, per_module=4))
    for n, c in enumerate(own):  # the first is liked most; the last is disliked as often as liked
        acts = [event("play", f"{c}{i}", full=True, at=START - 50 * HOUR_MS + i) for i in range(6 - n)]
        house.take(*acts, *([event("dislike", f"{c}1", at=START - 49 * HOUR_MS)] if n == 5 else []))
    house.take(*(event("play", f"{c}5", user="v", full=True, at=START - 49 * HOUR_MS + 1) for c in own))
    house.take(*(event("play", f"{c}0", user=u, full=True) for u in "vwx" for c in popular))
    house.take(*(event("play", f"{c}0", user="y", full=True) for c in ("pop2", "pop4")))
    met: dict[str, int] = {}
    for seed in range(40):
        page, *_ = house.page(judged(lambda item: 0.5), user_id="u", strategy="blend-0", seed=seed)
        categories = [str(m.category) for m in page.modules]
        assert len(categories) == 8 and set(own[:4]) <= set(categories)
        assert sum(c in popular for c in categories) >= 2
        for c in categories:
            met[c] = met.get(c, 0) + 1
    assert all(met[c] == 40 for c in own[:4]) and sum(c in met for c in others) > 25
    assert [c for c in popular if met.get(c) == 40] == ["pop2", "pop4"]


def test_categories_that_fill_their_module_come_before_others() -> None:
    house = PageHouse([*catalog_of("rock", each=1), *catalog_of("jazz", "folk", each=3)])
    score = worth({"rock0": 1.0})
    assert sorted(names(house.page(score, strategy="blend-0", modules=2, per_module=2)[0])) == ["category:folk", "category:jazz"]
    page, *_ = house.page(score, strategy="blend-0", modules=3, per_module=2)
    assert names(page)[0] == "category:rock" and "short" in page.flags


def test_an_items_share_of_categories_is_one_over_those_that_could_show_it() -> None:
    house = PageHouse([Item(item_id=f"i{n}", categories=("a", "b") if n % 4 else ("a",)) for n in range(8)])
    a, b, c = (key("category", name) for name in "abc")
    index = house.catalog_index.categories(None)
    assert own_share(index[a], [a, c], house.catalog) == 1.0
    assert own_share(index[a], [a, b, c], house.catalog) == pytest.approx((2 * 1.0 + 6 * 0.5) / 8)
    assert own_share(index[b], [b, a], house.catalog) == 0.5


def test_a_category_is_liked_and_popular_by_items_that_name_it_second() -> None:
    songs = [Item(item_id=f"{c}{n}", categories=(f"first{c}{n}", c)) for c in ("liked", "popular") for n in range(8)]
    house = PageHouse(
        [*songs, *catalog_of(*(f"c{n}" for n in range(40)), each=6)], pages=PageSettings(categories=4, modules=2, per_module=3)
    )
    house.take(event("play", "liked0", full=True, at=START - 50 * HOUR_MS))
    house.take(*(event("play", f"popular{n}", user=u) for u in "vwx" for n in range(3)))
    for seed in range(10):
        page, *_ = house.page(
            worth({f"{c}{n}": 0.9 for c in ("liked", "popular") for n in range(8)}), user_id="u", strategy="blend-0", seed=seed
        )
        assert {m.category for m in page.modules} == {"liked", "popular"}
