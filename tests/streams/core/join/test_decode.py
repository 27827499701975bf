"""Decoding: whatever the bytes, every good record comes out, and every bad one is one rejection that says why."""
from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.core.join.decode import MAX_ARRAY, MAX_DEPTH, decode
from streams.core.join.events import Event, Exposure, Reason, Rejected, Tick
from tests import strategies

DAY = 86_400_000
EVENT: dict[str, Any] = {"ts": 1, "user_id": "u", "item_id": "i", "action": "play"}
SLOT: dict[str, Any] = {"item_id": "i", "position": 0}
EXPOSURE: dict[str, Any] = {"kind": "exposure", "ts": 1, "user_id": "u", "request_id": "r", "slots": [SLOT]}


def event(**changed: object) -> bytes:
    return json.dumps(EVENT | changed).encode()


def exposure(**changed: object) -> bytes:
    return json.dumps(EXPOSURE | changed).encode()


def nested(levels: int) -> bytes:
    """A valid event with a field of another version so deep that the whole has this many levels."""
    return event(zz=0).replace(b"0}", b"[" * (levels - 1) + b"]" * (levels - 1) + b"}")


GOOD = [event(event_id=f"g{n}") for n in range(4)]
WANTED = [decode(raw)[0] for raw in GOOD]

# What is wrong, the reason, and a part of the detail: a field's path where a field is wrong.
BAD: dict[str, tuple[bytes, Reason, str]] = {
    "broken JSON": (b'{"ts": 1, "user_id":', Reason.MALFORMED, ""),
    "JSON that ends in a string": (b'{"ts": 1, "user_id": "u', Reason.MALFORMED, ""),
    "no JSON at all": (b"u1;i7;play", Reason.MALFORMED, ""),
    "single quotes": (b"{'ts': 1}", Reason.MALFORMED, ""),
    "invalid UTF-8": (event().replace(b'"u"', b'"\xff\xfe"'), Reason.MALFORMED, "not UTF-8"),
    "UTF-8 cut in a character": (event().replace(b'"u"', b'"\xe7\x94"'), Reason.MALFORMED, "not UTF-8"),
    "half of a surrogate pair": (event().replace(b'"u"', b'"\\ud83d"'), Reason.MALFORMED, "surrogate"),
    "20 MB": (event(context={"a": "x" * (20 << 20)}), Reason.OVERSIZED, "20,9"),
    "10,000 levels": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, Reason.TOO_DEEP, "64 levels"),
    "10,000 levels that never close": (b'{"a":' * 10_000, Reason.TOO_DEEP, "64 levels"),
    "65 levels, else valid": (nested(65), Reason.TOO_DEEP, "64 levels"),
    "a number": (b"7", Reason.WRONG_TYPE, "object"),
    "null": (b"null", Reason.WRONG_TYPE, "object"),
    "an empty object": (b"{}", Reason.WRONG_TYPE, "ts"),
    "text as a number": (event(ts="2024-01-01"), Reason.WRONG_TYPE, "$.ts"),
    "a fraction of a ms": (event(ts=1.5), Reason.WRONG_TYPE, "$.ts"),
    "a fraction as an id": (event(user_id=7.5), Reason.WRONG_TYPE, "$.user_id"),
    "no item": (b'{"ts":1,"user_id":"u","action":"play"}', Reason.WRONG_TYPE, "item_id"),
    "an object in the context": (event(context={"a": {}}), Reason.WRONG_TYPE, "$.context"),
    "unknown action": (event(action="stare"), Reason.UNKNOWN_ACTION, "$.action"),
    "unknown further action": (event(also=["play", "stare"]), Reason.UNKNOWN_ACTION, "$.also"),
    "negative duration": (event(duration_ms=-1), Reason.OUT_OF_BOUNDS, "$.duration_ms"),
    "absurd duration": (event(duration_ms=10**12), Reason.OUT_OF_BOUNDS, "$.duration_ms"),
    "negative play time": (event(played_ms=-1), Reason.OUT_OF_BOUNDS, "$.played_ms"),
    "a number of 5,000 digits": (event().replace(b"1", b"1" * 5000, 1), Reason.OUT_OF_BOUNDS, "$.ts"),
    "too large for a float": (event(propensity=0).replace(b"0}", b"1e999}"), Reason.OUT_OF_BOUNDS, "$.propensity"),
    "NaN": (event(propensity=float("nan")), Reason.MALFORMED, ""),
    "infinite": (event(context={"a": float("inf")}), Reason.MALFORMED, ""),
    "unknown kind": (b'{"kind": "tock", "ts": 1}', Reason.WRONG_TYPE, "$.kind"),
    "a kind that is no text": (b'{"kind": 1, "ts": 1}', Reason.WRONG_TYPE, "$.kind"),
    "a list without its user": (exposure().replace(b'"user_id"', b'"user"'), Reason.WRONG_TYPE, "user_id"),
    "a slot without its place": (exposure(slots=[SLOT, {"item_id": "j"}]), Reason.WRONG_TYPE, "$.slots[1]"),
}  # fmt: skip


