"""Arrays of a checkpoint: names and bytes come back as they went in, and a hash sees every difference."""
from __future__ import annotations

import numpy as np
import pytest
import xxhash

from streams.core.learning.checkpoint_arrays import below, packed, prefixed, unpacked, update_hash

Array = np.ndarray


def _hash(arrays: dict[str, Array]) -> str:
    h = xxhash.xxh3_128()
    update_hash(h, arrays)
    return h.hexdigest()


def test_parts_come_back_by_their_prefix_alone() -> None:
    a, b = {"x": np.zeros(1), "open.x": np.ones(1)}, {"x": np.full(1, 2.0)}
    whole = prefixed("open.", a) | prefixed("watch.", b)
    assert list(whole) == ["open.x", "open.open.x", "watch.x"]
    assert below("open.", whole) == a
    assert below("watch.", whole) == b
    assert below("op.", whole) == {}


def test_records_come_back_of_their_type() -> None:
    records = [(1, [0.5]), (2**63, [])]
    array = packed(records)
    assert (array.dtype, unpacked(array.copy(), list[tuple[int, list[float]]])) == (np.uint8, records)


def test_a_hash_follows_names_shapes_and_bytes_but_not_the_order_of_names() -> None:
    x = np.arange(6.0)
    wanted = _hash({"a": x, "b": x + 1})
    assert _hash({"b": x + 1, "a": x}) == wanted
    assert _hash({"a": np.repeat(x, 2)[::2], "b": x + 1}) == wanted  # a view of the same values
    for other in ({"a": x.reshape(2, 3), "b": x + 1}, {"a": x, "c": x + 1}, {"a": x + 1, "b": x}):
        assert _hash(other) != wanted


def test_records_of_another_type_are_refused() -> None:
    with pytest.raises(Exception, match="Expected `int`"):
        unpacked(packed(["a"]), list[int])
