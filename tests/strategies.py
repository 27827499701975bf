"""Hypothesis strategies of what the system is fed, all in one file: JSON of events, behaviours, examples."""
from __future__ import annotations

import struct
from typing import Any

import msgspec
from hypothesis import strategies as st

from online_model.features import (
    BAG_LIMIT,
    CODES,
    COUNTS,
    DOMAIN_LIMIT,
    EMBEDDING,
    FIELDS,
    PLAY_TIMES_S,
    POPULARITY_HALF_LIVES_H,
    SCOPES,
    TASKS,
    Example,
    Features,
    Reversal,
)
from online_model.history import ACTIONS
from online_model.popularity import MASKS, Increment
from streams.core.join.events import Action, ArmDraw, Event, Exposure, Tick
from streams.core.join.events import ExposedItem as WireSlot

ACTION_NAMES = ("impression", "play", "skip", "collect", "share", "dislike", "uncollect")

# --- keys and times
keys = st.integers(1, 2**64 - 1)
few_keys = st.integers(1, 6)  # few enough that they meet again
times = st.integers(0, 4_102_444_800_000)
near_times = st.integers(1_700_000_000_000, 1_700_000_000_000 + 30 * 86_400_000)

# --- events as a product sends them
ids = st.text(min_size=1, max_size=20) | st.sampled_from(["u1", "}{", "a,b", '"', "\\", "[]", "用户"])
context = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8) | st.integers(-(10**6), 10**6), max_size=4)


@st.composite
def event_objects(draw: st.DrawFn) -> dict[str, Any]:
    """A valid event as the object that its JSON stands for."""
    out: dict[str, Any] = {"ts": draw(times), "user_id": draw(ids), "item_id": draw(ids), "action": draw(st.sampled_from(ACTION_NAMES))}
    optional: dict[str, st.SearchStrategy[Any]] = {
        "event_id": ids,
        "also": st.lists(st.sampled_from(ACTION_NAMES), max_size=7),
        "full": st.booleans(),
        "played_ms": st.integers(0, 7 * 86_400_000),
        "duration_ms": st.integers(0, 7 * 86_400_000),
        "domain": ids,
        "request_id": ids,
        "position": st.integers(0, 10_000),
        "propensity": st.floats(0, 1),
        "context": context,
        "of_another_version": st.none() | st.lists(st.integers(), max_size=2),  # unknown fields are ignored
    }
    for name, values in optional.items():
        if draw(st.booleans()):
            out[name] = draw(values)
    return out


# --- histories
behaviours = st.tuples(few_keys, st.integers(0, 12), few_keys, st.integers(1, ACTIONS - 1))  # item, ts, domain, action
many_behaviours = st.lists(behaviours, max_size=12)

# --- popularity
increments = st.builds(Increment, item=few_keys, ts=near_times, mask=st.integers(0, MASKS - 1), sign=st.just(1))


# --- what the ranker learns from
def _packed(values: st.SearchStrategy[Any], layout: str, size: int) -> st.SearchStrategy[bytes]:
    return st.lists(values, min_size=size, max_size=size).map(lambda row: struct.pack(f"<{size}{layout}", *row))


_bag = st.lists(keys, max_size=BAG_LIMIT).map(lambda row: struct.pack(f"<{len(row)}Q", *row))
_floats = st.floats(0, 1e6, width=32)


@st.composite
def histories(draw: st.DrawFn) -> bytes:
    """A history as `online_model.history` packs it: rows in time order."""
    rows = draw(st.lists(st.tuples(keys, near_times, keys, st.integers(1, ACTIONS - 1)), max_size=5))
    return b"".join(struct.pack("<QqQB", *row) for row in sorted(rows, key=lambda row: row[1]))


