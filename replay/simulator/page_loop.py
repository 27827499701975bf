"""The closed loop over pages: listeners open a page, read it, and what they do is learned from; and Segue as the one who makes it.

The same seed brings the same listeners at the same times with the same luck, whoever makes the pages. Of every n-th visit it is also
asked what each strategy would have shown just then, and what that would have been worth to this visitor: regret without luck.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
import numpy as np

from bandit.settings import BanditSettings
from bandit.strategies import strategies
from online_model.user_vector import user_vector
from replay.simulator.closed_loop import FutureRecords, Observe
from replay.simulator.page_curves import Hindsight, Story, Visit
from replay.simulator.page_reactions import of_slots, path, read, records
from replay.simulator.page_worth import Worth, worth
from replay.simulator.reactions import chances, realised
from replay.simulator.segue_loop import Segue, SegueSettings
from replay.simulator.world import Session, World
from streams.core.join import keys
from streams.core.join.events import Action, Context, Event, Exposure
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


Serve = Callable[[Visitor], Exposure | None]
Alternatives = Callable[[Visitor], Mapping[str, Exposure | None]]  # the page of every strategy


class PageLoop:
    """One world whose listeners open pages. `full`: the utility of a page that counts as the experience 1."""

    def __init__(
        self, world: World, seed: int, serve: Serve, observe: Observe, full: float, alternatives: Alternatives | None = None,
        every: int = 10,
    ) -> None:  # fmt: skip
        self.world, self.seed, self.serve, self.full = world, seed, serve, full
        self.alternatives, self.every = alternatives, every
        self.story = Story()
        self.category = world.item_domain * world.settings.categories + world.item_category
        self._sessions = world.sessions(seed)
        self._waiting = FutureRecords(world, observe)

    def run(self, sessions: int) -> Story:
        """The next `sessions` visits; may be called again to go on. What is due after the last one stays due."""
        for _ in range(sessions):
            self.step(next(self._sessions))
        return self.story

    def finish(self) -> None:
        """Deliver all acts still to come."""
        self._waiting.deliver(1 << 62)

    def step(self, session: Session) -> None:
        """1 deliver what happened before; 2 ask; 3 react, for later delivery; 4 measure."""
        self._waiting.deliver(session.ts)
        world = self.world
        visitor = Visitor(
            user_id=world.user_ids[session.listener], ts=session.ts, domain=world.settings.domains[session.domain].name,
            context=session.context, request_id=f"{self.seed}-{session.index}",
        )  # fmt: skip
        exposure = self.serve(visitor)
        if self.alternatives is not None and session.index % self.every == 0:
            self._look_back(session, visitor, exposure)
        self.story.visits.append(self._visit(session, exposure))

    def _visit(self, session: Session, exposure: Exposure | None) -> Visit:
        world, slots = self.world, exposure.slots if exposure is not None else ()
        page = of_slots(world, slots)
        found = read(world, session, page, session.ts)
        if exposure is not None:
            self._waiting.put(exposure)
            for record in records(world, session, page, found, exposure.request_id, exposure.request_id):
                self._waiting.put(record)
        items = [place.item for place in found.looked]
        likely = chances(world.settings, world.utility(session, np.array(items, np.int64), session.ts))
        done = [{act.action, *act.also} for act in found.acts]
        choice = exposure.arm_draw if exposure is not None else None
        return Visit(
            ts=session.ts, listener=session.listener, strategy=(exposure.strategy or "") if exposure is not None else "",
            chances=dict(zip(choice.arms, choice.propensities, strict=True)) if choice is not None else {},
            segment=choice.segment if choice is not None else 0,
            experience=min(max(realised(found.acts) / self.full, 0.0), 1.0), revenue=float(world.monetization[items].sum()),
            plays=sum(Action.PLAY in acts for acts in done), dislikes=sum(Action.DISLIKE in acts for acts in done),
            likely_plays=float((1 - likely.skip).sum()), likely_dislikes=float(likely.dislike.sum()), items=items,
            liked=[found.looked[act.position].item for act in found.acts if act.full], shown=len(slots),
        )  # fmt: skip

    def _look_back(self, session: Session, visitor: Visitor, exposure: Exposure | None) -> None:
        if self.alternatives is None or exposure is None or exposure.arm_draw is None:
            return
        worths = {name: self._worth(session, page) for name, page in self.alternatives(visitor).items()}
        chance = dict(zip(exposure.arm_draw.arms, exposure.arm_draw.propensities, strict=True))
        self.story.hindsight.append(Hindsight(len(self.story.visits), worths, chance))

    def _worth(self, session: Session, exposure: Exposure | None) -> Worth:
        items = [place.item for place in path(of_slots(self.world, exposure.slots if exposure is not None else ()))]
        return worth(self.world.settings, self.world.utility(session, np.array(items, np.int64), session.ts), self.full)


class PageRunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of pages may set differently."""

    segue: SegueSettings = SegueSettings()
    pages: PageSettings = PageSettings()
    bandit: BanditSettings = BanditSettings()
    modules: int = 5  # of a page that is asked for
    per_module: int = 2  # as many as are looked at of a module before the next (`page_reactions.LOOKS`)
    single_item_modules: int = 0  # further ones
    strategy: str | None = None  # of every page; None = chosen by what strategies have earned


class SeguePages:
    """Segue as maker of pages: `serve` them, hand `observe` what happened. It knows of the world only its catalog."""

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

    def observe(self, records: Sequence[Event | Exposure]) -> None:
        """Take in and learn what happened."""
        self.segue.observe(records)

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
            version=learner.version,
        )  # fmt: skip
        return self.maker.page(request, visitor.request_id, user, segue.partition.item_counts, model, visitor.ts, segue.seed).exposure
