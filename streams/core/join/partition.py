"""One partition of `events`: records in, in offset order; state changes and effects out.

The order within one record is fixed: admission; time moves on (slates close, old rows are forgotten); features of
what is exposed, as of this moment; only then what the record itself changes. Bad data is an effect, never an exception.
"""
from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from online_model.features import ExampleRecord
from online_model.features import Tick as LearnerTick
from online_model.popularity import Values
from streams.core.join.admission import Admission
from streams.core.join.catalog import Catalog
from streams.core.join.events import Event, Exposure, Reason, Rejected, Tick
from streams.core.join.features_view import NO_PARTS, FeatureView, ItemSignals, UserMoment
from streams.core.join.join import ExposureRef, FeedbackJoin, slate_key
from streams.core.join.keys import key, uncached
from streams.core.join.labels import Feedback, interpret
from streams.core.join.records import Arrived, Effects, Outgoing, RejectedRecord
from streams.core.join.rewards import pending_reward
from streams.core.join.settings import PartitionSettings
from streams.core.join.state_update import Interaction, StateUpdate
from streams.core.state.rows import PROGRESS, PendingExposure, PendingFeedback, Progress, UserState
from streams.core.state.tables import ItemTables, Tables
from streams.core.state.user_expiry import UserExpiry

_KEY = struct.Struct(">Q")


