"""The simulator's open loop: a log of slates served by a known policy, with the propensity of every position.

The policy fills a slate position by position, each item at most once: with probability `explore` uniformly over what is left of
the domain's available items, else in proportion to popularity + 1. The propensity of a position is the mixture's probability
of its item given the positions above. Most slates are logged as one exposure record and acts that name its request; the
rest as single impressions, each one event with all that happened at its moment; a few plays are organic.
"""
from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace

from replay.simulator.closed_loop import PendingRecords
from replay.simulator.reactions import Reaction, event, exposure, react
from replay.simulator.world import Session, World, WorldSettings
from streams.core.join.events import Action, Event, ExposedItem, Exposure

STRATEGY = "popular-explore"


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How slates are served and logged."""

    k: int = 10  # items of a slate
    explore: float = 0.3  # share of uniform draws; the default keeps every propensity above explore / items
    single: float = 0.15  # share of slates logged as single impressions
    organic: float = 0.03  # share of sessions that begin with a play nobody recommended

    def __post_init__(self) -> None:
        if self.k < 1 or not all(0 <= share <= 1 for share in (self.explore, self.single, self.organic)):
            raise ValueError("k must be at least 1; explore, single and organic are shares in [0, 1]")


def mixture(popularity: np.ndarray, left: np.ndarray, explore: float) -> np.ndarray:
    """Probability of each candidate [n] at the next position; `left` [n] marks those not in the slate yet.

    >>> mixture(np.array([0.0, 2.0]), np.ones(2), 0.2).round(2).tolist()
    [0.3, 0.7]
    """
    weight = (popularity + 1.0) * left
    out: np.ndarray = (1 - explore) * weight / weight.sum() + explore * left / left.sum()
    return out


def draw_slate(popularity: np.ndarray, explore: float, k: int, rng: np.random.Generator) -> tuple[list[int], list[float]]:
    """Up to k candidates by their places in `popularity` [n], drawn position by position, and the propensity of each."""
    left = np.ones(len(popularity))
    slate: list[int] = []
    propensities: list[float] = []
    for u in rng.random(k)[: len(popularity)].tolist():
        p = mixture(popularity, left, explore)
        ladder = np.cumsum(p)
        place = int(np.searchsorted(ladder, u * ladder[-1], side="right"))
        slate.append(place)
        propensities.append(float(p[place]))
        left[place] = 0.0
    return slate, propensities


def records(world: World, events: int, seed: int, settings: LogSettings | None = None) -> Iterator[Event | Exposure]:
    """Exactly `events` records in time order, moving the world along."""
    return islice(_endless(world, seed, settings or LogSettings()), events)


def _endless(world: World, seed: int, s: LogSettings) -> Iterator[Event | Exposure]:
    rng = np.random.default_rng([seed, 2])
    pending = PendingRecords(world)
    for session in world.sessions(seed):
        yield from pending.due(session.ts)
        for record in _session(world, session, s, rng, f"{seed}-{session.index}"):
            pending.put(record)


def _session(world: World, session: Session, s: LogSettings, rng: np.random.Generator, name: str) -> Iterator[Event | Exposure]:
    """A session's records; the caller puts them in time order."""
    items = world.available(session.domain, session.ts)
    if not len(items):
        return
    popularity = world.popularity(items, session.ts)
    single, organic = rng.random(2).tolist()
    places, propensities = draw_slate(popularity, s.explore, s.k, rng)
    slate = items[places].tolist()
    acts = react(world, session, slate, session.ts)
    if organic < s.organic:
        item = int(items[rng.integers(len(items))])
        play = Reaction(session.ts + 1, 0, item, Action.PLAY, (), int(world.duration_ms[item]) or 600_000, full=True)
        yield event(world, session, play, f"{name}-o")
    if single < s.single:
        for n, reaction in enumerate(acts):
            first = reaction.action in (Action.PLAY, Action.SKIP)
            whole = reaction._replace(action=Action.IMPRESSION, also=(reaction.action, *reaction.also)) if first else reaction
            yield event(world, session, whole, f"{name}-{n}", None, propensities[reaction.position] if first else None)
        return
    exposed = [
        ExposedItem(item_id=world.item_ids[item], position=n, propensity=p, popularity=(count,))
        for n, (item, p, count) in enumerate(zip(slate, propensities, popularity[places].tolist(), strict=True))
    ]
    yield exposure(world, session, exposed, name, STRATEGY)
    for n, reaction in enumerate(acts):
        yield event(world, session, reaction, f"{name}-{n}", name)


def simulate_log(
    settings: WorldSettings, events: int, seed: int, log: LogSettings | None = None, later_ms: int = 0
) -> Iterator[bytes]:  # fmt: skip
    """The log as JSON lines, each with its line feed. Equal arguments, equal bytes. Raises ValueError where `events` is negative.

    `later_ms`: all of it happens so much later, hours of listeners' days included: they live in another zone.
    """
    if events < 0:
        raise ValueError(f"events must not be negative, got {events}")
    encoder = msgspec.json.Encoder()
    for record in records(World(settings, seed), events, seed, log):
        yield encoder.encode(replace(record, ts=record.ts + later_ms) if later_ms else record) + b"\n"


def later(settings: WorldSettings, events: int, seed: int, until_ms: int, log: LogSettings | None = None) -> int:
    """How much later the log has to happen, ms, so that its last record is at `until_ms`; 0 of an empty log. It is simulated for that."""
    last_ms = until_ms
    for record in records(World(settings, seed), events, seed, log):
        last_ms = record.ts
    return until_ms - last_ms


def write_log(
    path: str | os.PathLike[str], settings: WorldSettings, events: int, seed: int, log: LogSettings | None = None, later_ms: int = 0
) -> int:  # fmt: skip
    """Write the log; returns the number of lines."""
    with Path(path).open("wb", buffering=1 << 20) as out:
        out.writelines(simulate_log(settings, events, seed, log, later_ms))
    return events


def write_items(path: str | os.PathLike[str], settings: WorldSettings, seed: int, later_ms: int = 0) -> int:
    """Write the catalog of the same world, one item a line; returns their number."""
    items = World(replace(settings, start_ms=settings.start_ms + later_ms), seed).catalog()
    Path(path).write_bytes(msgspec.json.Encoder().encode_lines(items))
    return len(items)
