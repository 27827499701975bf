"""Candidates of a slate or a module, and what is drawn at random before any of them is scored."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, zip_longest
from typing import Literal, NamedTuple, get_args

import numpy as np

from streams.core.serving.eligibility import EligibilityFilter
from streams.core.serving.explore import arrange, conditional_propensities, propensities
from streams.core.serving.index import CandidateIndex
from streams.core.shaping.placement import PINNED, Placement

GIVEN, OWN, CO_LISTENED, VECTORS = "given", "own", "co-listened", "vectors"
SAME_ARTIST, SAME_CATEGORY = "same-artist", "same-category"
POPULAR_NOW, FRESH, EXPLORE = "popular", "fresh", "explore"
Source = Literal["own", "co-listened", "vectors", "same-artist", "same-category", "popular", "fresh", "explore"]  # that a request may name
GROUPS = 16  # artists or categories of what was liked last
SOURCES = (GIVEN, *get_args(Source), PINNED)  # of candidates, and of what the request pins


@dataclass(frozen=True, slots=True)
class SourceQuota:
    """How many candidates each source brings."""

    popular: int
    fresh: int
    explore: int
    co_listened: int = 0  # at most, in place of as many popular ones
    own: int = 0  # the same
    vectors: int = 0  # the same
    same_artist: int = 0  # the same
    same_category: int = 0  # the same
    named: frozenset[str] | None = None  # sources that a request names, in place of all

    @property
    def total(self) -> int:
        """Of all sources; what is known of the listener stands in place of popular ones."""
        return self.popular + self.fresh + self.explore

    def scaled(self, candidates: int) -> SourceQuota:
        """So many candidates in the same shares, none of them of what is known of the listener.

        >>> SourceQuota(popular=130, fresh=50, explore=20, co_listened=50).scaled(40)
        SourceQuota(popular=26, fresh=10, explore=4, co_listened=0, own=0, vectors=0, same_artist=0, same_category=0, named=None)
        """
        popular, fresh = (candidates * quota // max(1, self.total) for quota in (self.popular, self.fresh))
        return SourceQuota(popular, fresh, candidates - popular - fresh)

    def shared(self, shares: Mapping[Source, float]) -> SourceQuota:
        """As many candidates, of these sources alone, in these shares of their sum, which must be above 0.

        >>> SourceQuota(popular=130, fresh=50, explore=20).shared({"fresh": 1.0, "own": 3.0}).own
        150
        """
        total = sum(shares.values())
        of: dict[str, int] = {name: int(self.total * share / total) for name, share in shares.items() if share > 0}
        popular = sum(n for name, n in of.items() if name not in (FRESH, EXPLORE))
        return SourceQuota(
            popular, of.get(FRESH, 0), of.get(EXPLORE, 0), of.get(CO_LISTENED, 0), of.get(OWN, 0), of.get(VECTORS, 0),
            of.get(SAME_ARTIST, 0), of.get(SAME_CATEGORY, 0), frozenset(of),
        )  # fmt: skip


class Listener(NamedTuple):
    """What is known of whom a pool is made for: items, the best first."""

    own: Iterable[int]  # taken before
    near: Iterable[int]  # to what was taken last
    vectors: Iterable[int] = ()  # by the product with the listener's vector
    same_artist: Iterable[int] = ()  # as what was taken
    same_category: Iterable[int] = ()


@dataclass(frozen=True)
class Arrangement:
    """Items in the order in which they are shown, and how likely each was to stand there."""

    items: list[int]
    sources: list[str]
    ranks: list[int | None]  # of each item among the ranked ones; None: it was drawn without being ranked
    pool_size: int  # items that an exploring position draws from
    explore_share: float

    @cached_property
    def propensities(self) -> list[float]:
        """Of each item in its position."""
        return propensities(self.ranks, self.pool_size, self.explore_share)

    def conditional_propensities(self) -> list[float]:
        """Of each item in its position, given the items above it."""
        return conditional_propensities(self.ranks, self.pool_size, self.explore_share)

    def placement(self) -> Placement:
        """The same, whatever else is to stand between them."""
        return Placement(self.items, self.sources, list[float | None](self.propensities), self.conditional_propensities())


@dataclass(slots=True)
class CandidatePool:
    """What may stand in a slate or a module."""

    sources: dict[int, str]  # of the candidates that are ranked
    size: int  # items that an exploring position draws from
    explores: list[bool]  # by position
    drawn: list[int]  # for the exploring positions, in order; candidates or not
    names: Mapping[int, str] = field(default_factory=dict)  # ids that the request gave

    def items(self) -> set[int]:
        """All that has to be scored."""
        return {*self.sources, *self.drawn}

    def first(self, positions: int) -> CandidatePool:
        """The pool of the first positions alone: what is drawn for a position doesn't depend on those below it."""
        explores = self.explores[:positions]
        return CandidatePool(self.sources, self.size, explores, self.drawn[: sum(explores)], self.names)

    def arrange(self, ranked: list[int], explore_share: float) -> Arrangement:
        """Drawn items in exploring positions, the best ranked candidates in the others."""
        items = arrange(ranked, self.drawn, self.explores)
        rank = {key: n for n, key in enumerate(ranked)}
        sources = [EXPLORE if explores else self.sources[key] for key, explores in zip(items, self.explores, strict=True)]
        return Arrangement(items, sources, [rank.get(key) for key in items], self.size, explore_share)


