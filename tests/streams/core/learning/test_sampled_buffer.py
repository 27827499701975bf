"""Lists are dropped whole, whoever acted: held by what is left of a stream that never fits."""
from __future__ import annotations

from collections import deque

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.core.learning.sampled_buffer import LITTLE, NONE_DROPPED, SampledBuffer

Row = tuple[int, int, bool]  # user, moment shown, whether it was acted on
WINDOW_MS = 600_000
SLOTS = 5


def waiting(limit: int) -> SampledBuffer[Row]:
    return SampledBuffer[Row](limit, lambda row: row[:2])


class Stream:
    """Lists of five, one a second, of which 0 to 4 are acted on at once; the others come as the list closes, ten minutes later."""

    def __init__(self, limit: int, seed: int = 1) -> None:
        self.waiting, self.rng, self.open = waiting(limit), np.random.default_rng(seed), deque[tuple[int, int, int, int]]()
        self.n = self.dropped = 0
        self.closed: list[tuple[int, list[bool]]] = []  # acts of a list, and the acts of what was left of it

    def run(self, seconds: range) -> None:
        for now in seconds:
            while self.open and self.open[0][1] + WINDOW_MS <= now * 1000:
                self._close(*self.open.popleft())
            user, acts = int(self.rng.integers(1 << 40)), int(self.rng.integers(5))
            self.open.append((user, now * 1000, self.n, acts))
            for slot in range(acts):
                self.dropped += self.waiting.put(self.n + slot, (user, now * 1000, True))
            self.n += SLOTS
            assert len(self.waiting.rows) <= self.waiting.limit

    def _close(self, user: int, shown_ms: int, first: int, acts: int) -> None:
        for slot in range(acts, SLOTS):
            self.dropped += self.waiting.put(first + slot, (user, shown_ms, False))
        found = [self.waiting.pop(first + slot) for slot in range(SLOTS)]
        self.waiting.settle(shown_ms + 1)
        self.closed.append((acts, [row[2] for row in found if row is not None]))


def test_what_fits_is_kept() -> None:
    stream = Stream(10_000)
    stream.run(range(2_000))
    assert stream.dropped == 0
    assert all((sum(left), len(left)) == (acts, SLOTS) for acts, left in stream.closed)
    assert tuple(stream.waiting.meta()) == NONE_DROPPED


def test_over_the_bound_lists_are_dropped_whole_so_that_acts_are_as_frequent_in_what_is_left() -> None:
    """1,200 acted exposures wait at any time; there is room for 400."""
    stream = Stream(400)
    stream.run(range(12_000))
    later = stream.closed[1_300:]
    kept = [(acts, left) for acts, left in later if left]
    assert all((sum(left), len(left)) == (acts, SLOTS) for acts, left in kept)
    assert 0.1 < len(kept) / len(later) < 0.4
    rate = np.mean([acts / SLOTS for acts, _ in kept])
    assert abs(rate - 0.4) < 5 * (2**0.5 / SLOTS) / len(kept) ** 0.5  # acts are uniform on 0..4: mean 2, deviation sqrt 2
    assert stream.dropped == sum(SLOTS - len(left) for _, left in stream.closed) + sum(acts for *_, acts in stream.open) - len(
        stream.waiting.rows
    )


def test_once_little_waits_all_are_kept_again_and_none_in_part() -> None:
    stream = Stream(400)
    stream.run(range(2_000))
    assert stream.waiting.halvings > 0
    for slow in range(40):  # a list every ten minutes
        stream.run(range(3_000 + 700 * slow, 3_001 + 700 * slow))
    assert stream.waiting.halvings == 0
    assert all((sum(left), len(left)) == (acts, SLOTS) for acts, left in stream.closed[1_300:] if left)
    assert all(left for _, left in stream.closed[-5:])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=60), st.integers(1, 12))
def test_it_is_bounded_and_holds_a_share_of_lists(rows: list[Row], limit: int) -> None:
    held, put = waiting(limit), dict[int, Row]()
    dropped = 0
    for exposure, row in enumerate(rows):
        put[exposure] = row
        dropped += held.put(exposure, row)
        assert len(held.rows) <= limit
        assert dropped == len(put) - len(held.rows)
    lists = {put[exposure][:2] for exposure in held.rows}
    assert held.rows == {exposure: row for exposure, row in put.items() if row[:2] in lists}  # all of a list, or nothing


def test_restored_it_goes_on() -> None:
    one, again = Stream(400), Stream(400)
    one.run(range(5_000))
    again.waiting.load(list(one.waiting.rows.items()), one.waiting.meta())
    again.open, again.rng, again.n = deque(one.open), np.random.default_rng(7), one.n
    one.rng = np.random.default_rng(7)
    for stream in (one, again):
        stream.run(range(5_000, 7_000))
    assert again.waiting.rows == one.waiting.rows and again.waiting.meta() == one.waiting.meta()
    assert one.waiting.halvings > 0 and len(one.waiting.rows) * LITTLE > 400
