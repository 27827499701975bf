"""Items drawn beside one that was taken, for logs that say what was taken and not what was exposed.

An item is drawn from those of its own domain that were taken as often so far (0; 1; 2 or 3; 4 to 7; …), the user's own past ones left
out. So neither popularity nor newness tells what was drawn from what was taken: what is left to learn is whom an item suits. Seeded:
same log, same draws. `Unshown` makes slates of a whole data set's items, `Negatives` (`replay/negatives.py`) of those that were there.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec
import numpy as np

from replay.log_rows import DRAWN, LogRow
from streams.core.join.events import Event, ExposedItem, Exposure

BESIDE = 4  # items drawn for one that was taken
TRIES = 8  # draws for one place before the next lower group is asked
SEED = 1


class Groups:
    """Items by domain and by how often they were taken. The one whose count changed longest ago leaves where there are too many."""

    def __init__(self, seed: int = SEED, most: int | None = None) -> None:
        self._rng = np.random.default_rng(seed)
        self._most = most
        self._domain_of: dict[str, str] = {}
        self._taken: dict[str, int] = {}
        self._groups: dict[tuple[str, int], list[str]] = {}
        self._at: dict[str, int] = {}  # place in its group; in the order in which counts changed

    def __contains__(self, item: str) -> bool:
        return item in self._taken

    def add(self, item: str, domain: str) -> None:
        """An item that is there from now on, taken by nobody yet.

        >>> groups = Groups(most=2)
        >>> for item in "abc":
        ...     groups.add(item, "song")
        >>> "a" in groups, sorted(groups.drawn("c", 4, lambda item: False))
        (False, ['b'])
        """
        if self._most is not None and len(self._at) >= self._most:
            oldest = next(iter(self._at))
            self._leave(oldest)
            del self._taken[oldest], self._domain_of[oldest]
        self._domain_of[item] = domain
        self._taken[item] = 0
        self._enter(item)

    def take(self, item: str) -> None:
        """It was taken once more."""
        self._leave(item)
        self._taken[item] += 1
        self._enter(item)

    def drawn(self, item: str, n: int, refused: Callable[[str], bool]) -> list[str]:
        """Up to `n` others, each once."""
        found: list[str] = []
        group = self._taken[item].bit_length()
        while len(found) < n and group >= 0:
            there = self._groups.get((self._domain_of[item], group), [])
            for at in self._rng.integers(len(there), size=TRIES * n).tolist() if there else ():
                other = there[at]
                if len(found) < n and other != item and other not in found and not refused(other):
                    found.append(other)
            group -= 1
        return found

    def drawn_of(self, item: str, n: int, among: list[str], refused: Callable[[str], bool]) -> list[str]:
        """Up to `n` others of `among`, each once, of the item's domain: of TRIES * n draws those that were taken about as often as it."""
        found: list[str] = []
        for at in self._rng.integers(len(among), size=TRIES * n).tolist() if among else ():
            other = among[at]
            if (
                other != item
                and other in self
                and self._domain_of[other] == self._domain_of[item]
                and other not in found
                and not refused(other)
            ):
                found.append(other)
        own = self._taken[item].bit_length()
        return sorted(found, key=lambda other: abs(self._taken[other].bit_length() - own))[:n]

    def shuffled(self, items: list[str]) -> list[str]:
        """In random order."""
        return [items[k] for k in self._rng.permutation(len(items)).tolist()]

    def _key(self, item: str) -> tuple[str, int]:
        return self._domain_of[item], self._taken[item].bit_length()

    def _enter(self, item: str) -> None:
        group = self._groups.setdefault(self._key(item), [])
        self._at[item] = len(group)
        group.append(item)

    def _leave(self, item: str) -> None:
        key = self._key(item)
        group, at = self._groups[key], self._at.pop(item)
        last = group.pop()
        if last != item:
            group[at] = last
            self._at[last] = at
        if not group:
            del self._groups[key]


class Unshown:
    """Slates of the items of a data set: each item once a user at most."""

    def __init__(self, domain_of: Mapping[str, str], seed: int = SEED) -> None:
        """`domain_of`: every item of the log.

        >>> sorted(Unshown({"a": "song", "b": "song", "v": "video"}).around("u", "a"))
        ['a', 'b']
        """
        self._groups = Groups(seed)
        self._past: dict[str, set[str]] = {}
        for item, domain in domain_of.items():
            self._groups.add(item, domain)

    def rows(self, line: int, event: Event, exposure_id: str) -> Iterator[LogRow]:
        """The exposure of the event's item among drawn ones, at the event's own moment and request; then the event."""
        yield LogRow(line, msgspec.json.encode(slate(event, self.around(event.user_id, event.item_id), exposure_id)), None)
        yield LogRow(line, msgspec.json.encode(event), None)

    def around(self, user: str, item: str) -> list[str]:
        """The item among BESIDE drawn ones (fewer where there are none), in random order; from now on it is taken once more."""
        past = self._past.setdefault(user, set())
        drawn = self._groups.drawn(item, BESIDE, past.__contains__)
        past.update((item, *drawn))
        self._groups.take(item)
        return self._groups.shuffled([item, *drawn])


def slate(event: Event, items: list[str], exposure_id: str) -> Exposure:
    """The exposure of these items at an event's moment, marked as drawn, as are all but the event's own.

    Raises ValueError for an event without a request id.
    """
    if event.request_id is None:
        raise ValueError("an event without a request_id is in no slate")
    slots = tuple(
        ExposedItem(item_id=item, position=position, module=event.module, source=DRAWN if item != event.item_id else None)
        for position, item in enumerate(items, 1)
    )
    return Exposure(
        event_id=exposure_id, ts=event.ts, user_id=event.user_id, request_id=event.request_id, domain=event.domain, slots=slots,
        strategy=DRAWN, context=event.context,
    )  # fmt: skip
