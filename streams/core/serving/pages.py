"""A request becomes a page: modules in an order, each with its items.

A page is made of the user's likely categories; a strategy puts them in order, drawn by Thompson sampling where the request
names none. Items are ranked within their module as in a slate, stand once in a page, and pass the same one filter.
"""
from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from bandit.strategies import strategies
from streams.core.join.events import MAX_ARMS, MAX_SLOTS, Exposure, ShortId
from streams.core.join.features_view import ItemCounts
from streams.core.json_fields import about
from streams.core.serving.explain import Trace
from streams.core.serving.fusion import RequestError
from streams.core.serving.model_view import ModelView
from streams.core.serving.modules import CONTROL, ModuleBuilder, PageSize
from streams.core.serving.recommend import RANKED, TAIL, Recommender
from streams.core.serving.requests import Flag, ServingRequest
from streams.core.serving.scoring import SlateItem, exposure, trace
from streams.core.state.rows import UserState

FIXED = "fixed"  # the control arm, by its name

Positions = Annotated[int, Meta(ge=1, le=MAX_SLOTS)]


class PageSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a page is put together; how its items are scored and explored is set by `recommend`."""

    # monetization's weights against preference, an arm each; 1 = revenue alone
    revenue_blends: tuple[Annotated[float, Meta(ge=0, le=1)], ...] = (0.0, 0.25, 0.5, 0.75)
    modules: int = 5  # of a page where the request doesn't say: about what a screen or two show
    per_module: int = 6  # items of a module where the request doesn't say: what a row shows
    single_item_modules: int = 0  # further modules of the categories that come next: breadth for a few positions
    max_modules: Positions = 12  # of one page, single-item ones among them
    max_per_module: Positions = 30  # items of one module; an exposure holds 200, which bounds modules x items too
    categories: Annotated[int, Meta(ge=1, le=100)] = 12  # considered for a page: what is likely this user's, then what is popular

    def __post_init__(self) -> None:
        names = [strategy.name for strategy in strategies(self.revenue_blends)]
        if len(names) > MAX_ARMS or len(set(names)) < len(names):
            raise ValueError(f"revenue_blends must differ and be at most {MAX_ARMS - 3}, got {list(self.revenue_blends)}")
        for name in ("modules", "per_module"):
            most = getattr(self, f"max_{name}")
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be in [1, max_{name} = {most}], got {getattr(self, name)}")
        most = self.max_modules - self.modules
        if not 0 <= self.single_item_modules <= most:
            raise ValueError(f"single_item_modules must be in [0, max_modules - modules = {most}], got {self.single_item_modules}")
        if self.modules * self.per_module + self.single_item_modules > MAX_SLOTS:
            raise ValueError(
                f"modules x per_module must be at most {MAX_SLOTS} with single_item_modules,"
                f" got {self.modules} x {self.per_module} and {self.single_item_modules}"
            )


class PageRequest(ServingRequest, frozen=True, kw_only=True):
    """Body of a request for a page."""

    modules: Annotated[Positions | None, about("in place of `pages.modules`; at most `pages.max_modules`")] = None
    per_module: Annotated[Positions | None, about("items of each, in place of `pages.per_module`; at most `pages.max_per_module`")] = None
    single_item_modules: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_SLOTS)] | None,
        about("further modules of one item each; null: as many of `pages.single_item_modules` as fit"),
    ] = msgspec.field(default=None, name="tasters")
    strategy: Annotated[ShortId | None, about("blend-0.25 …, tail, explore, fixed; null: drawn by the strategy bandit")] = None


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """One module of a page."""

    name: Annotated[str, about("category:NAME, popular, new or for-you; send it with acts")]
    category: Annotated[str | None, about("null in the control arm's modules, whose three figures below are null too")]
    items: Annotated[list[SlateItem], about("in order; positions count within the module")]
    preference: Annotated[float | None, about("mean score of the category's best items")]
    monetization: Annotated[float | None, about("mean monetization of these")]
    score: Annotated[float | None, about("what the strategy ordered the modules by")]
    propensity: Annotated[float, about("probability of this module in this place, given those before")]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page as it is served."""

    request_id: Annotated[str, about("send it with every act on these items")]
    modules: Annotated[list[Module], about("in order")]
    strategy: Annotated[str, about("that made it")]
    propensity: Annotated[float, about("probability of this strategy; 1 where the request named it")]
    strategy_propensities: Annotated[dict[str, float], about("of every strategy; empty where the request named it")] = msgspec.field(
        name="chances"
    )
    segment: Annotated[int | None, about("of the user, in the strategy bandit; null where the request named the strategy")]
    flags: Annotated[list[Flag], about("what to know of it")]
    model_version: Annotated[int | None, about("that scored it; null: popularity ordered")]
    model_age_ms: Annotated[int, about("since the learner was last heard of")]


class ServedPage(NamedTuple):
    """A page, and what is kept of it."""

    page: Page
    exposure: Exposure | None  # to write down: None for guests and dry runs, and where nothing is shown
    trace: Trace  # to explain the page by


