"""Items that are similar to others, for a shelf beside an item: no user is known, nothing is exposed or written down.

`similarity` is the one place that knows the kinds of similarity.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Literal, assert_never

import msgspec
from msgspec import Meta

from streams.core.join import co_listening, keys
from streams.core.join.events import MAX_SLOTS, Id, ShortId
from streams.core.json_fields import about
from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.eligibility import EligibilityFilter
from streams.core.serving.model_view import NO_MODEL, ModelView
from streams.core.serving.recommend import Recommender
from streams.core.serving.requests import MAX_IDS, Flag
from streams.core.shaping.item_filter import ItemFilter

PLACES = 1_000  # by vectors that count where both orders do; what follows behind those comes last
FUSION = 60  # of places: how little the first ones differ from those behind them
MAX_GIVEN = 50  # items that others are to be similar to: as many as a guest's plays

Kind = Literal["co-listening", "vectors", "both"]


class SimilarRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of a request for similar items."""

    items: Annotated[
        tuple[Id, ...],
        Meta(min_length=1, max_length=MAX_GIVEN),
        about("the items that others are to be similar to; none of them comes back"),
    ]
    k: Annotated[int, Meta(ge=1, le=MAX_SLOTS), about("items wanted")] = 10
    by: Annotated[
        Kind,
        about(
            "kind of similarity; co-listening: what listeners took close to it, within an hour; vectors: what is taken by the same"
            " listeners, known by its artist, category, features and embedding before anybody took it; both: what is high in either order"
        ),
    ] = "co-listening"
    domain: Annotated[ShortId | None, about("of the wanted items; null: any")] = None
    filter: Annotated[ItemFilter | None, about("conditions on the wanted items, as of a list")] = None
    exclude: Annotated[tuple[Id, ...], Meta(max_length=MAX_IDS), about("items that must not come")] = ()
    exclude_artists: Annotated[tuple[Id, ...], Meta(max_length=MAX_IDS), about("artists of whom no item must come")] = ()


class SimilarItem(msgspec.Struct, frozen=True, kw_only=True):
    """One similar item."""

    item_id: Annotated[str, about("the item")]
    score: Annotated[
        float,
        about(
            "how similar, at most 1; by co-listening, how often it is taken close to them: the mean of its shares over `items`; by vectors,"
            " the cosine; by both, from the places in the two orders: 1 = first in both"
        ),
    ]


class SimilarItems(msgspec.Struct, frozen=True, kw_only=True):
    """Similar items."""

    items: Annotated[list[SimilarItem], about("the most similar first")]
    flags: Annotated[
        list[Flag], about("what to know of them: short, unknown_items, unknown_domain, cold (no model, so nothing by vectors)")
    ]


def similar(recommender: Recommender, request: SimilarRequest, now_ms: int, model: ModelView = NO_MODEL) -> SimilarItems:
    """The items most similar to others, by what may be shown now; of equal ones the smallest key first."""
    index = recommender.catalog_index
    index.advance(now_ms)
    index.vectors.follow(model.vectors)
    given = list(dict.fromkeys([keys.key("item", item_id) for item_id in request.items]))
    blocked = {*given, *(keys.key("item", item_id) for item_id in request.exclude)}
    eligibility = EligibilityFilter(index, blocked, alone=index.of_artists(request.exclude_artists))
    domain = keys.optional("domain", request.domain) or None
    among = index.of_domain(domain) if request.filter is None else index.matching(domain, request.filter)
    named: list[tuple[str, float]] = []
    for key, score in similarity(request.by, given, index, now_ms, among.offered):  # one version stands for all
        if len(named) == request.k:
            break
        if key in among and eligibility.eligible(key) and (name := recommender.name(key)) is not None:
            named.append((name, score))
    flags = {
        Flag.SHORT: len(named) < request.k, Flag.UNKNOWN_DOMAIN: domain is not None and not index.offers(domain),
        Flag.UNKNOWN_ITEMS: not all(index.known(key) for key in given), Flag.COLD: request.by != "co-listening" and model.cold,
    }  # fmt: skip
    return SimilarItems(
        items=[SimilarItem(item_id=name, score=score) for name, score in named],
        flags=sorted(flag for flag, holds in flags.items() if holds),
    )


def similarity(
    kind: Kind, items: Sequence[int], index: CatalogIndex, now_ms: int, offered: Callable[[int], int] = int
) -> Iterator[tuple[int, float]]:
    """Other items with how similar they are to these, the most similar first: all that are at all, whether they may be shown or not.

    `offered`: of an item, the version that stands for it. By co-listening each version adds its part, by vectors the nearest counts.
    """
    match kind:
        case "co-listening":
            total: dict[int, float] = {}
            for item in items:
                for other, share in co_listening.shares(index.co_listening.row(item), now_ms).items():
                    total[offered(other)] = total.get(offered(other), 0.0) + share / len(items)
            yield from _ordered(total)
        case "vectors":
            seen = set[int]()
            for item, cosine in index.vectors.like(items):
                if (key := offered(item)) not in seen:
                    seen.add(key)
                    yield key, cosine
        case "both":
            near, by_vectors = (
                similarity("co-listening", items, index, now_ms, offered),
                similarity("vectors", items, index, now_ms, offered),
            )
            first = fused([dict(near), dict(islice(by_vectors, PLACES))])
            yield from _ordered(first)
            for place, (key, _) in enumerate(by_vectors, PLACES + 1):
                if key not in first:
                    yield key, _worth(place) / 2
        case _:
            assert_never(kind)


def fused(kinds: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Scores by several kinds as one, by the places that they give: the mean of (1 + c) / (place + c), so 1 for the first of all of them.

    Cormack et al., "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods", SIGIR 2009: c = 60.

    >>> fused([{7: .9, 8: .2}, {7: .4}])
    {7: 1.0, 8: 0.49193548387096775}
    """
    out: dict[int, float] = {}
    for scores in kinds:
        for place, (key, _) in enumerate(_ordered(scores), 1):
            out[key] = out.get(key, 0.0) + _worth(place) / len(kinds)
    return out


def _worth(place: int) -> float:
    return (1 + FUSION) / (place + FUSION)


def _ordered(scores: Mapping[int, float]) -> Iterator[tuple[int, float]]:
    """The largest first, of equal ones the smallest key."""
    return ((key, scores[key]) for key in sorted(scores, key=lambda key: (-scores[key], key)))
