"""The profile counts what stands in a log; what can't be told is said with its reason."""
from __future__ import annotations

import msgspec

from replay.inspect.profile import Profile, Profiler, lines, prospects
from replay.log_rows import LogRow
from replay.prequential import of_file
from streams.core.join.settings import PartitionSettings

T = 1_700_000_000_000


def profile(*events: dict[str, object]) -> Profile:
    base = {"user_id": "u", "item_id": "i", "action": "play", "ts": T}
    rows = [LogRow(n, msgspec.json.encode({"event_id": f"e{n}"} | base | event), None) for n, event in enumerate(events, 1)]
    profiler = Profiler(PartitionSettings())
    for _ in profiler.of(of_file(rows)):
        pass
    return profiler.profile()


def test_counts_are_those_of_the_rows() -> None:
    found = profile(
        {"played_ms": 100, "duration_ms": 100},
        {"ts": T + 5, "played_ms": 50, "duration_ms": 100, "also": ["skip"]},  # the same user and item
        {"ts": T + 2, "item_id": "j", "full": False},  # older than the one before
        {"event_id": "e1"},  # a double
        {"user_id": None},
        {"action": "click"},
    )
    assert (found.rows, found.events, found.rejected) == (6, 4, {"wrong_type": 1, "unknown_action": 1})
    assert (found.users, found.items, found.repeats, found.disordered, found.doubles) == (1, 2, 1, 2, 1)
    assert (found.first_ms, found.last_ms, found.actions) == (T, T + 5, {"play": 3, "skip": 1})
    assert found.labels["full_play"] == found.labels["skip"] == 1 / 3 and found.empty_ids == 1
    assert found.play_ratios == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert found.first_rejected.startswith("line 5: $.user_id: expected str")


def test_a_person_reads_the_same_figures_and_what_is_missing_for_others() -> None:
    found = profile({}, {"ts": T + 86_400_000, "item_id": "j"})
    text = "\n".join([*lines(found), *prospects(found, rating=False)])
    assert "2 rows: 2 events" in text and "1 users, 2 items, 2023-11-14 22:13 to 2023-11-15 22:13 UTC (1.0 days)" in text
    assert "can't: collect: no row says it" in text and "can't: full_play" not in text and "can: --next" in text
    slate = {"kind": "exposure", "request_id": "r", "slots": [], "item_id": None, "action": None}
    assert (profile(slate).lists, profile(slate).exposures) == (1, 1) and next(lines(profile(slate))) == "1 rows: 0 events, 1 lists"
    exposed = "\n".join(prospects(profile({"action": "impression", "propensity": 0.5, "request_id": "r"}), rating=False))
    assert "can: how well each label is told from exposures" in exposed and "--next" not in exposed and "propensities" not in exposed
