"""Items of the catalog: their wire form, and decoding that never raises on bad data."""
from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from online_model.item_embedding import BOUND, MOST
from streams.core.join.decode import ELEMENTS, MAX_ARRAY, validated
from streams.core.join.events import EventTime, Id, Length, Reason, Rejected, ShortId
from streams.core.json_fields import about, reader

Feature = Annotated[str, Meta(max_length=256)] | int | float | bool


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item. `monetization`: expected value of one exposure."""

    item_id: Annotated[Id, about("the item; what is put again replaces what was there, all of it")]
    domain: Annotated[ShortId | None, about("kind of item: song, video, longform, live …; requests select by it")] = None
    artist_id: Annotated[Id | None, about("artist, author or channel: what a user felt about one item of theirs tells of another")] = None
    variant_of: Annotated[
        Id | None, about("the item that this is another version of; of all versions one at most is in a list, and who had one has had all")
    ] = None
    categories: Annotated[
        tuple[ShortId, ...],
        Meta(max_length=32),
        about("genres, topics, tags; modules of pages are categories, the first one is the main one"),
    ] = ()
    published_ts: Annotated[EventTime | None, about("from then on it may be shown, ms UTC; null: at once")] = None
    expires_ts: Annotated[EventTime | None, about("from then on it may not, ms UTC; null: never")] = None
    duration_ms: Annotated[Length | None, about("of the whole item; of a play, the event's own `duration_ms` counts")] = None
    monetization: Annotated[float, Meta(ge=0.0, le=1e9), about("expected value of one exposure, in a unit of yours")] = 0.0
    hidden: Annotated[bool, about("true: in no list, even where a request names it")] = False
    embedding: Annotated[
        tuple[Annotated[float, Meta(ge=-BOUND, le=BOUND)], ...],
        Meta(max_length=MOST),
        about("numbers that say what it is like (audio, text), of one model for all items: by them it is found before anybody took it"),
    ] = ()
    features: Annotated[dict[ShortId, Feature], Meta(max_length=64), about("anything else that is known of it: numbers, words, flags")] = {}


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
