"""AUC within users: the example of MODEL.md section 9, loops, and the sample of whole users."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.gauc import Sample, gauc
from online_model.metrics import Prequential
from tests.online_model.test_metrics import Array, fed, run, world
from tests.oracles import metrics as naive


def test_gauc_of_the_model_page() -> None:
    """A: 3 rows, AUC .5; B: 2 rows, AUC 1; C: negatives only. (3 * .5 + 2 * 1) / 5 = .7."""
    users = np.array([1, 2, 1, 3, 2, 1], np.uint64)
    scores = np.array([0.5, 0.9, 0.1, 0.7, 0.2, 0.9])
    labels = np.array([1, 1, 0, 0, 0, 0])
    value, skipped = gauc(users, scores, labels)
    assert value == pytest.approx(0.7, abs=1e-12)
    assert skipped == pytest.approx(1 / 6, abs=1e-12)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4), st.booleans()), max_size=30))
def test_gauc_equals_its_loop(rows: list[tuple[int, int, bool]]) -> None:
    users, scores, labels = [u for u, _, _ in rows], [float(s) for _, s, _ in rows], [float(y) for _, _, y in rows]
    ours = gauc(np.array(users, np.uint64), np.array(scores), np.array(labels))
    assert ours == pytest.approx(naive.gauc(users, scores, labels), abs=1e-12, nan_ok=True)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4), st.booleans(), st.integers(1, 3)), max_size=20))
def test_a_row_that_stands_for_several_counts_as_that_many(rows: list[tuple[int, int, bool, int]]) -> None:
    once = [np.array(column) for column in zip(*rows, strict=True)] if rows else [np.zeros(0, np.int64)] * 4
    users, scores, labels = (np.repeat(column, once[3]) for column in once[:3])
    ours = gauc(once[0].astype(np.uint64), once[1].astype(float), once[2].astype(float), once[3].astype(np.float32))
    assert ours == pytest.approx(naive.gauc(users.tolist(), scores.tolist(), labels.tolist()), abs=1e-12, nan_ok=True)


def test_gauc_is_exact_up_to_the_cap_and_near_it_beyond() -> None:
    rows = world(8, 10_000, users=1_000)
    exact = naive_gauc(rows)
    assert fed(rows).summary()["a"]["gauc"] == pytest.approx(exact, abs=1e-12)
    capped = Prequential(("a",), rows_cap=4_000)
    list(run(capped, rows))
    assert 0 < len(capped.arrays()["sample.users"]) <= 4_000
    assert capped.summary()["a"]["gauc"] == pytest.approx(exact, abs=0.03)  # 4 standard errors of ~250 users
    assert capped.summary()["a"]["n"] == 10_000


def naive_gauc(rows: tuple[Array, ...]) -> float:
    _, users, z, _, y = rows
    return naive.gauc(users.tolist(), z[:, 0].tolist(), y[:, 0].tolist())[0]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=120), st.integers(5, 60), st.randoms(use_true_random=False))
def test_the_sample_keeps_whole_users_whatever_the_order(users: list[int], cap: int, random: object) -> None:
    def kept(order: list[int]) -> list[int]:
        sample = Sample(1, cap)
        for i in range(0, len(order), 7):
            part = np.array(order[i : i + 7], np.uint64)
            nothing = np.zeros((len(part), 1))
            sample.add(part, np.zeros(len(part), np.int64), nothing.astype(np.float32), nothing > 0, np.ones(len(part)))
        assert len(sample) <= cap
        return sorted(sample.arrays()["users"].tolist())

    ours = kept(users)
    assert all(ours.count(user) in (0, users.count(user)) for user in set(users))
    assert len(users) > cap or ours == sorted(users)
    random.shuffle(users)  # type: ignore[attr-defined]
    assert kept(users) == ours
