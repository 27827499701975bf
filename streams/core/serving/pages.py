"""A request becomes a page: modules in an order, each with its list.

The user's likely categories are what the page is made of; a strategy puts them in order, drawn by Thompson sampling where the request
names none. Items are ranked within their module as in a list, stand once in a page, and pass the same one filter.
"""
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from bandit.strategies import strategies
from streams.core.join import keys
from streams.core.join.events import MAX_ARMS, MAX_SLOTS, ArmDraw, Exposure, ShortId
from streams.core.join.features_view import ItemCounts
from streams.core.join.state import UserState
from streams.core.serving.audience import standing
from streams.core.serving.explain import Trace
from streams.core.serving.fusion import Fusion, RequestError
from streams.core.serving.modules import CONTROL, Modules, Moment, Row
from streams.core.serving.recommend import CHOICE, COLD, GUEST, RANKED, SHORT, STALE, TAIL, Recommender
from streams.core.serving.scoring import Look, Predict, Scored, ServingRequest, SlateItem, told

if TYPE_CHECKING:
    from streams.core.learning.strategy_bandit import StrategyBandit

FIXED = "fixed"  # the control arm, by its name
UNCATEGORISED = "uncategorised"  # flag: no category has anything to show, so the page is that of the control arm, and nothing was chosen


class PageSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a page is put together; how its items are scored and explored is set by `recommend`."""

    revenue_blends: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)  # monetization's weights against preference, an arm each; 1 forgets the user
    modules: int = 5  # of a page where the request doesn't say: about what a screen or two show
    per_module: int = 6  # items of a module where the request doesn't say: what a row shows
    single_item_modules: int = 0  # further modules, of one item each, of the categories that come next: breadth for a few places
    max_modules: int = 12  # of one page, tasters among them
    max_per_module: int = 30  # items of one module; an exposure holds 200, which bounds modules x items too
    categories: int = 12  # considered for a page: what is likely this user's, then what is popular

    def __post_init__(self) -> None:
        if not all(0.0 <= alpha <= 1.0 for alpha in self.revenue_blends):
            raise ValueError(f"revenue_blends must lie in [0, 1], got {list(self.revenue_blends)}")
        names = [strategy.name for strategy in strategies(self.revenue_blends)]
        if len(names) > MAX_ARMS or len(set(names)) < len(names):
            raise ValueError(f"revenue_blends must differ and be at most {MAX_ARMS - 3}, got {list(self.revenue_blends)}")
        for name, most in (("max_modules", MAX_SLOTS), ("max_per_module", MAX_SLOTS), ("categories", 100)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be in [1, {most}], got {getattr(self, name)}")
        for name in ("modules", "per_module"):
            most = getattr(self, f"max_{name}")
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be in [1, max_{name} = {most}], got {getattr(self, name)}")
        single, most = self.single_item_modules, self.max_modules - self.modules
        if not 0 <= single <= most:
            raise ValueError(f"single_item_modules must be in [0, max_modules - modules = {most}], got {single}")
        if self.modules * self.per_module + single > MAX_SLOTS:
            got = f"{self.modules} x {self.per_module} and {single}"
            raise ValueError(f"modules x per_module must be at most {MAX_SLOTS} with single_item_modules, got {got}")


class PageRequest(ServingRequest, frozen=True, kw_only=True):
    """Body of a request for a page."""

    modules: int | None = None  # in place of the settings', as the next
    per_module: int | None = None
    tasters: int | None = None  # further modules, of one item each; by default as many of the settings' as fit
    strategy: ShortId | None = None  # None = chosen by what strategies have earned


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """One list of a page."""

    name: str  # category:NAME | popular | new | for-you
    category: str | None  # None of the control arm's modules, whose three figures below are None too
    items: list[SlateItem]  # positions count within the module
    preference: float | None  # mean score of the category's best items
    monetization: float | None  # their mean monetization
    score: float | None  # what the strategy put the modules in order by
    propensity: float  # probability of this module in this place, given those above


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page as it is served."""

    request_id: str
    modules: list[Module]
    strategy: str
    propensity: float  # probability of this strategy; 1 where the request named it
    chances: dict[str, float]  # of every strategy, where one was chosen; empty where the request named it
    segment: int | None  # of the user, in what strategies have earned; None where the request named the strategy
    flags: list[str]  # of cold, guest, stale, as in a list; short (fewer modules or items than asked for), uncategorised
    model_version: int | None
    model_age_ms: int


class ServedPage(NamedTuple):
    """A page, and what is to be remembered of it."""

    page: Page
    exposure: Exposure | None  # to write down: nothing of guests, nothing where nothing is shown
    trace: Trace  # what the page can be explained by


