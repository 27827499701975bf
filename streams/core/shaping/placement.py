"""Items in their places under rules: pins, at most so many of an artist, an artist's items so many places apart.

Greedy, from the first place on, and decided anew at each: a pinned item stands where it is pinned. Any other place, given what stands
above it and what is pinned anywhere, is one of A items: those of the pool that stand nowhere yet and that the rules allow there. With
probability s one of these is drawn, each alike; else the best ranked one of them stands there, and where none of them is ranked, one is
drawn too. So the conditional propensity of an item in its place, given the places above, is exactly

    s / A + (1 - s) [it is the best ranked],   and 1 / A where none is ranked

With beliefs, a share 1 - f of the draws takes an item by its chance c to be the best of those allowed (`bandit/best_of_many.py`), the
rest draws each alike as before, so that nothing is out of reach:

    s ((1 - f) c + f / A) + (1 - s) [it is the best ranked]

The marginal one, over all that might stand above, has no closed form under such rules: it is the same as long as everything above was
certain, and unknown (None) from the first place on that was not. Where A = 0 the list ends; what is pinned further down moves up.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

PINNED, DRAWN = "pinned", "explore"  # sources of items that no ranking placed
Chances = Callable[[Callable[[int], bool]], Mapping[int, float]]
TRIES = 64  # draws from the whole pool before all that is allowed is looked for: an item of 64 is then missed once in e


@dataclass(frozen=True, slots=True)
class PlacementRules:
    """What a request wants of places."""

    places: int
    pins: Mapping[int, int]  # place -> item; all different
    per_artist: int | None = None  # at most so many of an artist, pinned ones among them
    spacing: int = 1  # of so many places in a row, at most one is an artist's

    @property
    def by_artist(self) -> bool:
        """Whether what may stand in a place depends on what stands in others."""
        return self.per_artist is not None or self.spacing > 1


@dataclass(frozen=True, slots=True)
class DrawPool:
    """What may stand in places that are not pinned: items that are eligible, none of them pinned."""

    items: Sequence[int]  # to draw from; what of them is not eligible is passed over
    size: int  # eligible ones
    eligible: Callable[[int], bool]
    of_artist: Callable[[int], Collection[int]]  # eligible ones
    artist: Callable[[int], int]  # of an item; 0: unknown, so no rule holds

    def draw(self, allowed: Callable[[int], bool], rng: np.random.Generator) -> int:
        """One of the eligible items that are allowed, of which there is one at least, each with the same probability."""
        for at in rng.integers(len(self.items), size=TRIES).tolist():
            key = self.items[at]
            if self.eligible(key) and allowed(key):
                return key
        left = sorted([key for key in self.items if self.eligible(key) and allowed(key)])
        return left[int(rng.integers(len(left)))]


@dataclass(slots=True)
class Placement:
    """Items in the order in which they are shown, and how likely each was to stand there."""

    items: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    propensities: list[float | None] = field(default_factory=list)  # None: not known
    conditional: list[float] = field(default_factory=list)

    def put(self, key: int, source: str, propensity: float | None, conditional: float) -> None:
        """An item in the next place."""
        self.items.append(key)
        self.sources.append(source)
        self.propensities.append(propensity)
        self.conditional.append(conditional)

    def conditional_propensities(self) -> list[float]:
        """Of each item in its place, given the items above it."""
        return self.conditional

    def end(self, pins: Mapping[int, int]) -> None:
        """What is pinned below the end of the list, in order."""
        for place in sorted(pins):
            if place >= len(self.items):
                self.put(pins[place], PINNED, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Exploring:
    """How places are drawn."""

    share: float  # s, of places
    chances: Chances | None = None  # of items that are allowed, to be taken; None: each item alike
    floor: float = 1.0  # f, of draws that take each item alike where there are chances


def place_by_rules(
    ranked: Sequence[int], sources: Mapping[int, str], rules: PlacementRules, pool: DrawPool, exploring: Exploring, rng: np.random.Generator
) -> Placement:
    """Places filled one after the other. `ranked`: of the pool, best first; `sources`: of these."""
    out, left, certain = Placement(), list(ranked), True
    for place in range(rules.places):
        if place in rules.pins:
            out.put(rules.pins[place], PINNED, 1.0, 1.0)
            continue
        barred, placed = _barred_artists(out.items, place, rules, pool.artist), set(out.items)
        free = pool.size - sum(len(pool.of_artist(artist)) for artist in barred)
        free -= sum(pool.artist(key) not in barred for n, key in enumerate(out.items) if n not in rules.pins)
        if free <= 0:
            break

        def allowed(key: int, placed: set[int] = placed, barred: set[int] = barred) -> bool:
            return key not in placed and pool.artist(key) not in barred

        best = next((key for key in left if allowed(key)), None)
        explore = 1.0 if best is None else exploring.share
        drawn = best is None or rng.random() < explore
        likely = exploring.chances(allowed) if exploring.chances is not None and exploring.share else {}
        key = best if best is not None and not drawn else _drawn(pool, allowed, likely, exploring.floor, rng)
        alike = 1.0 if not likely else exploring.floor
        conditional = explore * ((1.0 - alike) * likely.get(key, 0.0) + alike / free) + (1.0 - explore) * (key == best)
        conditional = 1.0 if free == 1 else min(conditional, 1.0)
        out.put(key, DRAWN if drawn else sources[key], conditional if certain else None, conditional)
        certain = certain and conditional == 1.0
    out.end(rules.pins)
    return out


def _drawn(
    pool: DrawPool, allowed: Callable[[int], bool], likely: Mapping[int, float], floor: float, rng: np.random.Generator
) -> int:  # fmt: skip
    """One by these chances, or, without them and in a share `floor` of draws, any of the pool that is allowed."""
    if not likely or rng.random() < floor:
        return pool.draw(allowed, rng)
    keys, ladder = list(likely), np.cumsum(list(likely.values()))
    return keys[int(np.searchsorted(ladder, rng.random() * ladder[-1], side="right"))]


def between_pins(free: Placement, rules: PlacementRules) -> Placement:
    """Items whose propensities are known in the places that no item is pinned to."""
    out, rows = Placement(), zip(free.items, free.sources, free.propensities, free.conditional, strict=True)
    for place in range(rules.places):
        if place in rules.pins:
            out.put(rules.pins[place], PINNED, 1.0, 1.0)
        elif row := next(rows, None):
            out.put(*row)
        else:
            break
    out.end(rules.pins)
    return out


def _barred_artists(higher: Sequence[int], place: int, rules: PlacementRules, artist: Callable[[int], int]) -> set[int]:
    """Artists of whom nothing may stand in a place."""
    there = {n: artist(key) for n, key in enumerate(higher)} | {n: artist(key) for n, key in rules.pins.items()}
    barred = {of for n, of in there.items() if abs(n - place) < rules.spacing}
    if rules.per_artist is not None:
        barred |= {of for of, n in Counter(there.values()).items() if n >= rules.per_artist}
    return barred - {0}
