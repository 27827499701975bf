"""The closed loop over pages: listeners open a page, read it, and what they do is learned from; and Segue as the one who makes it.

The same seed brings the same listeners at the same times with the same luck, whoever makes the pages. Of every n-th visit, what each
strategy would have shown just then is also measured by what it would have been worth to this visitor: regret without luck.
"""
from __future__ import annotations

from functools import partial

import msgspec
import numpy as np

from bandit.settings import BanditSettings
from bandit.strategies import strategies
from online_model.user_vector import user_vector
from replay.simulator.closed_loop import Loop, Observe
from replay.simulator.page_curves import Hindsight, Visit
from replay.simulator.page_reactions import of_slots, path, read, records
from replay.simulator.page_worth import expected_experience
from replay.simulator.reactions import act_probabilities, realised
from replay.simulator.segue_loop import Segue, SegueSettings
from replay.simulator.world import Session, World
from streams.core.join import keys
from streams.core.join.events import Action, ArmDraw, Context, Exposure
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.model_view import ModelView
from streams.core.serving.pages import PageMaker, PageRequest, PageSettings


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Who opens a page, as far as it may be known."""

    user_id: str
    ts: int
    domain: str
    context: Context
    request_id: str


class PageRunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of pages may set differently."""

    segue: SegueSettings = SegueSettings()
    pages: PageSettings = PageSettings()
    bandit: BanditSettings = BanditSettings()
    modules: int = 5  # of a requested page
    per_module: int = 2  # as many as are looked at of a module before the next (`page_reactions.LOOKS`)
    single_item_modules: int = 0  # further ones
    strategy: str | None = None  # of every page; None = drawn by what strategies have earned


class SeguePages:
    """Segue as maker of pages: `serve` them, hand `segue.observe` what happened. It knows of the world only its catalog."""

    def __init__(self, world: World, seed: int, settings: PageRunSettings, device: str = "cpu") -> None:
        self.settings = settings
        self.strategies = tuple(strategy.name for strategy in strategies(settings.pages.revenue_blends))
        self.strategy_bandit = StrategyBandit({"page": self.strategies}, settings.bandit)
        self.segue = Segue(world, seed, settings.segue, device, self.strategy_bandit)
        self.maker = PageMaker(settings.pages, self.segue.recommender)

    @property
    def full(self) -> float:
        """The utility that counts as the experience 1."""
        return self.settings.segue.partition.reward.experience_full

    def serve(self, visitor: Visitor) -> Exposure | None:
        """A page as of now. Its exposure comes back with the records, as the live one does."""
        self.segue.until(visitor.ts)
        return self._page(visitor, self.settings.strategy)

    def alternatives(self, visitor: Visitor) -> dict[str, Exposure | None]:
        """What each strategy would show now."""
        return {name: self._page(visitor, name) for name in self.strategies}

    def _page(self, visitor: Visitor, strategy: str | None) -> Exposure | None:
        s, segue = self.settings, self.segue
        request = PageRequest(
            user_id=visitor.user_id, modules=s.modules, per_module=s.per_module, single_item_modules=s.single_item_modules,
            domain=visitor.domain, context=visitor.context, strategy=strategy,
        )  # fmt: skip
        user = segue.partition.user(keys.key("user", visitor.user_id))
        learner = segue.learner
        model = ModelView(
            predict=learner.trainer.predict, user_vector=partial(user_vector, learner.trainer.state), bandit=self.strategy_bandit,
            version=learner.version, vectors=learner.trainer.state.towers,
        )  # fmt: skip
        return self.maker.page(request, visitor.request_id, user, segue.partition.item_counts, model, visitor.ts, segue.seed).exposure


class PageLoop(Loop[Visit]):
    """One world whose listeners open Segue's pages. `every`: of so many visits one is looked at in hindsight; 0 = none."""

    def __init__(self, world: World, seed: int, pages: SeguePages, observe: Observe, every: int = 0) -> None:
        super().__init__(world, seed, observe)
        self.pages, self.every = pages, every
        self.hindsight: list[Hindsight] = []

    def step(self, session: Session) -> Visit:
        """Request a page, look at what the other strategies would have shown, react to the page, measure it."""
        world = self.world
        visitor = Visitor(
            user_id=world.user_ids[session.listener], ts=session.ts, domain=world.settings.domains[session.domain].name,
            context=session.context, request_id=f"{self.seed}-{session.index}",
        )  # fmt: skip
        exposure = self.pages.serve(visitor)
        draw = exposure.arm_draw if exposure is not None else None
        if self.every and session.index % self.every == 0 and draw is not None:
            worth = {name: self._expected(session, page) for name, page in self.pages.alternatives(visitor).items()}
            self.hindsight.append(Hindsight(len(self.visits), worth, _propensities(draw)))
        page = of_slots(world, exposure)
        found = read(world, session, page, session.ts)
        if exposure is not None:
            self.pending.put(exposure)
            for record in records(world, session, page, found, exposure.request_id, exposure.request_id):
                self.pending.put(record)
        items = [place.item for place in found.looked]
        likely = act_probabilities(world.settings, world.utility(session, np.array(items, np.int64), session.ts))
        actions = [{reaction.action, *reaction.also} for reaction in found.acts]
        return Visit(
            listener=session.listener, strategy=(exposure.strategy or "") if exposure is not None else "",
            propensities=_propensities(draw), experience=min(max(realised(found.acts) / self.pages.full, 0.0), 1.0),
            revenue=float(world.monetization[items].sum()), plays=sum(Action.PLAY in each for each in actions),
            dislikes=sum(Action.DISLIKE in each for each in actions), likely_plays=float((1 - likely.skip).sum()),
            likely_dislikes=float(likely.dislike.sum()), items=items,
            liked=[found.looked[reaction.position].item for reaction in found.acts if reaction.full], exposures=sum(map(len, page)),
        )  # fmt: skip

    def _expected(self, session: Session, exposure: Exposure | None) -> float:
        items = np.array([place.item for place in path(of_slots(self.world, exposure))], np.int64)
        return expected_experience(self.world.settings, self.world.utility(session, items, session.ts), self.pages.full)


def _propensities(draw: ArmDraw | None) -> dict[str, float]:
    """Of all strategies; none where the request named one."""
    return dict(zip(draw.arms, draw.propensities, strict=True)) if draw is not None else {}
