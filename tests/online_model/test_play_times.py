"""Plays by how long they lasted, against numpy's interpolation and by hand."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.features import PLAY_TIMES_S
from online_model.play_times import spread


@pytest.mark.parametrize("at", range(len(PLAY_TIMES_S)))
def test_a_play_as_long_as_a_counted_length_counts_there_alone(at: int) -> None:
    assert spread(PLAY_TIMES_S[at] * 1000) == pytest.approx(np.eye(len(PLAY_TIMES_S))[at], abs=1e-9)


@given(st.integers(0, 7 * 86_400_000))
def test_a_play_counts_once_in_all_at_the_two_lengths_around_it(played_ms: int) -> None:
    logs = np.log1p(np.array(PLAY_TIMES_S, float))
    wanted = [np.interp(np.log1p(played_ms / 1000), logs, one) for one in np.eye(len(logs))]
    assert spread(played_ms) == pytest.approx(wanted, abs=1e-9)
    assert sum(spread(played_ms)) == pytest.approx(1.0)
