"""Items of the catalog: their wire form, and decoding that never raises on bad data."""
from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from streams.core.join.decode import ELEMENTS, MAX_ARRAY, validated
from streams.core.join.events import EventTime, Id, Length, Reason, Rejected, ShortId
from streams.core.json_fields import reader

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
    features: Annotated[dict[ShortId, Feature], Meta(max_length=64)] = {}


_item = reader(Item)


def decode(value: bytes) -> list[Item | Rejected]:
    """The items of one JSON value, or of an array, each usable or `Rejected`, in order. What is no JSON is lost as a whole."""
    if value.lstrip()[:1] != b"[":
        return [validated(value, _item)]
    pieces = validated(value, ELEMENTS.decode)
    if isinstance(pieces, Rejected):
        return [pieces]
    if len(pieces) > MAX_ARRAY:
        return [Rejected(Reason.OVERSIZED, f"more than {MAX_ARRAY:,} items in one array; send smaller arrays", value)]
    return [validated(bytes(piece), _item) for piece in pieces]
