"""A partition tells the story of a log that plain loops tell: examples, reversals, closes, counts, behaviours, rejections."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_model import history
from online_model.features import COUNTS, SCOPES, TASKS, Closed, Example, Exposed, Features, Reversal, Reward
from online_model.features import Tick as LearnerTick
from online_model.popularity import EXPOSURE, POPULAR
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event, ExposedItem, Exposure, Tick
from streams.core.join.join import MAX_EXPOSURES, MAX_REVERSALS, MAX_WAITING
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived, Effects, Outgoing
from streams.core.join.settings import PartitionSettings
from streams.core.join.state_update import EXPOSED_ROW
from streams.core.state.tables import Tables
from tests import strategies
from tests.oracles.join import Behaviour, Known, Labels, Shown, Story
from tests.strategies import LOG_START

MINUTE = 60_000
# Lateness and dedupe are one length, the window is shorter and the retention longer: every edge lies within reach of a step.
SETTINGS = PartitionSettings(
    allowed_lateness_ms=20 * MINUTE, dedupe_window_ms=20 * MINUTE, join_window_ms=10 * MINUTE, join_retention_ms=30 * MINUTE,
    history_limit=8, shown_limit=5, repeat_limit=2.0,
)  # fmt: skip
BEHAVIOURS = {
    "partial_play": history.PARTIAL_PLAY, "full_play": history.FULL_PLAY, "collect": history.COLLECT, "share": history.SHARE,
    "skip": history.SKIP, "dislike": history.DISLIKE,
}  # fmt: skip
BITS = {"exposures": EXPOSURE, "popular": POPULAR} | {task: 2 << n for n, task in enumerate(TASKS)}

Wire = Event | Exposure | Tick
Log = list[tuple[Wire, str, int]]


def log_of(*records: Wire) -> Log:
    return [(record, f"id{n}", record.ts) for n, record in enumerate(records)]


def applied(log: Log, s: PartitionSettings = SETTINGS, catalog: Catalog | None = None) -> tuple[Partition, Effects]:
    partition = Partition(s, Tables.over(), catalog or Catalog())
    return partition, partition.apply([Arrived(n, 0, arrival, record, name) for n, (record, name, arrival) in enumerate(log)])


def at(minute: float, action: str, item: str = "i", user: str = "u", **more: object) -> Event:
    return Event(ts=LOG_START + round(minute * MINUTE), user_id=user, item_id=item, action=Action(action), **more)  # type: ignore[arg-type]


def labels(mask: int) -> Labels:
    return frozenset(task for bit, task in enumerate(TASKS) if mask >> bit & 1)


def heard(out: Iterable[Outgoing]) -> list[Shown]:
    """What the learner was told, slot by slot; users and items by the names that the strategies give them."""
    called = {keys.key(field, name): name for field, some in (("user", "uv"), ("item", "ijk")) for name in some}
    slots: dict[int, Shown] = {}
    exposed: dict[int, Features] = {}
    for o in out:
        match o.record:
            case Exposed(id=slot, ts=ts, features=f):
                assert slot not in exposed and slot not in slots
                assert ts == f.shown_ms
                exposed[slot] = f
            case Example(id=slot, ts=ts, arrival_ms=arrival, labels=mask, sampling_rate=weight, features=f, predicted=predicted):
                assert slot not in slots
                assert weight == 1.0
                assert predicted == (slot in exposed)
                assert exposed[slot] == f if predicted else ts == f.shown_ms  # an act that exposes
                user, item = (int.from_bytes(f.fields[8 * n : 8 * n + 8], "little") for n in (0, 1))
                first = (labels(mask), ts, arrival)
                slots[slot] = Shown(called[user], called[item], "", f.shown_ms, False, known(f, called), labels(mask), first)
            case Reversal(id=slot, ts=ts, arrival_ms=arrival, task=task, sign=sign, features=f):
                assert f.shown_ms == slots[slot].ts
                slots[slot].reversals.append((TASKS[task], sign, ts, arrival))
            case Closed(ts=ts, ids=ids, labels=masks):
                for slot, mask in zip(ids, masks, strict=True):
                    assert slots[slot].closed is None
                    slots[slot].closed = (labels(mask), ts)
    return list(slots.values())


def known(f: Features, called: dict[int, str]) -> Known:
    """Features as the loops say them."""
    codes = {code: what for what, code in BEHAVIOURS.items()}
    domains = {keys.key("domain", name): name for name in ("song", "video")} | {0: ""}
    families = (
        [(called[i], ts, domains[place], codes[code]) for i, ts, place, code in np.frombuffer(h, history.BEHAVIOUR).tolist()]
        for h in (f.positive, f.negative)
    )
    assert f.related == b""  # nor an artist or a category
    counts = {scope: row.tolist() for scope, row in zip(SCOPES, np.frombuffer(f.counts, "<f4").reshape(len(SCOPES), -1), strict=True)}
    assert counts.pop("user_category") == [0.0] * len(COUNTS)  # there is no catalog
    own = np.frombuffer(f.own_plays, "<f4").tolist()
    return Known(*families, counts | {"popularity": np.frombuffer(f.popularity, "<f4").tolist()}, f.followed, f.near, own)


def by_time(one: Shown) -> list[list[Behaviour]]:
    assert one.known is not None
    return [sorted(rows) for rows in (one.known.positive, one.known.negative)]


def same_features(slots: Iterable[Shown], wanted: Iterable[Shown]) -> None:
    """Of those that no other was shown beside at the same ms. A history of equal times may be in any order."""
    alone = Counter((one.user, one.item, one.ts) for one in wanted)
    by_place = {(one.user, one.item, one.ts): one for one in wanted}
    for one in slots:
        place = (one.user, one.item, one.ts)
        if alone[place] == 1:
            assert by_time(one) == by_time(by_place[place])
            for scope, figures in by_place[place].known.counts.items():  # type: ignore[union-attr]
                assert one.known.counts[scope] == pytest.approx(figures, rel=1e-5, abs=1e-5), scope  # type: ignore[union-attr]
            wanted_one = by_place[place].known
            assert one.known is not None and wanted_one is not None
            assert one.known.followed == pytest.approx(wanted_one.followed, abs=1e-9)
            assert one.known.near == pytest.approx(wanted_one.near, abs=1e-9)
            assert one.known.own == pytest.approx(wanted_one.own, rel=1e-6)


def predicted(out: Iterable[Outgoing]) -> Counter[object]:
    """User, item and moment of each exposure, once it is to be predicted."""
    called = {keys.key(field, name): name for field, some in (("user", "uv"), ("item", "ijk")) for name in some}
    first = [o.record.features for o in out if isinstance(o.record, Exposed) or (isinstance(o.record, Example) and not o.record.predicted)]
    return Counter((*(called[int.from_bytes(f.fields[8 * n : 8 * n + 8], "little")] for n in (0, 1)), f.shown_ms) for f in first)


def told(slots: Iterable[Shown]) -> Counter[object]:
    """Without order among slots, and without those of which the learner has not heard yet."""
    return Counter((s.user, s.item, s.ts, s.example, tuple(s.reversals), s.closed) for s in slots if s.example)


def earned(out: Iterable[Outgoing]) -> Counter[object]:
    """What the learner was told of lists whose strategy was chosen."""
    users, lists = {keys.key("user", u): u for u in "uv"}, {keys.uncached("request", r): f"request {r}" for r in "rs"}
    rewards = [o.record for o in out if isinstance(o.record, Reward)]
    for r in rewards:
        assert (r.surface, r.arms, r.chances, r.segment, r.activity, r.domain) == ("page", ["a", "b", "c"], [0.25, 0.75, 0.0], 3, 1.5, 7)
    return Counter((users[r.user], lists[r.id], r.strategy, r.shown_ms, (r.ts, r.experience, r.revenue, r.seen)) for r in rewards)


def behaviours(partition: Partition, user: str, domain: str, family: int) -> list[tuple[int, int, int]]:
    """Item, time and code of a domain's rows, all of which name the domain."""
    state = partition.user(keys.key("user", user))
    rows = state.histories.get(keys.key("domain", domain) if domain else 0, (b"", b""))[family] if state else b""
    assert {row[2] for row in np.frombuffer(rows, history.BEHAVIOUR).tolist()} <= {keys.key("domain", domain) if domain else 0}
    return [(item, ts, code) for item, ts, _, code in np.frombuffer(rows, history.BEHAVIOUR).tolist()]


