"""Example records to arrays, by one `frombuffer` a column: where strings have long ended and tensors begin.

Shapes: B records, S halves that are a user's at one moment (see `Batch.owner`), L behaviours of the longest history in the batch (at
least 1), T tasks.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from online_model.features import (
    BAG_LIMIT,
    BAGS,
    CODES,
    COUNTS,
    DOMAIN,
    DOMAIN_LIMIT,
    EMBEDDING,
    FIELDS,
    OWN_PLAYS,
    PLAY_TIMES_S,
    POPULARITY_HALF_LIVES_H,
    SCOPES,
    TASKS,
    Example,
    Exposed,
    Features,
    Reversal,
)
from online_model.history import BEHAVIOUR, ROW

Array = np.ndarray

HALVES = ("history", "action", "age_s", "where", "domains", "domain_exposures")
_NO_EMBEDDING = bytes(4 * EMBEDDING)
SHARED = 0.75  # halves a row, above which every row has one of its own: to gather them would cost what it saves


@dataclass(slots=True)
class Batch:
    """Inputs of the ranker, and what is to be learned from them."""

    fields: Array  # uint64 [B, len(FIELDS)]; 0 = absent
    bags: Array  # uint64 [B, len(BAGS), BAG_LIMIT]; 0 pads
    history: Array  # uint64 [S, 2, L] item keys, positive family first, newest first; 0 pads
    action: Array  # uint8 [S, 2, L] codes of history.py; 0 pads
    age_s: Array  # float32 [S, 2, L] seconds between the behaviour and the exposure, >= 0
    where: Array  # uint64 [S, 2, L] domain keys of the behaviours
    related: Array  # uint64 [B, R] items of behaviours with the candidate's artist or category, newest first; 0 pads
    related_action: Array  # uint8 [B, R]
    related_age_s: Array  # float32 [B, R]
    domains: Array  # uint64 [S, DOMAIN_LIMIT] where the user has been, the most lately used first; 0 pads
    domain_exposures: Array  # float32 [S, DOMAIN_LIMIT] decayed
    counts: Array  # float32 [B, len(SCOPES), len(COUNTS)]
    popularity: Array  # float32 [B, 3]
    item_age_s: Array  # float32 [B]; negative = unknown
    followed: Array  # float32 [B]: see `Features`
    artist_feedback: Array  # float32 [B, CODES]: see `Features`
    near: Array  # float32 [B]: see `Features`
    own_plays: Array  # float32 [B, OWN_PLAYS]: see `Features`
    play_times: Array  # float32 [B, len(PLAY_TIMES_S)]: see `Features`
    embedding: Array  # float32 [B, EMBEDDING], zeros where the item has none
    shown_ms: Array  # int64 [B]
    labels: Array  # float32 [B, T]; zeros for a reversal
    sign: Array  # float32 [B, T]; +1/-1 at the task of a reversal, else 0
    is_example: Array  # float32 [B]; 1 = example (BCE), 0 = reversal (constant gradient)
    sampling_rate: Array  # float32 [B]; the kept share w of MODEL.md section 7
    ids: Array  # uint64 [B]
    slate: Array  # int64 [B]: the closed slate that a row is compared in, behind all others; -1 = an example or a reversal
    tier: Array  # int64 [B]: how well it was received there (pairs.py)
    foreseen: Array  # bool [B]: predicted before this batch, when it was shown, or no exposure at all
    owner: Array | None = None  # int64 [B]: which of the S halves is a row's, numbered as they come up; None: its own, or the only one

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def learned(self) -> int:
        """Rows that are learned from; those behind them are compared."""
        return int((self.slate < 0).sum())

    def first(self) -> Array:
        """int64 [S]: a row of each half."""
        if self.owner is None:
            return np.arange(len(self.history))
        return np.flatnonzero(np.diff(np.maximum.accumulate(self.owner), prepend=-1))

    def apart(self) -> Batch:
        """The same rows, each with a half of its own, or all with the only one."""
        if self.owner is None:
            return self
        return replace(self, **{name: getattr(self, name)[self.owner] for name in HALVES}, owner=None)


def of_features(rows: Sequence[Features]) -> Batch:
    """Features of exposures, unlabelled."""
    return _of(rows, rows)


def of_candidates(rows: Sequence[Features]) -> Batch:
    """As `of_features`, for candidates of one user and one moment, which is what serving scores: they share one history."""
    return _of(rows, rows[:1])


def _of_lists(rows: Sequence[Features]) -> Batch:
    """As `of_features`, for rows of which many share a user's half, since a request shows several items at once."""
    known = dict[tuple[bytes | int, ...], int]()
    users, owner = list[Features](), list[int]()
    for f in rows:
        at = known.setdefault((f.fields[:8], f.shown_ms, f.positive, f.negative, f.domains, f.user_attributes, f.context), len(users))
        if at == len(users):
            users.append(f)
        owner.append(at)
    if len(users) > SHARED * len(rows) or len(users) == 1:
        return _of(rows, rows if len(users) > 1 else users)
    return _of(rows, users, np.array(owner, np.int64))