def check(found: object, raw: bytes, reason: Reason, detail: str) -> None:
    assert isinstance(found, Rejected)
    assert (found.reason, found.raw) == (reason, raw)
    assert detail in found.detail


@pytest.mark.parametrize("name", BAD)
def test_bad_record_alone_is_one_rejection_that_says_why(name: str) -> None:
    raw, reason, detail = BAD[name]
    (found,) = decode(raw)
    check(found, raw, reason, detail)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("blank", ["", "\n\t "])
def test_bad_record_between_good_ones_is_one_rejection_and_they_come_out(name: str, blank: str) -> None:
    raw, reason, detail = BAD[name]
    comma = b"," + blank.encode()
    for at in range(4):
        found = decode(b"[" + comma.join([*GOOD[:at], raw, *GOOD[at:]]) + b"]")
        assert [*found[:at], *found[at + 1 :]] == WANTED
        check(found[at], raw, reason, detail)


@pytest.mark.parametrize("name", ["broken JSON", "10,000 levels", "10,000 levels that never close", "NaN", "wrong", "unknown action"])
def test_two_bad_records_in_one_array_are_two_rejections(name: str) -> None:
    raw, reason, _ = BAD.get(name, BAD["text as a number"])
    found = decode(b"[" + b",".join([GOOD[0], raw, GOOD[1], raw, GOOD[2]]) + b"]")
    assert [f for f in found if not isinstance(f, Rejected)] == WANTED[:3]
    assert [(f.reason, f.raw) for f in found if isinstance(f, Rejected)] == [(reason, raw)] * 2


@pytest.mark.parametrize(
    ("literal", "text"), [("7", "7"), ("7.0", "7"), ("70e-1", "7"), ("9007199254740993", "9007199254740993"), ("-7", "-7")]
)
def test_a_whole_number_as_an_id_is_its_decimal_text_in_events_and_slots(literal: str, text: str) -> None:
    raw = b'{"ts":1,"user_id":%b,"item_id":%b,"action":"play"}' % (literal.encode(), literal.encode())
    found = [*decode(raw), *decode(b"[%b, %b]" % (raw, GOOD[0]))[:1]]
    assert [(e.user_id, e.item_id) for e in found if isinstance(e, Event)] == [(text, text)] * 2
    slots = b'{"kind":"exposure","ts":1,"user_id":"u","request_id":"r","slots":[{"item_id":%b,"position":1}]}' % literal.encode()
    (shown,) = decode(slots)
    assert isinstance(shown, Exposure) and shown.slots[0].item_id == text


@pytest.mark.parametrize("literal", [b"9007199254740992.0", b"1e300", b"7.5", b"true", b"null", b"[7]"])
def test_what_is_no_id_stays_rejected_as_it_stood(literal: bytes) -> None:
    raw = b'{"ts":1,"user_id":%b,"item_id":"i","action":"play"}' % literal
    (found,) = decode(raw)
    assert isinstance(found, Rejected) and (found.reason, found.raw) == (Reason.WRONG_TYPE, raw) and "$.user_id" in found.detail


