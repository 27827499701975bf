"""Figures of questions, by hand; the same on whole logs, by loops: test_next_play.py."""
from __future__ import annotations

from replay.evidence.next_found import COLD, NEW, POOL, REPEATS, RETRIEVED, Figures, PlayRanks


def asked(place: int, source: str | None, ahead: dict[str, int], repeat: bool = False, plays: int = 9, k: int = 2) -> PlayRanks:
    pool = tuple(4 if name in ("own", "popular") else 0 for name in RETRIEVED)
    return PlayRanks(place, 0, (place if place <= k else 0,), place, source, tuple(ahead.get(n, 0) for n in RETRIEVED), pool, repeat, plays)


FOUR = [
    asked(1, "own", {}, repeat=True),
    asked(3, "popular", {"own": 1, "popular": 1}),  # comes into a list of two once own ones leave
    asked(8, "popular", {"own": 4, "popular": 3}, plays=4),
    asked(0, None, {}),
]


def test_list_without_a_source_moves_up_and_loses_its_items() -> None:
    pool, own, popular = Figures(FOUR, 2, 10).sources()
    assert (pool.name, own.name, popular.name) == (POOL, "own", "popular") and (pool.candidates, own.candidates) == (8, 4)
    assert (pool.hit.value, pool.mrr.value, pool.hits) == (1 / 4, 1 / 4, 1)
    assert (own.hit.value, own.mrr.value) == (1 / 4, 1 / 8)  # the first is gone, the second is at 2
    assert (popular.hit.value, popular.hits) == (1 / 4, 0)
    assert own.mrr_less is not None and own.mrr_less.value == 1 / 8 and pool.hit_less is None
    assert [figure.recall["300"].value for figure in (pool, own, popular)] == [3 / 4, 1 / 4, 2 / 4]


def test_kinds_are_counted_apart() -> None:
    kinds = {kind.name: kind for kind in Figures(FOUR, 2, 10).kinds()}
    assert {name: kind.questions for name, kind in kinds.items()} == {REPEATS: 1, NEW: 3, COLD: 1}
    assert (kinds[NEW].recall.value, kinds[NEW].hit.value, kinds[REPEATS].hit.value, kinds[COLD].recall.value) == (2 / 3, 0, 1, 1)
