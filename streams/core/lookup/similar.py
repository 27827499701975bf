"""Items that are similar to others, for a shelf beside an item: no user is known, nothing is exposed or written down.

`similarity` is the one place that knows the kinds of similarity.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, assert_never

import msgspec
from msgspec import Meta

from streams.core.join import co_listening, keys
from streams.core.join.events import MAX_SLOTS, Id, ShortId
from streams.core.json_fields import about
from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.eligibility import EligibilityFilter
from streams.core.serving.recommend import Recommender
from streams.core.serving.requests import MAX_IDS, Flag
from streams.core.shaping.item_filter import ItemFilter

MAX_GIVEN = 50  # items that others are to be similar to: as many as a guest's plays

Kind = Literal["co-listening"]


class SimilarRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of a request for similar items."""

    items: Annotated[
        tuple[Id, ...],
        Meta(min_length=1, max_length=MAX_GIVEN),
        about("the items that others are to be similar to; none of them comes back"),
    ]
    k: Annotated[int, Meta(ge=1, le=MAX_SLOTS), about("items wanted")] = 10
    by: Annotated[Kind, about("kind of similarity; co-listening: what listeners took close to it, within an hour")] = "co-listening"
    domain: Annotated[ShortId | None, about("of the wanted items; null: any")] = None
    filter: Annotated[ItemFilter | None, about("conditions on the wanted items, as of a list")] = None
    exclude: Annotated[tuple[Id, ...], Meta(max_length=MAX_IDS), about("items that must not come")] = ()
    exclude_artists: Annotated[tuple[Id, ...], Meta(max_length=MAX_IDS), about("artists of whom no item must come")] = ()


class SimilarItem(msgspec.Struct, frozen=True, kw_only=True):
    """One similar item."""

    item_id: Annotated[str, about("the item")]
    score: Annotated[
        float, about("how similar, 0 to 1; by co-listening, how often it is taken close to them: the mean of its shares over `items`")
    ]


class SimilarItems(msgspec.Struct, frozen=True, kw_only=True):
    """Similar items."""

    items: Annotated[list[SimilarItem], about("the most similar first")]
    flags: Annotated[list[Flag], about("what to know of them: short, unknown_items, unknown_domain")]


def similar(recommender: Recommender, request: SimilarRequest, now_ms: int) -> SimilarItems:
    """The items most similar to others, by what may be shown now; of equal ones the smallest key first."""
    index = recommender.catalog_index
    index.advance(now_ms)
    given = list(dict.fromkeys([keys.key("item", item_id) for item_id in request.items]))
    blocked = {*given, *(keys.key("item", item_id) for item_id in request.exclude)}
    eligibility = EligibilityFilter(index, blocked, alone=index.of_artists(request.exclude_artists))
    domain = keys.optional("domain", request.domain) or None
    among = index.of_domain(domain) if request.filter is None else index.matching(domain, request.filter)
    scores: dict[int, float] = {}
    for key, score in similarity(request.by, given, index, now_ms).items():  # one version stands for all
        scores[among.offered(key)] = scores.get(among.offered(key), 0.0) + score
    found = [key for key in sorted(scores, key=lambda key: (-scores[key], key)) if key in among and eligibility.eligible(key)]
    named = [(name, scores[key]) for key in found[: request.k] if (name := recommender.name(key)) is not None]
    flags = {
        Flag.SHORT: len(named) < request.k, Flag.UNKNOWN_DOMAIN: domain is not None and not index.offers(domain),
        Flag.UNKNOWN_ITEMS: not all(index.known(key) for key in given),
    }  # fmt: skip
    return SimilarItems(
        items=[SimilarItem(item_id=name, score=score) for name, score in named],
        flags=sorted(flag for flag, holds in flags.items() if holds),
    )


def similarity(kind: Kind, items: Sequence[int], index: CatalogIndex, now_ms: int) -> dict[int, float]:
    """How similar other items are to these, by key: all that are at all, whether they may be shown or not."""
    match kind:
        case "co-listening":
            total: dict[int, float] = {}
            for item in items:
                for other, share in co_listening.shares(index.co_listening.row(item), now_ms).items():
                    total[other] = total.get(other, 0.0) + share / len(items)
            return total
        case _:
            assert_never(kind)
