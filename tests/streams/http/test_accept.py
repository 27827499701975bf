"""Bodies sorted into what is taken and what isn't, and records made of it: what a worker decodes is what was sent."""
from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.join.decode import decode
from streams.core.join.events import Action, Event, ExposedItem, Exposure, Reason
from streams.core.join.items import Item
from streams.core.serving.pages import PageRequest
from streams.core.serving.recommend import SlateRequest
from streams.http.accept import MAX_WARNINGS, TimeBounds, Unusable, catalog, event_rows, events, item_rows, request, tombstone
from streams.http.entrance import Refusal
from streams.kafka_io.send import ARRAY_BYTES, ARRAY_RECORDS

T = 1_704_067_200_000
GOOD = {"ts": T, "user_id": "u", "item_id": "i", "action": "play"}
SHOWN = {"kind": "exposure", "ts": T, "user_id": "u", "request_id": "r", "slots": [{"item_id": "i", "position": 0}]}


def body(*records: object) -> bytes:
    return b"[" + b",".join([r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]) + b"]"


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in GOOD.items() if key != name}


BAD: list[tuple[object, Reason]] = [
    (without("ts"), Reason.WRONG_TYPE),
    (GOOD | {"ts": "2024-01-01"}, Reason.WRONG_TYPE),
    (GOOD | {"user_id": True}, Reason.WRONG_TYPE),
    (GOOD | {"action": "stare"}, Reason.UNKNOWN_ACTION),
    (GOOD | {"played_ms": -1}, Reason.OUT_OF_BOUNDS),
    (GOOD | {"duration_ms": 10**15}, Reason.OUT_OF_BOUNDS),
    (GOOD | {"ts": 1_704_067_200}, Reason.OUT_OF_BOUNDS),  # seconds
    (SHOWN | {"ts": 631_151_999_999}, Reason.OUT_OF_BOUNDS),
    (GOOD | {"user_id": "u" * 257}, Reason.OUT_OF_BOUNDS),
    (GOOD | {"user_id": ""}, Reason.OUT_OF_BOUNDS),
    (7, Reason.WRONG_TYPE),
    ([GOOD], Reason.WRONG_TYPE),
    (None, Reason.WRONG_TYPE),
    (b'{"ts": NaN, "user_id": "u", "item_id": "i", "action": "play"}', Reason.MALFORMED),
    (b'{"ts": 1704067200000, "user_id": "\xff", "item_id": "i", "action": "play"}', Reason.MALFORMED),
    (b'{"ts": 1704067200000, "user_id": "\\ud800", "item_id": "i", "action": "play"}', Reason.MALFORMED),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, Reason.TOO_DEEP),
    ({"kind": "tick", "ts": 9_000_000_000}, Reason.WRONG_TYPE),  # others can't say what time it is
    ({"kind": "log-begin", "ts": 0}, Reason.WRONG_TYPE),
    ({"kind": "sermon"}, Reason.WRONG_TYPE),
]


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=lambda v: str(v)[:30])
def test_bad_event_between_good_ones_is_the_only_one_rejected(bad: object, reason: Reason) -> None:
    found = events(body(GOOD, bad, SHOWN))
    assert [type(record) for record in found.good] == [Event, Exposure]
    assert [(one.index, one.reason) for one in found.rejected] == [(1, reason)]
    assert found.rejected[0].detail


@pytest.mark.parametrize(("bad", "reason"), [row for row in BAD if not isinstance(row[0], list)], ids=lambda v: str(v)[:30])
def test_bad_event_alone_is_a_refusal(bad: object, reason: Reason) -> None:
    with pytest.raises(Unusable) as refused:
        events(body(bad)[1:-1])
    assert (refused.value.status, refused.value.reasons) == (400, [reason])


UNREADABLE = [b"", b" ", b"[", b"{", b"\x00\x01", b"[{]", b"<xml/>", b"[" * 100_000, b'"' * 1_000, b"[,]", b"[nonsense"]


@pytest.mark.parametrize("unreadable", UNREADABLE, ids=lambda v: repr(v[:12]))
def test_body_of_which_nothing_can_be_read_is_a_refusal(unreadable: bytes) -> None:
    for sort in (events, catalog):
        with pytest.raises(Unusable) as refused:
            sort(unreadable)
        assert refused.value.status == 400


def test_array_of_bad_ones_alone_is_a_refusal_that_counts_each() -> None:
    with pytest.raises(Unusable, match=f"none of {len(BAD)} can be used; the first: wrong_type: ") as refused:
        events(body(*[bad for bad, _ in BAD]))
    assert (refused.value.status, refused.value.reasons) == (400, [reason for _, reason in BAD])


