"""A candidate as the ranker sees it: user state, item counts and context, packed into the halves of `Features`.

The join builds them when an item is exposed, serving when a slate is asked for, by the same code. They differ in one field:
serving scores every candidate at position 0, since its own is not known yet.
"""
from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache, reduce
from itertools import islice

from online_model import history
from online_model.features import (
    CODES,
    COUNTS,
    DOMAIN_LIMIT,
    HISTORY_LIMIT,
    NO_FEEDBACK,
    NO_PLAY_TIMES,
    PLAY_TIMES_S,
    POPULARITY_HALF_LIVES_H,
    RELATED_LIMIT,
)
from online_model.own_plays import OwnPlays
from online_model.play_times import of_plays
from online_model.popularity import Decay, Values, merge, of_item, of_scope
from streams.core.join import co_listening, keys
from streams.core.join.catalog import CatalogItem
from streams.core.join.co_listening import NOWHERE, Nearness
from streams.core.join.events import Context
from streams.core.join.settings import PartitionSettings
from streams.core.state.rows import PendingExposure, UserPart, UserState
from streams.core.state.tables import ItemTables, Table

_FIELDS = struct.Struct("<8Q")
_DOMAIN = struct.Struct("<Qf")
_POPULARITIES = len(POPULARITY_HALF_LIVES_H)
_POPULARITY = struct.Struct(f"<{_POPULARITIES}f")
_ITEM_COUNTS = struct.Struct(f"<{3 * len(COUNTS)}f")
_FEEDBACK = struct.Struct(f"<{CODES}f")
_PLAY_TIMES = struct.Struct(f"<{len(PLAY_TIMES_S)}f")
_USER_COUNTS = struct.Struct(f"<{len(COUNTS)}f")
NEVER = UserState()

ItemCounts = Callable[[int, int], Values]  # (item key, event time) -> popularity at each half-life, then COUNTS
NO_PARTS: Mapping[int, ItemTables] = {}


class ItemSignals:
    """What events say about items, over all partitions: the own tables, and other partitions' parts by partition."""

    def __init__(self, decay: Decay, own: ItemTables, number: int, foreign: Mapping[int, ItemTables]) -> None:
        self._decay, self._own, self._number, self._foreign = decay, own, number, foreign

    def counts(self, item: int, ts: int) -> Values:
        """Popularity and counts of an item, parts added in partition order."""
        return self._merged(item, ts, Table.get)

    def peek(self, item: int, ts: int) -> Values:
        """`counts` for another thread: what is being changed meanwhile is as it was, or as it is."""
        return self._merged(item, ts, Table.peek)

    def nearness(self, state: UserState, ts: int) -> Nearness:
        """What others took close to the user's last items, over all partitions."""
        parts = {**self._foreign, self._number: self._own}
        tables = [parts[n].co_listening for n in sorted(parts)]

        def row(item: int) -> bytes:
            key = item.to_bytes(8, "big")
            rows = [row for table in tables if (row := table.get(key))]
            return rows[0] if len(rows) == 1 else co_listening.merge(rows) if rows else b""

        return nearness(state, ts, row)

    def _merged(self, item: int, ts: int, read: Callable[[Table[bytes], bytes], bytes | None]) -> Values:
        key = item.to_bytes(8, "big")
        own = self._decay.read(read(self._own.popularity, key), ts)
        if not self._foreign:
            return own
        parts = {n: self._decay.read(read(part.popularity, key), ts) for n, part in self._foreign.items() if n != self._number}
        parts[self._number] = own
        return merge([parts[n] for n in sorted(parts)])


def nearness(state: UserState, ts: int, row: Callable[[int], bytes]) -> Nearness:
    """What others took close to the user's last items. `row`: the co-listening row of an item, empty where there is none."""
    past = co_listening.past(state.liked, ts)
    return Nearness([row(item) for item in past], ts, next(iter(past.values()), 0) >= ts - co_listening.WITHIN_MS)