@settings(max_examples=150)
@given(strategies.logs())
def test_a_partition_tells_the_story_that_loops_tell(log: Log) -> None:
    wanted = Story(SETTINGS).tell(log)
    partition, effects = applied(log)
    assert [(dead.offset, dead.reason) for dead in effects.dead] == wanted.rejected
    slots = heard(effects.examples)
    assert told(slots) == told(wanted.shown)
    assert predicted(effects.examples) == Counter((one.user, one.item, one.ts) for one in wanted.shown)
    same_features(slots, wanted.shown)
    assert partition.progress.counted.get("unjoined", 0) == wanted.unjoined
    assert partition.progress.watermark_ms == wanted.now
    assert earned(effects.examples) == Counter((e.user, e.list_, e.strategy, e.shown_ms, e.said) for e in wanted.earnings if e.said)
    for name in ("late_rewards", "unusable_choices"):
        assert partition.progress.counted.get(name, 0) == getattr(wanted, name)
    lists = {(one.user, one.list_) for one in wanted.there if not one.over} | {(w.user, w.list_) for w in wanted.waiting}
    assert partition.progress.open_lists == len(lists)
    counts = [c for c in wanted.counts if c.weight > 0]
    assert [(row.item, row.ts, row.mask, row.sign, row.before) for row in effects.popularity] == [
        (keys.key("item", c.item), c.ts, sum(BITS[b] for b in c.columns), c.sign, [keys.key("item", each) for each in c.before])
        for c in counts
    ]  # fmt: skip
    assert [row.weight for row in effects.popularity] == pytest.approx([c.weight for c in counts], rel=1e-6)
    for family, rows_of in enumerate((wanted.positive, wanted.negative)):
        for (user, domain), rows in rows_of.items():
            expected = [(keys.key("item", item), ts, BEHAVIOURS[what]) for item, ts, _, what in rows]
            assert behaviours(partition, user, domain, family) == expected
    for user, lately in wanted.lately.items():
        state = partition.user(keys.key("user", user))
        assert state is not None
        assert list(EXPOSED_ROW.iter_unpack(state.exposed)) == [(keys.key("item", item), ts) for item, ts in lately]


