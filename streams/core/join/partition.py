"""One partition of `events`: records in, in offset order; state changes and effects out.

The order within one record is fixed: admission; time moves on (lists close, old rows are forgotten); features of
what is shown, as of this moment; only then what the record itself changes. Bad data is an effect, never an exception.
"""
from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

import xxhash

from online_model import history
from online_model.features import ExampleRecord
from online_model.features import Tick as LearnerTick
from online_model.popularity import EXPOSURE, Increment, Values, counts, increments, merge
from streams.core.join import co_listening, keys
from streams.core.join.admission import MINUTE_MS, Admission
from streams.core.join.catalog import Catalog
from streams.core.join.events import Event, Exposure, LogBegin, Reason, Rejected, Tick
from streams.core.join.features_view import Moment, View
from streams.core.join.join import Joins, see
from streams.core.join.labels import COLLECT, Meaning, meaning
from streams.core.join.records import Arrived, Dead, Effects, Outgoing
from streams.core.join.rewards import PendingReward, remembered
from streams.core.join.settings import PartitionSettings
from streams.core.join.state import PROGRESS, PendingExposure, PendingFeedback, PendingSlate, Progress, Table, Tables, UserState

SHOWN_ROW = struct.Struct("<Qq")  # item, event time
_KEY = struct.Struct(">Q")
NO_PARTS: Mapping[int, Table[bytes]] = {}


