"""JSON objects against structs: ids as numbers are their decimal text, and every field that a struct lacks is found."""
from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.join.events import Event, Exposure
from streams.core.json_fields import EXACT, meant, reader, unknown

T = 1_704_067_200_000


@given(st.integers(-(1 << 70), 1 << 70))
def test_a_number_is_the_same_id_as_its_decimal_text_or_is_refused(number: int) -> None:
    record = {"ts": T, "user_id": number, "item_id": "i", "action": "play"}
    try:
        found = reader(Event)(json.dumps(record).encode())
    except msgspec.ValidationError:
        assert not -(1 << 63) <= number < 1 << 64  # beyond it JSON numbers are floats in most readers, ours included
    else:
        assert found.user_id == str(number) and found == reader(Event)(json.dumps(record | {"user_id": str(number)}).encode())


@pytest.mark.parametrize(("number", "text"), [("17.0", "17"), ("-0.0", "0"), ("1e3", "1000"), (str(float(EXACT - 1)), str(EXACT - 1))])
def test_a_float_below_2_53_that_is_an_integer_is_that_integer(number: str, text: str) -> None:
    body = f'{{"ts": {T}, "user_id": {number}, "item_id": "i", "action": "play"}}'
    assert reader(Event)(body.encode()).user_id == text


@pytest.mark.parametrize("odd", ["1.5", str(float(EXACT)), "true", "null", "[1]"])
def test_what_says_no_exact_id_is_refused_with_its_place(odd: str) -> None:
    body = f'{{"ts": {T}, "user_id": {odd}, "item_id": 7, "action": "play"}}'
    with pytest.raises(msgspec.ValidationError, match=r"at `\$\.user_id`"):
        reader(Event)(body.encode())


def test_numbers_stay_numbers_where_numbers_are_wanted_or_allowed() -> None:
    body = {"ts": T, "user_id": 1, "item_id": 2, "action": "play", "played_ms": 5, "propensity": 1, "context": {"age": 5, "x": 1.5}}
    found = reader(Event)(json.dumps(body).encode())
    assert (found.ts, found.played_ms, found.propensity, found.context) == (T, 5, 1.0, {"age": 5, "x": 1.5})
    slots = [{"item_id": 3, "position": 0, "popularity": [1, 2]}]
    shown = reader(Exposure)(json.dumps({"kind": "exposure", "ts": T, "user_id": 1, "request_id": 2, "slots": slots}).encode())
    assert (shown.user_id, shown.request_id, shown.slots[0].item_id, shown.slots[0].popularity) == ("1", "2", "3", (1.0, 2.0))


def test_every_field_that_a_struct_lacks_is_found_in_its_place() -> None:
    shown = {"kind": "exposure", "ts": T, "slots": [{"item_id": "i"}, {"itemId": 1}, 7], "choice": {"arm": 1, "chances": []}, "x": {"y": 1}}
    assert list(unknown(shown, Exposure)) == ["$.x", "$.slots[...].itemId", "$.choice.arm"]
    assert list(unknown({"kind": "event", "context": {"anything": 1}}, Event)) == ["$.kind"]
    assert list(unknown([1], Event)) == list(unknown(None, Event)) == []


def test_what_may_be_meant_is_a_field_of_the_struct_where_it_stands() -> None:
    assert [meant(path, Event) for path in ("$.playedMs", "$.timestamp", "$.userid", "$.track_id", "$.rain", "$.limit")] == [
        "played_ms", "ts", "user_id", "item_id", None, None,
    ]  # fmt: skip
    assert meant("$.slots[...].itemId", Exposure) == "item_id"
