"""The best of an index against a plain sort."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.core.serving.index import CandidateIndex, TopScores


@given(st.lists(st.tuples(st.integers(1, 12), st.none() | st.integers(0, 20)), max_size=80), st.integers(1, 6))
def test_top_holds_the_best_whatever_comes_and_goes(changes: list[tuple[int, int | None]], limit: int) -> None:
    top, score = TopScores(limit), {}
    for name, value in changes:
        if value is None:
            top.remove(name)
            score.pop(name, None)
        else:
            top.put(name, value)
            score[name] = value
        best = list(top.best((s, -n) for n, s in score.items()))
        assert best == sorted(score, key=lambda n: (-score[n], n))[: len(best)]
        assert len(best) >= min(len(score), limit // 2)


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans(), st.none() | st.integers(0, 9)), max_size=40))
def test_an_index_holds_what_was_added_and_not_removed_in_both_orders(changes: list[tuple[int, bool, int | None]]) -> None:
    scores, published = dict[int, float](), {key: 100 - key for key in range(1, 9)}
    index, there = CandidateIndex(scores, published), set[int]()
    for key, wanted, score in changes:
        if wanted != (key in there):
            (index.add if wanted else index.remove)(key)
            there ^= {key}
        if score is not None:
            scores[key] = float(score)
            if key in there:
                index.update_score(key)
        assert len(index) == len(there) and set(index.items) == there == {key for key in range(1, 9) if key in index}
        assert list(index.newest()) == sorted(there)
        assert list(index.popular()) == sorted((key for key in there if key in scores), key=lambda key: (-scores[key], key))


ORIGINALS = {4: 1, 5: 1, 6: 1, 7: 2, 8: 9}  # 9 is never there


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=40), st.sets(st.integers(1, 8)))
def test_of_variants_an_index_offers_the_original_or_else_the_one_with_the_smallest_key(
    changes: list[tuple[int, bool]], first: set[int]
) -> None:
    scores, published = {key: float(key) for key in range(1, 9)}, {key: 100 - key for key in range(1, 9)}
    index, there = CandidateIndex(scores, published, ORIGINALS, first), set(first)
    for key, wanted in [(0, False), *changes]:
        if key and wanted != (key in there):
            (index.add if wanted else index.remove)(key)
            there ^= {key}
        groups = dict[int, list[int]]()
        for one in there:
            groups.setdefault(ORIGINALS.get(one, one), []).append(one)
        offered = {original: original if original in members else min(members) for original, members in groups.items()}
        assert set(index.items) == set(offered.values()) and len(index) == len(offered)
        assert set(index.all_items()) == there == {one for one in range(1, 9) if index.holds(one)}
        assert list(index.newest()) == sorted(offered.values())
        assert list(index.popular()) == sorted(offered.values(), reverse=True)
        assert all(index.offered(one) == offered[ORIGINALS.get(one, one)] for one in there)
