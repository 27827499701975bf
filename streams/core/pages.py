"""A request becomes a page: modules in an order, each with its list.

The user's likely categories are what the page is made of; a strategy puts them in order, drawn by Thompson sampling where the request
names none. Items are ranked within their module as in a list, stand once in a page, and pass the same one filter.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bandit.strategies import strategies
from streams.core.events import MAX_ARMS, MAX_SLOTS, Exposure, ShortId
from streams.core.explain import Trace
from streams.core.recommend import Recommender
from streams.core.scoring import Asked, Predict, Ranked
from streams.core.state import UserState
from streams.core.view import ItemCounts

if TYPE_CHECKING:
    from streams.core.choosing import Choosing

POPULAR, NEW, FOR_YOU = "popular", "new", "for-you"  # modules of the control arm
UNCATEGORISED = "uncategorised"  # flag: no category has anything to show, so the page is that of the control arm


class PageSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a page is put together; how its items are scored and explored is set by `recommend`."""

    blends: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)  # monetization's weights against preference, an arm each; 1 forgets the user
    modules: int = 5  # of a page where the request doesn't say: about what a screen or two show
    per_module: int = 6  # items of a module where the request doesn't say: what a row shows
    max_modules: int = 12  # of one page
    max_per_module: int = 30  # items of one module; an exposure holds 200, which bounds modules x items too
    categories: int = 12  # considered for a page: what is likely this user's, then what is popular

    def __post_init__(self) -> None:
        if not all(0.0 <= alpha <= 1.0 for alpha in self.blends):
            raise ValueError(f"blends must lie in [0, 1], got {list(self.blends)}")
        names = [strategy.name for strategy in strategies(self.blends)]
        if len(names) > MAX_ARMS or len(set(names)) < len(names):
            raise ValueError(f"blends must differ and be at most {MAX_ARMS - 3}, got {list(self.blends)}")
        for name, most in (("max_modules", MAX_SLOTS), ("max_per_module", MAX_SLOTS), ("categories", 100)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be in [1, {most}], got {getattr(self, name)}")
        for name in ("modules", "per_module"):
            most = getattr(self, f"max_{name}")
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be in [1, max_{name} = {most}], got {getattr(self, name)}")
        if self.modules * self.per_module > MAX_SLOTS:
            raise ValueError(f"modules x per_module must be at most {MAX_SLOTS}, got {self.modules} x {self.per_module}")


class PageRequest(Asked, frozen=True, kw_only=True):
    """Body of a request for a page."""

    modules: int | None = None  # in place of the settings', as the next
    per_module: int | None = None
    strategy: ShortId | None = None  # None = chosen by what strategies have earned


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """One list of a page."""

    name: str  # category:NAME | popular | new | for-you
    category: str | None  # None of the control arm's modules, whose three figures below are None too
    items: list[Ranked]  # positions count within the module
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


class MadePage(NamedTuple):
    """A page, and what is to be remembered of it."""

    page: Page
    exposure: Exposure | None  # to write down: nothing of guests, nothing where nothing is shown
    trace: Trace  # what the page can be explained by


class PageMaker:
    """Makes pages out of explicit state, beside a recommender, whose catalog, shelves and scores they share."""

    def __init__(self, settings: PageSettings, recommender: Recommender) -> None:
        self.settings, self.recommender = settings, recommender

    def page(
        self, request: PageRequest, request_id: str, user: UserState | None, item_counts: ItemCounts, predict: Predict | None,
        choosing: Choosing, ts: int, seed: int, version: int | None = None, age_ms: int = 0, stale: bool = False,
    ) -> MadePage:  # fmt: skip
        """The page. Arguments as of a list; `choosing` chooses the strategy where the request names none. Raises RequestError."""
        raise NotImplementedError