class PageMaker:
    """Makes pages from explicit state, by the settings, catalog and scores of a recommender."""

    def __init__(self, settings: PageSettings, recommender: Recommender) -> None:
        self.settings, self.scorer = settings, recommender.scorer
        self._strategies = {strategy.name: strategy for strategy in strategies(settings.revenue_blends)}

    def page(
        self, request: PageRequest, request_id: str, user: UserState | None, item_counts: ItemCounts, model: ModelView, ts: int, seed: int
    ) -> ServedPage:
        """The page of a request. `user`: None of a guest, and of a user without events. Raises RequestError."""
        size = self._size(request)
        if request.strategy is not None and request.strategy not in self._strategies:
            raise RequestError("strategy", f"no such strategy {request.strategy!r}; one of {', '.join(self._strategies)}")
        state = self.scorer.state(request, request_id, user, item_counts, model, ts, seed)
        builder = ModuleBuilder(self.scorer, state, size)
        considered, name, choice = builder.considered(self.settings.categories), request.strategy, None
        if not considered:
            name = FIXED
        elif name is None:
            name, choice = state.choose_strategy("page", self.scorer.view)
        strategy = self._strategies[name]
        fusion = self.scorer.fusion(request, self.scorer.settings.ranking(TAIL if strategy.kind == "tail" else RANKED))
        if strategy.kind == "fixed":
            size = _of_control(size)
            wanted, (drafts, scored) = min(size.modules, len(CONTROL)), builder.control(size, fusion)
        else:
            wanted, (drafts, scored) = size.modules + size.single_item_modules, builder.by_category(considered, strategy, fusion)

        placed = [(draft, self.scorer.slate_items(draft.arrangement, scored, {})) for draft in drafts if draft.arrangement.items]
        short = len(placed) < wanted or any(len(items) < size.per_module for _, items in placed[: size.modules])
        repeats = bool(placed) and self.scorer.may_repeat(state)
        flags = self.scorer.flags(state) | {Flag.REPEATS: repeats, Flag.SHORT: short, Flag.UNCATEGORISED: not considered}
        propensities = dict(zip(choice.arms, choice.propensities, strict=True)) if choice else {}
        page = Page(
            request_id=request_id,
            modules=[
                Module(
                    name=draft.name, category=draft.category, items=items, preference=draft.preference, monetization=draft.monetization,
                    score=draft.score, propensity=draft.propensity,
                )
                for draft, items in placed
            ],
            strategy=name, propensity=propensities.get(name, 1.0), strategy_propensities=propensities,
            segment=choice.segment if choice else None, flags=sorted(flag for flag, holds in flags.items() if holds),
            model_version=model.version, model_age_ms=model.age_ms,
        )  # fmt: skip
        exposed = (
            item for draft, items in placed
            for item in self.scorer.exposed_items(draft.arrangement, items, state, draft.name, draft.propensity)
        )  # fmt: skip
        model_trace = scored.trace([key for draft, _ in placed for key in draft.arrangement.items], fusion, state.guest)
        by_module = [(draft.name, item) for draft, items in placed for item in items]
        return ServedPage(page, exposure(state, name, choice, exposed), trace(state, name, choice, page.flags, by_module, model_trace))

    def _size(self, request: PageRequest) -> PageSize:
        """Of the request, else of the settings. Raises RequestError."""
        s, size = self.settings, []
        for field, requested, default, most in (
            ("modules", request.modules, s.modules, s.max_modules), ("per_module", request.per_module, s.per_module, s.max_per_module),
        ):  # fmt: skip
            size.append(default if requested is None else requested)
            if not 1 <= size[-1] <= most:
                raise RequestError(field, f"must be in [1, {most}], got {size[-1]}")
        modules, per_module = size
        if modules * per_module > MAX_SLOTS:
            raise RequestError("per_module", f"modules x per_module must be at most {MAX_SLOTS}, got {modules} x {per_module}")
        most = min(s.max_modules - modules, MAX_SLOTS - modules * per_module)
        single = min(s.single_item_modules, most) if request.single_item_modules is None else request.single_item_modules
        if not 0 <= single <= most:
            raise RequestError("tasters", f"must be in [0, {most}] beside {modules} x {per_module}, got {single}")
        return PageSize(modules, per_module, single)


def _of_control(size: PageSize) -> PageSize:
    """The control arm has no single-item modules: its modules hold their positions too, so that all strategies show as many items.

    >>> _of_control(PageSize(modules=2, per_module=2, single_item_modules=6))
    PageSize(modules=3, per_module=4, single_item_modules=0)
    """
    if not size.single_item_modules:
        return size
    modules = min(size.modules + size.single_item_modules, len(CONTROL))
    items = size.modules * size.per_module + size.single_item_modules
    return PageSize(modules, min(-(-items // modules), MAX_SLOTS // modules), 0)
