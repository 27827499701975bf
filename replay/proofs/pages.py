"""What the talk says of its last layer, in the closed loop: pages whose order is drawn by Thompson sampling against the fixed page.

The same listeners come at the same times with the same luck to two copies of one world. In one, every page is the fixed one (popular,
new, for you); in the other, strategies are drawn by what they earned. Ranker, learner and settings are the same. Pages are of 3 modules
of 4 items, and of 2 modules of 2 with 6 of one item; of either, ten items at most are looked at (`page_reactions`), so that only what
stands there differs, and all is counted over what was looked at.

Why modules of one item: the fixed page mixes categories within its modules, so that ten places show five of the eight that a domain has.
Five modules of a category show five at most, whatever orders them: over 2,000 visits 1.02 of what the fixed page shows at the very best.
The floor of revenue is what the fixed page earned in this world: whoever replaces it must not earn less.
Measured over the whole run, its cold beginning with it.
"""
from __future__ import annotations

import msgspec
import numpy as np

from bandit.settings import BanditSettings
from online_model.model_settings import ModelSettings
from replay.proofs.claims import Claim, Figures, claim
from replay.simulator import page_curves
from replay.simulator.page_curves import Curve, by_strategy, curves, regret
from replay.simulator.page_loop import PageLoop, PageRunSettings, SeguePages
from replay.simulator.segue_loop import SegueSettings
from replay.simulator.world import World, WorldSettings
from streams.core.join.rewards import RewardSettings
from streams.core.join.settings import PartitionSettings

FIXED, CHOSEN = "fixed", "chosen"
UP = 1.1  # categories and distinct items, over the fixed page's
FLOOR_SLACK = 0.02  # of revenue's floor (MODEL.md section 6)
MEASURES = {  # of both pages, by the names of their figures here -> in page_curves.Figures
    "categories": "categories_per_user",
    "liked categories": "liked_categories_per_user",
    "distinct": "distinct_items",
    "overlap": "overlap",
    "dislikes": "dislikes_per_1000_plays",
    "likely dislikes": "likely_dislikes_per_1000_plays",
    "experience": "experience",
}


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The world, and how long it is served."""

    sessions: int = 2_000
    listeners: int = 256  # as many as overlaps are taken between
    items: int = 1_000  # more than all listeners together get to see: of the default 400, the fixed page distributes nearly all
    hindsight: int = 20  # of so many visits one is looked at in hindsight


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A world that was served both ways."""

    seed: int
    floor: float  # revenue of a page
    fixed: page_curves.Figures
    chosen: page_curves.Figures
    by_strategy: dict[str, page_curves.Figures]  # of the pages whose strategy was drawn
    fixed_curves: list[Curve]
    chosen_curves: list[Curve]
    regret_visits: list[int]  # that were looked at in hindsight
    regret_curve: list[float]  # mean regret of a page until then
    best: str  # strategy in hindsight
    worth: dict[str, float]  # expected experience of each strategy's pages to the same visitors
    policy_worth: float  # the same of the policy
    uniform_worth: float  # the same of drawing uniformly


def settings(seed: int, name: str, floor: float = 0.0) -> PageRunSettings:
    """Of the run of that name, FIXED or CHOSEN."""
    reward = RewardSettings(experience_full=10.0)  # of ten items; at the default 2 many pages count as 1, whichever is better
    segue = SegueSettings(model=ModelSettings(seed=seed), partition=PartitionSettings(reward=reward))
    if name == FIXED:
        return PageRunSettings(segue=segue, strategy="fixed", modules=3, per_module=4)
    bandit = BanditSettings(revenue_floor=floor, floor_rounds=100, experience_rate=0.5, revenue_rate=0.1)
    return PageRunSettings(segue=segue, bandit=bandit, modules=2, per_module=2, single_item_modules=6)


def run(seed: int, sizes: Sizes) -> Run:
    """Both, the fixed page first: what it earns is the floor. Raises ValueError where no visit was looked at in hindsight."""
    fixed = _loop(seed, sizes, settings(seed, FIXED), 0)
    category, visits = fixed.world.label, fixed.visits
    earned = page_curves.figures(visits, category, seed)
    chosen = _loop(seed, sizes, settings(seed, CHOSEN, earned.revenue), sizes.hindsight)
    found = regret(chosen.hindsight)
    return Run(
        seed=seed, floor=earned.revenue, fixed=earned, chosen=page_curves.figures(chosen.visits, category, seed),
        by_strategy=by_strategy(chosen.visits, category, seed), fixed_curves=curves(visits, category, seed),
        chosen_curves=curves(chosen.visits, category, seed), regret_visits=found.visit, regret_curve=found.curve, best=found.best,
        worth=found.mean, policy_worth=found.policy, uniform_worth=float(np.mean([found.mean[name] for name in chosen.pages.strategies])),
    )  # fmt: skip


def _loop(seed: int, sizes: Sizes, s: PageRunSettings, every: int) -> PageLoop:
    world = World(WorldSettings(listeners=sizes.listeners, items=sizes.items), seed)
    pages = SeguePages(world, seed, s)
    loop = PageLoop(world, seed, pages, pages.segue.observe, every)
    loop.run(sizes.sessions)
    return loop


def figures(each: Run) -> dict[str, float]:
    """The figures of a world that claims are made of, and those they rest on."""
    forms = ((FIXED, each.fixed), (CHOSEN, each.chosen))
    best = each.worth[each.best]
    return (
        {f"{name} {form}": getattr(of, field) for form, of in forms for name, field in MEASURES.items()}
        | {f"looked {form}": of.looked / of.pages for form, of in forms}
        | {"revenue chosen": each.chosen.revenue, "floor": each.floor}
        | {"regret": best - each.policy_worth, "uniform regret": best - each.uniform_worth}
        | {f"share of pages: {name}": f.pages / each.chosen.pages for name, f in each.by_strategy.items()}
    )


def claims(found: Figures) -> list[Claim]:
    """The five claims, each a comparison within a world; then what they rest on."""
    less = {name: found[f"{name} chosen"] - found[f"{name} fixed"] for name in MEASURES}
    ratio = {name: found[f"{name} chosen"] / found[f"{name} fixed"] for name in ("categories", "distinct")}
    return [
        claim("categories per user, over the fixed page's", ratio["categories"], least=UP, low_above=1.0),
        claim("distinct items, over the fixed page's", ratio["distinct"], least=UP, low_above=1.0),
        claim("overlap between listeners, taken off the fixed page's", -less["overlap"], low_above=0.0),
        claim("dislikes per 1,000 plays, more than the fixed page's", less["dislikes"], most=0.0),
        claim("the same without luck, by the world's own chances", less["likely dislikes"], most=0.0),
        claim("revenue of a page, over the floor", found["revenue chosen"] / found["floor"], least=1 - FLOOR_SLACK),
        *(claim(f"{name}: {form}", found[f"{name} {form}"]) for name in (*MEASURES, "looked") for form in (FIXED, CHOSEN)),
        claim("experience, more than the fixed page's", less["experience"]),
        claim("regret of a page against the best strategy in hindsight", found["regret"]),
        claim("the same of choosing alike", found["uniform regret"]),
        *(claim(name, share) for name, share in found.items() if name.startswith("share of pages")),
    ]
