"""Amazon ratings of users of two domains (cross-domain sequences of MERIT, ACM MM 2025): `abe_50_preprocessed.txt` and its item map.

A line is a user, `user item|time item|time …`, the times in order. The log says what was reviewed, never what was shown, so one
interaction becomes a list of its own, shown and answered at one moment:

| column | record |
| --- | --- |
| user, time (days) | user_id, ts: the lists of a day are spread over it evenly, in the order of the lines |
| (one interaction) | an exposure: the item among four drawn ones that this user had not been shown (see `sampled.py`), in random order |
| item | item_id, by the map; in the exposure, and then an event `collect`: a review was written (the stars are not in the file) |
| the item's domain in the map | domain: `beauty` (0), `electronics` (1); the number for other pairs of domains |

So the drawn items are *exposures without an act that nobody ever made*: figures say how well a reviewed item is told from an equally
popular one of its domain, nothing about rates. Spread over the day, a list closes before the next one comes: at one moment all days' acts
would be learned before all that was left alone, and a model would be judged by how it follows that beat. line = the user's line. Items:
the map.
"""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from replay.adapters.sampled import Unshown
from replay.log_rows import LogError, LogRow, beside, lines
from streams.core.join.events import Action, Event
from streams.core.join.items import Item

DAY_MS = 86_400_000
NAMES = {"abe": ("beauty", "electronics")}
_map = msgspec.json.Decoder(dict[str, tuple[int, int]])


def rows(path: Path) -> Iterator[LogRow]:
    """The interactions of all users, in time order: an exposure and a collect each."""
    by_number = {number: (item, domain) for item, number, domain in _items(path)}
    collects: list[tuple[int, int, str, int]] = []  # seconds, line, user, number of the item
    for line, text in lines(path):
        try:
            user, *visits = text.decode().split() or [""]
        except UnicodeDecodeError:
            yield LogRow(line, text, None)
            continue
        for visit in visits:
            named, bar, moment = visit.partition("|")
            if not (bar and named.isdigit() and moment.isdigit() and int(named) in by_number):
                yield LogRow(line, text, None)
                break
            collects.append((int(moment), line, user, int(named)))
    collects.sort(key=lambda collect: collect[:2])  # stable: of one user and day, as they stand
    unshown = Unshown(dict(by_number.values()))
    a_day = Counter(seconds for seconds, *_ in collects)
    day, place = -1, 0
    for n, (seconds, line, user, number) in enumerate(collects):
        day, place = seconds, place + 1 if seconds == day else 0
        item, domain = by_number[number]
        event = Event(
            event_id=f"c{n}", ts=seconds * 1000 + place * DAY_MS // a_day[seconds], user_id=user, item_id=item, action=Action.COLLECT,
            domain=domain, request_id=f"r{n}",
        )  # fmt: skip
        yield from unshown.rows(line, event, f"x{n}")


def items(log: Path) -> Iterator[Item]:
    """The items of the map, with their domains."""
    for item, _, domain in _items(log):
        yield Item(item_id=item, domain=domain)


def _items(log: Path) -> Iterator[tuple[str, int, str]]:
    """(item, its number in the log, domain) of the map."""
    named = re.fullmatch(r"(\w+?)_(\d+)_preprocessed\.txt(\.gz)?", log.name)
    path = beside(log, f"{named[1]}_map_item_{named[2]}.json") if named else None
    if named is None or path is None:
        raise LogError(f"{log}: expected NAME_50_preprocessed.txt with NAME_map_item_50.json beside it")
    try:
        entries = _map.decode(b"".join(line for _, line in lines(path)))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LogError(f"{path}: not a map of items: {error}") from None
    names = NAMES.get(named[1], ())
    for item, (number, domain) in entries.items():
        yield item, number, names[domain] if domain < len(names) else str(domain)
