"""Which items a request wants: by domain, category, artist, features and time of publication.

`ItemFilter` is its wire form; `ItemPredicate` the same with keys in place of names, one value for one meaning, so that an index of the
items that match can be kept under it. The time of publication is no part of it: it moves on from request to request.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from streams.core.join import keys
from streams.core.join.catalog import CatalogItem
from streams.core.join.events import EventTime, Id, ShortId
from streams.core.join.items import Feature
from streams.core.json_fields import about

MAX_NAMES = 200  # domains, categories or artists of one condition: a request stays small beside its candidates
MAX_FEATURES = 16  # conditions on features: each is looked at for each item

Names = Annotated[tuple[ShortId, ...], Meta(max_length=MAX_NAMES)]


class FeatureRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers from `min` to `max`, both among them."""

    min: Annotated[float | None, about("the least; null: any")] = None
    max: Annotated[float | None, about("the most; null: any")] = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("a range has `min`, `max` or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"`min` is at most `max`, got {self.min:g} and {self.max:g}")


class CategoryFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions on all categories of an item."""

    any: Annotated[Names, about("at least one of these; empty: no condition, as of the others")] = ()
    all: Annotated[Names, about("every one of these")] = ()
    none: Annotated[Names, about("not one of these")] = ()


class ItemFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions that each item of a list meets, all of them."""

    domains: Annotated[Names, about("one of these; empty: any")] = ()
    categories: Annotated[CategoryFilter, about("by category")] = CategoryFilter()
    artists: Annotated[Annotated[tuple[Id, ...], Meta(max_length=MAX_NAMES)], about("by one of these; empty: any")] = ()
    features: Annotated[
        Annotated[dict[ShortId, Feature | FeatureRange], Meta(max_length=MAX_FEATURES)],
        about("by feature: this very value, or a number in a range; an item without the feature does not match"),
    ] = {}
    published_since: Annotated[
        EventTime | None, about("published then or later, ms UTC; of an item without `published_ts` its first record counts")
    ] = None

    def predicate(self) -> ItemPredicate:
        """With keys in place of names, and without the time of publication."""
        of = self.categories
        return ItemPredicate(
            domains=_keys("domain", self.domains), artists=_keys("artist", self.artists), any_of=_keys("category", of.any),
            all_of=_keys("category", of.all), none_of=_keys("category", of.none),
            features=tuple(sorted([(name, type(wanted) is bool, wanted) for name, wanted in self.features.items()], key=lambda f: f[0])),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ItemPredicate:
    """Conditions on what a catalog has of an item. Equal ones mean the same; an empty set is no condition."""

    domains: frozenset[int] = frozenset()
    artists: frozenset[int] = frozenset()
    any_of: frozenset[int] = frozenset()  # categories
    all_of: frozenset[int] = frozenset()
    none_of: frozenset[int] = frozenset()
    features: tuple[tuple[str, bool, Feature | FeatureRange], ...] = ()  # by name; whether the value is a bool, for True equals 1

    @property
    def empty(self) -> bool:
        """Everything matches."""
        return self == ItemPredicate()

    def matches(self, known: CatalogItem) -> bool:
        """Whether an item meets all conditions."""
        return (
            (not self.domains or known.domain in self.domains)
            and (not self.artists or known.artist in self.artists)
            and (not self.any_of or not self.any_of.isdisjoint(known.categories))
            and (not self.all_of or self.all_of.issubset(known.categories))
            and (not self.none_of or self.none_of.isdisjoint(known.categories))
            and (not self.features or self._of_features(known.item.features))
        )

    def _of_features(self, found: dict[str, Feature]) -> bool:
        for name, is_bool, wanted in self.features:
            value = found.get(name)
            if value is None or (type(value) is bool) is not is_bool:
                return False
            if not isinstance(wanted, FeatureRange):
                if value != wanted:
                    return False
            elif isinstance(value, str) or not (
                (wanted.min is None or value >= wanted.min) and (wanted.max is None or value <= wanted.max)
            ):
                return False
        return True


def _keys(field: str, names: tuple[str, ...]) -> frozenset[int]:
    return frozenset([keys.key(field, name) for name in names])
