"""What is known of a user, in words: state carries keys, whose strings only the catalog has."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import msgspec
import numpy as np

from online_model.features import COUNTS
from online_model.history import BEHAVIOUR
from streams.core.join.catalog import Catalog, CatalogItem
from streams.core.join.features_view import FeatureView
from streams.core.json_fields import about
from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.explain import ACTIONS
from streams.core.serving.index import CandidateIndex
from streams.core.state.rows import UserState

LAST = 50  # acts that are told: as many as a guest may send
TOP = 20  # categories and domains
EXPOSED_BYTES = 16  # of one row of UserState.exposed

Counts = dict[str, float]


class KnownAct(msgspec.Struct, frozen=True, kw_only=True):
    """One of a user's last acts."""

    item_id: Annotated[str | None, about("with what; null: not in the catalog any more")]
    action: Annotated[str, about("what the user did", ACTIONS.values())]
    ts: Annotated[int, about("when, ms UTC")]


class KnownScope(msgspec.Struct, frozen=True, kw_only=True):
    """What a user did in a category or a domain."""

    name: Annotated[str | None, about("its name; null: no item that may be shown has it any more")]
    counts: Annotated[Counts, about("decayed counts, as of the user")]


class KnownUser(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a user."""

    user_id: Annotated[str, about("the user")]
    last_ms: Annotated[int, about("event time of the newest act or exposure that is remembered; -1: none is")]
    counts: Annotated[Counts, about("decayed counts: of exposures, and of these with each task's act")]
    acts: Annotated[list[KnownAct], about(f"the last acts, newest first, at most {LAST}")]
    behaviours: Annotated[int, about("acts that are remembered, all of them")]
    exposed: Annotated[int, about("last exposures that are remembered, for the no-repeat window")]
    categories: Annotated[list[KnownScope], about(f"those with most feedback, at most {TOP}")]
    domains: Annotated[list[KnownScope], about("the same by domain")]


def known_user(user_id: str, user: UserState, catalog: Catalog, index: CatalogIndex, view: FeatureView, now_ms: int) -> KnownUser:
    """What a user's state says."""
    histories = [np.frombuffer(rows, BEHAVIOUR) for both in user.histories.values() for rows in both]
    rows = np.concatenate([*histories, np.zeros(0, BEHAVIOUR)])
    newest = rows[np.argsort(-rows["ts"], kind="stable")[:LAST]]

    def item_id(key: int) -> str | None:
        known = catalog.get(key)
        return known.item.item_id if known else index.name(key)

    def category(key: int) -> str | None:
        named = _any_of(index.categories(None).get(key), catalog)
        names = dict(zip(named.categories, dict.fromkeys(named.item.categories), strict=True)) if named else {}
        return names.get(key)

    def domain(key: int) -> str | None:
        named = _any_of(index.of_domain(key), catalog)
        return named.item.domain if named else None

    def scopes(rows: Mapping[int, bytes], name: Callable[[int], str | None]) -> list[KnownScope]:
        counts = {key: _counts(row, view, now_ms) for key, row in rows.items()}
        top = sorted(counts, key=lambda key: (-sum(list(counts[key].values())[1:]), -counts[key]["exposures"], key))[:TOP]
        return [KnownScope(name=name(key), counts=counts[key]) for key in top]

    return KnownUser(
        user_id=user_id, last_ms=user.last_ms, counts=_counts(user.counts, view, now_ms),
        acts=[
            KnownAct(item_id=item_id(item), action=ACTIONS[action], ts=ts)
            for item, action, ts in zip(newest["item"].tolist(), newest["action"].tolist(), newest["ts"].tolist(), strict=True)
        ],
        behaviours=len(rows), exposed=len(user.exposed) // EXPOSED_BYTES,
        categories=scopes(user.by_category, category), domains=scopes(user.by_domain, domain),
    )  # fmt: skip


def _counts(row: bytes, view: FeatureView, now_ms: int) -> Counts:
    return dict(zip(COUNTS, view.scopes.read(row, now_ms), strict=True))


def _any_of(index: CandidateIndex | None, catalog: Catalog) -> CatalogItem | None:
    """An item of an index, which has the name behind its key."""
    return catalog.get(index.items[0]) if index else None