def _of(rows: Sequence[Features], users: Sequence[Features], owner: Array | None = None) -> Batch:
    """`users`: rows that the user's half is taken of, all, or one for all, or that of the `owner`."""
    n = len(rows)
    history, action, age_s, where = _histories(users)
    related, related_action, related_age_s = _related(rows)
    domains, domain_exposures = _domains(users)
    zeros = np.zeros((n, len(TASKS)), np.float32)
    return Batch(
        fields=np.frombuffer(b"".join([f.fields for f in rows]), "<u8").reshape(n, len(FIELDS)),
        bags=_bags(rows, users, owner),
        history=history,
        action=action,
        age_s=age_s,
        where=where,
        related=related,
        related_action=related_action,
        related_age_s=related_age_s,
        domains=domains,
        domain_exposures=domain_exposures,
        counts=np.frombuffer(b"".join([f.counts for f in rows]), "<f4").reshape(n, len(SCOPES), len(COUNTS)),
        popularity=np.frombuffer(b"".join([f.popularity for f in rows]), "<f4").reshape(n, len(POPULARITY_HALF_LIVES_H)),
        item_age_s=np.array([f.age_s for f in rows], np.float32),
        followed=np.array([f.followed for f in rows], np.float32),
        artist_feedback=np.frombuffer(b"".join([f.artist_feedback for f in rows]), "<f4").reshape(n, CODES),
        near=np.array([f.near for f in rows], np.float32),
        own_plays=np.frombuffer(b"".join([f.own_plays for f in rows]), "<f4").reshape(n, len(OWN_PLAYS)),
        play_times=np.frombuffer(b"".join([f.play_times for f in rows]), "<f4").reshape(n, len(PLAY_TIMES_S)),
        embedding=np.frombuffer(b"".join([f.embedding or _NO_EMBEDDING for f in rows]), "<f4").reshape(n, EMBEDDING),
        shown_ms=np.array([f.shown_ms for f in rows], np.int64),
        labels=zeros,
        sign=zeros.copy(),
        is_example=np.ones(n, np.float32),
        sampling_rate=np.ones(n, np.float32),
        ids=np.zeros(n, np.uint64),
        slate=np.full(n, -1, np.int64),
        tier=np.zeros(n, np.int64),
        foreseen=np.zeros(n, bool),
        owner=owner,
    )


def of_exposed(records: Sequence[Exposed]) -> Batch:
    """Exposures that nothing is known of yet."""
    out = _of_lists([r.features for r in records])
    out.ids[:] = [r.id for r in records]
    return out


class Compared(NamedTuple):
    """A row of a closed slate: what the rank head learns from."""

    features: Features
    slate: int
    tier: int  # see pairs.py


