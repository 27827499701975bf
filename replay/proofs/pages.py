"""What the talk says of its last layer, in the closed loop: pages whose order is chosen by Thompson sampling against the fixed page.

The same listeners come at the same times with the same luck to two copies of one world. In one, every page is the fixed one (popular,
new, for you); in the other, strategies are chosen by what they earned. Ranker, learner and settings are the same. Pages are of 3 modules
of 4 items, and of 2 modules of 2 with 6 of one item; of either, ten items at most are looked at (`page_reactions`), so that only what
stands there differs, and all is counted over what was looked at.

Why modules of one item: the fixed page mixes categories within its modules, so that ten places show five of the eight that a domain has.
Five modules of a category show five at most, whatever orders them: over 2,000 visits 1.02 of what the fixed page shows at the very best.
The floor of revenue is what the fixed page earned in this world: whoever replaces it must not earn less.
Judged over the whole run, its cold beginning with it.
"""
from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from bandit.settings import BanditSettings
from online_model.model_settings import ModelSettings
from replay.proofs.claims import Proof, line, proof
from replay.simulator.page_curves import Curve, Figures, by_strategy, curves, figures, regret
from replay.simulator.page_loop import PageLoop, PageRunSettings, SeguePages
from replay.simulator.segue_loop import SegueSettings
from replay.simulator.world import World, WorldSettings
from streams.core.join.rewards import RewardSettings
from streams.core.join.settings import PartitionSettings

FIXED, CHOSEN = "fixed", "chosen"
UP = 1.1  # categories and distinct items, over the fixed page's
FLOOR_SLACK = 0.02  # of revenue's floor (MODEL.md section 6)


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The world, and what is chosen by."""

    sessions: int = 2_000
    listeners: int = 256  # as many as overlaps are taken between
    items: int = 1_000  # more than all listeners together get to see: of the default 400, the fixed page distributes nearly all
    hindsight: int = 20  # of so many visits one is looked at in hindsight


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A world that was served both ways."""

    seed: int
    floor: float  # revenue of a page
    fixed: Figures
    chosen: Figures
    by_strategy: dict[str, Figures]  # of the pages that were chosen
    fixed_curves: list[Curve]
    chosen_curves: list[Curve]
    regret_visits: list[int]  # that were looked at in hindsight
    regret_curve: list[float]  # mean regret of a page until then
    best: str  # strategy in hindsight
    worth: dict[str, float]  # expected experience of each strategy's pages to the same visitors
    policy_worth: float  # the same of the policy
    uniform_worth: float  # the same of choosing alike


def settings(seed: int, name: str, floor: float = 0.0) -> PageRunSettings:
    """Of one of the two."""
    reward = RewardSettings(experience_full=10.0)  # of ten items; at the default 2 many pages count as 1, whichever is better
    segue = SegueSettings(model=ModelSettings(seed=seed), partition=PartitionSettings(reward=reward))
    if name == FIXED:
        return PageRunSettings(segue=segue, strategy="fixed", modules=3, per_module=4)
    bandit = BanditSettings(revenue_floor=floor, floor_rounds=100, experience_rate=0.5, revenue_rate=0.1)
    return PageRunSettings(segue=segue, bandit=bandit, modules=2, per_module=2, single_item_modules=6)


def run(seed: int, sizes: Sizes) -> Run:
    """Both, the fixed page first: what it earns is the floor."""
    fixed, _ = _loop(seed, sizes, settings(seed, FIXED), 0)
    category, story = fixed.category, fixed.story
    plain = figures(story.visits, category, seed)
    chosen, names = _loop(seed, sizes, settings(seed, CHOSEN, plain.revenue), sizes.hindsight)
    found = regret(chosen.story.hindsight)
    if found is None:
        raise ValueError("no visit was looked at in hindsight: more sessions are needed")
    visits = chosen.story.visits
    return Run(
        seed=seed, floor=plain.revenue, fixed=plain, chosen=figures(visits, category, seed),
        by_strategy=by_strategy(visits, category, seed), fixed_curves=curves(story.visits, category, seed),
        chosen_curves=curves(visits, category, seed), regret_visits=found.visit, regret_curve=found.curve(), best=found.best,
        worth=found.mean, policy_worth=found.policy, uniform_worth=float(np.mean([found.mean[name] for name in names])),
    )  # fmt: skip