features = st.builds(
    Features,
    fields=_packed(st.integers(0, 2**64 - 1), "Q", len(FIELDS)),
    context=_bag,
    user_attributes=_bag,
    item_features=_bag,
    positive=histories(),
    negative=histories(),
    related=histories(),
    domains=st.lists(st.tuples(keys, _floats), max_size=DOMAIN_LIMIT).map(lambda rows: b"".join(struct.pack("<Qf", *row) for row in rows)),
    counts=_packed(_floats, "f", len(SCOPES) * len(COUNTS)),
    popularity=_packed(_floats, "f", len(POPULARITY_HALF_LIVES_H)),
    age_s=st.floats(-1, 1e9, width=32),
    shown_ms=near_times,
    artist_feedback=_packed(_floats, "f", CODES),
    play_times=_packed(_floats, "f", len(PLAY_TIMES_S)),
    embedding=st.just(b"") | _packed(st.sampled_from([0.0, 0.5, -1.0]), "f", EMBEDDING),
)
_record = {
    "id": keys,
    "ts": near_times,
    "arrival_ms": near_times,
    "sampling_rate": st.sampled_from([1.0, 0.5, 0.125]),
    "features": features,
}
examples = st.builds(Example, labels=st.integers(0, 2 ** len(TASKS) - 1), **_record)
reversals = st.builds(Reversal, task=st.integers(0, len(TASKS) - 1), sign=st.sampled_from([1, -1]), **_record)


# --- logs of one partition: few users, items and requests, so that all meet again; times that fall on every edge of a window
LOG_START = 1_700_000_040_000  # a full minute
_steps_ms = st.sampled_from([0, 0, 1, 1_000, 1_000, 30_000, 30_000, 60_000, 60_000, 60_000, 300_000, 300_000]) | st.sampled_from(
    [0, 60_000, 599_999, 600_000, 600_001, 1_200_000, 1_200_001, 1_800_000, 1_860_000]
)
_back_ms = st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1, 5_000, 600_000, 900_000, 1_200_000, 1_200_001])
_ahead_ms = st.sampled_from([0, 0, 0, 0, 0, 0, 0, -50, 300_000, 300_001])
_names = st.sampled_from("iijk")
_requests = st.sampled_from([None, None, "r", "r", "s"])
_events = st.builds(
    Event,
    ts=st.just(0),
    user_id=st.sampled_from("uuuv"),
    item_id=_names,
    action=st.sampled_from(list(Action)),
    also=st.lists(st.sampled_from(list(Action)), max_size=3).map(tuple) | st.just(()),
    full=st.sampled_from([None, None, True, False]),
    played_ms=st.sampled_from([None, 0, 299, 300, 899, 900, 5000]),
    duration_ms=st.sampled_from([None, 0, 1000]),
    domain=st.sampled_from([None, "song", "video"]),
    request_id=_requests,
)
CHOICE = ArmDraw(surface="page", arms=("a", "b", "c"), propensities=(0.25, 0.75, 0.0), segment=3, activity=1.5, domain=7)
_exposures = st.builds(
    lambda user, request, items, chosen, seen: Exposure(
        ts=0, user_id=user, request_id=request, strategy=chosen, arm_draw=CHOICE if chosen else None,
        slots=tuple(WireSlot(item_id=item, position=n, monetization=0.25 + n) for n, item in enumerate(items)), seen=seen,
    ),
    st.sampled_from("uuuv"),
    st.sampled_from(["r", "s"]),
    st.lists(_names, max_size=4),
    st.sampled_from([None, "a", "b", "c"]),  # c can't have been chosen
    st.booleans(),
)  # fmt: skip
_ticks = st.builds(Tick, last=st.sampled_from([False, False, False, True]))


@st.composite
def logs(draw: st.DrawFn, size: int = 30) -> list[tuple[Event | Exposure | Tick, str, int]]:
    """Records of one partition, each with its id and its arrival; some late, ahead of their arrival, or there before."""
    now, out = LOG_START, list[tuple[Event | Exposure | Tick, str, int]]()
    for n in range(draw(st.integers(2, size))):
        if out and draw(st.integers(0, 9)) == 0:
            out.append(draw(st.sampled_from(out)))  # the same again, id and all
            continue
        now += draw(_steps_ms)
        record = draw(_events | _events | _events | _exposures | _ticks)
        ts = now - draw(_back_ms)
        out.append((msgspec.structs.replace(record, ts=ts), f"id{n}", ts - draw(_ahead_ms)))
    return out