def test_empty_array_is_nothing() -> None:
    assert (events(b"[]").good, events(b"[]").rejected, catalog(b"[]").good) == ([], [], [])


def test_items_are_sorted_alike() -> None:
    found = catalog(body({"item_id": "a"}, {"item_id": ""}, {"item_id": "b", "duration_ms": "long"}, {"item_id": "c"}))
    assert [item.item_id for item in found.good] == ["a", "c"]
    assert [(one.index, one.reason) for one in found.rejected] == [(1, Reason.OUT_OF_BOUNDS), (2, Reason.WRONG_TYPE)]
    rows = item_rows(found.good)
    assert [(row.topic, row.key) for row in rows] == [("catalog", b"a"), ("catalog", b"c")]
    assert (tombstone("ö").key, tombstone("ö").value) == ("ö".encode(), b"")


def three(key: bytes) -> int:
    return zlib.crc32(key) % 3


made = st.builds(
    Event, ts=st.integers(0, 4_102_444_800_000), user_id=st.text(min_size=1, max_size=12).filter(lambda s: s.isprintable()),
    item_id=st.just("i"), action=st.sampled_from(Action), context=st.dictionaries(st.just("x"), st.text("y", max_size=250)),
) | st.builds(
    Exposure, ts=st.just(5), user_id=st.sampled_from(["a", "b"]), request_id=st.just("r"),
    slots=st.lists(st.builds(ExposedItem, item_id=st.just("i"), position=st.integers(0, 9)), max_size=3).map(tuple),
)  # fmt: skip


@given(st.lists(made, max_size=40), st.sampled_from([600, 1_500, 1 << 20]))
def test_records_hold_what_was_accepted_each_in_its_users_partition_and_in_order(records: list[Event | Exposure], largest: int) -> None:
    made = event_rows(records, three, largest)
    assert all(decode(row.out.value) == row.holds for row in made)
    rows = [row.out for row in made]
    for partition in range(3):
        mine = [row for row in rows if row.partition == partition]
        told = [record for row in mine for record in decode(row.value)]
        assert told == [record for record in records if three(record.user_id.encode()) == partition]
    for row in rows:
        several = row.value[:1] == b"["
        assert (row.topic, row.key is None) == ("events", several)
        assert not several or len(row.value) <= largest // 2 + 600  # one more than the bound allows is never put in
        assert row.key is None or three(row.key) == row.partition


def test_records_are_bounded_in_number_and_bytes() -> None:
    small = [Event(ts=n, user_id="u", item_id="i", action=Action.PLAY) for n in range(1_200)]
    assert [len(decode(row.value)) for row, _ in event_rows(small, three, 1 << 20)] == [ARRAY_RECORDS, ARRAY_RECORDS, 200]
    wide = [Event(ts=n, user_id="u", item_id="i", action=Action.PLAY, context={f"k{k}": "v" * 256 for k in range(64)}) for n in range(40)]
    rows = [row.out for row in event_rows(wide, three, 1 << 20)]
    assert len(rows) > 1 and max(len(row.value) for row in rows) <= ARRAY_BYTES + 42
    assert [record for row in rows for record in decode(row.value)] == wide


def test_item_row_is_what_the_catalog_reads() -> None:
    item = Item(item_id="i", categories=("a",), features={"bpm": 1.5})
    assert catalog(item_rows([item])[0].value).good == [item]


def test_a_propensity_above_1_by_rounding_is_taken() -> None:
    (found,) = events(body(GOOD | {"propensity": 1.0000001})).good
    assert isinstance(found, Event) and found.propensity == 1.0000001  # whoever reads the record makes it 1


def test_fields_that_nobody_reads_are_named_once_each_with_what_may_be_meant_and_the_records_are_taken() -> None:
    odd = GOOD | {"playedMs": 5, "weather": "rain"}
    slotted = SHOWN | {"slots": [{"item_id": "i", "position": 0, "rank": 1}, {"item_id": "j", "position": 1, "rank": 2}]}
    found = events(body(GOOD | {"kind": "event"}, odd, {"ts": "?"}, odd, slotted))
    assert (len(found.good), [one.index for one in found.rejected]) == (4, [2])
    assert [(w.field, w.index, w.elements) for w in found.warnings] == [
        ("$.playedMs", 1, 2), ("$.weather", 1, 2), ("$.slots[...].rank", 4, 1),
    ]  # fmt: skip
    assert ["perhaps" in w.detail for w in found.warnings] == [True, False, False] and "`played_ms`" in found.warnings[0].detail
    items = catalog(body({"item_id": "a", "features": {"bpm": 1}}, {"item_id": "b", "genre": "jazz"}))
    assert [(w.field, w.index) for w in items.warnings] == [("$.genre", 1)] and "`categories`" in items.warnings[0].detail