def of_records(records: Sequence[Example | Reversal], compared: Sequence[Compared] = ()) -> Batch:
    """Examples and reversals in arrival order, then rows that are only compared within their slates."""
    out = _of_lists([*(r.features for r in records), *(c.features for c in compared)])
    n = len(records)
    reversal = np.array([isinstance(r, Reversal) for r in records], bool)
    masks = np.array([0 if isinstance(r, Reversal) else r.labels for r in records], np.int64)
    out.labels[:n] = (masks[:, None] >> np.arange(len(TASKS))) & 1
    at = np.flatnonzero(reversal)
    if len(at):
        changed = [r for r in records if isinstance(r, Reversal)]
        out.sign[at, [r.task for r in changed]] = [r.sign for r in changed]
    out.is_example[:n], out.is_example[n:] = ~reversal, 0
    out.sampling_rate[:n] = [r.sampling_rate for r in records]
    out.ids[:n] = [r.id for r in records]
    out.foreseen[:n], out.foreseen[n:] = [isinstance(r, Reversal) or r.predicted for r in records], True
    out.slate[n:] = [c.slate for c in compared]
    out.tier[n:] = [c.tier for c in compared]
    return out


def _bags(rows: Sequence[Features], users: Sequence[Features], owner: Array | None) -> Array:
    out = np.empty((len(rows), len(BAGS), BAG_LIMIT), "<u8")
    of_users = _padded([b for f in users for b in (f.context, f.user_attributes)], np.dtype("<u8"), BAG_LIMIT)
    of_users = of_users.reshape(len(users), 2, BAG_LIMIT)
    out[:, :2] = of_users if owner is None else of_users[owner]
    out[:, 2] = _padded([f.item_features for f in rows], np.dtype("<u8"), BAG_LIMIT)
    return out


def _histories(rows: Sequence[Features]) -> tuple[Array, Array, Array, Array]:
    shown_ms = np.repeat(np.array([f.shown_ms for f in rows], np.int64), 2)
    table, age = _behaviours([b for f in rows for b in (f.positive, f.negative)], shown_ms)
    shape = (len(rows), 2, table.shape[1])
    table, age = table.reshape(shape), age.reshape(shape)
    return np.ascontiguousarray(table["item"]), np.ascontiguousarray(table["action"]), age, np.ascontiguousarray(table["domain"])


def _related(rows: Sequence[Features]) -> tuple[Array, Array, Array]:
    table, age = _behaviours([f.related for f in rows], np.array([f.shown_ms for f in rows], np.int64))
    return np.ascontiguousarray(table["item"]), np.ascontiguousarray(table["action"]), age


def _behaviours(packed: Sequence[bytes], shown_ms: Array) -> tuple[Array, Array]:
    """Packed histories as a table [n, longest], and the ages of their behaviours at the exposure."""
    length = max(1, max((len(b) for b in packed), default=0) // ROW)
    table = _padded(packed, BEHAVIOUR, length)
    age = np.where(table["item"] != 0, np.maximum(shown_ms[:, None] - table["ts"], 0) / 1000.0, 0.0).astype(np.float32)
    return table, age


def _domains(rows: Sequence[Features]) -> tuple[Array, Array]:
    table = _padded([f.domains for f in rows], DOMAIN, DOMAIN_LIMIT)
    return np.ascontiguousarray(table["domain"]), np.ascontiguousarray(table["exposures"])


def _padded(packed: Sequence[bytes], dtype: np.dtype, length: int) -> Array:
    """Rows of different lengths as [len(packed), length], last element first, zeros behind."""
    lengths = np.array([len(b) for b in packed], np.int64) // dtype.itemsize
    out = np.zeros((len(packed), length), dtype)
    flat = np.frombuffer(b"".join(packed), dtype)
    if len(flat):
        line = np.repeat(np.arange(len(packed)), lengths)
        ends = np.cumsum(lengths)
        out[line, np.repeat(ends, lengths) - 1 - np.arange(len(flat))] = flat
    return out