def _loop(seed: int, sizes: Sizes, s: PageRunSettings, every: int) -> tuple[PageLoop, Sequence[str]]:
    world = World(WorldSettings(listeners=sizes.listeners, items=sizes.items), seed)
    segue = SeguePages(world, seed, s)
    loop = PageLoop(world, seed, segue.serve, segue.observe, segue.full, segue.alternatives if every else None, max(every, 1))
    loop.run(sizes.sessions)
    return loop, segue.strategies


def held(each: Run) -> dict[str, float]:
    """The figures that are judged, or told."""
    a, b = each.fixed, each.chosen
    own = {f"share of pages: {name}": f.pages / b.pages for name, f in each.by_strategy.items()}
    return {
        "categories fixed": a.categories_per_user, "categories chosen": b.categories_per_user,
        "liked categories fixed": a.liked_categories_per_user, "liked categories chosen": b.liked_categories_per_user,
        "distinct fixed": a.distinct_items, "distinct chosen": b.distinct_items,
        "overlap fixed": a.overlap, "overlap chosen": b.overlap,
        "dislikes fixed": a.dislikes_per_1000_plays, "dislikes chosen": b.dislikes_per_1000_plays,
        "likely dislikes fixed": a.likely_dislikes_per_1000_plays, "likely dislikes chosen": b.likely_dislikes_per_1000_plays,
        "revenue chosen": b.revenue, "floor": each.floor, "experience fixed": a.experience, "experience chosen": b.experience,
        "looked fixed": a.looked / a.pages, "looked chosen": b.looked / b.pages,
        "regret": each.worth[each.best] - each.policy_worth, "uniform regret": each.worth[each.best] - each.uniform_worth,
    } | own  # fmt: skip


def judge(seeds: Sequence[int], each: Sequence[dict[str, float]]) -> Proof:
    """The five claims, each a comparison within a world; then what they rest on."""

    def of(name: str) -> np.ndarray:
        return np.array([f.get(name, 0.0) for f in each])

    def ratio(name: str) -> list[float]:
        return (of(f"{name} chosen") / of(f"{name} fixed")).tolist()

    def less(name: str) -> list[float]:
        return (of(f"{name} chosen") - of(f"{name} fixed")).tolist()

    lines = [
        line("categories per user, over the fixed page's", ratio("categories"), least=UP, above=1.0),
        line("distinct items, over the fixed page's", ratio("distinct"), least=UP, above=1.0),
        line("overlap between listeners, taken off the fixed page's", [-x for x in less("overlap")], above=0.0),
        line("dislikes per 1,000 plays, more than the fixed page's", less("dislikes"), most=0.0),
        line("the same without luck, by the world's own chances", less("likely dislikes"), most=0.0),
        line("revenue of a page, over the floor", (of("revenue chosen") / of("floor")).tolist(), least=1 - FLOOR_SLACK),
    ]
    told = ("categories", "liked categories", "distinct", "overlap", "dislikes", "likely dislikes", "experience", "looked")
    lines += [line(f"{name}: {form}", of(f"{name} {form}").tolist()) for name in told for form in (FIXED, CHOSEN)]
    lines.append(line("experience, more than the fixed page's", less("experience")))
    lines.append(line("regret of a page against the best strategy in hindsight", of("regret").tolist()))
    lines.append(line("the same of choosing alike", of("uniform regret").tolist()))
    names = dict.fromkeys(name for f in each for name in f if name.startswith("share of pages"))
    lines += [line(name, of(name).tolist()) for name in names]
    return proof("pages", seeds, lines)