class PageMaker:
    """Makes pages out of explicit state, beside a recommender: its settings, catalog, shelves and scores are theirs too."""

    def __init__(self, settings: PageSettings, recommender: Recommender) -> None:
        self.settings, self.catalog_index, self.scorer = settings, recommender.catalog_index, recommender.scorer
        self._modules = Modules(recommender.scorer)
        self._strategies = {strategy.name: strategy for strategy in strategies(settings.revenue_blends)}

    def page(
        self, request: PageRequest, request_id: str, user: UserState | None, item_counts: ItemCounts, predict: Predict | None,
        strategy_bandit: StrategyBandit, ts: int, seed: int, version: int | None = None, age_ms: int = 0,
        stale: bool = False, look: Look | None = None,
    ) -> ServedPage:  # fmt: skip
        """The page. Arguments as of a list; `strategy_bandit` chooses the strategy where the request names none. Raises RequestError."""
        modules, per_module, tasters = self._size(request)
        self.scorer.check(request)
        if request.strategy is not None and request.strategy not in self._strategies:
            raise RequestError("strategy", f"no such strategy {request.strategy!r}; one of {', '.join(self._strategies)}")
        self.catalog_index.advance(ts)
        cold = predict is None or version == 0
        state, chance = self.scorer.state(request, user, ts), [seed, keys.once("request", request_id), ts]
        moment = Moment(
            request, modules, per_module, tasters, state, self.scorer.blocked(request, state, ts),
            keys.key("domain", request.domain) if request.domain is not None else None,
            item_counts, None if cold else predict, ts, chance, np.random.default_rng(chance),
        )  # fmt: skip
        considered, choice = self._modules.considered(moment, self.settings.categories), None
        if not considered:
            strategy = self._strategies[FIXED]
        elif request.strategy is not None:
            strategy = self._strategies[request.strategy]
        else:
            uniform = float(np.random.default_rng([*chance, CHOICE]).random())
            looking = look if strategy_bandit.looks("page") and not cold else None
            vector = self.scorer.vector(request, state, item_counts, looking, ts)
            name, choice = strategy_bandit.choose("page", *standing(state, self.scorer.view, ts), uniform, vector)
            strategy = self._strategies[name]
        fusion = self.scorer.fusion(request, self.scorer.settings.way(TAIL if strategy.kind == "tail" else RANKED))
        if strategy.kind == "fixed":
            modules, per_module = _without_tasters(modules, per_module, tasters)
            moment = replace(moment, modules=modules, per_module=per_module)
            wanted, (rows, scored) = min(modules, len(CONTROL)), self._modules.control(moment, fusion)
        else:
            wanted, (rows, scored) = modules + tasters, self._modules.by_category(moment, considered, strategy, fusion)

        laid = [(row, self.scorer.items(row.listed, row.sources, row.chances, scored, {})) for row in rows if row.listed]
        short = len(laid) < wanted or any(len(items) < per_module for _, items in laid[:modules])
        flags = {COLD: cold, GUEST: request.user_id is None, SHORT: short, STALE: stale, UNCATEGORISED: not considered}
        chances = dict(zip(choice.arms, choice.chances, strict=True)) if choice else {}
        page = Page(
            request_id=request_id,
            modules=[
                Module(
                    name=row.name, category=row.category, items=items, preference=row.preference, monetization=row.monetization,
                    score=row.score, propensity=row.propensity,
                )
                for row, items in laid
            ],
            strategy=strategy.name, propensity=chances.get(strategy.name, 1.0), chances=chances,
            segment=choice.segment if choice else None, flags=sorted(f for f, holds in flags.items() if holds),
            model_version=version, model_age_ms=age_ms,
        )  # fmt: skip
        return ServedPage(page, self._exposure(moment, page, laid, choice), self._trace(moment, page, laid, scored, fusion, choice))

    def _size(self, request: PageRequest) -> tuple[int, int, int]:
        s, size = self.settings, []
        for field, asked, usual, most in (
            ("modules", request.modules, s.modules, s.max_modules), ("per_module", request.per_module, s.per_module, s.max_per_module),
        ):  # fmt: skip
            size.append(usual if asked is None else asked)
            if not 1 <= size[-1] <= most:
                raise RequestError(field, f"must be in [1, {most}], got {size[-1]}")
        modules, per_module = size
        if modules * per_module > MAX_SLOTS:
            raise RequestError("per_module", f"modules x per_module must be at most {MAX_SLOTS}, got {modules} x {per_module}")
        most = min(s.max_modules - modules, MAX_SLOTS - modules * per_module)
        tasters = min(s.single_item_modules, most) if request.tasters is None else request.tasters
        if not 0 <= tasters <= most:
            raise RequestError("tasters", f"must be in [0, {most}] beside {modules} x {per_module}, got {tasters}")
        return modules, per_module, tasters

    def _exposure(self, m: Moment, page: Page, laid: list[tuple[Row, list[SlateItem]]], choice: ArmDraw | None) -> Exposure | None:
        if m.asked.user_id is None or not laid:
            return None
        slots = [
            slot for row, items in laid
            for slot in self.scorer.slots(row.listed, items, row.given, m.item_counts, m.ts, row.name, row.propensity)
        ]  # fmt: skip
        return Exposure(
            ts=m.ts, user_id=m.asked.user_id, request_id=page.request_id, slots=tuple(slots), domain=m.asked.domain,
            strategy=page.strategy, choice=choice, context=m.asked.context,
            model_version=page.model_version or 0, model_age_ms=page.model_age_ms,
        )  # fmt: skip

    def _trace(
        self, m: Moment, page: Page, laid: list[tuple[Row, list[SlateItem]]], scored: Scored, fusion: Fusion, choice: ArmDraw | None
    ) -> Trace:
        shown = [(row, item) for row, items in laid for item in items]
        listed = [key for row, _ in laid for key in row.listed]
        return Trace(
            ts=m.ts, user_id=m.asked.user_id, strategy=page.strategy, flags=page.flags, model_version=page.model_version,
            items=[i.item_id for _, i in shown], sources=[i.source for _, i in shown], propensities=[i.propensity for _, i in shown],
            scores=[i.score for _, i in shown], numbers=told(scored, listed, fusion, m.asked.user_id is None),
            modules=[row.name for row, _ in shown], choice=choice,
        )  # fmt: skip


def _without_tasters(modules: int, per_module: int, tasters: int) -> tuple[int, int]:
    """The control arm has none: its modules hold their places too, so that it shows as much as the others and is not judged by less."""
    if not tasters:
        return modules, per_module
    most = min(modules + tasters, len(CONTROL))
    return most, min(-(-(modules * per_module + tasters) // most), MAX_SLOTS // most)