@given(strategies.logs(), st.sampled_from([0.2, 0.5, 0.9]))
def test_at_a_lower_rate_exposures_without_an_act_are_left_out_by_their_id_and_nothing_else_changes(log: Log, rate: float) -> None:
    log = [*log, (Tick(last=True), "end", 0)]
    whole, everything = applied(log)
    thin, some = applied(log, msgspec.structs.replace(SETTINGS, negative_rate=rate))
    wanted: list[object] = []
    out: set[int] = set()
    exposed = {o.record.id for o in everything.examples if isinstance(o.record, Exposed)}
    for o in everything.examples:
        match o.record:
            case Example(arrival_ms=0, id=slot) if slot / 2**64 >= rate:
                assert o.record.labels == 0
                out.add(slot)
            case Example(arrival_ms=0):
                wanted.append(msgspec.structs.replace(o.record, sampling_rate=rate))
            case Closed(ts=ts, ids=ids, labels=masks, shown_before_ms=before, unlearned=unseen):
                kept = [(i, mask) for i, mask in zip(ids, masks, strict=True) if i not in out]
                left_out = [i for i in ids if i in out]
                assert exposed.issuperset(left_out)  # no act, so an impression exposed them
                wanted.append(Closed(ts, [i for i, _ in kept], [mask for _, mask in kept], before, len(left_out), left_out + unseen))
            case record:
                wanted.append(record)
    assert [o.record for o in some.examples] == wanted
    assert thin.progress.counted.get("sampled_out", 0) == len(out)
    assert (thin.progress.log, some.popularity) == (whole.progress.log, everything.popularity)


def test_about_the_rate_of_many_exposures_is_drawn_whatever_the_rate() -> None:
    shown = Exposure(ts=LOG_START, user_id="u", request_id="r", slots=tuple(ExposedItem(item_id=f"i{n}", position=n) for n in range(200)))
    _, effects = applied([*log_of(shown), (Tick(last=True), "end", 0)], msgspec.structs.replace(SETTINGS, negative_rate=0.3))
    made = sum(isinstance(o.record, Example) for o in effects.examples)
    assert abs(made - 60) < 4 * (200 * 0.3 * 0.7) ** 0.5
    with pytest.raises(ValueError, match="negative_rate"):
        msgspec.convert({"negative_rate": 0.0}, PartitionSettings)


