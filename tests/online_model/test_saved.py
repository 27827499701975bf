"""A saved object comes back with the values and kinds that it had; parts keep apart under their names."""
from __future__ import annotations

import numpy as np
import torch

from online_model.saved import Saved, part, prefixed


class Kinds(Saved):
    """One attribute of each kind."""

    saved = ("weights", "_sums", "rate", "n")
    packed = {"open": ("first", "_last")}

    def __init__(self, value: int) -> None:
        self.weights = torch.full((2, 3), float(value))
        self._sums = np.full(4, value, np.uint64)
        self.rate, self.n, self.first, self._last = float(value), value, value, -value


def test_every_kind_comes_back_and_a_tensor_in_its_own_memory() -> None:
    made, again = Kinds(7), Kinds(0)
    view = again.weights.view(-1)
    arrays = made.arrays()
    assert {name: (array.dtype.str, array.shape) for name, array in arrays.items()} == {
        "weights": ("<f4", (2, 3)), "sums": ("<u8", (4,)), "rate": ("<f8", ()), "n": ("<i8", ()), "open": ("<i8", (2,)),
    }  # fmt: skip
    again.load(arrays)
    assert view.tolist() == [7.0] * 6
    assert (again._sums.tolist(), again.rate, again.n, again.first, again._last) == ([7] * 4, 7.0, 7, 7, -7)
    assert [type(value) for value in (again.rate, again.n, again.first)] == [float, int, int]


def test_what_was_saved_does_not_move_with_what_goes_on() -> None:
    made = Kinds(7)
    arrays, again = made.arrays(), Kinds(0)
    again.load(arrays)
    for one in (made, again):
        one.weights += 1
        one._sums += np.uint64(1)
    assert (arrays["weights"] == 7).all() and (arrays["sums"] == 7).all()


def test_a_part_is_what_stands_under_its_name_and_nothing_of_a_longer_one() -> None:
    one, other = {"a": np.zeros(1)}, {"a": np.ones(1)}
    both = prefixed("ids", one) | prefixed("ids.rows", other) | prefixed("idsx", other)
    assert part("idsx", both) == other
    assert part("ids", both) == {"a": one["a"], "rows.a": other["a"]}
