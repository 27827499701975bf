"""A batch, one number at a time: every value by its own unpack, in the place that the shapes of `Batch` name."""
from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from online_model.batch import Compared
from online_model.features import Example, Reversal


def batch(records: Sequence[Example | Reversal], compared: Sequence[Compared] = ()) -> dict[str, np.ndarray]:
    rows = [*(r.features for r in records), *(c.features for c in compared)]
    lengths = [len(history) // 25 for f in rows for history in (f.positive, f.negative)]
    b, longest = len(rows), max([1, *lengths])
    related = max([1, *(len(f.related) // 25 for f in rows)])
    out: dict[str, Any] = {
        "fields": np.zeros((b, 8), np.uint64),
        "bags": np.zeros((b, 3, 8), np.uint64),
        "history": np.zeros((b, 2, longest), np.uint64),
        "action": np.zeros((b, 2, longest), np.uint8),
        "age_s": np.zeros((b, 2, longest), np.float32),
        "where": np.zeros((b, 2, longest), np.uint64),
        "related": np.zeros((b, related), np.uint64),
        "related_action": np.zeros((b, related), np.uint8),
        "related_age_s": np.zeros((b, related), np.float32),
        "domains": np.zeros((b, 6), np.uint64),
        "domain_exposures": np.zeros((b, 6), np.float32),
        "counts": np.zeros((b, 4, 6), np.float32),
        "popularity": np.zeros((b, 3), np.float32),
        "item_age_s": np.zeros(b, np.float32),
        "followed": np.zeros(b, np.float32),
        "artist_feedback": np.zeros((b, 6), np.float32),
        "near": np.zeros(b, np.float32),
        "own_plays": np.zeros((b, 5), np.float32),
        "embedding": np.zeros((b, 32), np.float32),
        "play_times": np.zeros((b, 7), np.float32),
        "shown_ms": np.zeros(b, np.int64),
        "labels": np.zeros((b, 5), np.float32),
        "sign": np.zeros((b, 5), np.float32),
        "is_example": np.zeros(b, np.float32),
        "sampling_rate": np.ones(b, np.float32),
        "ids": np.zeros(b, np.uint64),
        "slate": np.full(b, -1, np.int64),
        "tier": np.zeros(b, np.int64),
        "foreseen": np.ones(b, bool),
    }
    for i, f in enumerate(rows):
        for j in range(8):
            out["fields"][i, j] = struct.unpack_from("<Q", f.fields, 8 * j)[0]
        for k, bag in enumerate((f.context, f.user_attributes, f.item_features)):
            n = len(bag) // 8
            for j in range(n):  # last key first
                out["bags"][i, k, j] = struct.unpack_from("<Q", bag, 8 * (n - 1 - j))[0]
        for k, history in enumerate((f.positive, f.negative)):
            n = len(history) // 25
            for j in range(n):  # newest first
                item, ts, domain, action = struct.unpack_from("<QqQB", history, 25 * (n - 1 - j))
                out["history"][i, k, j], out["action"][i, k, j], out["where"][i, k, j] = item, action, domain
                out["age_s"][i, k, j] = max(f.shown_ms - ts, 0) / 1000
        n = len(f.related) // 25
        for j in range(n):  # newest first
            item, ts, _, action = struct.unpack_from("<QqQB", f.related, 25 * (n - 1 - j))
            out["related"][i, j], out["related_action"][i, j] = item, action
            out["related_age_s"][i, j] = max(f.shown_ms - ts, 0) / 1000
        n = len(f.domains) // 12
        for j in range(n):  # the most lately used first
            out["domains"][i, j], out["domain_exposures"][i, j] = struct.unpack_from("<Qf", f.domains, 12 * (n - 1 - j))
        for s in range(4):
            for c in range(6):
                out["counts"][i, s, c] = struct.unpack_from("<f", f.counts, 4 * (6 * s + c))[0]
        for code in range(6):
            out["artist_feedback"][i, code] = struct.unpack_from("<f", f.artist_feedback, 4 * code)[0]
        for length in range(7):
            out["play_times"][i, length] = struct.unpack_from("<f", f.play_times, 4 * length)[0]
        for h in range(3):
            out["popularity"][i, h] = struct.unpack_from("<f", f.popularity, 4 * h)[0]
        if f.embedding:
            out["embedding"][i] = struct.unpack("<32f", f.embedding)
        out["own_plays"][i], out["near"][i] = struct.unpack("<5f", f.own_plays), f.near
        out["item_age_s"][i], out["shown_ms"][i], out["followed"][i] = f.age_s, f.shown_ms, f.followed
    for i, record in enumerate(records):
        out["sampling_rate"][i], out["ids"][i] = record.sampling_rate, record.id
        if isinstance(record, Reversal):
            out["sign"][i, record.task] = record.sign
        else:
            out["is_example"][i] = 1
            out["foreseen"][i] = record.predicted
            for t in range(5):
                out["labels"][i, t] = 1 if record.labels & (1 << t) else 0
    for i, row in enumerate(compared):
        out["slate"][len(records) + i], out["tier"][len(records) + i] = row.slate, row.tier
    return out