def test_nothing_is_an_empty_record_alone_and_between_commas() -> None:
    for value in (None, b"", b" \n"):
        (found,) = decode(value)
        check(found, value or b"", Reason.EMPTY, "empty")
    found = decode(b"[" + GOOD[0] + b", ," + GOOD[1] + b"]")
    assert [found[0], found[2]] == WANTED[:2]
    check(found[1], b"", Reason.EMPTY, "between two commas")


def test_an_array_without_records_holds_none() -> None:
    assert decode(b"[]") == decode(b" [ ] ") == []


@pytest.mark.parametrize("value", [GOOD[0] + b"{}", GOOD[0] + GOOD[1], b"\xef\xbb\xbf" + GOOD[0], b"\0", b"]"])
def test_more_or_less_than_one_record_is_malformed(value: bytes) -> None:
    (found,) = decode(value)
    check(found, value, Reason.MALFORMED, "")


def test_64_levels_are_read_and_65_are_not_however_deep_the_caller_stands() -> None:
    def below(frames: int, value: bytes) -> list[object]:
        return list(decode(value)) if frames == 0 else below(frames - 1, value)

    for levels in (MAX_DEPTH, MAX_DEPTH + 1, 500, 990, 2_000):
        for frames in (0, 300):
            alone, array = below(frames, nested(levels)), below(frames, b"[" + nested(levels) + b"," + GOOD[0] + b"]")
            if levels <= MAX_DEPTH:
                assert [*alone, *array] == [decode(event())[0], decode(event())[0], WANTED[0]]
            else:
                check(alone[0], nested(levels), Reason.TOO_DEEP, "64 levels")
                check(array[0], nested(levels), Reason.TOO_DEEP, "64 levels")
                assert array[1:] == WANTED[:1]


@given(st.lists(st.sampled_from(['"', "\\", "[", "{", "}", "]", '","', "x"]), max_size=80).map("".join))
def test_brackets_inside_of_strings_are_no_levels(text: str) -> None:
    many = {"a" * (n + 1): text for n in range(3)}
    (found,) = decode(event(zz=[many] * 30))
    assert isinstance(found, Event)
    deep = event(zz=many).replace(b'{"a"', b"[" * 70 + b'{"a"').replace(b"}}", b"}" + b"]" * 70 + b"}")
    assert json.loads(deep)["user_id"] == "u"
    check(decode(deep)[0], deep, Reason.TOO_DEEP, "64 levels")


def test_a_complaint_is_short_however_long_what_it_quotes_and_keeps_the_path() -> None:
    for raw, path in ((event(action="x" * 1_000_000), "$.action"), (b'{"kind":"' + b"y" * 1_000_000 + b'"}', "$.kind")):
        (found,) = decode(raw)
        assert isinstance(found, Rejected)
        assert len(found.detail) < 400
        assert found.detail.endswith(f"`{path}`")


def test_the_longest_array_is_read_and_one_more_is_refused_as_a_whole() -> None:
    good, over = ([event()] * n for n in (MAX_ARRAY, MAX_ARRAY + 1))
    assert len(decode(b"[" + b",".join(good) + b"]")) == MAX_ARRAY
    for records in (over, [b"{}"] * (MAX_ARRAY + 1), [b"x"] * (MAX_ARRAY + 1)):
        value = b"[" + b",".join(records) + b"]"
        assert len(value) < 1 << 20
        found = decode(value)
        if records[0] == b"x":  # nothing of it can be read: one run
            assert [f.reason for f in found if isinstance(f, Rejected)] == [Reason.MALFORMED]
        else:
            assert len(found) == 1
            check(found[0], value, Reason.OVERSIZED, "10,000 records")


def test_a_record_of_a_mebibyte_is_read_and_a_byte_more_is_not() -> None:
    room = (1 << 20) - len(event(zz=""))
    assert isinstance(decode(event(zz="x" * room))[0], Event)
    check(decode(event(zz="x" * (room + 1)))[0], event(zz="x" * (room + 1)), Reason.OVERSIZED, "1,048,577 bytes")


