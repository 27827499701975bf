"""Numbers of an exposure by hand."""
from __future__ import annotations

import math

import numpy as np
import pytest

from online_model.batch import of_features
from online_model.features import COUNTS, FIELDS, SCOPES, TASKS, Features
from online_model.numeric import WIDTH, numbers

BASE = np.array([0.3, 0.02, 0.001, 0.4, 0.001])


def features(counts: np.ndarray, followed: float = 0.0) -> Features:
    return Features(
        fields=bytes(8 * len(FIELDS)),
        context=b"",
        user_attributes=b"",
        item_features=b"",
        positive=b"",
        negative=b"",
        related=b"",
        domains=b"",
        counts=counts.astype("<f4").tobytes(),
        popularity=np.zeros(3, "<f4").tobytes(),
        age_s=-1.0,
        shown_ms=0,
        followed=followed,
    )


def test_what_is_unknown_is_zero() -> None:
    got = numbers(of_features([features(np.zeros((len(SCOPES), len(COUNTS))))]), BASE, 10.0)
    assert got.shape == (1, WIDTH)
    assert got[0, :-2].tolist() == pytest.approx([0.0] * (WIDTH - 2), abs=1e-6)
    assert got[0, -2:].tolist() == pytest.approx([1, 0])  # midnight: cosine, sine


def test_what_follows_the_last_item_enters_by_the_log_of_its_share() -> None:
    nothing = np.zeros((len(SCOPES), len(COUNTS)))
    got = numbers(of_features([features(nothing, share) for share in (0.0, 0.001, 0.1, 1.0)]), BASE, 10.0)
    assert got[:, -3].tolist() == pytest.approx([0.0, math.log(2) / 7, math.log(101) / 7, math.log(1001) / 7], abs=1e-6)
    assert (got[0, :-3] == got[3, :-3]).all()


def test_a_rate_enters_as_its_smoothed_lift() -> None:
    counts = np.zeros((len(SCOPES), len(COUNTS)))
    counts[1, :2] = [30, 20]  # an item: 30 exposures, 20 full plays
    got = numbers(of_features([features(counts)]), BASE, 10.0)[0]
    rate = (20 + 10 * 0.3) / 40
    assert got[len(TASKS)] == pytest.approx(math.log(rate / (1 - rate)) - math.log(0.3 / 0.7), abs=1e-5)
    assert got[len(SCOPES) * len(TASKS) + 1] == pytest.approx(math.log(31) / 3, abs=1e-5)
