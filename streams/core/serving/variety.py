"""How varied and how well taken the lists or pages of each strategy were: what `segue run` shows of its listeners."""
from __future__ import annotations

import msgspec

ALL = "all"  # stands for every strategy of a surface


class Variety(msgspec.Struct, frozen=True, kw_only=True):
    """Of the last lists or pages that one strategy made, over what was looked at: strategies compare where `shown` is the same."""

    shown: int
    categories_per_user: float
    overlap: float | None  # of two listeners: of what either was shown, what both were
    distinct_items: int
    dislikes_per_1000_plays: float | None


Varieties = dict[str, dict[str, Variety]]  # surface -> strategy, ALL first
