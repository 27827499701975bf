"""Keys of strings and values: never 0, never the same for two fields or names, equal for numbers that are close."""
from __future__ import annotations

import struct

import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from online_model.features import BAG_LIMIT
from streams.core.join import keys

HOUR_S = 3600
names = st.text(alphabet="ab:=12", min_size=1, max_size=6)
contents = st.text(alphabet="ab:=12", max_size=6)


def unpacked(bag: bytes) -> list[int]:
    return [key for (key,) in struct.iter_unpack("<Q", bag)]


def test_a_key_is_the_hash_of_field_and_value() -> None:
    assert keys.key("user", "u1") == keys.uncached("user", "u1") == xxhash.xxh3_64_intdigest(b"user=u1")
    assert keys.key("user", "u1") != keys.key("item", "u1")
    assert keys.key("user", "\ud800") > 0  # what no decoder lets in can't stop a catalog of one's own either


@given(names, contents, names, contents)
@example("a", "1=2", "a=1", "2")
@example("1:a", "2", "a", "2")
def test_two_named_values_of_bags_meet_only_where_name_and_value_are_equal(a: str, x: str, b: str, y: str) -> None:
    assert (keys.value("context", a, x) == keys.value("context", b, y)) == ((a, x) == (b, y))
    assert keys.value("context", a, x) != keys.value("user", a, x)
    assert keys.value("context", a, x) != struct.pack("<Q", keys.key(a, x))  # nor do they meet a field


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (100, 105, True),  # 2^6.64 and 2^6.71 round to 6.5
        (100, 130, False),  # 2^7.02
        (100, 100.0, True),
        (100, -100, False),
        (100, "100", False),
        (0, 0.0, True),
        (0, False, True),
        (1, True, False),  # 2^0 and the word "1": a flag is no amount
        (True, "1", True),
        (10**400, 10**400 + 1, True),  # too large for a float
        (float("inf"), float("-inf"), False),
        (1e-300, 1e-299, False),
    ],
)  # fmt: skip
def test_numbers_share_a_key_within_half_an_octave(one: float, other: float, same: bool) -> None:
    assert (keys.value("item", "n", one) == keys.value("item", "n", other)) is same
    assert (keys.value("item", "n", other) == keys.value("item", "n", one)) is same  # whichever came first


@given(st.floats(1e-300, 1e300), st.floats(1, 3))
def test_numbers_that_share_a_key_are_no_further_apart_than_half_an_octave(x: float, factor: float) -> None:
    if keys.value("item", "n", x) == keys.value("item", "n", x * factor):
        assert factor <= 2**0.5 * (1 + 1e-9)
    assert keys.value("item", "n", x) != keys.value("item", "n", -x)


@given(st.dictionaries(names, contents, max_size=12), st.randoms(use_true_random=False))
def test_a_bag_is_in_name_order_whatever_the_order_it_came_in_and_bounded(values: dict[str, str], random: object) -> None:
    rows: list[tuple[str, str | int | float]] = list(values.items())
    random.shuffle(rows)  # type: ignore[attr-defined]
    kept = sorted(values)[:BAG_LIMIT]
    assert keys.bag("context", rows) == b"".join(keys.value("context", name, values[name]) for name in kept)
    assert 0 not in unpacked(keys.bag("context", rows))


def test_hours_are_counted_in_a_week_from_thursday_utc() -> None:
    assert keys.hour_of_week(0) == keys.hour_of_week(168) == keys.key("hour_of_week", "0")
    assert len({keys.hour_of_week(h) for h in range(168)}) == 168


def test_places_are_told_apart_singly_to_9_then_ever_wider() -> None:
    starts = [p for p in range(10_001) if p == 0 or keys.position(p) != keys.position(p - 1)]
    assert starts == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 50]
