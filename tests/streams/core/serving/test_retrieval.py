"""Candidates come from their sources in order, draws are uniform, and a pool says how likely its items were."""
from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from streams.core.join.items import Item
from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.eligibility import EligibilityFilter
from streams.core.serving.index import CandidateIndex
from streams.core.serving.retrieval import (
    CO_LISTENED,
    EXPLORE,
    FRESH,
    OWN,
    POPULAR_NOW,
    SAME_ARTIST,
    SAME_CATEGORY,
    VECTORS,
    CandidatePool,
    Listener,
    SourceQuota,
    draw,
    given_pool,
    pool,
    retrieve,
)
from tests.streams.core.serving.test_catalog_index import START, catalog_index_of, k, play


def filled(n: int, plays: int = 0) -> tuple[CatalogIndex, CandidateIndex]:
    """Item i was published in minute i; the first `plays` were played, i0 most."""
    catalog_index = catalog_index_of(*(Item(item_id=f"i{i}", published_ts=START + i * 60_000) for i in range(n)), now=START + n * 60_000)
    for i in range(plays):
        for _ in range(plays - i):
            catalog_index.add(play(f"i{i}"))
    return catalog_index, catalog_index.of_domain(None)


def test_candidates_are_popular_then_fresh_then_random_and_what_is_lacking_is_filled() -> None:
    catalog_index, candidate_index = filled(40, plays=5)
    eligibility = EligibilityFilter(catalog_index, {k("i1"), k("i39")})
    out = retrieve(candidate_index, eligibility, SourceQuota(3, 2, 4), 1, np.random.default_rng(1))
    assert list(out.items())[:5] == [
        *((k(i), POPULAR_NOW) for i in ("i0", "i2", "i3")), *((k(i), FRESH) for i in ("i38", "i37")),
    ]  # fmt: skip
    assert list(out.values())[5:] == [EXPLORE] * 4 and len(out) == 9 and not {k("i1"), k("i39")} & set(out)
    unplayed, cold = filled(40)
    out = retrieve(cold, EligibilityFilter(unplayed, set()), SourceQuota(3, 2, 0), 1, np.random.default_rng(1))
    assert list(out) == [k(f"i{n}") for n in (39, 38, 37, 36, 35)]  # nothing is popular yet: the newest take the places
    assert (
        len(retrieve(candidate_index, eligibility, SourceQuota(1, 0, 0), 30, np.random.default_rng(1))) == 30
    )  # a long list has enough to choose from
    assert len(retrieve(candidate_index, eligibility, SourceQuota(1, 0, 0), 99, np.random.default_rng(1))) == 38  # all there are


@pytest.mark.parametrize("blocked", [3, 1_900])  # by drawing again, and by going through an index that is blocked for the most part
def test_draws_are_uniform_over_what_comes_through(blocked: int) -> None:
    catalog_index, candidate_index = filled(2_000)
    eligibility = EligibilityFilter(catalog_index, {k(f"i{n}") for n in range(blocked)})
    rng, seen = np.random.default_rng(3), dict.fromkeys((k(f"i{n}") for n in range(blocked, 2_000)), 0)
    for _ in range(2_000 if blocked > 3 else 4_000):
        drawn = draw(candidate_index, eligibility, 5, rng, exclude=[k("i1999")])
        assert len(set(drawn)) == 5
        for item in drawn:
            seen[item] += 1
    assert seen.pop(k("i1999")) == 0
    assert stats.chisquare(list(seen.values())).pvalue > 0.001


def test_co_listened_items_take_the_places_of_popular_ones() -> None:
    catalog_index, candidate_index = filled(40, plays=5)
    eligibility, rng = EligibilityFilter(catalog_index, {k("i7")}), np.random.default_rng(1)
    after = [k(name) for name in ("gone", "i7", "i8", "i1", "i9")]  # the first is in no index, the second blocked
    out = retrieve(candidate_index, eligibility, SourceQuota(3, 1, 0, co_listened=2), 1, rng, Listener((), after))
    assert list(out.items()) == [(k("i8"), CO_LISTENED), (k("i1"), CO_LISTENED), (k("i0"), POPULAR_NOW), (k("i39"), FRESH)]
    few = retrieve(candidate_index, eligibility, SourceQuota(1, 0, 0, co_listened=5), 1, rng, Listener((), after))
    assert list(few.values()) == [CO_LISTENED]  # never more than there are popular ones
    before = Listener([k(name) for name in ("i9", "i7", "i5", "i6")], after)
    out = retrieve(candidate_index, eligibility, SourceQuota(4, 0, 0, co_listened=1, own=2), 1, rng, before)
    assert list(out.items()) == [(k("i9"), OWN), (k("i5"), OWN), (k("i8"), CO_LISTENED), (k("i0"), POPULAR_NOW)]


def test_vectors_bring_no_more_than_their_quota_and_what_lacks_is_popular() -> None:
    catalog_index, candidate_index = filled(40, plays=5)
    eligibility, rng = EligibilityFilter(catalog_index, set()), np.random.default_rng(1)
    known = Listener([k("i9")], [], map(k, ("i9", "i30", "i31", "i32")), [k("i33")], [k("i33"), k("i34"), k("i35")])
    out = retrieve(candidate_index, eligibility, SourceQuota(7, 0, 0, 2, 2, vectors=2, same_artist=2, same_category=1), 1, rng, known)
    wanted = {"i9": OWN, "i30": VECTORS, "i31": VECTORS, "i33": SAME_ARTIST, "i34": SAME_CATEGORY, "i0": POPULAR_NOW, "i1": POPULAR_NOW}
    assert list(out.items()) == [(k(name), source) for name, source in wanted.items()]


def test_a_pool_shows_drawn_items_where_it_explores_and_the_best_elsewhere() -> None:
    candidates = CandidatePool({1: POPULAR_NOW, 2: FRESH, 3: FRESH}, 4, [False, True, False], [9])
    shown = candidates.arrange([2, 1, 3], 0.5)
    assert (shown.items, shown.sources, shown.ranks) == ([2, 9, 1], [FRESH, EXPLORE, POPULAR_NOW], [0, None, 1])
    assert shown.propensities[1] == 0.5 / 4 == 0.125  # not ranked: only by a draw
    # given the item above, which is 2 (one of the four): 9 is drawn from what that leaves
    first = candidates.first(1).arrange([2, 1, 3], 0.5)
    assert (first.items, first.conditional_propensities()) == ([2], first.propensities)
    assert first.propensities == pytest.approx([0.5 + 0.5 / 4])
    assert candidates.items() == {1, 2, 3, 9}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_pools_explore_as_many_positions_as_their_share_says(share: float) -> None:
    catalog_index, candidate_index = filled(40, plays=5)
    eligibility, rng = EligibilityFilter(catalog_index, set()), np.random.default_rng(1)
    found = pool(candidate_index, eligibility, SourceQuota(3, 2, 1), 4, share, rng)
    assert found.explores == [share == 1.0] * 4 and len(set(found.drawn)) == len(found.drawn) == 4 * share
    assert found.size == 40 and len(found.sources) == 6
    given = given_pool({1: "a", 2: "b"}, 4, share, rng)  # no more positions than there are items
    assert (given.size, len(given.explores), sorted(given.drawn)) == (2, 2, [1, 2] if share else [])
