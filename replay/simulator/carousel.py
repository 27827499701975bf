"""A carousel: a few listeners, many items of which nothing is known, one row of places, and what is not looked at tells nothing.

After Bendada et al., "Carousel Personalization in Music Streaming Apps with Contextual Bandits", RecSys 2020 (sections 2 and 4): listeners
stream an item that they look at with a logistic chance of their own, alike within a segment; they look at the first places, then swipe
on to each next one with the same chance. Regret of a slate: how many streams the best slate of that listener would bring more, by the
truth, luck aside. Beside Segue stand the paper's own: uniform slates, and cascade Thompson sampling with pessimistic Beta priors, one
belief for all or one a listener. Departs: listeners come in turn, beliefs move after each slate, and where they look is known, not guessed
from the last stream. Shapes: L listeners, N items, P places.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple, Protocol

import msgspec
import numpy as np
from msgspec import Meta

from streams.core.join.items import Item

Array = np.ndarray
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]

DOMAIN = "song"


class CarouselSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The world. As it is set here, 20,000 uniform slates have a regret of some 9,000."""

    listeners: Count = 9
    segments: Count = 3
    items: Count = 862  # as many as the paper has playlists
    places: Count = 12
    seen_at_once: Count = 3  # the paper's L_init
    swipe: Share = 0.6  # chance to go on to the next place after those
    bias: float = -4.6  # a logit: one stream of a hundred looks, for the middle item
    quality: float = 0.8  # standard deviation over items, of all listeners alike
    segment_taste: float = 0.3  # of what a segment adds
    own_taste: float = 0.2  # of what a listener adds
    gap_ms: Count = 60_000  # from slate to slate
    start_ms: int = 1_700_000_000_000

    def __post_init__(self) -> None:
        if self.places > self.items or self.seen_at_once > self.places:
            raise ValueError(
                f"seen_at_once <= places <= items must hold, got {self.seen_at_once}, {self.places} and {self.items}"
            )  # fmt: skip


class CarouselWorld:
    """Chances of a stream [L, N] and what follows from them; fixed by settings and seed."""

    def __init__(self, settings: CarouselSettings, seed: int) -> None:
        self.settings = s = settings
        rng = np.random.default_rng([seed, 7])
        logits = s.bias + rng.normal(0.0, s.quality, s.items)
        segments = rng.normal(0.0, s.segment_taste, (s.segments, s.items))
        logits = logits + segments[np.arange(s.listeners) % s.segments] + rng.normal(0.0, s.own_taste, (s.listeners, s.items))
        self.chances = 1 / (1 + np.exp(-logits))
        self.looks = s.swipe ** np.maximum(np.arange(s.places) - s.seen_at_once + 1.0, 0.0)  # chance of each place
        self.best = np.sort(self.chances, 1)[:, ::-1][:, : s.places] @ self.looks  # expected streams of the best slate, [L]
        self.user_ids = [f"u{n}" for n in range(s.listeners)]
        self.item_ids = [f"c{n:04d}" for n in range(s.items)]
        self.index = {item_id: n for n, item_id in enumerate(self.item_ids)}

    def catalog(self) -> list[Item]:
        """All items, of which nothing but the id is known."""
        return [Item(item_id=item_id, domain=DOMAIN, published_ts=self.settings.start_ms) for item_id in self.item_ids]

    def regret(self, listener: int, slate: Sequence[int]) -> float:
        """Expected streams that the best slate would bring more."""
        return float(self.best[listener] - self.chances[listener, slate] @ self.looks[: len(slate)])


class Visit(NamedTuple):
    """What a listener did with a slate: items looked at, from the top, and which of them were streamed."""

    number: int
    ts: int
    listener: int
    slate: list[int]
    streamed: list[bool]  # of each item that was looked at


class Carousel(Protocol):
    """Who fills the places."""

    def slate(self, number: int, ts: int, listener: int) -> list[int]:
        """Different items, as many as there are places."""

    def learn(self, visit: Visit) -> None:
        """Take in what came of a slate."""


def run(world: CarouselWorld, carousel: Carousel, slates: int, seed: int) -> Array:
    """Regret of each slate [slates]. The same seed brings the same luck, whoever fills the places."""
    s, rng, regret = world.settings, np.random.default_rng([seed, 8]), np.zeros(slates)
    for n in range(slates):
        listener, ts = n % s.listeners, s.start_ms + n * s.gap_ms
        swipes, luck = rng.random(s.places - s.seen_at_once) < s.swipe, rng.random(s.places)
        slate = carousel.slate(n, ts, listener)
        regret[n] = world.regret(listener, slate)
        seen = slate[: s.seen_at_once + int(np.cumprod(swipes).sum())]
        carousel.learn(Visit(n, ts, listener, slate, (luck[: len(seen)] < world.chances[listener, seen]).tolist()))
    return regret


def tenths(regret: Array) -> list[float]:
    """Sums of ten parts of equal length.

    >>> tenths(np.arange(20.0))[-1]
    37.0
    """
    return [float(part.sum()) for part in np.array_split(regret, 10)]


class UniformCarousel:
    """All slates alike."""

    def __init__(self, settings: CarouselSettings, seed: int) -> None:
        self.settings, self._rng = settings, np.random.default_rng([seed, 9])

    def slate(self, number: int, ts: int, listener: int) -> list[int]:
        """Items drawn without replacement."""
        return self._rng.permutation(self.settings.items)[: self.settings.places].tolist()

    def learn(self, visit: Visit) -> None:
        """Nothing."""


class CascadeThompson:
    """A Beta belief an item: samples put items in order, looks move the beliefs. The prior is pessimistic: one stream of a hundred."""

    def __init__(self, settings: CarouselSettings, seed: int, per_listener: bool, prior: tuple[float, float] = (1.0, 99.0)) -> None:
        self.settings, self.per_listener, self._rng = settings, per_listener, np.random.default_rng([seed, 10])
        shape = (settings.listeners if per_listener else 1, settings.items)
        self.streams, self.passes = np.full(shape, prior[0]), np.full(shape, prior[1])

    def slate(self, number: int, ts: int, listener: int) -> list[int]:
        """The items of the largest samples, the largest first."""
        row = listener if self.per_listener else 0
        return np.argsort(-self._rng.beta(self.streams[row], self.passes[row]), kind="stable")[: self.settings.places].tolist()

    def learn(self, visit: Visit) -> None:
        """A stream or a pass of each item that was looked at."""
        row, streamed = visit.listener if self.per_listener else 0, np.array(visit.streamed)
        seen = visit.slate[: len(streamed)]
        self.streams[row, seen] += streamed
        self.passes[row, seen] += ~streamed
