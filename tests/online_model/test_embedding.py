"""Tables of rows: Adagrad by hand and by loops, sums over equal keys, births by hash."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from online_model.embedding import Admission, RowInit, Table, adagrad_step, occurrences, summed
from online_model.mixing import uniform
from online_model.rows import Rows
from tests.oracles import adagrad

DAY = 86_400_000


def table(width: int = 2, *, per_element: bool = False, capacity: int = 100, spread: float = 0.01) -> Table:
    rows = Rows(capacity, 14 * DAY, 3_600_000)
    return Table(rows, width, RowInit(spread, square=0.0, seed=7), per_element=per_element, device=torch.device("cpu"))


def keys_of(*keys: int) -> np.ndarray:
    return np.array(keys, np.uint64)


def test_first_adagrad_step_is_the_models_numbers() -> None:
    gradient, zero = torch.tensor([[3.0, 4.0]], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    step, square = adagrad_step(gradient, zero, torch.ones(1, 1), 0.1)
    assert step[0].tolist() == pytest.approx([0.08485281374, 0.11313708499], abs=1e-9)
    assert square.item() == 12.5


def test_adagrad_of_a_table_equals_the_loops_over_idle_weeks() -> None:
    made, half_life = table(), 30.0 * DAY
    expected, square, last = made.read(keys_of(5), np.array([0]))[0].double().tolist(), 0.0, 0
    for now, gradient in ((0, [0.3, -0.2]), (DAY, [0.1, 0.5]), (11 * DAY, [-1.0, 0.0]), (11 * DAY, [0.2, 0.2])):
        made.learn(keys_of(5), made.rows.find(keys_of(5)), np.array([True]), torch.tensor([gradient]), now, 0.05, half_life)
        step, square = adagrad.step(gradient, square, now - last, half_life, 0.05)
        expected, last = [w - d for w, d in zip(expected, step, strict=True)], now
    rows = made.rows.find(keys_of(5))
    assert made.read(keys_of(5), rows)[0].tolist() == pytest.approx(expected, abs=1e-6)
    assert made.squares[rows[0], 0].item() == pytest.approx(square, rel=1e-6)


def test_an_element_has_its_own_square_where_that_is_asked() -> None:
    made = table(per_element=True, spread=0.0)
    made.learn(keys_of(5), np.array([0]), np.array([True]), torch.tensor([[2.0, -0.5]]), 0, 0.1, 30.0 * DAY)
    assert made.read(keys_of(5), made.rows.find(keys_of(5)))[0].tolist() == pytest.approx([-0.1, 0.1], abs=1e-7)  # rate * g / |g|


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_gradients_of_equal_keys_are_summed(keys: list[int]) -> None:
    seen = occurrences(keys_of(*keys))
    assert seen.keys[seen.inverse].tolist() == keys
    gradient = torch.arange(2.0 * len(keys)).view(-1, 2)
    expected = {k: sum((gradient[i] for i, other in enumerate(keys) if other == k), torch.zeros(2)).tolist() for k in keys}
    assert dict(zip(seen.keys.tolist(), summed(gradient, seen).tolist(), strict=True)) == expected


def test_an_unborn_key_reads_as_the_row_it_is_born_with_in_any_order() -> None:
    one, other = table(), table()
    before = one.read(keys_of(8, 9), np.array([0, 0]))
    assert before.abs().max() <= 0.01 and len(set(before.flatten().tolist())) == 4
    zero = torch.zeros(1, 2)
    for made, order in ((one, (8, 9)), (other, (9, 8))):
        for key in order:
            made.learn(keys_of(key), np.array([0]), np.array([True]), zero, 0, 0.05, 30.0 * DAY)
        torch.testing.assert_close(made.read(keys_of(8, 9), made.rows.find(keys_of(8, 9))), before, rtol=0, atol=0)


def test_key_zero_reads_as_zeros_and_never_learns() -> None:
    made = table()
    made.learn(keys_of(0), np.array([0]), np.array([False]), torch.ones(1, 2), 0, 0.05, 30.0 * DAY)
    assert made.read(keys_of(0), np.array([0])).tolist() == [[0, 0]]
    assert len(made.rows) == 0


def test_births_are_uniform_between_minus_one_and_one() -> None:
    values = uniform(np.arange(1, 5001).astype(np.uint64), 4, 1)
    assert (values.min() > -1, values.max() < 1) == (True, True)
    assert values.mean() == pytest.approx(0, abs=0.02)  # 20 000 draws: standard error 0.004
    assert values.var() == pytest.approx(1 / 3, abs=0.01)


def test_a_key_is_let_in_at_its_third_event() -> None:
    waiting = Admission(Rows(100, 14 * DAY, 3_600_000))
    assert waiting.ripe(keys_of(1, 2), np.array([1, 2]), 3, 0).tolist() == [False, False]
    assert waiting.ripe(keys_of(1, 2), np.array([1, 1]), 3, 1).tolist() == [False, True]
    assert waiting.ripe(keys_of(1, 3), np.array([1, 5]), 3, 2).tolist() == [True, True]
    assert len(waiting.rows) == 0


def test_a_batch_never_evicts_its_own_rows() -> None:
    made = table(capacity=2)
    zero, long_after = torch.zeros(2, 2), 10 * DAY
    made.learn(keys_of(1, 2), np.array([0, 0]), np.array([True, True]), zero, 0, 0.05, 30.0 * DAY)
    lost = made.learn(keys_of(2, 3), made.rows.find(keys_of(2, 3)), np.array([True, True]), zero, long_after, 0.05, 30.0 * DAY)
    assert lost.tolist() == [1]
    assert (made.rows.find(keys_of(1, 2, 3)) != 0).tolist() == [False, True, True]
