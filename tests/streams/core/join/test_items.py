"""Items from bytes: what can be used, and why the rest can't. Reasons are those of DESIGN's dead letters."""
from __future__ import annotations

import json

import pytest

from streams.core.join.decode import MAX_ARRAY
from streams.core.join.events import Reason, Rejected
from streams.core.join.items import Item, decode

GOOD = Item(item_id="i", artist_id="a", categories=("jazz",), features={"bpm": 120})

BAD = {
    b"": Reason.EMPTY,
    b"  ": Reason.EMPTY,
    b'{"item_id": "i"': Reason.MALFORMED,
    b'{"item_id": "\xff"}': Reason.MALFORMED,
    b'{"item_id": "i", "monetization": NaN}': Reason.MALFORMED,
    b"{}": Reason.WRONG_TYPE,
    b'{"item_id": 7.5}': Reason.WRONG_TYPE,
    b'"i"': Reason.WRONG_TYPE,
    b'{"item_id": ""}': Reason.OUT_OF_BOUNDS,
    json.dumps({"item_id": "i" * 257}).encode(): Reason.OUT_OF_BOUNDS,
    b'{"item_id": "i", "duration_ms": -1}': Reason.OUT_OF_BOUNDS,
    b'{"item_id": "i", "embedding": [0.5, -2e9]}': Reason.OUT_OF_BOUNDS,
    json.dumps({"item_id": "i", "embedding": [0.5] * 1025}).encode(): Reason.OUT_OF_BOUNDS,
    b'{"item_id": "i", "embedding": "abc"}': Reason.WRONG_TYPE,
    b'{"item_id": "i", "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}": Reason.TOO_DEEP,
    json.dumps({"item_id": "i", "x": "y" * (1 << 20)}).encode(): Reason.OVERSIZED,
}


def line() -> bytes:
    return b'{"item_id": "i", "artist_id": "a", "categories": ["jazz"], "features": {"bpm": 120}, "unknown": 1}'


def test_one_item_and_an_array_of_them() -> None:
    assert decode(line()) == [GOOD]
    assert decode(b" [" + line() + b"," + line() + b"]") == [GOOD, GOOD]
    assert decode(b"[]") == []


@pytest.mark.parametrize("value", BAD, ids=lambda v: v[:24].decode("latin-1"))
def test_bad_item_is_rejected_with_its_reason(value: bytes) -> None:
    (found,) = decode(value)
    assert isinstance(found, Rejected)
    assert found.reason is BAD[value]


def test_bad_items_of_an_array_leave_the_others() -> None:
    bad = [value for value, reason in BAD.items() if reason in (Reason.WRONG_TYPE, Reason.OUT_OF_BOUNDS)]
    found = decode(b"[" + b",".join([line(), *[part for value in bad for part in (value, line())]]) + b"]")
    assert [item for item in found if isinstance(item, Item)] == [GOOD] * (len(bad) + 1)
    assert [item.reason for item in found if isinstance(item, Rejected)] == [BAD[value] for value in bad]


def test_array_that_is_no_json_or_too_long_is_one_rejection() -> None:
    (broken,) = decode(b"[" + line() + b",")
    assert isinstance(broken, Rejected) and broken.reason is Reason.MALFORMED
    (long,) = decode(b"[" + b",".join([b"{}"] * (MAX_ARRAY + 1)) + b"]")
    assert isinstance(long, Rejected) and long.reason is Reason.OVERSIZED
