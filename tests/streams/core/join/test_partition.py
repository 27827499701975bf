"""A partition's promises: when an example is made, what corrects it, and that batching and storage change nothing."""
from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.features import TASKS, Closed, Example, Reversal
from online_model.features import Tick as LearnerTick
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event, ExposedItem, Exposure, LogBegin, Reason, Tick
from streams.core.join.events import Record as WireRecord
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived, Outgoing
from streams.core.join.settings import PartitionSettings
from streams.core.state.digest import digest
from streams.core.state.tables import Tables
from tests.strategies import CHOICE

MINUTE = 60_000
START = 1_700_000_000_000
FULL, COLLECT, SKIP = (1 << TASKS.index(t) for t in ("full_play", "collect", "skip"))


def event(minute: float, action: str, item: str = "i", user: str = "u", **more: object) -> Event:
    return Event(ts=START + int(minute * MINUTE), user_id=user, item_id=item, action=Action(action), **more)  # type: ignore[arg-type]


def arrived(records: Iterable[WireRecord]) -> list[Arrived]:
    return [Arrived(n, 0, getattr(r, "ts", 0) or START, r, f"id{n}") for n, r in enumerate(records)]


def run(*records: WireRecord, partition: Partition | None = None) -> tuple[Partition, list[Outgoing]]:
    partition = partition or Partition(PartitionSettings(), Tables.over(), Catalog())
    return partition, partition.apply(arrived(records)).examples


def hashes(partition: Partition) -> dict[str, str]:
    return digest({name: table.rows() for name, table in partition.tables.named().items()})


def said(out: list[Outgoing]) -> list[tuple[str, int, int]]:
    """(kind, labels or task, sign) of what the learner gets, ticks left out."""
    told = []
    for o in out:
        match o.record:
            case Example():
                told.append(("example", o.record.labels, 0))
            case Reversal():
                told.append(("reversal", o.record.task, o.record.sign))
            case Closed():
                told.append(("closed", o.record.labels[0], 0))
    return told


def test_first_resolving_act_makes_the_example_later_ones_reverse_it() -> None:
    # min  0 shown   1 full play   2 collect   3 uncollect            tick(last)
    #                example(full) +collect    -collect               closed(full)
    _, out = run(
        event(0, "impression", request_id="r"),
        event(1, "play", request_id="r", full=True),
        event(2, "collect", request_id="r"),
        event(3, "uncollect", request_id="r"),
        Tick(last=True),
    )
    collect = TASKS.index("collect")
    assert said(out) == [("example", FULL, 0), ("reversal", collect, 1), ("reversal", collect, -1), ("closed", FULL, 0)]


def test_exposure_without_an_act_becomes_an_example_when_its_window_has_passed() -> None:
    # min  0 shown ............ 10 window ends    10:00.001 another event
    _, out = run(event(0, "impression", request_id="r"), event(10, "impression", item="j", request_id="s"))
    assert said(out) == []
    _, out = run(event(0, "impression", request_id="r"), event(10.001, "impression", item="j", request_id="s"))
    assert said(out) == [("example", 0, 0), ("closed", 0, 0)]


def test_late_collect_reverses_after_the_window_and_is_unknown_after_the_retention() -> None:
    collect = TASKS.index("collect")
    _, out = run(event(0, "play", request_id=None), event(60, "collect"))
    assert said(out)[-1] == ("reversal", collect, 1)
    shown, played = event(0, "impression", request_id="r"), event(1, "play", request_id="r")
    partition, out = run(shown, played, event(25 * 60, "collect", request_id="r"))
    assert [t for t in said(out) if t[0] == "reversal"] == []
    partition.apply([Arrived(9, 0, START, Tick(last=True), "")])
    assert partition.progress.counted["unjoined"] == 1


def test_act_before_its_exposure_waits_and_joins_or_counts_as_unjoined_once() -> None:
    shown = Exposure(
        ts=START + MINUTE, user_id="u", request_id="r", slots=(ExposedItem(item_id="i", position=0), ExposedItem(item_id="j", position=1))
    )
    partition, out = run(event(0, "skip", request_id="r"), shown)
    assert said(out) == [("example", SKIP, 0)]
    assert "unjoined" not in partition.progress.counted
    partition, out = run(event(0, "skip", request_id="r"), Tick(last=True))
    assert (said(out), partition.progress.counted["unjoined"]) == ([], 1)
    user = partition.user(keys.key("user", "u"))
    assert user is not None and user.histories  # it still moved the user's state