@given(st.lists(strategies.event_objects(), min_size=1, max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_valid_events_say_what_their_json_says_alone_and_in_arrays(objects: list[dict[str, Any]], ascii_: bool, indent: int | None) -> None:
    raws = [json.dumps(o, ensure_ascii=ascii_, indent=indent).encode() for o in objects]
    alone = [decode(raw)[0] for raw in raws]
    for found, said in zip(alone, objects, strict=True):
        assert isinstance(found, Event)
        for field in Event.__struct_fields__:
            default = {"also": [], "context": {}}.get(field)
            assert msgspec.to_builtins(getattr(found, field)) == (tuple if field == "also" else lambda v: v)(said.get(field, default))
    assert decode(json.dumps(objects, ensure_ascii=ascii_).encode()) == alone
    assert decode(msgspec.json.encode(alone)) == alone
    mixed = decode(json.dumps([*objects, {"kind": "tick", "ts": 1}, {"kind": "event"} | objects[0]]).encode())
    assert mixed == [*alone, Tick(ts=1), alone[0]]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["play", "tick", "exposure"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*Event.__struct_fields__, "kind", "slots", "x"]), inner, max_size=5)
    ),
    max_leaves=20,
)
values = (
    st.binary(max_size=60)
    | st.text(alphabet='[]{},:"\\ \n1aé', max_size=60).map(str.encode)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.lists(json_values | strategies.event_objects(), max_size=4).map(lambda value: json.dumps(value).encode())
)


@settings(max_examples=150)
@given(values)
@example(b"[" * 100_000)
@example(b"[" + b'{"ts":1,' * 20_000)
@example(b"[" + b"," * 20_000)
@example(b'["' + b"\\" * 1_001)
@example(b"[{" * 1_000 + b'"')
def test_no_bytes_raise_and_all_that_comes_out_can_go_on(value: bytes) -> None:
    for found in decode(value):
        if isinstance(found, Rejected):
            assert found.reason in Reason
            assert 0 < len(found.detail) < 400
            msgspec.json.encode(found)  # it can become a dead letter
        else:
            assert decode(msgspec.json.encode(found)) == [found]


@settings(max_examples=100)
@given(st.lists(strategies.event_objects(), min_size=3, max_size=5), st.integers(0, 2), st.data())
def test_an_event_cut_off_anywhere_spoils_no_other_of_its_array(objects: list[dict[str, Any]], at: int, data: st.DataObject) -> None:
    raws = [json.dumps(o, ensure_ascii=False).encode() for o in objects]
    wanted = [decode(raw)[0] for raw in raws]
    raws[at] = raws[at][: data.draw(st.integers(1, len(raws[at]) - 1), label="cut")]
    found = decode(b"[" + b",".join(raws) + b"]")
    good = [f for f in found if not isinstance(f, Rejected)]
    bad = [f for f in found if isinstance(f, Rejected)]
    assert good == wanted[:at] + wanted[at + 1 :]
    assert [(b.reason, b.raw) for b in bad] == [(Reason.MALFORMED, raws[at].rstrip(b", \t\r\n"))]


plain_bytes = st.binary(min_size=1, max_size=3).filter(lambda raw: not set(raw) & set(b'[]{},:"\\'))


@settings(max_examples=100)
@given(st.lists(strategies.event_objects(), min_size=3, max_size=5), st.integers(0, 2), plain_bytes, st.data())
def test_an_event_written_over_anywhere_spoils_no_other_of_its_array(
    objects: list[dict[str, Any]], at: int, over: bytes, data: st.DataObject
) -> None:
    raws = [json.dumps(o, ensure_ascii=False).encode() for o in objects]
    wanted = [decode(raw)[0] for raw in raws]
    place = data.draw(st.integers(0, len(raws[at]) - len(over)), label="place")
    raws[at] = raws[at][:place] + over + raws[at][place + len(over) :]
    found = decode(b"[" + b",".join(raws) + b"]")
    assert [*found[:at], *found[at + 1 :]] == wanted[:at] + wanted[at + 1 :]
