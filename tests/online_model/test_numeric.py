"""Numbers of an exposure by hand."""
from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from online_model.batch import of_features
from online_model.features import CODES, COUNTS, FIELDS, PLAY_TIMES_S, SCOPES, TASKS, Features
from online_model.history import COLLECT, DISLIKE
from online_model.numeric import WIDTH, numbers

FOLLOWED = WIDTH - 12  # behind it: nearness, eight numbers of own plays, and the hour
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
    assert got[:, FOLLOWED].tolist() == pytest.approx([0.0, math.log(2) / 7, math.log(101) / 7, math.log(1001) / 7], abs=1e-6)
    assert np.flatnonzero(got[0] != got[3]).tolist() == [FOLLOWED]


def test_what_is_near_and_what_was_taken_before_enter_behind_it() -> None:
    nothing = features(np.zeros((len(SCOPES), len(COUNTS))))
    own = np.array([3.0, 1.5, 0.25, 7_200.0, 2.0], "<f4")  # three plays, three other behaviours since the last, two hours ago
    last = np.array([1.0, 1.0, 1.0, 60.0, 0.0], "<f4")
    rows = [nothing, *(msgspec.structs.replace(nothing, near=near, own_plays=each.tobytes()) for near, each in ((0.1, own), (2.0, last)))]
    got = numbers(of_features(rows), BASE, 10.0)[:, FOLLOWED + 1 : FOLLOWED + 10]
    assert got[0].tolist() == [0.0] * 9
    logs = [math.log(4), math.log(2.5), 0.25, math.log(3) / 4, math.log(3)]
    assert got[1].tolist() == pytest.approx([math.log(101) / 3, *logs, 1, 0, 0], abs=1e-6)
    logs = [math.log(2), math.log(2), 1.0, math.log1p(1 / 60) / 4, 0.0]
    assert got[2].tolist() == pytest.approx([math.log(2001) / 3, *logs, 1, 1, 1], abs=1e-6)


def test_a_rate_enters_as_its_smoothed_lift() -> None:
    counts = np.zeros((len(SCOPES), len(COUNTS)))
    counts[1, :2] = [30, 20]  # an item: 30 exposures, 20 full plays
    got = numbers(of_features([features(counts)]), BASE, 10.0)[0]
    rate = (20 + 10 * 0.3) / 40
    assert got[len(TASKS)] == pytest.approx(math.log(rate / (1 - rate)) - math.log(0.3 / 0.7), abs=1e-5)
    assert got[len(SCOPES) * len(TASKS) + 1] == pytest.approx(math.log(31) / 3, abs=1e-5)


def test_a_users_rate_in_a_category_enters_as_what_it_differs_by_from_the_candidates_own() -> None:
    """All others skip it, and the user plays what is like it: that says more than the same rate where all play."""
    counts = np.zeros((3, len(SCOPES), len(COUNTS)))
    counts[0, 1, :2], counts[0, 3, :2] = [90, 0], [9, 7]
    counts[1, 1, :2], counts[1, 3, :2] = [90, 80], [9, 7]
    counts[2, 1, :2] = [90, 0]  # a user who was never shown the category
    skipped, played, unknown = numbers(of_features([features(each) for each in counts]), BASE, 10.0)
    at = 3 * len(TASKS)
    for row, own in ((skipped, 10 * 0.3 / 100), (played, (80 + 10 * 0.3) / 100)):
        drawn = (7 + 4 * own) / 13  # clipped at 3, as every lift
        assert row[at] == pytest.approx(min(3.0, math.log(drawn / (1 - drawn)) - math.log(own / (1 - own))), abs=1e-5)
    assert skipped[at] == 3 and -0.3 < played[at] < -0.2 and unknown[at] == 0


def test_feedback_to_the_artist_enters_by_the_log_of_its_count() -> None:
    nothing = features(np.zeros((len(SCOPES), len(COUNTS))))
    feedback = np.zeros(CODES, "<f4")
    feedback[COLLECT - 1], feedback[DISLIKE - 1] = 0.5, 2.0
    of_old, got = numbers(of_features([nothing, msgspec.structs.replace(nothing, artist_feedback=feedback.tobytes())]), BASE, 10.0)
    first = FOLLOWED - CODES
    moved = {first + COLLECT - 1: math.log(1.5), first + DISLIKE - 1: math.log(3)}
    assert (got - of_old).tolist() == pytest.approx([moved.get(at, 0.0) for at in range(WIDTH)], abs=1e-6)


def test_plays_by_length_enter_as_shares_that_few_plays_keep_small() -> None:
    nothing = features(np.zeros((len(SCOPES), len(COUNTS))))
    plays = np.zeros((3, len(PLAY_TIMES_S)), "<f4")
    plays[1, 2], plays[2, :2] = 1.0, (3.0, 6.0)
    rows = [msgspec.structs.replace(nothing, play_times=row.tobytes()) for row in plays]
    got = numbers(of_features(rows), BASE, 10.0)
    first = FOLLOWED - CODES - len(PLAY_TIMES_S)
    for row, moved in zip(got, ({}, {first + 2: 1 / 2}, {first: 3 / 10, first + 1: 6 / 10}), strict=True):
        assert (row - got[0]).tolist() == pytest.approx([moved.get(at, 0.0) for at in range(WIDTH)], abs=1e-6)