@given(strategies.logs(size=12))
def test_a_closing_tick_leaves_nothing_open_and_every_exposure_learned_and_closed(log: Log) -> None:
    log = [*log, (Tick(last=True), "end", 0)]
    partition, effects = applied(log)
    slots = heard(effects.examples)
    assert partition.progress.open_lists == 0
    assert all(slot.closed for slot in slots)
    assert len(slots) == sum(bool(mask & EXPOSURE) for mask in (i.mask for i in effects.popularity))
    assert effects.examples[-1].record == LearnerTick(ts=partition.progress.watermark_ms, last=True)
    again = partition.apply([Arrived(len(log), 0, 0, Tick(last=True), "again")])
    assert [o.record for o in again.examples] == [LearnerTick(ts=partition.progress.watermark_ms, last=True)]


@given(strategies.logs(size=15))
def test_what_leaves_is_numbered_by_the_log_alone_and_only_grows(log: Log) -> None:
    _, effects = applied(log)
    sequence = [(o.offset, o.index, o.n) for o in effects.examples]
    assert sequence == sorted(set(sequence))
    for offset in {o.offset for o in effects.examples}:
        assert [o.n for o in effects.examples if o.offset == offset] == list(range(sum(o.offset == offset for o in effects.examples)))


# min  0 shown r(i j)   2 share i   3 play j (part)   11 another's event: r has closed   20 dislike i   40 collect i: forgotten
#                       example i   example j         closed i {share}, j {}             reversal i
def test_a_list_from_its_exposure_to_its_end() -> None:
    shown = Exposure(
        ts=LOG_START, user_id="u", request_id="r", slots=(ExposedItem(item_id="i", position=0), ExposedItem(item_id="j", position=1))
    )
    log = log_of(
        shown, at(2, "share", request_id="r"), at(3, "play", "j", request_id="r", played_ms=500, duration_ms=1000),
        at(11, "skip", "k", "v"), at(20, "dislike", request_id="r"), at(40, "collect", request_id="r"), at(51, "skip", "k", "v"),
    )  # fmt: skip
    partition, effects = applied(log)
    i, j, _, _ = heard(effects.examples)
    minute = {n: LOG_START + n * MINUTE for n in range(60)}
    assert i.example == (frozenset({"share"}), minute[2], minute[2])
    assert i.reversals == [("dislike", 1, minute[20], minute[20])]
    assert i.closed == (frozenset({"share"}), minute[11])
    assert (j.example, j.reversals, j.closed) == ((frozenset(), minute[3], minute[3]), [], (frozenset(), minute[11]))
    assert partition.progress.counted["unjoined"] == 1  # the collect at 40, by 51


def test_features_are_those_of_the_exposure_also_in_a_reversal_a_day_later() -> None:
    # The item is played between exposure and act: its counts at the exposure are still none.
    log = log_of(
        at(0, "impression", request_id="r"), at(1, "play", user="v", full=True), at(2, "play", request_id="r"),
        at(23 * 60, "collect", request_id="r"),
    )  # fmt: skip
    _, effects = applied(log, PartitionSettings())
    of_u = [o.record for o in effects.examples if isinstance(o.record, Example | Reversal) and o.record.features.shown_ms == LOG_START]
    assert [type(r) for r in of_u] == [Example, Reversal]
    first, second = (r.features for r in of_u)
    assert first == second
    assert first.counts == b"\0" * 96  # 4 scopes of 6 float32
    assert first.positive == b""


def test_items_of_one_list_do_not_count_each_other_and_single_impressions_do() -> None:
    both = tuple(ExposedItem(item_id=item, position=n) for n, item in enumerate("ij"))
    _, listed = applied([*log_of(Exposure(ts=LOG_START, user_id="u", request_id="r", slots=both)), (Tick(last=True), "", 0)])
    _, singly = applied([*log_of(at(0, "impression", "i"), at(0, "impression", "j")), (Tick(last=True), "", 0)])
    user_exposures = []
    for effects in (listed, singly):
        made = {o.record.features.fields[8:16]: o.record for o in effects.examples if isinstance(o.record, Example)}
        second = made[keys.key("item", "j").to_bytes(8, "little")]
        user_exposures.append(memoryview(second.features.counts).cast("f")[0])
    assert user_exposures == [0.0, 1.0]


