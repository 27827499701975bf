"""Late, future and repeated, told apart to the millisecond; ids are forgotten in event time, so memory levels off."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.core.join.admission import SEEN, TIME_JUMPS, Admission, rows_are_stale
from streams.core.join.events import Action, Event, Exposure, Reason
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.state.rows import Progress
from streams.core.state.tables import Overflow, Tables
from tests.streams.core.state.test_tables import Opened

NOW = 1_700_000_000_000
MINUTE, HOUR = 60_000, 3_600_000


class Case:
    """Admission as a partition uses it."""

    def __init__(self, tables: Tables | None = None, **changed: int) -> None:
        self.tables, self.progress = tables or Tables.over(), Progress()
        self._admission = Admission(PartitionSettings(**changed), self.tables.dedupe, self.progress)

    def verdict(self, ts: int, name: str, arrival_ms: int | None = None, *, given: str | None = None) -> Reason | None:
        event = Event(ts=ts, user_id="u", item_id="i", action=Action.PLAY, event_id=given)
        refused = self._admission.admit(event, Arrived(0, 0, ts if arrival_ms is None else arrival_ms, event, name))
        return refused[0] if refused else None


def test_an_event_is_late_from_one_ms_beyond_what_is_allowed() -> None:
    case = Case()
    assert case.verdict(NOW, "a") is None
    assert case.verdict(NOW - HOUR, "b") is None
    assert case.verdict(NOW - HOUR - 1, "c") is Reason.LATE


def test_an_event_is_future_from_one_ms_beyond_five_minutes_ahead_of_its_arrival() -> None:
    case = Case()
    assert case.verdict(NOW + 5 * MINUTE, "a", NOW) is None
    assert case.verdict(NOW + 5 * MINUTE + 1, "b", NOW) is Reason.FUTURE


def test_what_is_refused_leaves_no_trace_and_may_come_again_in_time() -> None:
    case = Case()
    assert case.verdict(NOW + HOUR, "a", NOW) is Reason.FUTURE
    assert case.progress.watermark_ms == -1
    assert list(case.tables.dedupe.rows()) == []
    assert case.verdict(NOW, "a") is None


def test_the_records_own_id_counts_before_the_place_it_stood_at() -> None:
    case = Case()
    assert case.verdict(NOW, "t-0-1-0", given="mine") is None
    assert case.verdict(NOW, "t-0-2-0", given="mine") is Reason.DUPLICATE
    assert case.verdict(NOW, "t-0-1-0", given="other") is None
    assert case.verdict(NOW, "t-0-1-0") is None
    assert case.verdict(NOW, "t-0-1-0") is Reason.DUPLICATE


def test_an_exposure_and_an_event_share_one_space_of_ids() -> None:
    admission = Admission(PartitionSettings(), Tables.over().dedupe, Progress())
    exposure = Exposure(ts=NOW, user_id="u", request_id="r", slots=(), event_id="same")
    assert admission.admit(exposure, Arrived(0, 0, NOW, exposure, "")) is None
    event = Event(ts=NOW, user_id="u", item_id="i", action=Action.PLAY, event_id="same")
    refused = admission.admit(event, Arrived(1, 0, NOW, event, ""))
    assert refused is not None
    assert refused[0] is Reason.DUPLICATE
    assert "'same'" in refused[1]


#  a at 0 ────────── the newest event at 60:00.000 ── and a ms later
#  a again:          dropped                          late, so that it can't be learned twice
def test_a_repeat_is_dropped_as_long_as_it_is_not_late() -> None:
    case = Case()
    assert case.verdict(NOW, "a") is None
    assert case.verdict(NOW + HOUR, "b") is None
    assert case.verdict(NOW, "a") is Reason.DUPLICATE
    assert case.verdict(NOW + HOUR + 1, "c") is None
    assert case.verdict(NOW, "a") is Reason.LATE


def test_an_id_of_a_late_event_is_kept_from_when_it_came() -> None:
    case = Case(allowed_lateness_ms=30 * MINUTE, dedupe_window_ms=40 * MINUTE)
    assert case.verdict(NOW, "a") is None
    assert case.verdict(NOW - 30 * MINUTE, "b") is None
    assert case.verdict(NOW + 40 * MINUTE, "c") is None
    assert case.verdict(NOW + 39 * MINUTE, "b") is Reason.DUPLICATE
    assert case.verdict(NOW + 41 * MINUTE, "d") is None  # ids are forgotten once a minute
    assert case.verdict(NOW + 39 * MINUTE, "b") is None


@given(st.lists(st.tuples(st.integers(0, 10) | st.just(7), st.integers(0, 9)), min_size=1, max_size=40))
def test_no_id_is_admitted_twice_within_the_window_and_memory_holds_no_others(steps: list[tuple[int, int]]) -> None:
    case, now, admitted = Case(allowed_lateness_ms=20 * MINUTE, dedupe_window_ms=20 * MINUTE), NOW, dict[int, int]()
    for wait, name in steps:
        ts = now + wait * MINUTE
        repeated = name in admitted and now - admitted[name] <= 20 * MINUTE  # by the time that was, not the one it brings
        assert case.verdict(ts, str(name)) == (Reason.DUPLICATE if repeated else None)
        if not repeated:
            now = admitted[name] = ts
        assert len(list(case.tables.dedupe.rows())) == sum(now - ts <= 20 * MINUTE for ts in admitted.values())


@given(st.lists(st.tuples(st.integers(0, 10) | st.just(7), st.integers(0, 9)), min_size=1, max_size=40), st.integers(0, 4))
def test_ids_beyond_a_bound_lie_in_a_store_and_nothing_else_changes(steps: list[tuple[int, int]], most: int) -> None:
    opened = Opened()
    window = {"allowed_lateness_ms": 20 * MINUTE, "dedupe_window_ms": 20 * MINUTE}
    memory, disk, now = Case(**window), Case(Tables.over(ids=Overflow(most, lambda: opened)), **window), NOW
    for wait, name in steps:
        now += wait * MINUTE
        assert memory.verdict(now, str(name)) == disk.verdict(now, str(name))
        for case in (memory, disk):
            case.tables.dedupe.settle()
    rows = list(disk.tables.dedupe.rows())
    assert sorted(r for r in rows if r[0][:1] == SEEN) == sorted(memory.tables.dedupe.rows())
    assert rows == sorted(rows) or not disk.tables.dedupe.overflowed


# day 0 a      day 1 b (a day later: no jump)      day 2 + 1 ms c (a jump)      day 3 + 1 ms: still flagged      + 2 ms: no more
def test_event_time_that_jumps_by_more_than_a_day_makes_rows_stale_for_a_day() -> None:
    case, day = Case(), 24 * HOUR
    assert not rows_are_stale(case.progress, NOW)  # nothing has come: it is cold, not stale
    assert case.verdict(NOW, "a") is None and case.verdict(NOW + day, "b") is None
    assert not rows_are_stale(case.progress, NOW + 2 * day) and rows_are_stale(case.progress, NOW + 2 * day + 1)  # the clock is ahead
    assert TIME_JUMPS not in case.progress.counted
    assert case.verdict(NOW + 2 * day + 1, "c") is None
    assert (case.progress.counted[TIME_JUMPS], case.progress.jumped_from_ms, case.progress.jumped_to_ms) == (
        1,
        NOW + day,
        NOW + 2 * day + 1,
    )
    assert case.verdict(NOW + 3 * day, "d") is None  # traffic goes on
    assert rows_are_stale(case.progress, NOW + 3 * day + 1) and not rows_are_stale(case.progress, NOW + 3 * day + 2)
    assert case.verdict(NOW + 30 * day, "from a wrong clock", NOW + 3 * day) is Reason.FUTURE
    assert case.progress.counted[TIME_JUMPS] == 1
