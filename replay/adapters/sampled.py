"""Slates around items that were taken, for logs that say what was taken and not what was exposed.

An item is drawn from those of its own domain that were taken as often so far (0; 1; 2 or 3; 4 to 7; …), the user's own past ones left
out. So neither popularity nor newness tells what was drawn from what was taken: what is left to learn is whom an item suits. Items
of the catalog that nobody has taken yet are drawn beside those that are taken for the first time. Seeded: same log, same draws.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np

from replay.log_rows import LogRow
from streams.core.join.events import Event, ExposedItem, Exposure

BESIDE = 4  # items drawn for one that was taken
TRIES = 8  # draws for one place before the next lower group is asked
SEED = 1


class Unshown:
    """Who has taken what, and the groups to draw from."""

    def __init__(self, domain_of: Mapping[str, str], seed: int = SEED) -> None:
        """`domain_of`: every item of the log.

        >>> sorted(Unshown({"a": "song", "b": "song", "v": "video"}).around("u", "a"))
        ['a', 'b']
        """
        self._domain_of = domain_of
        self._rng = np.random.default_rng(seed)
        self._taken = dict.fromkeys(domain_of, 0)
        self._groups: dict[tuple[str, int], list[str]] = {}
        self._at: dict[str, int] = {}  # place in its group
        self._past: dict[str, set[str]] = {}
        for item in domain_of:
            self._enter(item)

    def rows(self, line: int, event: Event, exposure_id: str) -> Iterator[LogRow]:
        """The exposure of the event's item among drawn ones, at the event's own moment and request; then the event."""
        if event.request_id is None:
            raise ValueError("an event without a request_id is in no slate")
        slate = self.around(event.user_id, event.item_id)
        exposure = Exposure(
            event_id=exposure_id, ts=event.ts, user_id=event.user_id, request_id=event.request_id, domain=event.domain,
            slots=tuple(ExposedItem(item_id=item, position=position) for position, item in enumerate(slate, 1)),
        )  # fmt: skip
        for record in (exposure, event):
            yield LogRow(line, msgspec.json.encode(record), None)

    def around(self, user: str, item: str) -> list[str]:
        """The item among BESIDE drawn ones (fewer where there are none), in random order; from now on it is taken once more."""
        past = self._past.setdefault(user, set())
        past.add(item)
        slate = [item]
        group = self._taken[item].bit_length()
        while len(slate) <= BESIDE and group >= 0:
            there = self._groups.get((self._domain_of[item], group), [])
            for at in self._rng.integers(len(there), size=TRIES * BESIDE).tolist() if there else ():
                if len(slate) <= BESIDE and there[at] not in past:
                    past.add(there[at])
                    slate.append(there[at])
            group -= 1
        self._leave(item)
        self._taken[item] += 1
        self._enter(item)
        return [slate[k] for k in self._rng.permutation(len(slate)).tolist()]

    def _group(self, item: str) -> list[str]:
        return self._groups.setdefault((self._domain_of[item], self._taken[item].bit_length()), [])

    def _enter(self, item: str) -> None:
        group = self._group(item)
        self._at[item] = len(group)
        group.append(item)

    def _leave(self, item: str) -> None:
        group, at = self._group(item), self._at.pop(item)
        last = group.pop()
        if last != item:
            group[at] = last
            self._at[last] = at