class Partition:
    """The pure machine of one partition. `foreign`: what events of other partitions say about items, by partition."""

    def __init__(
        self, settings: PartitionSettings, tables: Tables, catalog: Catalog, number: int = 0,
        foreign: Mapping[int, ItemTables] = NO_PARTS,
    ) -> None:  # fmt: skip
        self.settings, self.tables, self.catalog, self.number, self.foreign = settings, tables, catalog, number, foreign
        self.view = FeatureView(settings)
        self.signals = ItemSignals(self.view.items, tables.items, number, foreign)
        self.progress = tables.meta.get(PROGRESS) or Progress()
        self._admission = Admission(settings, tables.dedupe, self.progress)
        self._join = FeedbackJoin(settings, tables.pending, self.progress)
        self._expiry = UserExpiry(tables.users, tables.pending, self.progress, settings.user_expire_ms)
        self._update = StateUpdate(settings, self.view, tables.items)

    def apply(self, batch: Sequence[Arrived]) -> Effects:
        """Apply records in order. One by one or in batches of any size: the same state, the same effects."""
        effects = Effects()
        self._update.increments = effects.popularity
        for arrived in batch:
            emitted: list[ExampleRecord] = []
            self._join.emitted = emitted
            record = arrived.record
            if isinstance(record, Event):
                refusal = self._event(record, arrived)
            elif isinstance(record, Exposure):
                refusal = self._exposure(record, arrived)
                if refusal is None:
                    effects.exposures.append(record)
            elif isinstance(record, Rejected):
                refusal = record.reason, record.detail
            else:
                refusal = None
                if isinstance(record, Tick):
                    self._tick(record)
                else:
                    self.progress.in_log = True
            if arrived.rounded and refusal is None:
                self.progress.count("rounded_propensities", arrived.rounded)
            if refusal is not None:
                raw = record.raw if isinstance(record, Rejected) else arrived.raw
                self.progress.count(f"rejected:{refusal[0]}")
                effects.dead.append(RejectedRecord(arrived.offset, arrived.index, *refusal, raw))
            for n, example in enumerate(emitted):
                effects.examples.append(Outgoing(arrived.offset, arrived.index, n, example))
        self.tables.meta.put(PROGRESS, self.progress)
        return effects

    def item_counts(self, item: int, ts: int) -> Values:
        """Popularity and counts of an item over all partitions."""
        return self.signals.counts(item, ts)

    def glance(self, item: int, ts: int) -> Values:
        """`item_counts` for another thread."""
        return self.signals.peek(item, ts)

    def user(self, user: int) -> UserState | None:
        """The state of a user, None where there is none. For reading only: it doesn't become resident."""
        return self.tables.users.peek(_KEY.pack(user))

    def exposed(self, user_id: str, item_id: str, request_id: str | None) -> PendingExposure | None:
        """The exposure that an event applied just now belongs to; None where it waits for one. For reading only."""
        user, item = key("user", user_id), key("item", item_id)
        if request_id is None:
            return self._join.last(_KEY.pack(user), item)
        slate = self._join.slate(slate_key(user, uncached("request", request_id)))
        return slate.exposure(item) if slate else None

    def _tick(self, tick: Tick) -> None:
        before_ms = self.progress.watermark_ms
        self._admission.advance(tick.ts)
        self._join.advance(before_ms)
        self._expiry.advance(before_ms)
        if tick.last:
            self._join.close_all()
            self.progress.in_log = False
        self._join.emitted.append(LearnerTick(ts=self.progress.watermark_ms, last=tick.last))

    def _event(self, event: Event, arrived: Arrived) -> tuple[Reason, str] | None:
        keys, before_ms = arrived.keys, self.progress.watermark_ms
        refusal = self._admission.admit(event, arrived)
        if refusal is not None:
            return refusal
        feedback = interpret(event, self.settings)
        self._join.advance(before_ms)
        self._expiry.advance(before_ms)
        self.progress.count("events")
        item, known = keys.items[0], self.catalog.get(keys.items[0])
        user, slate = _KEY.pack(keys.user), slate_key(keys.user, keys.slate)
        state = self._expiry.state(user, event.ts)
        at = Interaction(state, item, known, keys.domain or (known.domain if known else 0), event.ts)
        by_request = event.request_id is not None
        pending = PendingFeedback(item, at.ts, arrived.arrival_ms, feedback.tier_mask, feedback.resolving, feedback.undo)
        ref = self._join.locate(slate, item, feedback, by_request)
        if ref is None and (feedback.impression or (feedback.resolving and not by_request)):
            ref = self._impression(event, arrived, at, feedback)
            self._update.served(at)
            self._update.seen(at, ref.exposure)
        labels = feedback.mask, 0
        if ref is not None:
            labels = self._join.add_feedback(ref, pending)
        elif (feedback.resolving or feedback.undo) and not (by_request and self._join.hold(slate, pending)):
            self.progress.count("unjoined")
        if self._join.seen:
            self._count_seen(at.state, at.ts)
        self._update.feedback(at, feedback, labels, ref.exposure if ref else None)
        if feedback.timed and event.played_ms is not None:
            self._update.played(at, event.played_ms)
        self.tables.users.put(user, state)
        return None

    def _impression(self, event: Event, arrived: Arrived, at: Interaction, feedback: Feedback) -> ExposureRef:
        """The exposure of an event that is, or implies, an impression of its own."""
        keys = arrived.keys
        moment = UserMoment(self.view, keys.user, at.state, at.ts, self.signals.nearness(at.state, at.ts))
        exposure = moment.exposure(at.item, at.known, at.domain, keys.modules[0], event.position, self.item_counts)
        exposure.without_impression = not feedback.impression
        key = slate_key(keys.user, keys.slate)
        part = self.view.user_part(keys.user, at.state, event.context, at.ts)
        slate = self._join.show(key, part, [exposure], resolved=feedback.resolving)
        self.progress.count("impressions" if feedback.impression else "implied_impressions")
        return ExposureRef(key, slate, exposure)

    def _count_seen(self, state: UserState, ts: int) -> None:
        """Count what a record has shown to be seen, of what was only served."""
        seen = self._join.seen
        for exposure in seen:
            self._update.seen(Interaction(state, exposure.item, self.catalog.get(exposure.item), exposure.domain, ts), exposure)
        self.progress.count("impressions", len(seen))
        seen.clear()

    def _exposure(self, exposure: Exposure, arrived: Arrived) -> tuple[Reason, str] | None:
        """A slate as it was served: all its features are of one moment, none counts the others."""
        keys, before_ms = arrived.keys, self.progress.watermark_ms
        refusal = self._admission.admit(exposure, arrived)
        if refusal is not None:
            return refusal
        self._join.advance(before_ms)
        self._expiry.advance(before_ms)
        self.progress.count("exposures")
        user, key = _KEY.pack(keys.user), slate_key(keys.user, keys.slate)
        state = self._expiry.state(user, exposure.ts)
        slate = self._join.slate(key)
        exposed = {e.item for e in slate.exposures} if slate else set()
        exposures, interactions = [], []
        moment = UserMoment(self.view, keys.user, state, exposure.ts, self.signals.nearness(state, exposure.ts))
        for slot, item, module in zip(exposure.slots, keys.items, keys.modules, strict=True):
            if item not in exposed:
                exposed.add(item)
                known = self.catalog.get(item)
                at = Interaction(state, item, known, keys.domain or (known.domain if known else 0), exposure.ts)
                interactions.append(at)
                exposures.append(moment.exposure(item, known, at.domain, module, slot.position, self.item_counts))
                exposures[-1].without_impression = True  # the client's, with a request id or without, is still to come
        reward = pending_reward(exposure, keys.items, self.catalog) if exposure.arm_draw is not None and exposure.slots else None
        if exposure.arm_draw is not None and exposure.slots and reward is None:
            self.progress.count("unusable_choices")
        if exposures:
            for pending in exposures:
                pending.seen = exposure.seen
            self._join.show(key, self.view.user_part(keys.user, state, exposure.context, exposure.ts), exposures, reward)
            for at, pending in zip(interactions, exposures, strict=True):
                self._update.served(at)
                if exposure.seen:
                    self._update.seen(at, pending)
            self.progress.count("impressions" if exposure.seen else "served", len(exposures))
            if self._join.seen:
                self._count_seen(state, exposure.ts)
            self.tables.users.put(user, state)
        elif reward is not None:
            self._join.attach_reward(key, reward)
        return None