def test_a_finger_that_taps_collect_on_and_off_is_not_endless_evidence() -> None:
    taps = [at(1 + n / 100, "uncollect" if n % 2 else "collect", request_id="r") for n in range(30)]
    _, effects = applied(log_of(at(0, "play", also=(Action.IMPRESSION,), request_id="r"), *taps))
    assert [sign for _, sign, _, _ in heard(effects.examples)[0].reversals] == [1, -1] * (MAX_REVERSALS // 2)


def test_a_list_keeps_its_newest_200_items_and_closes_the_others() -> None:
    shown = [
        Event(ts=LOG_START + n, user_id="u", item_id=f"x{n}", action=Action.IMPRESSION, request_id="r") for n in range(MAX_EXPOSURES + 2)
    ]
    partition, effects = applied(log_of(*shown))
    made = [type(o.record) for o in effects.examples]
    assert made == [Exposed] * MAX_EXPOSURES + [Example, Closed, Exposed] * 2  # of x0 and x1
    partition.apply([Arrived(900, 0, LOG_START, at(1, "skip", "x0", request_id="r"), "late to it")])
    out = partition.apply([Arrived(901, 0, LOG_START, at(1, "skip", "x2", request_id="r"), "in time")]).examples
    assert [type(o.record) for o in out] == [Example]
    partition.apply([Arrived(902, 0, 0, Tick(last=True), "")])
    assert partition.progress.counted["unjoined"] == 1


def test_no_more_than_64_acts_wait_for_a_list_and_all_count_as_unjoined_once() -> None:
    acts = [at(n / 100, "skip", f"x{n}", request_id="r") for n in range(MAX_WAITING + 3)]
    partition, _ = applied(log_of(*acts))
    assert partition.progress.counted["unjoined"] == 3
    partition.apply([Arrived(900, 0, 0, Tick(last=True), "")])
    assert partition.progress.counted["unjoined"] == MAX_WAITING + 3


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_acts_that_came_before_their_exposure_join_in_the_order_they_came(order: str) -> None:
    # min  0 uncollect  1 collect (or the other way round)  2 shown
    acts = [at(0, "uncollect", request_id="r"), at(1, "collect", request_id="r")][:: 1 if order == "ascending" else -1]
    shown = Exposure(ts=LOG_START + 2 * MINUTE, user_id="u", request_id="r", slots=(ExposedItem(item_id="i", position=0),))
    _, effects = applied(log_of(*acts, shown))
    (slot,) = heard(effects.examples)
    assert slot.example is not None
    assert slot.example[0] == frozenset({"collect"})
    assert slot.reversals == ([] if order == "ascending" else [("collect", -1, LOG_START, LOG_START)])


def test_an_act_of_a_moment_is_the_impression_and_the_acts_one_after_the_other() -> None:
    """`also`: one event of a log row and its parts as events of the same moment leave the same labels in the end."""
    whole = at(0, "impression", also=(Action.PLAY, Action.COLLECT, Action.SHARE), full=True, request_id="r")
    parts = [at(0, a, full=True, request_id="r") for a in ("impression", "play", "collect", "share")]
    ends = []
    for log in (log_of(whole), log_of(*parts), log_of(msgspec.structs.replace(whole, also=whole.also[::-1] + whole.also))):
        _, effects = applied([*log, (Tick(last=True), "", 0)])
        (slot,) = heard(effects.examples)
        ends.append((slot.closed, len(slot.reversals)))
    closed = (frozenset({"full_play", "collect", "share"}), LOG_START)
    assert ends == [(closed, 0), (closed, 2), (closed, 0)]


def test_users_do_not_meet_in_a_request_that_both_name() -> None:
    log = log_of(at(0, "impression", request_id="r"), at(1, "skip", user="v", request_id="r"))
    partition, effects = applied([*log, (Tick(last=True), "", 0)])
    assert [(s.user, s.example and s.example[0]) for s in heard(effects.examples)] == [("u", frozenset())]
    assert partition.progress.counted["unjoined"] == 1


# min  0 skip i, r   8 skip j, r   11 the window of the first has passed, not of the second   12 j is shown in r
def test_each_act_waits_for_its_own_window() -> None:
    log = log_of(
        at(0, "skip", request_id="r"), at(8, "skip", "j", request_id="r"), at(11, "skip", "k", "v"),
        at(12, "impression", "j", request_id="r"),
    )  # fmt: skip
    partition, effects = applied(log)
    assert partition.progress.counted["unjoined"] == 1
    assert [(s.item, s.example) for s in heard(effects.examples) if s.user == "u"] == [
        ("j", (frozenset({"skip"}), LOG_START + 8 * MINUTE, LOG_START + 8 * MINUTE))
    ]


# min  0 i shown in r   1 skip k   2 j shown in r   3 acts
def test_an_item_of_a_list_that_is_scrolled_has_the_user_as_of_its_own_moment() -> None:
    log = log_of(
        at(0, "impression", request_id="r"), at(1, "skip", "k"), at(2, "impression", "j", request_id="r"),
        at(3, "play", "j", request_id="r"), at(3, "play", "i", request_id="r"),
    )  # fmt: skip
    _, effects = applied(log)
    found = {s.item: s.known for s in heard(effects.examples) if s.known}
    assert found["i"].negative == []
    assert found["j"].negative == [("k", LOG_START + MINUTE, "", "skip")]
    assert (found["i"].counts["user"][0], found["j"].counts["user"][0]) == (0.0, pytest.approx(2.0, abs=1e-3))  # i and k


# min  0 i in r   20 i in s   31 r is forgotten (retention 30)   32 collect i, without a request: of s
def test_when_a_list_is_forgotten_the_newer_one_of_an_item_is_still_found() -> None:
    log = log_of(
        at(0, "impression", request_id="r"), at(20, "impression", request_id="s"), at(31, "skip", "k", "v"), at(32, "collect"),
    )  # fmt: skip
    partition, effects = applied(log)
    of_i = [s for s in heard(effects.examples) if s.item == "i"]
    assert [(s.ts - LOG_START, [r[0] for r in s.reversals]) for s in of_i] == [(0, []), (20 * MINUTE, ["collect"])]
    assert partition.progress.counted["impressions"] == 2


# min  0 play i (no impression yet)   1 its impression: the same exposure   2 another impression: another
def test_an_impression_may_come_behind_its_act_once() -> None:
    partition, effects = applied(log_of(at(0, "play"), at(1, "impression"), at(2, "impression"), Tick(ts=LOG_START, last=True)))
    assert [s.ts - LOG_START for s in heard(effects.examples)] == [0, 2 * MINUTE]
    assert (partition.progress.counted["implied_impressions"], partition.progress.counted["impressions"]) == (1, 1)


# min  0 list r: i j k   1 impressions of all, without a request: of the list   2 i and j again: shown again   11.5 k: r has closed
@pytest.mark.parametrize("request_id", [None, "r"])
def test_the_impression_of_an_item_just_served_is_its_exposures_and_the_next_one_another(request_id: str | None) -> None:
    served = Exposure(
        ts=LOG_START, user_id="u", request_id="r", slots=tuple(ExposedItem(item_id=i, position=n) for n, i in enumerate("ijk"))
    )
    first = [at(1, "impression", item, request_id=request_id) for item in "ijk"]
    again, late = [at(2, "impression", item) for item in "ij"], at(11.5, "impression", "k")
    for several, shown in (((), 3), (first, 3), ((*first, *again), 5), ((*first, late), 4)):
        partition, effects = applied(log_of(served, *several, Tick(ts=LOG_START, last=True)))
        assert partition.progress.counted["impressions"] == shown == len(heard(effects.examples))
        assert sum(bool(i.mask & EXPOSURE) for i in effects.popularity) == shown
        state = partition.user(keys.key("user", "u"))
        assert state is not None and len(state.exposed) == shown * EXPOSED_ROW.size


def test_an_impression_before_its_act_joins_a_served_item_and_so_does_one_behind_it() -> None:
    served = Exposure(ts=LOG_START, user_id="u", request_id="r", slots=(ExposedItem(item_id="i", position=0),))
    for acts in ((at(1, "impression"), at(2, "play", full=True)), (at(1, "play", full=True), at(2, "impression"))):
        partition, effects = applied(log_of(served, *acts, Tick(ts=LOG_START, last=True)))
        (one,) = heard(effects.examples)
        assert one.example is not None and one.example[0] == {"full_play"} and one.ts == LOG_START
        assert partition.progress.counted["impressions"] == 1


def test_an_impression_without_a_request_says_that_the_list_was_on_a_screen() -> None:
    slots = tuple(ExposedItem(item_id=i, position=n, monetization=1.0) for n, i in enumerate("ijk"))
    served = Exposure(ts=LOG_START, user_id="u", request_id="r", slots=slots, strategy="a", arm_draw=strategies.CHOICE)
    for acts, revenue in (((), 0.0), ((at(1, "impression", "j"),), 2.0)):
        _, effects = applied(log_of(served, *acts, Tick(ts=LOG_START, last=True)))
        (reward,) = [o.record for o in effects.examples if isinstance(o.record, Reward)]
        assert (reward.seen, reward.revenue) == (bool(acts), revenue)