class Partition:
    """The pure machine of one partition. `foreign`: other partitions' parts of the popularity, by partition."""

    def __init__(
        self, settings: PartitionSettings, tables: Tables, catalog: Catalog, number: int = 0,
        foreign: Mapping[int, Table[bytes]] = NO_PARTS,
    ) -> None:  # fmt: skip
        self.settings, self.tables, self.catalog, self.number, self.foreign = settings, tables, catalog, number, foreign
        self.view = View(settings)
        self.progress = tables.meta.get(PROGRESS) or Progress()
        self._admission = Admission(settings, tables)
        self._joins = Joins(settings, tables, self.progress, self._emit)
        self._effects = Effects()
        self._at = (-1, 0)
        self._n = 0

    def apply(self, batch: Sequence[Arrived]) -> Effects:
        """Apply records in order. One by one or in batches of any size: the same state, the same effects."""
        self._effects = Effects()
        for arrived in batch:
            self._at, self._n = (arrived.offset, arrived.index), 0
            self._apply(arrived)
        self.tables.meta.put(PROGRESS, self.progress)
        return self._effects

    def item_counts(self, item: int, ts: int) -> Values:
        """Popularity and counts of an item over all partitions, parts added in partition order."""
        return self._counts(item, ts, Table.get)

    def glance(self, item: int, ts: int) -> Values:
        """`item_counts` for another thread: what is being changed meanwhile is as it was, or as it is."""
        return self._counts(item, ts, Table.peek)

    def user(self, user: int) -> UserState | None:
        """The state of a user, None where there is none. For reading only."""
        return self.tables.users.peek(_KEY.pack(user))  # whoever is only asked for doesn't become resident

    def exposed(self, user_id: str, item_id: str, request_id: str | None) -> PendingExposure | None:
        """The exposure that an event applied just now belongs to; None where it waits for one. For reading only."""
        user, item = keys.key("user", user_id), keys.key("item", item_id)
        if request_id is None:
            last = self._joins.last(user, item)
            return last[2] if last else None
        slate = self._joins.find(user, keys.once("request", request_id))
        return slate.slot(item) if slate else None

    def _counts(self, item: int, ts: int, read: Callable[[Table[bytes], bytes], bytes | None]) -> Values:
        key = _KEY.pack(item)
        own = self.view.items.read(read(self.tables.popularity, key), ts)
        if not self.foreign:
            return own
        parts = {n: self.view.items.read(read(table, key), ts) for n, table in self.foreign.items() if n != self.number}
        parts[self.number] = own
        return merge([parts[n] for n in sorted(parts)])

    def following(self, state: UserState, ts: int) -> bytes:
        """The followers of the user's last item, of all partitions."""
        before = co_listening.last(state.liked, 0, ts)
        if not before:
            return b""
        key, parts = co_listening.key(before), {**self.foreign, self.number: self.tables.popularity}
        rows = [row for n in sorted(parts) if (row := parts[n].get(key))]
        return rows[0] if len(rows) == 1 else co_listening.merge(rows)

    def _apply(self, arrived: Arrived) -> None:
        record = arrived.record
        if isinstance(record, Rejected):
            self._reject(arrived, record.reason, record.detail, record.raw)
        elif isinstance(record, Tick):
            self._tick(record)
        elif isinstance(record, LogBegin):
            self.progress.in_log = True
        else:
            refused = self._admission.refuse(record, arrived.default_id, arrived.arrival_ms, self.progress)
            if refused:
                self._reject(arrived, *refused, arrived.raw)
                return
            self._admitted(record.event_id or arrived.default_id)
            self._advance(record.ts)
            self.progress.count("events" if isinstance(record, Event) else "exposures")
            if isinstance(record, Event):
                self._event(record, arrived)
            else:
                self._exposure(record)

    def _reject(self, arrived: Arrived, reason: Reason, detail: str, raw: bytes) -> None:
        self.progress.count(f"rejected:{reason}")
        self._effects.dead.append(Dead(arrived.offset, arrived.index, reason, detail, raw))

    def _admitted(self, event_id: str) -> None:
        """Chain the id into the log's hash: two logs that differ by an event, or by the order of two, differ here."""
        self.progress.log = xxhash.xxh3_64_intdigest(_KEY.pack(self.progress.log) + event_id.encode("utf-8", "surrogatepass"))

    def _tick(self, tick: Tick) -> None:
        self._advance(tick.ts)
        if tick.last:
            self._joins.close_all()
            self.progress.in_log = False
        self._emit(LearnerTick(ts=self.progress.watermark_ms, last=tick.last))

    def _advance(self, ts: int) -> None:
        """Move the watermark; close what is due, and forget once a minute of event time."""
        before = self.progress.watermark_ms
        if ts <= before:
            return
        self.progress.watermark_ms = ts
        self._joins.close_due(ts)
        if ts // MINUTE_MS > before // MINUTE_MS:
            self._admission.forget(ts)
            self._joins.forget(ts)

    def _event(self, event: Event, arrived: Arrived) -> None:
        said = meaning(event, self.settings)
        user, item = keys.key("user", event.user_id), keys.key("item", event.item_id)
        state = self._state(user)
        domain = self._domain(event.domain, item)
        acts = said.resolving or said.undo
        act = PendingFeedback(
            item=item, ts=event.ts, arrival_ms=arrived.arrival_ms, mask=said.tier_mask, resolving=said.resolving, undo=said.undo
        )
        found = self._find(event, arrived, said, user, item, state, domain)
        fresh, undone = said.mask, 0
        if found is not None:
            list_key, shown, slot = found
            if acts:
                before = slot.labels
                fresh = self._joins.act(shown, slot, act)
                undone = before & ~slot.labels
                if shown.choice is True:
                    self.progress.count("late_rewards")  # acts on a list of which has been said what it earned
            see(shown, item)
            self._joins.save(user, list_key, shown)
        elif acts and not (event.request_id is not None and self._joins.wait(user, keys.once("request", event.request_id), act)):
            self.progress.count("unjoined")
        after = co_listening.last(state.liked, item, event.ts) if said.popular else 0
        undone |= self._behave(state, domain, item, event.ts, said)
        self._add(state, item, domain, event.ts, (fresh << 1) | said.popular, after=after)
        self._add(state, item, domain, event.ts, undone << 1, sign=-1)
        self.tables.users.put(_KEY.pack(user), state)

    def _find(
        self, event: Event, arrived: Arrived, said: Meaning, user: int, item: int, state: UserState, domain: int
    ) -> tuple[int, PendingSlate, PendingExposure] | None:
        """The list and slot that an event belongs to, made where the event is (or implies) an impression.

        None: its exposure has not come (yet), or there is nothing to join.
        """
        if event.request_id is not None:
            list_key = keys.once("request", event.request_id)
            shown = self._joins.find(user, list_key)
            slot = shown.slot(item) if shown else None
            if shown is not None and slot is not None:
                return list_key, shown, slot
            if not said.impression:
                return None
        else:
            last = self._joins.last(user, item)
            if last is not None:
                slot = last[2]
                if said.later or (not slot.closed and (not said.impression or slot.implied)):
                    slot.implied = slot.implied and not said.impression
                    return last
            if not (said.impression or said.resolving):
                return None
            list_key = keys.once("event", event.event_id or arrived.default_id)
        part = self.view.user(user, state, event.context, event.ts)
        moment = Moment(self.view, user, state, event.ts, self.following(state, event.ts))
        slot = moment.slot(item, self.catalog.get(item), domain, event.module, event.position, self.item_counts)
        slot.implied = not said.impression
        shown = self._joins.show(user, list_key, part, [slot])
        self._seen(state, item, domain, event.ts)
        self.progress.count("impressions" if said.impression else "implied_impressions")
        return list_key, shown, slot

    def _exposure(self, exposure: Exposure) -> None:
        """A list as it was served: all its features are of one moment, none counts the others."""
        user, list_key = keys.key("user", exposure.user_id), keys.once("request", exposure.request_id)
        state = self._state(user)
        before = self._joins.find(user, list_key)
        there = {s.item for s in before.slots} if before else set()
        slots, domains = [], []
        moment = Moment(self.view, user, state, exposure.ts, self.following(state, exposure.ts))
        for shown in exposure.slots:
            item = keys.key("item", shown.item_id)
            if item not in there:
                there.add(item)
                domains.append(self._domain(exposure.domain, item))
                slots.append(moment.slot(item, self.catalog.get(item), domains[-1], shown.module, shown.position, self.item_counts))
        chosen = self._chosen(exposure) if exposure.choice is not None and exposure.slots else None
        if slots:
            self._joins.show(user, list_key, self.view.user(user, state, exposure.context, exposure.ts), slots, chosen)
            for slot, domain in zip(slots, domains, strict=True):
                self._seen(state, slot.item, domain, exposure.ts)
            self.progress.count("impressions", len(slots))
            self.tables.users.put(_KEY.pack(user), state)
        elif chosen is not None:
            self._joins.choose(user, list_key, chosen)
        self._effects.exposures.append(exposure)

    def _chosen(self, exposure: Exposure) -> PendingReward | None:
        """How the strategy was chosen; each item at its first place, at what its exposure is worth by the exposure, else the catalog."""
        places: dict[int, float] = {}
        for slot in exposure.slots:
            item = keys.key("item", slot.item_id)
            if item not in places:
                known = self.catalog.get(item) if slot.monetization is None else None
                places[item] = slot.monetization or (known.item.monetization if known else 0.0)
        chosen = remembered(exposure, list(places), list(places.values()))
        if chosen is None:
            self.progress.count("unusable_choices")
        return chosen

    def _seen(self, state: UserState, item: int, domain: int, ts: int) -> None:
        state.shown = (state.shown + SHOWN_ROW.pack(item, ts))[-self.settings.shown_limit * SHOWN_ROW.size :]
        self._add(state, item, domain, ts, EXPOSURE)

    def _behave(self, state: UserState, domain: int, item: int, ts: int, said: Meaning) -> int:
        """Append to the user's histories of this domain; an undone collect leaves it again (then its label bit comes back)."""
        if not (said.positive or said.negative or said.undo):
            return 0
        positive, negative = state.histories.pop(domain, (b"", b""))
        before = len(positive)
        if said.undo:
            positive = history.undo(positive, item, history.COLLECT)
        undone = COLLECT if len(positive) < before else 0
        if said.positive:
            positive = history.append(positive, item, ts, domain, said.positive, self.settings.history_limit)
        if said.negative:
            negative = history.append(negative, item, ts, domain, said.negative, self.settings.history_limit)
        state.histories[domain] = (positive, negative)
        _trim(state.histories, self.settings.domain_limit)
        self._relate(state, domain, item, ts, said)
        return undone

    def _relate(self, state: UserState, domain: int, item: int, ts: int, said: Meaning) -> None:
        """Append to the user's behaviours with this artist and this category, both families together."""
        known = self.catalog.get(item)
        for key in dict.fromkeys((known.artist, known.category)) if known else ():
            if not key:
                continue
            rows = state.related.pop(key, b"")
            if said.undo:
                rows = history.undo(rows, item, history.COLLECT)
            for action in (said.positive, said.negative):
                if action:
                    rows = history.append(rows, item, ts, domain, action, self.settings.related_limit)
            if rows:
                state.related[key] = rows
        _trim(state.related, self.settings.related_keys)

    def _add(self, state: UserState, item: int, domain: int, ts: int, mask: int, sign: int = 1, after: int = 0) -> None:
        """Move the decayed counts of the user's scopes and of the item by what a mask says; it followed the item `after`."""
        if not mask:
            return
        row, scopes = counts(mask, sign), self.view.scopes
        state.counts = scopes.add(state.counts, ts, row)
        state.by_domain[domain] = scopes.add(state.by_domain.pop(domain, None), ts, row)
        _trim(state.by_domain, self.settings.domain_limit)
        known = self.catalog.get(item)
        if known is not None and known.category:
            state.by_category[known.category] = scopes.add(state.by_category.pop(known.category, None), ts, row)
            _trim(state.by_category, self.settings.category_limit)
        key = _KEY.pack(item)
        table = self.tables.popularity
        table.put(key, self.view.items.add(table.get(key), ts, increments(mask, sign)))
        if after:
            key = co_listening.key(after)
            table.put(key, co_listening.add(table.get(key), item, ts))
        self._effects.popularity.append(Increment(item, ts, mask, sign, after))

    def _state(self, user: int) -> UserState:
        return self.tables.users.get(_KEY.pack(user)) or UserState()

    def _domain(self, named: str | None, item: int) -> int:
        if named is not None:
            return keys.key("domain", named)
        known = self.catalog.get(item)
        return known.domain if known else 0

    def _emit(self, record: ExampleRecord) -> None:
        self._effects.examples.append(Outgoing(*self._at, self._n, record))
        self._n += 1


def _trim(rows: dict[int, tuple[bytes, bytes]] | dict[int, bytes], limit: int) -> None:
    """Forget the least recently changed."""
    while len(rows) > limit:
        del rows[next(iter(rows))]
