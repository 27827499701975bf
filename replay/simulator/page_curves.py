"""What a run of pages comes to, as figures and as curves over its pages, by strategy.

All is counted over the items that were looked at: what stands further down reached nobody, and pages of different shapes
are looked at alike (`page_reactions`). Sets (categories of a listener, items they share with others, distinct items) grow with the
number of pages that are looked at: compare runs, or strategies that made about as many.
"""
from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

Array = np.ndarray

SAMPLED = 256  # listeners between whom the overlap is taken (MODEL.md section 9)
PARTS = 12  # of a curve


@dataclass(slots=True)
class Visit:
    """One page, as it was read."""

    listener: int
    strategy: str
    propensities: dict[str, float]  # of all strategies; empty where none was drawn
    experience: float  # 0 to 1, of what was done
    revenue: float  # of what was looked at
    plays: int
    dislikes: int
    likely_plays: float  # expected of what was looked at, by the world's own probabilities
    likely_dislikes: float
    items: list[int]  # looked at
    liked: list[int]  # of these, played in full
    exposures: int  # items of the page


@dataclass(slots=True)
class Hindsight:
    """What each strategy's page would have been worth to one visitor, and with what propensity it was drawn."""

    visit: int  # number of the visit
    worth: dict[str, float]  # expected experience
    propensities: dict[str, float]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of some pages."""

    pages: int
    looked: int  # items looked at
    exposures: int = msgspec.field(name="shown")  # items of the pages
    experience: float  # mean of a page
    revenue: float  # mean of a page
    categories_per_user: float
    liked_categories_per_user: float  # of what was played in full
    overlap: float  # of two listeners
    dislikes_per_1000_plays: float
    likely_dislikes_per_1000_plays: float  # the same without luck
    distinct_items: int


def figures(visits: Sequence[Visit], category: Array, seed: int = 0) -> Figures:
    """`category`: of each of the world's items. `seed`: of the sample of listeners. NaN where pages have no such figure."""
    items = by_listener((v.listener, v.items) for v in visits)
    liked = by_listener((v.listener, v.liked) for v in visits)
    return Figures(
        pages=len(visits),
        looked=sum(len(v.items) for v in visits),
        exposures=sum(v.exposures for v in visits),
        experience=_mean([v.experience for v in visits]),
        revenue=_mean([v.revenue for v in visits]),
        categories_per_user=categories(items, category),
        liked_categories_per_user=categories(liked, category),
        overlap=overlap(items, seed),
        dislikes_per_1000_plays=per_1000(sum(v.dislikes for v in visits), sum(v.plays for v in visits)),
        likely_dislikes_per_1000_plays=per_1000(sum(v.likely_dislikes for v in visits), sum(v.likely_plays for v in visits)),
        distinct_items=len(set().union(*items)),
    )


def by_listener(pairs: Iterable[tuple[int, Iterable[int]]]) -> Collection[set[int]]:
    """The items of each listener, from (listener, items) a visit.

    >>> list(by_listener([(7, [1, 2]), (8, [2]), (7, [3])]))
    [{1, 2, 3}, {2}]
    """
    out: dict[int, set[int]] = {}
    for listener, items in pairs:
        out.setdefault(listener, set()).update(items)
    return out.values()


def categories(items: Collection[set[int]], category: Array) -> float:
    """Mean number of categories of a listener; NaN without any."""
    return _mean([len(np.unique(category[sorted(each)])) for each in items])


def per_1000(some: float, plays: float) -> float:
    """Dislikes to 1,000 plays; NaN without any play.

    >>> per_1000(1, 8)
    125.0
    """
    return 1_000 * some / plays if plays else float("nan")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def overlap(items: Collection[set[int]], seed: int) -> float:
    """Mean over pairs of listeners of the items that both have over those that either has (Jaccard); NaN below two listeners.

    Of SAMPLED listeners, if there are more.

    >>> overlap([{1, 2}, {2, 3}], 0)
    0.3333333333333333
    """
    lists = [sorted(each) for each in items if each]
    if len(lists) > SAMPLED:
        lists = [lists[k] for k in np.sort(np.random.default_rng(seed).choice(len(lists), SAMPLED, replace=False))]
    if len(lists) < 2:
        return float("nan")
    distinct, column = np.unique(np.concatenate(lists), return_inverse=True)
    has = np.zeros((len(lists), len(distinct)))
    has[np.repeat(np.arange(len(lists)), [len(each) for each in lists]), column] = 1
    both, size = has @ has.T, has.sum(1)
    pair = np.triu_indices(len(lists), 1)
    return float((both[pair] / (size[:, None] + size - both)[pair]).mean())


def strategies(visits: Sequence[Visit]) -> list[str]:
    """In the order in which they could be drawn, or else appeared."""
    names = [name for visit in visits for name in visit.propensities]
    return list(dict.fromkeys([*names, *(visit.strategy for visit in visits)]))


def by_strategy(visits: Sequence[Visit], category: Array, seed: int = 0) -> dict[str, Figures]:
    """Figures of each strategy's own pages."""
    return {name: figures([v for v in visits if v.strategy == name], category, seed) for name in strategies(visits)}


def parts(visits: Sequence[Visit], many: int = PARTS) -> list[list[Visit]]:
    """The run cut into parts of as many pages each."""
    edges = np.linspace(0, len(visits), min(many, len(visits)) + 1).round().astype(int).tolist()
    return [list(visits[a:b]) for a, b in zip(edges, edges[1:], strict=False)]


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Figures along a run, of all pages or of those of one strategy."""

    name: str
    share: list[float]  # of the pages of each part
    figures: list[Figures]  # of each part


ALL = "all"


def curves(visits: Sequence[Visit], category: Array, seed: int = 0, many: int = PARTS) -> list[Curve]:
    """Of ALL pages, then of each strategy's."""
    cut = parts(visits, many)
    out = [Curve(name=ALL, share=[1.0] * len(cut), figures=[figures(part, category, seed) for part in cut])]
    for name in strategies(visits):
        own = [[visit for visit in part if visit.strategy == name] for part in cut]
        share = [len(visits) / len(part) for visits, part in zip(own, cut, strict=True)]
        out.append(Curve(name=name, share=share, figures=[figures(visits, category, seed) for visits in own]))
    return out


@dataclass(slots=True)
class Regret:
    """Against the strategy that would have been best for all visitors, had one known. N visits that were looked at in hindsight."""

    best: str
    visit: list[int]  # [N] numbers of the visits
    curve: list[float]  # [N] expected experience of the best one's page, less that of the policy's: mean of a page until then
    mean: dict[str, float]  # expected experience of each strategy's pages, over all of them
    policy: float  # the same of the policy


def regret(hindsight: Sequence[Hindsight]) -> Regret:
    """A policy is what its propensities say, so that no luck of the draw is in it. Raises ValueError where nothing was looked at."""
    if not hindsight:
        raise ValueError("no visit was looked at in hindsight: more sessions are needed")
    names = list(hindsight[0].worth)
    value = np.array([[h.worth[name] for name in names] for h in hindsight])
    propensity = np.array([[h.propensities.get(name, 0.0) for name in names] for h in hindsight])
    policy, mean = (value * propensity).sum(1), value.mean(0)
    best = int(mean.argmax())
    return Regret(
        best=names[best], visit=[h.visit for h in hindsight],
        curve=(np.cumsum(value[:, best] - policy) / np.arange(1, len(hindsight) + 1)).tolist(),
        mean=dict(zip(names, mean.tolist(), strict=True)), policy=float(policy.mean()),
    )  # fmt: skip