def test_warnings_are_bounded_and_say_where_nothing_was_looked_for() -> None:
    wide = events(body(GOOD | {f"x{n}": 1 for n in range(100)} | {"y" * 5_000: 1})).warnings
    assert len(wide) == MAX_WARNINGS + 1 and wide[-1].detail == "81 more unknown fields"
    assert len(json.dumps([w.detail + w.field for w in wide])) < 3_000
    (broken,) = events(body(GOOD | {"playedMs": 5}, b"nonsense", GOOD)).warnings
    assert "not looked for" in broken.detail


def test_a_time_ahead_of_the_clock_is_refused_at_the_door_and_an_items_time_in_seconds_is_a_warning() -> None:
    times = TimeBounds(now_ms=T, allowed_future_ms=1_000)
    found = events(body(GOOD | {"ts": T + 1_000}, GOOD | {"ts": T + 1_001}, SHOWN | {"ts": T + 2_000}), times)
    assert len(found.good) == 1
    assert [(one.index, one.reason) for one in found.rejected] == [(1, Reason.FUTURE), (2, Reason.FUTURE)]
    assert "1,001 ms ahead" in found.rejected[0].detail and found.rejected[0].detail.endswith("at `$.ts`")
    (odd,) = catalog(body({"item_id": "a", "published_ts": T // 1000}, {"item_id": "b", "published_ts": T, "expires_ts": 0})).warnings
    assert odd.field == "$.published_ts" and "it looks like seconds: 2024-01-01" in odd.detail


def test_lines_of_json_are_an_array_of_them_and_a_broken_one_is_lost_alone() -> None:
    lines = json.dumps(GOOD).encode() + b"\r\n\n" + body(GOOD, SHOWN) + b"\n{broken\n" + json.dumps(GOOD | {"userId": 1}).encode()
    found = events(lines, lines=True)
    assert [type(one) for one in found.good] == [Event, Event, Exposure, Event]
    assert [(one.index, one.reason) for one in found.rejected] == [(3, Reason.MALFORMED)]
    assert [item.item_id for item in catalog(b'{"item_id": "a"}\n{"item_id": "b"}', lines=True).good] == ["a", "b"]
    with pytest.raises(Unusable, match="oversized"):
        events(b"\n".join([body(GOOD)] * 10_001), lines=True)
    for empty in (b"", b"\n \n"):
        with pytest.raises(Unusable, match="empty"):
            events(empty, lines=True)
    with pytest.raises(Unusable) as refused:  # without the header that says so
        events(json.dumps(GOOD).encode() + b"\n" + json.dumps(GOOD).encode())
    assert "application/x-ndjson" in refused.value.problem.what_to_do


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"user_id": "u", "limit": 5, "Category": "jazz"}, ["$.limit (perhaps `k` is meant)", "$.Category"]),
        ({"plays": [{"item_id": "i"}, {"item_id": "j", "playedMs": 3}]}, ["$.plays[...].playedMs"]),
        ({"plays": [{"item_id": "i", "ts": T // 1000}]}, ["looks like seconds: 2024-01-01"]),
        ({"plays": [{"item_id": "i", "ts": T + 1}]}, ["future: ", "ahead of this worker's clock"]),
    ],
)  # fmt: skip
def test_a_request_with_what_nobody_reads_is_refused_by_name(given: dict[str, object], said: list[str]) -> None:
    for kind in (SlateRequest, PageRequest):
        with pytest.raises(Refusal) as refused:
            request(json.dumps(given).encode(), kind, TimeBounds(now_ms=T))
        problem = refused.value.problem
        assert refused.value.status == 400
        if kind is SlateRequest:
            assert all(part in problem.error for part in said), problem


def test_numbers_as_ids_of_requests_and_items_are_their_decimal_text() -> None:
    asked = b'{"user_id": 17, "candidates": [1, "2", 3.0], "exclude": [-4], "plays": [], "context": {"age": 5}, "k": 3}'
    found = request(asked, SlateRequest)
    assert (found.user_id, found.candidates, found.exclude, found.context, found.k) == ("17", ("1", "2", "3"), ("-4",), {"age": 5}, 3)
    (item,) = catalog(b'{"item_id": 9007199254740993, "artist_id": 5, "categories": [1, 2], "features": {"bpm": 120}}').good
    assert (item.item_id, item.artist_id, item.categories, item.features) == ("9007199254740993", "5", ("1", "2"), {"bpm": 120})
    for odd in (b"9007199254740993.0", b"1.5", b"true", b"1e300"):
        with pytest.raises(Refusal, match="wrong_type: Expected `str"):
            request(b'{"user_id": ' + odd + b"}", SlateRequest)
