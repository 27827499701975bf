"""Drawn negatives that Segue itself would have retrieved: beside a share of the acts, what is drawn are its own candidates.

What a recommender shows is what it has retrieved. So live its negatives are near to what was played, played before, or popular. Items as
popular as the one that was taken, and no more, teach that whatever is near is right, and nothing of which of it.

    exposure of an act: its item, a, b, c, d  ──►  its item and four of the candidates of a slate as of just before it, each as likely
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeGuard

import numpy as np
from msgspec.structs import replace

from replay.log_rows import DRAWN
from replay.prequential import Numbered, even, moments
from streams.core.join import keys
from streams.core.join.catalog import CatalogItem
from streams.core.join.events import Event, Exposure
from streams.core.join.partition import Partition
from streams.core.join.records import Effects
from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.recommend import Recommender, RecommendSettings, SlateRequest

SHARE = 0.5  # of the acts
SEED = 0
LOOKED_AT = 5_000  # records at the beginning of a log, of which one is drawn where any is

NOTE = (
    "Beside half of the acts, what is drawn are candidates that Segue would have ranked at that moment, as live (--as-live: none): harder "
    "to tell from what was taken than items that are as popular."
)

Batches = Callable[[Iterator[Numbered]], Iterator[list[Numbered]]]
After = Callable[[Effects], None]


class Retrieved:
    """Puts candidates in the place of drawn items, between the records of a replay."""

    def __init__(self, recommend: RecommendSettings, partition: Partition, known: Iterable[CatalogItem] = ()) -> None:
        """`known`: the items of the catalog."""
        self.index = CatalogIndex()
        for item in known:
            self.index.put(item, 0)
        self._partition = partition
        settings = replace(recommend, no_repeat_window_ms=0, explore_share=0.0)
        self._recommender = Recommender(settings, partition.settings, partition.catalog, self.index)

    def following(self, batches: Batches = even, after: After = lambda effects: None, **hooks: Any) -> dict[str, Any]:
        """The hooks of `prequential.run`, with those that are given; what they are handed has the candidates in it."""

        def changed(numbered: Iterator[Numbered]) -> Iterator[list[Numbered]]:
            for batch in batches(numbered):
                for moment in moments(batch):
                    yield from self._moment(moment)

        def followed(effects: Effects) -> None:
            for increment in effects.popularity:
                self.index.add(increment)
            after(effects)

        return hooks | {"batches": changed, "after": followed}

    def _moment(self, batch: list[Numbered]) -> Iterator[list[Numbered]]:
        changed = [(line, replace(a, record=self._exposure(a.record)) if _is_drawn(a.record) else a) for line, a in batch]
        yield changed
        for _, arrived in changed:
            record = arrived.record
            for slot in record.slots if isinstance(record, Exposure) else (record,) if isinstance(record, Event) else ():
                self.index.add_uncatalogued(slot.item_id)

    def _exposure(self, exposure: Exposure) -> Exposure:
        request_id = exposure.request_id
        rng = np.random.default_rng([SEED, keys.uncached("request", request_id), exposure.ts])
        if rng.random() >= SHARE:
            return exposure
        drawn = [n for n, slot in enumerate(exposure.slots) if slot.source == DRAWN]
        request = SlateRequest(user_id=exposure.user_id, k=1, domain=exposure.domain, context=exposure.context)
        user = self._partition.user(keys.key("user", exposure.user_id))
        found = self._recommender.candidates(request, request_id, user, self._partition.glance, exposure.ts, SEED)
        taken = {keys.key("item", slot.item_id) for slot in exposure.slots}
        others = sorted([key for key in found if key not in taken])
        slots = list(exposure.slots)
        for place, at in zip(drawn, rng.permutation(len(others)).tolist(), strict=False):
            key = others[at]
            slots[place] = replace(slots[place], item_id=self._recommender.scorer.named(key), source=found[key])
        return replace(exposure, slots=tuple(slots))


def draws(records: Iterable[Numbered]) -> bool:
    """Whether a log, given from its beginning, has drawn exposures."""
    return any(_is_drawn(arrived.record) for _, arrived in islice(records, LOOKED_AT))


def _is_drawn(record: object) -> TypeGuard[Exposure]:
    return isinstance(record, Exposure) and record.strategy == DRAWN
