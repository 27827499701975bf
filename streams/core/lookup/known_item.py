"""What is known of an item: what the catalog has of it, what events say of it, whether it may be shown and, if not, why."""
from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from online_model.features import COUNTS, POPULARITY_HALF_LIVES_H
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.features_view import ItemCounts
from streams.core.join.items import Item
from streams.core.json_fields import about
from streams.core.serving.catalog_index import CatalogIndex


class WhyNot(enum.StrEnum):
    """Why an item may not be shown now."""

    NOT_IN_CATALOG = "not_in_catalog"
    HIDDEN = "hidden"
    NOT_YET_PUBLISHED = "not_yet_published"
    EXPIRED = "expired"


class KnownItem(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an item."""

    item_id: Annotated[str, about("the item")]
    item: Annotated[Item | None, about("as the catalog has it; null: it does not hold the item")]
    servable: Annotated[bool, about("it may be shown now, to those who have not just had it")]
    why_not: Annotated[list[WhyNot], about("where it may not: every reason")]
    popularity: Annotated[dict[str, float], about("decayed count of events by half-life in hours, over all partitions: what ranking sees")]
    counts: Annotated[dict[str, float], about("decayed counts: of exposures, and of these with each task's act")]


def known_item(item_id: str, catalog: Catalog, index: CatalogIndex, item_counts: ItemCounts, now_ms: int) -> KnownItem | None:
    """None where neither the catalog nor any event has it."""
    index.advance(now_ms)
    key = keys.key("item", item_id)
    known, values = catalog.get(key), item_counts(key, now_ms)
    if known is None and not any(values) and index.name(key) is None:
        return None
    halves = len(POPULARITY_HALF_LIVES_H)
    servable = index.available(key)
    return KnownItem(
        item_id=item_id, item=known.item if known else None, servable=servable,
        why_not=[] if servable else _why_not(known.item if known else None, now_ms),
        popularity={f"{h:g}": value for h, value in zip(POPULARITY_HALF_LIVES_H, values[:halves], strict=True)},
        counts=dict(zip(COUNTS, values[halves:], strict=True)),
    )  # fmt: skip


def _why_not(item: Item | None, now_ms: int) -> list[WhyNot]:
    if item is None:
        return [WhyNot.NOT_IN_CATALOG]
    reasons = {
        WhyNot.HIDDEN: item.hidden,
        WhyNot.NOT_YET_PUBLISHED: item.published_ts is not None and item.published_ts > now_ms,
        WhyNot.EXPIRED: item.expires_ts is not None and item.expires_ts <= now_ms,
    }
    return [reason for reason, holds in reasons.items() if holds]
