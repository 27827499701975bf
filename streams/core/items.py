"""Items of the catalog: their wire form, and the keys an example needs of them."""
from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from streams.core.events import EventTime, Id, Length, ShortId

Feature = Annotated[str, Meta(max_length=256)] | int | float | bool


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item. `monetization`: expected value of one exposure."""

    item_id: Id
    domain: ShortId | None = None
    artist_id: Id | None = None
    categories: Annotated[tuple[ShortId, ...], Meta(max_length=32)] = ()
    published_ts: EventTime | None = None
    expires_ts: EventTime | None = None
    duration_ms: Length | None = None
    monetization: Annotated[float, Meta(ge=0.0, le=1e9)] = 0.0
    hidden: bool = False
    features: Annotated[dict[Annotated[str, Meta(min_length=1, max_length=64)], Feature], Meta(max_length=64)] = {}
