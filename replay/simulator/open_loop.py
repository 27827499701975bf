"""The simulator's open loop: a log of lists served by a known policy, with the chance of every slot.

The policy fills a list slot by slot, each item at most once: with chance `explore` uniformly over what is left of
the domain's available items, else in proportion to popularity + 1. The propensity of a slot is the mixture's chance
of its item given the slots above. Most lists are logged as one exposure record and acts that name its request; the
rest as single impressions, each one event with all that happened at its moment; a few plays come from nowhere.
"""
from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from replay.simulator.reactions import Reaction, event, react
from replay.simulator.world import Session, World, WorldSettings
from streams.core.join.events import Action, Event, ExposedItem, Exposure

STRATEGY = "popular-explore"


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How lists are served and logged."""

    k: int = 10  # items of a list
    explore: float = 0.3  # share of uniform draws; the default keeps every propensity above explore / items
    single: float = 0.15  # share of lists logged as single impressions
    organic: float = 0.03  # share of sessions that begin with a play nobody recommended

    def __post_init__(self) -> None:
        if self.k < 1 or not all(0 <= share <= 1 for share in (self.explore, self.single, self.organic)):
            raise ValueError("k must be at least 1; explore, single and organic are shares in [0, 1]")


def mixture(popularity: np.ndarray, left: np.ndarray, explore: float) -> np.ndarray:
    """Chance of each candidate [n] for the next slot; `left` [n] marks those not in the list yet."""
    weight = (popularity + 1.0) * left
    out: np.ndarray = (1 - explore) * weight / weight.sum() + explore * left / left.sum()
    return out


def draw_list(popularity: np.ndarray, explore: float, k: int, rng: np.random.Generator) -> tuple[list[int], list[float]]:
    """Up to k places in `popularity` [n], drawn slot by slot, and the chance that each had."""
    left = np.ones(len(popularity))
    chosen: list[int] = []
    chance: list[float] = []
    for u in rng.random(k)[: len(popularity)].tolist():
        p = mixture(popularity, left, explore)
        ladder = np.cumsum(p)
        place = int(np.searchsorted(ladder, u * ladder[-1], side="right"))
        chosen.append(place)
        chance.append(float(p[place]))
        left[place] = 0.0
    return chosen, chance


def records(world: World, events: int, seed: int, settings: LogSettings | None = None) -> Iterator[Event | Exposure]:
    """Exactly `events` records in time order, moving the world along."""
    s = settings or LogSettings()
    rng = np.random.default_rng([seed, 2])
    waiting: list[tuple[int, int, Event | Exposure]] = []
    made = given = 0
    for session in world.sessions(seed):
        while waiting and waiting[0][0] <= session.ts:
            record = heapq.heappop(waiting)[2]
            if isinstance(record, Event):
                world.observe(record)
            yield record
            given += 1
            if given == events:
                return
        for record in _session(world, session, s, rng, f"{seed}-{session.index}"):
            heapq.heappush(waiting, (record.ts, made, record))
            made += 1


def _session(world: World, session: Session, s: LogSettings, rng: np.random.Generator, name: str) -> Iterator[Event | Exposure]:
    """A session's records; the caller puts them in time order."""
    items = world.available(session.domain, session.ts)
    if not len(items):
        return
    popularity = world.popularity(items, session.ts)
    style, organic = rng.random(2).tolist()
    places, chance = draw_list(popularity, s.explore, s.k, rng)
    shown = items[places].tolist()
    figures = popularity[places].tolist()
    acts = react(world, session, shown, session.ts)
    if organic < s.organic:
        item = int(items[rng.integers(len(items))])
        play = Reaction(session.ts + 1, 0, item, Action.PLAY, (), int(world.duration_ms[item]) or 600_000, full=True)
        yield event(world, session, play, f"{name}-o")
    if style < s.single:
        for n, act in enumerate(acts):
            first = act.action in (Action.PLAY, Action.SKIP)
            whole = act._replace(action=Action.IMPRESSION, also=(act.action, *act.also)) if first else act
            yield event(world, session, whole, f"{name}-{n}", None, chance[act.position] if first else None)
        return
    slots = tuple(
        ExposedItem(item_id=world.item_ids[item], position=n, propensity=chance[n], popularity=(figures[n],))
        for n, item in enumerate(shown)
    )
    yield Exposure(
        ts=session.ts,
        user_id=world.user_ids[session.listener],
        request_id=name,
        slots=slots,
        event_id=f"{name}-x",
        domain=world.settings.domains[session.domain].name,
        strategy=STRATEGY,
        context=session.context,
    )
    for n, act in enumerate(acts):
        yield event(world, session, act, f"{name}-{n}", name)


def simulate_log(settings: WorldSettings, events: int, seed: int, log: LogSettings | None = None) -> Iterator[bytes]:
    """The log as JSON lines, each with its line feed. Equal arguments, equal bytes."""
    if events < 0:
        raise ValueError(f"events must not be negative, got {events}")
    encoder = msgspec.json.Encoder()
    for record in records(World(settings, seed), events, seed, log) if events else ():
        yield encoder.encode(record) + b"\n"


def write_log(path: str | os.PathLike[str], settings: WorldSettings, events: int, seed: int, log: LogSettings | None = None) -> int:
    """Write the log; returns the number of lines."""
    lines = 0
    with Path(path).open("wb", buffering=1 << 20) as out:
        for line in simulate_log(settings, events, seed, log):
            out.write(line)
            lines += 1
    return lines


def write_items(path: str | os.PathLike[str], settings: WorldSettings, seed: int) -> int:
    """Write the catalog of the same world, one item a line; returns their number."""
    items = World(settings, seed).catalog()
    encoder = msgspec.json.Encoder()
    with Path(path).open("wb") as out:
        out.writelines(encoder.encode(item) + b"\n" for item in items)
    return len(items)