def mean(rows: Sequence[Values]) -> Values:
    """Of counts, column by column; of one row the row itself.

    >>> mean([(2.0, 1.0), (0.0, 0.0)])
    (1.0, 0.5)
    """
    return rows[0] if len(rows) == 1 else tuple([sum(column) / len(rows) for column in zip(*rows, strict=True)])


class FeatureView:
    """Builds the user's half of features. Stateless but for the decay constants."""

    def __init__(self, settings: PartitionSettings) -> None:
        self.scopes: Decay = of_scope(settings.rate_half_life_h)
        self.plays: Decay = of_plays(settings.rate_half_life_h)
        self.items: Decay = of_item(settings.rate_half_life_h)
        self._rate_half_life_ms = settings.rate_half_life_h * keys.HOUR_MS
        self.longest_half_life_h = max(settings.rate_half_life_h, *POPULARITY_HALF_LIVES_H)

    def user_part(self, user: int, state: UserState, context: Context, ts: int) -> UserPart:
        """The half that all candidates of a moment share. Names of the context that begin with `user.` are the user's own."""
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
            play_times=_PLAY_TIMES.pack(*self.plays.read(state.play_times, ts)) if state.play_times else NO_PLAY_TIMES,
        )

    def own_plays(self, state: UserState, ts: int) -> OwnPlays:
        """What the user took before; half-life as behind rates."""
        return OwnPlays(state.liked, ts, self._rate_half_life_ms)

    def feedback(self, behaviours: bytes, ts: int) -> bytes:
        """Counts of behaviours by action, decayed as those behind rates: float32 [CODES]."""
        return _FEEDBACK.pack(*history.counts(behaviours, ts, self._rate_half_life_ms))


class UserMoment:
    """A user at one moment, for one candidate after another: what several of them have in common is made once.

    Counts of an item's categories are their mean: a feedback on an item of two categories counts in both, and so not twice here.
    """

    __slots__ = ("_feedback", "_hour", "_in_categories", "_in_domain", "_near", "_own", "_related", "_ts", "_user")

    def __init__(self, view: FeatureView, user: int, state: UserState, ts: int, near: Nearness = NOWHERE) -> None:
        """`near`: what others took close to the user's last items."""
        read, related = view.scopes.read, state.related
        self._user, self._ts, self._hour = user, ts, keys.hour_of_week(ts // keys.HOUR_MS)
        self._in_domain = cache(lambda domain: read(state.by_domain.get(domain), ts))
        self._in_categories = cache(lambda categories: mean([read(state.by_category.get(c), ts) for c in categories or (0,)]))
        self._related = cache(lambda *of: reduce(lambda rows, key: history.distinct(rows, related.get(key, b""), RELATED_LIMIT), of, b""))
        self._feedback = cache(lambda artist: view.feedback(related[artist], ts) if artist in related else NO_FEEDBACK)
        self._near, self._own = near, view.own_plays(state, ts)

    def exposure(
        self, item: int, known: CatalogItem | None, domain: int, module: int, position: int | None, item_counts: ItemCounts
    ) -> PendingExposure:
        """The other half, of one candidate; `id` is left to the join. `module`: a key, 0 where there is none."""
        ts = self._ts
        artist, category, categories = (known.artist, known.category, known.categories) if known else (0, 0, ())
        counts = item_counts(item, ts)
        published = known.item.published_ts if known else None
        return PendingExposure(
            id=0,
            item=item,
            shown_ms=ts,
            fields=_FIELDS.pack(
                self._user, item, artist, category, self._hour, domain,
                module, keys.position(position) if position is not None else 0,
            ),
            item_features=known.features if known else b"",
            related=self._related(artist, *categories),
            counts=_ITEM_COUNTS.pack(*counts[_POPULARITIES:], *self._in_domain(domain), *self._in_categories(categories)),
            popularity=_POPULARITY.pack(*counts[:_POPULARITIES]),
            age_s=max(0.0, (ts - published) / 1000.0) if published is not None else -1.0,
            followed=self._near.next(item),
            artist_feedback=self._feedback(artist),
            near=self._near.near(item),
            own_plays=self._own.figures(item),
            embedding=known.embedding if known else b"",
        )  # fmt: skip
