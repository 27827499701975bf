"""The modules of a page: their order, the control arm, one forward pass for all."""
from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy import stats

from online_model.batch import Batch
from online_model.features import FIELDS, TASKS
from online_model.trainer import Prediction
from streams.core.join.events import Exposure
from streams.core.join.items import Item
from streams.core.join.keys import HOUR_MS, key
from streams.core.serving.recommend import RecommendSettings
from tests.streams.core.serving.test_pages import ARMS, PageHouse, catalog_of, ids, names, worth
from tests.streams.core.serving.test_recommend import ITEM, START, event, judged, said


def test_the_long_tail_rises_with_tail() -> None:
    """Both are liked alike; one is played by everybody. `tail` also takes all of fashion out of the model's view."""
    house = PageHouse(catalog_of("rock", "jazz", "folk"))
    house.take(*(event("play", f"rock{n}", user=f"v{u}") for u in range(5) for n in range(8)), event("play", "folk0", user="v"))
    asked: list[float] = []
    liked = judged(lambda item: 0.5)

    def predict(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        asked.append(gamma_item)
        return liked(batch, gamma_user, gamma_item)

    page, *_ = house.page(predict, strategy="tail", modules=3, per_module=4)
    # by hand: log(1 + plays) = 3.71 of rock, 0 of jazz, .69 of folk; the less the higher
    assert names(page) == ["category:jazz", "category:folk", "category:rock"]
    mass = np.log1p([0.0, 1.0, 40.0])
    assert [m.score for m in page.modules] == pytest.approx(-stats.zscore(mass), abs=1e-6)
    house.page(predict, strategy="blend-0")
    assert asked == [1.0, 0.7]


def test_the_control_arm_is_popular_new_and_for_you_each_without_those_above() -> None:
    house = PageHouse(catalog_of("rock", "jazz", each=4))
    house.take(*(event("play", "rock3", user=u) for u in "vw"), *(event("play", "jazz3", user=u) for u in "vwx"))
    score = worth({"jazz3": 0.9, "rock2": 0.8, "rock0": 0.7, "jazz2": 0.6})
    page, exposure, _ = house.page(score, user_id="u", strategy="fixed", per_module=2)
    assert names(page) == ["popular", "new", "for-you"] and page.flags == []
    # rock0 and jazz0 are an hour old, as new as anything; equal ones by key
    assert ids(page)[0] == ["jazz3", "rock3"] and set(ids(page)[1]) == {"rock0", "jazz0"} and ids(page)[2] == ["rock2", "jazz2"]
    assert [[i.source for i in m.items] for m in page.modules[:2]] == [["popular"] * 2, ["fresh"] * 2]
    assert all((m.category, m.preference, m.monetization, m.score) == (None,) * 4 for m in page.modules)
    assert names(house.page(score, strategy="fixed", modules=2)[0]) == ["popular", "new"]
    assert exposure is not None and [s.module for s in exposure.slots] == ["popular"] * 2 + ["new"] * 2 + ["for-you"] * 2


def test_a_page_is_made_in_one_pass_over_as_many_candidates_as_a_list_has() -> None:
    house = PageHouse(catalog_of(*(f"c{n}" for n in range(30)), each=40), RecommendSettings())
    house.take(*(event("play", f"c{n}{i}", user="v") for n in range(30) for i in range(3)))
    sizes: list[int] = []

    def predict(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        sizes.append(len(batch))
        return said(np.full((len(batch), len(TASKS)), 0.1, np.float32))

    for strategy in ARMS:
        for per_module in (6, 16, 30):
            page, *_ = house.page(predict, strategy=strategy, per_module=per_module)
            assert len(page.modules) == (3 if strategy == "fixed" else 5) and page.flags == ["guest"]
            above = 2 * per_module if strategy == "fixed" else 0  # popular and new stand beside the candidates
            assert 280 <= sizes[-1] - above <= 310  # 300, whole ones of each category, and what exploring slots drew
    assert len(sizes) == 3 * len(ARMS)


def test_a_cold_page_goes_by_popularity() -> None:
    house = PageHouse(catalog_of("rock", "jazz", "folk"))
    house.take(*(event("play", f"jazz{n}", user=u) for n in (3, 4) for u in "vw"), event("play", "folk7", user="v"))
    for predict, version in ((None, None), (judged(lambda item: item % 7), 0)):
        page, *_ = house.page(predict, version=version, strategy="blend-0", modules=3, per_module=2)
        assert [m.category for m in page.modules] == ["jazz", "folk", "rock"] and page.flags == ["cold", "guest"]
        assert [m.preference for m in page.modules] == [2.0, 0.5, 0.0] and set(ids(page)[0]) == {"jazz3", "jazz4"}
        assert ids(page)[1] == ["folk7", "folk0"] and page.model_version == version


def test_the_model_sees_what_the_join_will_see_the_module_too() -> None:
    house = PageHouse(catalog_of("rock", "jazz", each=3, domain="song", artist_id="x"))
    house.take(event("play", "rock2", at=START - 9 * HOUR_MS, full=True, domain="song"), event("skip", "jazz2", at=START - 8 * HOUR_MS))
    seen: list[Batch] = []

    def score(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        seen.append(batch)
        return said(np.tile(np.float32([0.1] * len(TASKS)), (len(batch), 1)))

    for strategy in ("blend-0.5", "fixed"):
        request = f"r {strategy}"
        exposure = house.page(
            score, user_id="u", domain="song", context={"d": "p"}, request_id=request, strategy=strategy, exclude=("rock2",), per_module=2,
            ts=START,
        ).exposure  # fmt: skip
        assert exposure is not None
        batch, at = seen.pop(), FIELDS.index("position")
        rows = {batch.fields[row, ITEM]: batch.fields[row] for row in range(len(batch))}
        plays = (event("play", slot.item_id, at=START + 5, request_id=request) for slot in exposure.slots)
        made = house.take(exposure, *plays)
        assert made
        for example in made:
            learned = np.frombuffer(example.features.fields, "<u8")
            assert np.array_equal(np.delete(rows[learned[ITEM]], at), np.delete(learned, at))
            assert learned[FIELDS.index("module")] in {key("module", str(slot.module)) for slot in exposure.slots}
        house = PageHouse(catalog_of("rock", "jazz", each=3, domain="song", artist_id="x"))


def test_names_of_modules_fit_where_they_go() -> None:
    long = "c" * 64
    page, exposure, _ = PageHouse([Item(item_id="a", categories=(long,))]).page(judged(lambda item: 0.5), user_id="u", strategy="blend-0")
    assert (page.modules[0].category, page.modules[0].name) == (long, f"category:{key('category', long):016x}")
    assert msgspec.json.decode(msgspec.json.encode(exposure), type=Exposure) == exposure


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_an_item_makes_the_module_of_any_of_its_categories_and_stands_once_in_a_page(share: float) -> None:
    """Both kinds of items are in both modules: which category comes first says nothing. Items of several are shared out."""
    several = [Item(item_id=f"cb{n}", categories=("c", "b")) for n in range(12)]
    several += [Item(item_id=f"bc{n}", categories=("b", "c")) for n in range(12)]
    house = PageHouse(several, RecommendSettings(explore_share=share))
    met: dict[str, set[str]] = {}
    for seed in range(20):
        page, exposure, _ = house.page(judged(lambda item: item % 97 / 97), user_id="u", strategy="blend-0", modules=2, seed=seed)
        shown = [name for module in ids(page) for name in module]
        assert sorted(names(page)) == ["category:b", "category:c"] and page.flags == []
        assert len(shown) == 12 == len(set(shown)) and exposure is not None
        for module in page.modules:
            met.setdefault(str(module.category), set()).update(item.item_id[:2] for item in module.items)
    assert met == {"b": {"bc", "cb"}, "c": {"bc", "cb"}}


def test_a_small_category_keeps_its_items_from_the_large_one_that_holds_them_too() -> None:
    songs = [Item(item_id=f"both{n}", categories=("large", "small")) for n in range(6)]
    songs += [Item(item_id=f"large{n}", categories=("large",)) for n in range(200)]
    house = PageHouse(songs, RecommendSettings(explore_share=0.0))
    house.take(*(event("play", f"both{n}", user=u) for u in "vwx" for n in range(6)))  # what is popular, `large` would take first
    page, *_ = house.page(worth({f"both{n}": 0.9 for n in range(6)}), user_id="u", strategy="blend-0", modules=2)
    by_name = dict(zip(names(page), ids(page), strict=True))
    assert sorted(by_name["category:small"]) == [f"both{n}" for n in range(6)]
    assert len(by_name["category:large"]) == 6 and page.flags == []


def test_categories_whose_items_all_went_to_others_make_no_empty_module() -> None:
    songs = [Item(item_id=f"i{n}", categories=("a", "b", "c")) for n in range(6)]
    page, *_ = PageHouse(songs, RecommendSettings(explore_share=0.0)).page(judged(lambda item: 0.5), strategy="blend-0", modules=3)
    assert [len(module) for module in ids(page)] == [6] and page.flags == ["guest", "short"]
