"""Counts, popularity, ages and clock of an exposure as small real numbers.

Shapes: B examples, T tasks, M numbers.
"""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from online_model.batch import Batch
from online_model.decay import DAY_MS
from online_model.features import CODES, COUNTS, OWN_PLAYS, PLAY_TIMES_S, POPULARITY_HALF_LIVES_H, SCOPES, TASKS

Array = np.ndarray

_RECENCY_S = np.array([600.0, 3_600.0, 86_400.0], np.float32)  # a mood, a sitting, a day
ITEM_LIFTS = slice(SCOPES.index("item") * len(TASKS), (SCOPES.index("item") + 1) * len(TASKS))  # an item's own rates among the numbers
_ITEM, _CATEGORY = SCOPES.index("item"), SCOPES.index("user_category")
TASTE_STRENGTH = 4.0  # exposures that a user's rate in a category is drawn with: of tastes that differ by 1 in log-odds around .3
PLAY_STRENGTH = 1.0  # plays that a user's shares of plays by length are drawn to nothing with
WIDTH = len(SCOPES) * len(COUNTS) + len(POPULARITY_HALF_LIVES_H) + 2 + 2 * (1 + len(_RECENCY_S)) + len(PLAY_TIMES_S) + CODES + 2 + 2
WIDTH += len(OWN_PLAYS) + len(("there", "within the hour", "last"))
_PLAYS, _DECAYED, _SINCE, _AGE, _NEXT = range(len(OWN_PLAYS))


def _log_odds(rate: Array) -> Array:
    rate = np.clip(rate, 1e-6, 1 - 1e-6)
    return np.log(rate / (1 - rate))


def momentary() -> Tensor:
    """float32 [M]: 1 at the numbers that an item's momentary popularity moves: its exposures, popularity and age."""
    out = torch.zeros(WIDTH)
    rates = len(SCOPES) * len(TASKS)
    out[rates + SCOPES.index("item")] = 1
    popularity = rates + len(SCOPES)
    out[popularity : popularity + len(POPULARITY_HALF_LIVES_H) + 2] = 1
    return out


def trust(exposures: Array, strength: float) -> Array:
    """What share of a rate is the counts' own, and not the base rate's: see `numbers`."""
    return exposures / (exposures + strength)


def numbers(batch: Batch, base: Array, strength: float) -> Array:
    """float32 [B, M], each about within [-2, 2]. `base` [T]: running base rates, which a thin count is drawn to.

    A rate enters as logit((positives + strength * base) / (exposures + strength)) - logit(base): 0 where nothing is known. A user's rate in
    the candidate's category is drawn to the candidate's own rate, not to the base, and enters as what it differs from that by: who plays
    songs that all others skip says more of a taste than who plays what all do.
    Of the user's last behaviours e with the candidate's artist, log1p(sum of 2^(-age_e / half-life of rates)) by action: without it a
    first dislike moved all of a category alike, whoever sings (`replay/proofs/first_feedback.py`).
    A user's plays by length n_l enter as n_l / (sum of n + PLAY_STRENGTH).
    """
    n = len(batch)
    counts = np.maximum(batch.counts, 0)  # an undo is taken away whole, though what it undoes has faded
    exposures, positives = counts[:, :, :1], counts[:, :, 1:]
    rate = (positives + strength * base) / (exposures + strength)
    lift = _log_odds(rate) - _log_odds(base)
    own, taste = rate[:, _ITEM], (exposures[:, _CATEGORY], positives[:, _CATEGORY])
    lift[:, _CATEGORY] = _log_odds((taste[1] + TASTE_STRENGTH * own) / (taste[0] + TASTE_STRENGTH)) - _log_odds(own)
    lift = np.clip(lift, -3, 3)
    there = batch.history != 0
    recent = np.log1p((there[..., None] * np.exp(batch.age_s[..., None] / -_RECENCY_S)).sum(2)).reshape(len(there), -1)
    acts = np.concatenate([np.log1p(there.sum(2)) / 2, recent], 1, dtype=np.float32)
    known = batch.item_age_s >= 0
    hour = (batch.shown_ms % DAY_MS) * (2 * np.pi / DAY_MS)
    return np.concatenate(
        [
            lift.reshape(n, -1),
            np.log1p(exposures).reshape(n, -1) / 3,
            np.log1p(batch.popularity) / 4,
            known[:, None],
            (np.log1p(np.maximum(batch.item_age_s, 0) / 3600) / 6)[:, None],
            np.broadcast_to(acts, (n, acts.shape[1])) if batch.owner is None else acts[batch.owner],
            batch.play_times / (batch.play_times.sum(1, keepdims=True) + PLAY_STRENGTH),
            np.log1p(batch.artist_feedback),
            (np.log1p(1_000 * batch.followed) / 7)[:, None],  # .1 of a thousandth, 1 of all
            (np.log1p(1_000 * batch.near) / 3)[:, None],
            _own(batch.own_plays),
            np.cos(hour)[:, None],
            np.sin(hour)[:, None],
        ],
        axis=1,
        dtype=np.float32,
    )


def _own(plays: Array) -> Array:
    """float32 [B, OWN_PLAYS + 3] of what the user took before: 0 where that is nothing.

    Beside its own numbers whether there was any, whether the last was within the hour, and whether it is what was taken last.
    """
    known, hours = plays[:, _PLAYS] > 0, plays[:, _AGE] / 3600
    return np.stack(
        [
            np.log1p(plays[:, _PLAYS]), np.log1p(plays[:, _DECAYED]), plays[:, _SINCE], np.log1p(hours) / 4, np.log1p(plays[:, _NEXT]),
            known, known & (hours <= 1), plays[:, _SINCE] == 1,
        ],
        axis=1, dtype=np.float32,
    )  # fmt: skip
