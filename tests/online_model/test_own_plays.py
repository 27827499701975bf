"""What a user took before, by hand; the oracle of the join counts it by loops over logs."""
from __future__ import annotations

import struct

import pytest

from online_model.decay import HOUR_MS
from online_model.features import NO_PLAYS
from online_model.history import FULL_PLAY, append
from online_model.own_plays import OwnPlays, taken

START = 1_700_000_000_000


def liked() -> list[bytes]:
    """1, 2, 3, 1, 2 an hour apart in one domain; 9 in another, with the fourth."""
    songs = b""
    for n, item in enumerate((1, 2, 3, 1, 2)):
        songs = append(songs, item, START + n * HOUR_MS, 5, FULL_PLAY, 50)
    return [songs, append(b"", 9, START + 3 * HOUR_MS, 6, FULL_PLAY, 50)]


def test_of_an_item_it_is_said_how_often_how_long_ago_and_whether_it_came_next_then() -> None:
    own = OwnPlays(liked(), START + 6 * HOUR_MS, half_life_ms=2 * HOUR_MS)
    # newest first: 2, 9, 1, 3, 2, 1; after 2 came 3
    wanted = {
        2: [2, 2**-1.0 + 2**-2.5, 1, 2 * 3600, 0], 9: [1, 2**-1.5, 1 / 2, 3 * 3600, 0],
        1: [2, 2**-1.5 + 2**-3.0, 1 / 3, 3 * 3600, 0], 3: [1, 2**-2.0, 1 / 4, 4 * 3600, 1],
    }  # fmt: skip
    for item, figures in wanted.items():
        assert struct.unpack("<5f", own.figures(item)) == pytest.approx(figures, rel=1e-6)
    assert own.figures(7) == own.figures(5) == NO_PLAYS  # 5 is a domain's key in the rows, and no item


def test_nothing_is_known_of_what_comes_later() -> None:
    own = OwnPlays(liked(), START + HOUR_MS, half_life_ms=HOUR_MS)
    assert struct.unpack("<5f", own.figures(1)) == pytest.approx([1, 0.5, 1 / 2, 3600, 0])
    assert own.figures(3) == own.figures(9) == NO_PLAYS
    assert taken(liked(), START + HOUR_MS) == [2, 1]
    assert taken(liked(), START + 6 * HOUR_MS) == [2, 9, 1, 3]
