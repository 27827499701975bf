"""What a run of pages comes to, as figures and as curves over its pages, by strategy.

All is counted over the slots that were looked at: what stands further down reached nobody, and pages of different shapes
are looked at alike (`page_reactions`). Sets (categories of a listener, items they share with others, distinct items) grow with the
number of pages that are looked at: compare runs, or strategies that made about as many.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from replay.simulator.page_worth import Worth

Array = np.ndarray

SAMPLED = 256  # listeners between whom the overlap is taken (MODEL.md section 9)
PARTS = 12  # of a curve


@dataclass(slots=True)
class Visit:
    """One page, as it was read."""

    ts: int
    listener: int
    strategy: str
    chances: dict[str, float]  # of all strategies; empty where none was chosen
    segment: int
    experience: float  # 0 to 1, of what was done
    revenue: float  # of what was looked at
    plays: int
    dislikes: int
    likely_plays: float  # expected of what was looked at, by the world's own chances
    likely_dislikes: float
    items: list[int]  # looked at
    liked: list[int]  # of these, played in full
    shown: int  # slots of the page


@dataclass(slots=True)
class Hindsight:
    """What each strategy's page would have been worth to one visitor, and what chance it had."""

    visit: int
    worth: dict[str, Worth]
    chances: dict[str, float]


@dataclass(slots=True)
class Story:
    """A run: its visits in time order, and of some of them what all strategies would have done."""

    visits: list[Visit] = field(default_factory=list)
    hindsight: list[Hindsight] = field(default_factory=list)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of some pages."""

    pages: int
    looked: int  # slots
    shown: int  # slots
    experience: float  # mean of a page
    revenue: float  # mean of a page
    categories_per_user: float
    liked_categories_per_user: float  # of what was played in full
    overlap: float  # of two listeners
    dislikes_per_1000_plays: float
    likely_dislikes_per_1000_plays: float  # the same without luck
    distinct_items: int


def figures(visits: Sequence[Visit], category: Array, seed: int = 0) -> Figures:
    """`category`: of each of the world's items. `seed`: of the sample of listeners."""
    items: dict[int, set[int]] = {}
    liked: dict[int, set[int]] = {}
    for visit in visits:
        items.setdefault(visit.listener, set()).update(visit.items)
        liked.setdefault(visit.listener, set()).update(visit.liked)
    plays, likely = sum(v.plays for v in visits), sum(v.likely_plays for v in visits)
    return Figures(
        pages=len(visits),
        looked=sum(len(v.items) for v in visits),
        shown=sum(v.shown for v in visits),
        experience=float(np.mean([v.experience for v in visits])) if visits else float("nan"),
        revenue=float(np.mean([v.revenue for v in visits])) if visits else float("nan"),
        categories_per_user=categories(items, category),
        liked_categories_per_user=categories(liked, category),
        overlap=overlap(list(items.values()), seed),
        dislikes_per_1000_plays=1_000 * sum(v.dislikes for v in visits) / plays if plays else float("nan"),
        likely_dislikes_per_1000_plays=1_000 * sum(v.likely_dislikes for v in visits) / likely if likely else float("nan"),
        distinct_items=len(set().union(*items.values())) if items else 0,
    )


def overlap(items: Sequence[set[int]], seed: int) -> float:
    """Mean over pairs of listeners of what both were shown over what either was (Jaccard); of SAMPLED listeners, if there are more."""
    there = [sorted(of) for of in items if of]
    if len(there) > SAMPLED:
        there = [there[k] for k in np.sort(np.random.default_rng(seed).choice(len(there), SAMPLED, replace=False))]
    if len(there) < 2:
        return float("nan")
    found, at = np.unique(np.concatenate(there), return_inverse=True)
    shown = np.zeros((len(there), len(found)))
    shown[np.repeat(np.arange(len(there)), [len(of) for of in there]), at] = 1
    both, size = shown @ shown.T, shown.sum(1)
    pair = np.triu_indices(len(there), 1)
    return float((both[pair] / (size[:, None] + size - both)[pair]).mean())


def strategies(visits: Sequence[Visit]) -> list[str]:
    """In the order in which they could be chosen, or else appeared."""
    named: dict[str, None] = {}
    for visit in visits:
        named |= dict.fromkeys(visit.chances)
    return list(named | dict.fromkeys(visit.strategy for visit in visits))


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
        share = [len(mine) / len(part) for mine, part in zip(own, cut, strict=True)]
        out.append(Curve(name=name, share=share, figures=[figures(mine, category, seed) for mine in own]))
    return out


@dataclass(slots=True)
class Regret:
    """Against the strategy that would have been best for all visitors, had one known. N visits that were looked at in hindsight."""

    best: str
    visit: list[int]  # [N] numbers of the visits
    each: list[float]  # [N] expected experience of the best one's page, less that of the policy's
    mean: dict[str, float]  # of each strategy's pages, over all of them
    policy: float  # the same of the policy

    def curve(self) -> list[float]:
        """[N] mean regret of a page until then."""
        return (np.cumsum(self.each) / np.arange(1, len(self.each) + 1)).tolist()


def regret(hindsight: Sequence[Hindsight]) -> Regret | None:
    """None where nothing was looked at in hindsight. A policy is what its chances say, so that no luck of choosing is in it."""
    if not hindsight:
        return None
    names = list(hindsight[0].worth)
    value = np.array([[h.worth[name].experience for name in names] for h in hindsight])
    chance = np.array([[h.chances.get(name, 0.0) for name in names] for h in hindsight])
    policy, mean = (value * chance).sum(1), value.mean(0)
    best = int(mean.argmax())
    return Regret(
        best=names[best], visit=[h.visit for h in hindsight], each=(value[:, best] - policy).tolist(),
        mean=dict(zip(names, mean.tolist(), strict=True)), policy=float(policy.mean()),
    )  # fmt: skip


def categories(items: Mapping[int, set[int]], category: Array) -> float:
    """Mean number over listeners."""
    return float(np.mean([len(np.unique(category[sorted(of)])) for of in items.values()])) if items else float("nan")
