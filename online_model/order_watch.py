"""Does the model give everybody the same order? Orders of different users are compared, one request after another.

Agreement of two orders of the same n items = Kendall's tau: (pairs in the same order - pairs in the other) / (n (n-1) / 2); 1 = the same.
Only users with behaviours are compared: what the model makes of somebody of whom nothing is known is the same for everybody.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

COMPARED = 50  # last comparisons whose mean is the agreement: some seconds of traffic, and chance hardly makes so many alike
LEAST, MOST = 10, 64  # items that two orders must share to be compared; and that are looked at
SAME, DIFFERENT = 0.999, 0.99  # agreement from which all orders are one, and below which they no longer are


class OrderWatch:
    """The last comparisons."""

    def __init__(self) -> None:
        self._before: tuple[int, Sequence[int]] = (0, ())  # user, and their order
        self._taus: deque[float] = deque(maxlen=COMPARED)
        self.same_for_all = False  # everybody gets one order

    @property
    def agreement(self) -> float | None:
        """Mean tau of the last comparisons; None before there were enough."""
        return sum(self._taus) / COMPARED if len(self._taus) == COMPARED else None

    def observe(self, user: int, order: Sequence[int]) -> None:
        """The candidates of a request, best first, as the model has scored them; compared with those of the request before."""
        other, before = self._before
        self._before = user, order
        if other in (user, 0):
            return
        place = {key: n for n, key in enumerate(before)}
        shared = [place[key] for key in order if key in place][:MOST]
        if len(shared) >= LEAST:
            self._taus.append(agreement(shared))
            mean = self.agreement
            self.same_for_all = mean is not None and mean >= (DIFFERENT if self.same_for_all else SAME)


def agreement(places: Sequence[int]) -> float:
    """Kendall's tau of an order with another one: by the first, the place of each item in the second.

    >>> agreement([0, 1, 2]), agreement([2, 1, 0])
    (1.0, -1.0)
    """
    at = np.array(places)
    upper = np.triu_indices(len(at), 1)
    return float(np.sign(at[None, :] - at[:, None])[upper].mean())