def test_future_event_moves_no_watermark_and_late_one_is_refused() -> None:
    partition = Partition(PartitionSettings(), Tables.over(), Catalog())
    future, late = event(30, "play"), event(-61, "play")
    effects = partition.apply([
        Arrived(0, 0, START, event(0, "play"), "a"), Arrived(1, 0, START, future, "b"), Arrived(2, 0, START, late, "c"),
        Arrived(3, 0, START, event(0, "play"), "a"),
    ])  # fmt: skip
    assert [d.reason for d in effects.dead] == [Reason.FUTURE, Reason.LATE, Reason.DUPLICATE]
    assert partition.progress.watermark_ms == START


def test_a_partition_is_in_a_log_from_its_begin_to_its_closing_tick() -> None:
    partition = Partition(PartitionSettings(), Tables.over(), Catalog())
    seen = []
    for n, record in enumerate([event(0, "play"), LogBegin(ts=0), event(1, "skip"), Tick(ts=START + 2 * MINUTE), Tick(last=True)]):
        partition.apply([Arrived(n, 0, START + MINUTE, record, str(n))])
        seen.append(partition.progress.in_log)
    assert seen == [False, True, True, True, False]
    assert partition.progress.watermark_ms == START + 2 * MINUTE  # a tick's time behind it means the watermark


def test_a_tick_goes_on_to_the_learner_at_the_watermark_and_is_no_event() -> None:
    partition, out = run(event(1, "play"), Tick(ts=START), Tick(ts=START + 2 * MINUTE))
    assert [o.record for o in out[1:]] == [LearnerTick(START + MINUTE, False), LearnerTick(START + 2 * MINUTE, False)]
    assert partition.progress.counted["events"] == 1


PAGES = st.builds(
    lambda minute, items, user, request, strategy: Exposure(
        ts=START + int(minute * MINUTE), user_id=user, request_id=request, strategy=strategy, arm_draw=CHOICE if strategy else None,
        slots=tuple(ExposedItem(item_id=item, position=n, monetization=0.5) for n, item in enumerate(items)),
    ),
    st.floats(0, 40), st.lists(st.sampled_from("ijk"), min_size=1, max_size=3), st.sampled_from("uv"), st.sampled_from("rs"),
    st.sampled_from([None, "a", "b"]),
)  # fmt: skip
EVENTS = st.lists(
    st.builds(
        event,
        st.floats(0, 40),
        st.sampled_from([a.value for a in Action]),
        st.sampled_from("ijk"),
        st.sampled_from("uv"),
        request_id=st.sampled_from([None, "r", "s"]),
        full=st.sampled_from([None, True, False]),
        domain=st.sampled_from([None, "song", "video"]),
    ),
    min_size=2,
    max_size=40,
).map(lambda events: sorted(events, key=lambda e: e.ts))


class Stored:
    """A column family as a dict of bytes."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, wanted: list[bytes]) -> list[bytes | None]:
        return [self.rows.get(k) for k in wanted]

    def scan(self, first: bytes, end: bytes) -> list[bytes]:
        return [k for k in self.rows if first <= k < end]


@given(st.tuples(EVENTS, st.lists(PAGES, max_size=6)).map(lambda both: sorted([*both[0], *both[1]], key=lambda r: r.ts)), st.integers(1, 7))
def test_stored_restarted_and_batched_is_resident_and_one_by_one(events: list[Event | Exposure], size: int) -> None:
    records = arrived([*events, Tick(last=True)])
    resident = Partition(PartitionSettings(), Tables.over(), Catalog())
    wanted = [o for r in records for o in resident.apply([r]).examples]
    stored: dict[str, Stored] = {}
    found: list[Outgoing] = []
    for at in range(0, len(records), size):
        tables = Tables.over(lambda name: stored.setdefault(name, Stored()))
        found += Partition(PartitionSettings(), tables, Catalog()).apply(records[at : at + size]).examples  # a restart at every batch
        for name, table in tables.named().items():
            for key, raw in table.writes():
                if raw is None:
                    stored[name].rows.pop(key, None)
                else:
                    stored[name].rows[key] = raw
    assert found == wanted
    assert digest({name: family.rows.items() for name, family in stored.items()}) == hashes(resident)


@given(EVENTS, st.data())
@pytest.mark.parametrize("change", ["drop", "double", "swap"])
def test_dropping_doubling_or_swapping_one_event_changes_the_digest(change: str, events: list[Event], data: st.DataObject) -> None:
    records = arrived(events)
    at = data.draw(st.integers(0, len(records) - 2))
    other = list(records)
    if change == "drop":
        del other[at]
    elif change == "double":
        other.insert(at, Arrived(99, 0, records[at].arrival_ms, records[at].record, "another id"))
    else:
        other[at], other[at + 1] = other[at + 1], other[at]
    both = [Partition(PartitionSettings(), Tables.over(), Catalog()) for _ in range(2)]
    for partition, log in zip(both, (records, other), strict=True):
        partition.apply(log)
    assert hashes(both[0]) != hashes(both[1])
