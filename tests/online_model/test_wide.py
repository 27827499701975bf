"""Keys of pairs, weights of numbers."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from online_model.features import BAG_LIMIT, BAGS, FIELDS, TASKS
from online_model.numeric import WIDTH
from online_model.wide import NumberWeights, PairKeys

COLUMNS = len(FIELDS) + len(BAGS) * BAG_LIMIT
USER, ITEM, DOMAIN = (FIELDS.index(name) for name in ("user", "item", "domain"))


def columns(**ids: int) -> np.ndarray:
    row = np.zeros((1, COLUMNS), np.uint64)
    for name, value in ids.items():
        row[0, FIELDS.index(name)] = value
    return row


def test_columns_come_first_and_half_a_pair_is_none() -> None:
    keys = PairKeys((("user", "item"), ("user", "domain")))(columns(user=5, domain=7))
    assert keys[0, :COLUMNS].tolist() == columns(user=5, domain=7)[0].tolist()
    assert (keys[0, COLUMNS:] != 0).tolist() == [False, True]


def test_a_pair_knows_its_order_and_its_kind() -> None:
    pairs = PairKeys((("user", "item"), ("item", "user"), ("user", "domain")))
    one, other = pairs(columns(user=5, item=7, domain=7))[0, COLUMNS:], pairs(columns(user=7, item=5, domain=5))[0, COLUMNS:]
    assert len({*one.tolist(), *other.tolist()}) == 6


def test_a_bag_is_crossed_key_by_key() -> None:
    row = columns(user=5)
    row[0, len(FIELDS) : len(FIELDS) + 3] = [11, 12, 13]  # the context bag
    keys = PairKeys((("user", "context"),))(row)[0, COLUMNS:]
    assert (len(keys), len(set(keys[keys != 0].tolist()))) == (BAG_LIMIT, 3)


def test_numbers_start_as_naive_bayes_and_step_by_adagrad() -> None:
    made = NumberWeights(rate=0.1, device=torch.device("cpu"))
    x = torch.zeros(1, WIDTH)
    x[0, 1], x[0, len(TASKS) + 1] = 2.0, 1.0  # lifts of the user and of the item for the second task
    assert made(x)[0].tolist() == pytest.approx([0, 0.7 * 2 + 0.8, 0, 0, 0])
    dz = torch.tensor([[0.0, 0.5, 0.0, 0.0, 0.0]])
    made.learn(x, dz, 0.5)  # g = 1 and .5; squares 1 * .5 + g^2
    assert made.weights[1, 1].item() == pytest.approx(0.7 - 0.1 * 1 / np.sqrt(1.5))
    assert made.weights[len(TASKS) + 1, 1].item() == pytest.approx(0.8 - 0.1 * 0.5 / np.sqrt(0.75))


@pytest.mark.parametrize("years", [4, 14, 100])
def test_after_years_without_an_example_weights_are_finite_and_a_step_is_no_longer_than_the_rate(years: int) -> None:
    """A log of ratings may pause for as long. A number without a gradient keeps its weight."""
    made = NumberWeights(rate=0.1, device=torch.device("cpu"))
    before = made.weights.clone()
    numbers = torch.zeros(1, WIDTH)
    numbers[0, 0] = 1.0
    made.learn(numbers, torch.full((1, len(TASKS)), 1e-3), 2.0 ** (-years * 365 / 30))
    assert (made.weights[1:] == before[1:]).all() and (made.weights[0] - before[0]).tolist() == pytest.approx([-0.1] * len(TASKS), rel=0.01)
