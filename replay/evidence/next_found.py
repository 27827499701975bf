"""What the questions of `next_play.py` say: hit and MRR of each order, recall of the pool by source, repeats and rare items apart.

Recall of the pool at n: share of the questions whose item is among the first n candidates as they were ranked; at 300, of all of a pool
of the default size. A candidate has the source that brought it first, in the order of RETRIEVED: what a later one would have brought too
counts for the earlier. Without a source: the same ranked candidates, its own left out and nothing in their place. Since later sources
might have brought some of them, that overstates what the source adds.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from bandit.bootstrap import Interval
from replay.evidence.intervals import RESAMPLES, Array, Users, interval
from streams.core.serving.retrieval import GIVEN, SOURCES
from streams.core.shaping.placement import PINNED

POOL = "pool"  # all sources together
FIRST = (20, 100, 300)  # candidates that recall is of
RETRIEVED = tuple(source for source in SOURCES if source not in (GIVEN, PINNED))
SPANS = 20  # of as many questions each, over time
FEWEST = 50  # questions of a span, below which its share is noise
RARE = 5  # plays of anybody before, below which an item is cold
REPEATS, NEW, COLD = "played before", "new to the user", f"under {RARE} plays so far"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """How often an order had the item; what Segue's list has more is paired, question by question."""

    name: str
    hit: Interval
    mrr: Interval
    hit_less: Interval | None = None  # Segue's less this one's
    mrr_less: Interval | None = None


class SourceFound(msgspec.Struct, frozen=True, kw_only=True):
    """What a source of candidates brings."""

    name: str  # `pool`: all of them
    candidates: float  # in a pool, on average
    hits: int  # of Segue's list
    recall: dict[str, Interval]  # by candidates as they were ranked
    hit: Interval  # of a list without its candidates; of `pool`, of Segue's list
    mrr: Interval
    hit_less: Interval | None = None  # Segue's less this one's
    mrr_less: Interval | None = None


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Questions whose items are alike."""

    name: str
    questions: int
    recall: Interval  # of the whole pool
    hit: Interval  # of Segue's list
    mrr: Interval


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Questions that follow each other."""

    from_ms: int
    to_ms: int
    questions: int
    hits: dict[str, float]  # by order


class NextFound(msgspec.Struct, frozen=True, kw_only=True):
    """How often slates had the next item."""

    kind: str = "next"
    k: int
    every: int
    plays: int  # that could have become questions
    questions: int
    users: int
    orders: list[Order]
    sources: list[SourceFound]  # of candidates: all of them, then each
    kinds: list[Kind]  # of questions
    spans: list[Span]
    question_ms: float  # for Segue's list, on average
    notes: list[str]


class PlayRanks(NamedTuple):
    """Where the item of a play stood in each order."""

    user: int
    ts: int
    ranks: tuple[int, ...]  # of the item in each order; 0 = not in it
    place: int  # of the item among all candidates as they were ranked; 0 = it is none
    source: str | None  # of the item, where it is a candidate
    ahead: tuple[int, ...]  # by source of RETRIEVED: candidates above it
    pool: tuple[int, ...]  # by source: candidates
    repeat: bool  # the user has played it before
    plays: int  # of it so far, by anybody


