"""A candidate as the ranker sees it: user state, item counts and context, packed into `Features`.

The join uses it when a list is shown, serving when a list is asked for: one way to build features, so what is
learned is what is served.
"""
from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import islice

from online_model import history
from online_model.features import COUNTS, DOMAIN_LIMIT, HISTORY_LIMIT, POPULARITY_HALF_LIVES_H, RELATED_LIMIT, Features
from online_model.popularity import Decay, Values, of_item, of_scope
from streams.core.join import co_listening, keys
from streams.core.join.catalog import Known
from streams.core.join.events import Context
from streams.core.join.settings import PartitionSettings
from streams.core.state.rows import PendingExposure, UserPart, UserState

_FIELDS = struct.Struct("<8Q")
_DOMAIN = struct.Struct("<Qf")
_POPULARITIES = len(POPULARITY_HALF_LIVES_H)
_POPULARITY = struct.Struct(f"<{_POPULARITIES}f")
_SLOT_COUNTS = struct.Struct(f"<{3 * len(COUNTS)}f")
_USER_COUNTS = struct.Struct(f"<{len(COUNTS)}f")
NEVER = UserState()

ItemCounts = Callable[[int, int], Values]  # (item key, event time) -> popularity at each half-life, then COUNTS


class View:
    """Builds features of one moment. Stateless but for the decay constants."""

    def __init__(self, settings: PartitionSettings) -> None:
        self.scopes: Decay = of_scope(settings.rate_half_life_h)
        self.items: Decay = of_item(settings.rate_half_life_h)

    def user(self, user: int, state: UserState, context: Context, ts: int) -> UserPart:
        attributes = [(n, v) for n, v in context.items() if n.startswith("user.")]
        others = [(n, v) for n, v in context.items() if not n.startswith("user.")] if len(attributes) < len(context) else []
        pairs = list(state.histories.values())
        skipped = max(0, len(state.by_domain) - DOMAIN_LIMIT)
        return UserPart(
            user=user,
            context=keys.bag("context", others),
            user_attributes=keys.bag("user", attributes),
            positive=history.merge([p for p, _ in pairs], HISTORY_LIMIT),
            negative=history.merge([n for _, n in pairs], HISTORY_LIMIT),
            domains=b"".join([_DOMAIN.pack(d, self.scopes.read(row, ts)[0]) for d, row in islice(state.by_domain.items(), skipped, None)]),
            counts=_USER_COUNTS.pack(*self.scopes.read(state.counts, ts)),
        )


class Moment:
    """A user at one moment, for one candidate after another: what several of them have in common is made once."""

    __slots__ = ("_categories", "_domains", "_hour", "_related", "_scopes", "_shares", "_state", "_ts", "_user")

    def __init__(self, view: View, user: int, state: UserState, ts: int, following: bytes = b"") -> None:
        """`following`: the followers of the user's last item (`followers.py`)."""
        self._scopes, self._user, self._state, self._ts = view.scopes, user, state, ts
        self._hour = keys.hour_of_week(ts // keys.HOUR_MS)
        self._domains: dict[int, Values] = {}
        self._categories: dict[int, Values] = {}
        self._related: dict[tuple[int, int], bytes] = {}
        self._shares = co_listening.shares(following, ts) if following else {}

    def slot(
        self, item: int, known: Known | None, domain: int, module: str | None, place: int | None, item_counts: ItemCounts
    ) -> PendingExposure:
        """The other half, of one candidate; `id` is left to whoever shows it."""
        state, ts = self._state, self._ts
        artist, category = both = (known.artist, known.category) if known else (0, 0)
        figures = item_counts(item, ts)
        in_domain = self._domains.get(domain)
        if in_domain is None:
            in_domain = self._domains[domain] = self._scopes.read(state.by_domain.get(domain), ts)
        in_category = self._categories.get(category)
        if in_category is None:
            in_category = self._categories[category] = self._scopes.read(state.by_category.get(category), ts)
        related = self._related.get(both)
        if related is None:
            first, second = state.related.get(artist, b""), state.related.get(category, b"")
            related = self._related[both] = history.distinct(first, second, RELATED_LIMIT)
        published = known.item.published_ts if known else None
        return PendingExposure(
            id=0,
            item=item,
            shown_ms=ts,
            fields=_FIELDS.pack(
                self._user, item, artist, category, self._hour, domain,
                keys.key("module", module) if module else 0, keys.position(place) if place is not None else 0,
            ),
            item_features=known.features if known else b"",
            related=related,
            counts=_SLOT_COUNTS.pack(*figures[_POPULARITIES:], *in_domain, *in_category),
            popularity=_POPULARITY.pack(*figures[:_POPULARITIES]),
            age_s=max(0.0, (ts - published) / 1000.0) if published is not None else -1.0,
            followed=self._shares.get(item, 0.0),
        )  # fmt: skip


def features(part: UserPart, slot: PendingExposure) -> Features:
    """Both halves together."""
    return Features(
        fields=slot.fields, context=part.context, user_attributes=part.user_attributes, item_features=slot.item_features,
        positive=part.positive, negative=part.negative, related=slot.related, domains=part.domains,
        counts=part.counts + slot.counts, popularity=slot.popularity,
        age_s=slot.age_s, shown_ms=slot.shown_ms, followed=slot.followed,
    )  # fmt: skip
