"""What an event changes in a user's state and in the popularity of an item: histories, related behaviours, decayed counts."""
from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from online_model import history, play_times
from online_model.popularity import EXPOSURE, Increment, counts, increments
from online_model.repeats import ACTS, EXPOSURES, Repeats
from streams.core.join import co_listening
from streams.core.join.catalog import CatalogItem
from streams.core.join.features_view import FeatureView
from streams.core.join.labels import COLLECT, Feedback
from streams.core.join.settings import PartitionSettings
from streams.core.state.rows import PendingExposure, UserState
from streams.core.state.tables import ItemTables

EXPOSED_ROW = struct.Struct("<Qq")  # item, event time


@dataclass(frozen=True, slots=True)
class Interaction:
    """A user and an item at one moment of event time."""

    state: UserState
    item: int
    known: CatalogItem | None  # the item as the catalog has it
    domain: int
    ts: int


class StateUpdate:
    """Changes states and exposures in place, and the tables of items; what is added to these is appended to `increments`, too."""

    def __init__(self, settings: PartitionSettings, view: FeatureView, items: ItemTables) -> None:
        self._settings, self._view, self._items = settings, view, items
        self._repeats = Repeats(settings.repeat_limit, view.longest_half_life_h)
        self.increments: list[Increment] = []

    def served(self, at: Interaction) -> None:
        """The item was served to the user, and is not served again soon."""
        rows = at.state.exposed + EXPOSED_ROW.pack(at.item, at.ts)
        at.state.exposed = rows[-self._settings.shown_limit * EXPOSED_ROW.size :]

    def seen(self, at: Interaction, exposure: PendingExposure) -> None:
        """The user has seen the item: an exposure that counts, as much as its labels will."""
        at.state.repeats, exposure.weight = self._repeats.add(at.state.repeats, at.item, at.ts, EXPOSURES)
        self._count_of_user(at, EXPOSURE)
        self._count_of_item(at, EXPOSURE, exposure.weight)

    def feedback(self, at: Interaction, feedback: Feedback, labels: tuple[int, int], exposure: PendingExposure | None) -> None:
        """The user acted on the item. `labels`: newly set and taken back, as bits, of the exposure, or of none that is known."""
        state, (labels_set, labels_undone) = at.state, labels
        before = history.taken_before(state.liked, at.item, at.ts, co_listening.WITHIN_MS, co_listening.REACH) if feedback.popular else []
        found = 0
        if feedback.positive or feedback.negative or feedback.undo:
            found = self._append_behaviours(at, feedback) & ~labels_undone
        weight = 0.0
        if feedback.popular or (labels_set and exposure is None):
            state.repeats, weight = self._repeats.add(state.repeats, at.item, at.ts, ACTS)
        self._count_of_user(at, (labels_set << 1) | feedback.popular)
        if exposure is None or exposure.weight == weight:
            self._count_of_item(at, (labels_set << 1) | feedback.popular, weight, before=before)
        else:
            self._count_of_item(at, labels_set << 1, exposure.weight)
            self._count_of_item(at, feedback.popular, weight, before=before)
        self._count_of_user(at, (labels_undone | found) << 1, sign=-1)
        if labels_undone and exposure is not None:
            self._count_of_item(at, labels_undone << 1, exposure.weight, sign=-1)
        if found:
            state.repeats, less = self._repeats.take_back(state.repeats, at.item, at.ts, ACTS)
            self._count_of_item(at, found << 1, less, sign=-1)
        if weight:
            co_listening.follow(self._items.co_listening, before, at.item, at.ts, weight)

    def played(self, at: Interaction, played_ms: int) -> None:
        """The user played the item for so long, to its end or not."""
        at.state.play_times = self._view.plays.add(at.state.play_times, at.ts, play_times.spread(played_ms))

    def _append_behaviours(self, at: Interaction, feedback: Feedback) -> int:
        """Append to the histories of this domain; an undone collect leaves it again (then its label bit comes back)."""
        settings, state = self._settings, at.state
        positive, negative = state.histories.pop(at.domain, (b"", b""))
        before = len(positive)
        if feedback.undo:
            positive = history.undo(positive, at.item, history.COLLECT)
        undone = COLLECT if len(positive) < before else 0
        if feedback.positive:
            positive = history.append(positive, at.item, at.ts, at.domain, feedback.positive, settings.history_limit)
        if feedback.negative:
            negative = history.append(negative, at.item, at.ts, at.domain, feedback.negative, settings.history_limit)
        state.histories[at.domain] = (positive, negative)
        _trim(state.histories, settings.domain_limit)
        # Related: the behaviours with this artist and each of these categories, both families together.
        for key in dict.fromkeys((at.known.artist, *at.known.categories)) if at.known else ():
            if not key:
                continue
            rows = state.related.pop(key, b"")
            if feedback.undo:
                rows = history.undo(rows, at.item, history.COLLECT)
            for action in (feedback.positive, feedback.negative):
                if action:
                    rows = history.append(rows, at.item, at.ts, at.domain, action, settings.related_limit)
            if rows:
                state.related[key] = rows
        _trim(state.related, settings.related_keys)
        return undone

    def _count_of_user(self, at: Interaction, mask: int, sign: int = 1) -> None:
        """Move the decayed counts of the user's scopes by the bits of a mask."""
        if not mask:
            return
        row, scopes, state = counts(mask, sign), self._view.scopes, at.state
        state.counts = scopes.add(state.counts, at.ts, row)
        state.by_domain[at.domain] = scopes.add(state.by_domain.pop(at.domain, None), at.ts, row)
        _trim(state.by_domain, self._settings.domain_limit)
        for category in at.known.categories if at.known else ():
            state.by_category[category] = scopes.add(state.by_category.pop(category, None), at.ts, row)
        _trim(state.by_category, self._settings.category_limit)

    def _count_of_item(self, at: Interaction, mask: int, weight: float, sign: int = 1, before: Sequence[int] = ()) -> None:
        """Move the decayed counts of the item by the bits of a mask. `before`: the items that it follows, the nearest first."""
        if not mask or weight == 0.0:
            return
        key, popularity = at.item.to_bytes(8, "big"), self._items.popularity
        popularity.put(key, self._view.items.add(popularity.get(key), at.ts, increments(mask, sign, weight)))
        after, *earlier = before or (0,)
        self.increments.append(Increment(at.item, at.ts, mask, sign, after, weight, struct.pack(f"<{len(earlier)}Q", *earlier)))


def _trim(rows: dict[int, tuple[bytes, bytes]] | dict[int, bytes], limit: int) -> None:
    """Forget the least recently changed."""
    while len(rows) > limit:
        del rows[next(iter(rows))]