def pool(
    candidate_index: CandidateIndex, eligibility: EligibilityFilter, quota: SourceQuota, positions: int, explore_share: float,
    rng: np.random.Generator, listener: Listener | None = None,
) -> CandidatePool:  # fmt: skip
    """Candidates of an index for so many positions, and what exploring positions draw."""
    size = eligibility.count(candidate_index)
    sources = retrieve(candidate_index, eligibility, quota, positions, rng, listener)
    explores = rng.random(min(positions, size)) < explore_share
    return CandidatePool(sources, size, explores.tolist(), draw(candidate_index, eligibility, int(explores.sum()), rng))


def given_pool(names: Mapping[int, str], positions: int, explore_share: float, rng: np.random.Generator) -> CandidatePool:
    """The same of items that a request names."""
    explores = rng.random(min(positions, len(names))) < explore_share
    drawn = shuffled(names, int(explores.sum()), rng)
    return CandidatePool(dict.fromkeys(names, GIVEN), len(names), explores.tolist(), drawn, names)


def retrieve(
    candidate_index: CandidateIndex, eligibility: EligibilityFilter, quota: SourceQuota, at_least: int, rng: np.random.Generator,
    listener: Listener | None = None,
) -> dict[int, str]:  # fmt: skip
    """Candidates with their source, at least so many where the index has as many eligible items.

    First what the listener took before, what is near to that (also in place of own ones that are lacking), what has a vector like the
    listener's, what is of the same artists and categories. Then popular ones up to their quota, the newest (also in place of popular ones
    that are lacking), random ones. So whoever is new to a young system gets what is popular, and not what vectors know little of.
    """
    out: dict[int, str] = {}
    of = listener or Listener((), ())
    for source, keys, more, least in (  # so many more, or up to `least` in all
        (OWN, of.own, quota.own, 0),
        (CO_LISTENED, of.near, 0, quota.own + quota.co_listened),
        (VECTORS, of.vectors, quota.vectors, 0),
        (SAME_ARTIST, of.same_artist, quota.same_artist, 0),
        (SAME_CATEGORY, of.same_category, quota.same_category, 0),
        (POPULAR_NOW, candidate_index.popular(), 0, quota.popular),
        (FRESH, candidate_index.newest(), 0, quota.popular + quota.fresh),
    ):
        limit = min(max(len(out) + more, least), quota.popular + (quota.fresh if source == FRESH else 0))
        if len(out) >= limit or (quota.named is not None and source not in quota.named):
            continue
        for key in keys:
            if len(out) >= limit:
                break
            if key not in out and key in candidate_index and eligibility.eligible(key):
                out[key] = source
    for key in draw(candidate_index, eligibility, max(quota.explore, at_least - len(out)), rng, out):
        out[key] = EXPLORE
    return out


def alike(liked: Iterable[int], groups: Callable[[int], Iterable[int]], items: Callable[[int], Iterable[int]]) -> Iterator[int]:
    """Items of the groups (artists, categories) of what was liked, one of each in turn, the groups of what was liked last first.

    >>> list(alike([7, 8], {7: [1], 8: [2, 1]}.__getitem__, {1: [10, 11], 2: [20]}.__getitem__))
    [10, 20, 11]
    """
    found = islice(dict.fromkeys(group for item in liked for group in groups(item)), GROUPS)
    for turn in zip_longest(*(items(group) for group in found)):
        yield from (item for item in turn if item is not None)


def draw(
    candidate_index: CandidateIndex, eligibility: EligibilityFilter, n: int, rng: np.random.Generator, exclude: Iterable[int] = ()
) -> list[int]:
    """Up to `n` different eligible items, each with the same probability, in random order. `exclude`: eligible items to leave out."""
    out: dict[int, None] = dict.fromkeys(exclude)
    excluded = len(out)
    left = eligibility.count(candidate_index) - excluded
    n = min(n, left)
    if n * 4 > left or left * 4 < len(candidate_index):  # then the index is small, since what is blocked is bounded
        return shuffled([key for key in candidate_index.items if key not in out and eligibility.eligible(key)], n, rng)
    while len(out) < n + excluded:
        key = candidate_index.items[int(rng.integers(len(candidate_index)))]
        if key not in out and eligibility.eligible(key):
            out[key] = None
    return list(out)[excluded:]


def shuffled(items: Iterable[int], n: int, rng: np.random.Generator) -> list[int]:
    """`n` different items, each with the same probability, in random order that doesn't depend on the order of `items`.

    >>> shuffled([3, 1, 2], 2, np.random.default_rng(0)) == shuffled([2, 3, 1], 2, np.random.default_rng(0))
    True
    """
    ordered = sorted(items)
    return [ordered[i] for i in rng.permutation(len(ordered))[:n].tolist()]