class Figures:
    """Intervals over users of what was asked."""

    def __init__(self, asked: Sequence[PlayRanks], k: int, resamples: int = RESAMPLES) -> None:
        self._asked, self._k, self._resamples = asked, k, resamples
        self._users = Users(np.array([one.user for one in asked], np.uint64))
        self.users = self._users.n
        self._ranks = np.array([one.ranks for one in asked], np.int64)
        self._place = np.array([one.place for one in asked], np.int64)

    def orders(self, names: Sequence[str]) -> list[Order]:
        """Of each order, Segue's first."""
        columns = [column for n in range(len(names)) for column in _worth(self._ranks[:, n])]
        read = self._read(columns)
        out = []
        for n, name in enumerate(names):
            less = (interval(read[:, 0] - read[:, 2 * n]), interval(read[:, 1] - read[:, 2 * n + 1])) if n else (None, None)
            hit, mrr = interval(read[:, 2 * n]), interval(read[:, 2 * n + 1])
            out.append(Order(name=name, hit=hit, mrr=mrr, hit_less=less[0], mrr_less=less[1]))
        return out

    def sources(self) -> list[SourceFound]:
        """Of all sources together, then of each that brought any candidate."""
        pool = np.array([one.pool for one in self._asked])
        ahead = np.array([one.ahead for one in self._asked])
        of = np.array([RETRIEVED.index(one.source) if one.source else -1 for one in self._asked])
        used = [n for n in range(len(RETRIEVED)) if pool[:, n].any()]
        listed = self._ranks[:, 0]
        rows: list[tuple[str, float, Array, Array]] = [(POOL, float(pool.sum(1).mean()), self._place > 0, listed)]
        for n in used:
            moved = np.where((self._place > 0) & (of != n), self._place - ahead[:, n], 0)
            rows.append((RETRIEVED[n], float(pool[:, n].mean()), of == n, np.where(moved <= self._k, moved, 0)))
        columns = list[Array]()
        for _, _, brought, ranks in rows:
            columns += [(brought & (self._place > 0) & (self._place <= first)).astype(float) for first in FIRST] + [*_worth(ranks)]
        read, width = self._read(columns), len(FIRST) + 2
        out = []
        for n, (name, candidates, brought, _) in enumerate(rows):
            here = read[:, n * width : (n + 1) * width]
            recall = {str(first): interval(here[:, at]) for at, first in enumerate(FIRST)}
            hit, mrr = here[:, -2], here[:, -1]
            less = [interval(read[:, width - 2] - hit), interval(read[:, width - 1] - mrr)] if n else [None, None]
            out.append(SourceFound(
                name=name, candidates=candidates, hits=int((brought & (listed > 0)).sum()), recall=recall, hit=interval(hit),
                mrr=interval(mrr), hit_less=less[0], mrr_less=less[1],
            ))  # fmt: skip
        return out

    def kinds(self) -> list[Kind]:
        """What users had played before and what not, and of either what hardly anybody had."""
        repeat = np.array([one.repeat for one in self._asked])
        cold = np.array([one.plays < RARE for one in self._asked])
        out = []
        for name, rows in ((REPEATS, repeat), (NEW, ~repeat), (COLD, cold)):
            if rows.any():
                users = Users(np.array([one.user for one in self._asked], np.uint64)[rows])
                columns = [(self._place[rows] > 0).astype(float), *_worth(self._ranks[rows, 0])]
                read = users.read([users.mean(column) for column in columns], self._resamples)
                recall, hit, mrr = (interval(read[:, n]) for n in range(3))
                out.append(Kind(name=name, questions=int(rows.sum()), recall=recall, hit=hit, mrr=mrr))
        return out

    def spans(self, names: Sequence[str]) -> Iterator[Span]:
        """The questions cut into spans of as many each, in order of time."""
        moments = np.array([one.ts for one in self._asked], np.int64)
        order = np.argsort(moments, kind="stable")
        for rows in np.array_split(order, max(1, min(SPANS, len(order) // FEWEST))):
            shares = dict(zip(names, (self._ranks[rows] > 0).mean(0).tolist(), strict=True))
            yield Span(from_ms=int(moments[rows[0]]), to_ms=int(moments[rows[-1]]), questions=len(rows), hits=shares)

    def _read(self, columns: Sequence[Array]) -> Array:
        means: list[Callable[[Array], float]] = [self._users.mean(column) for column in columns]
        return self._users.read(means, self._resamples)


def _worth(ranks: Array) -> tuple[Array, Array]:
    """Ranks [N] -> hits [N] and one over each [N], 0 where the item is not in the list."""
    return (ranks > 0).astype(float), np.divide(1.0, ranks, out=np.zeros(len(ranks)), where=ranks > 0)
