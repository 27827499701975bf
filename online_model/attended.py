"""Which behaviours the attention looks at: its weights for a batch, for whoever asks why; learning and predicting don't need them.

Shapes: B examples, L behaviours of a family, R related ones, D embedding.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from online_model.batch import Batch
from online_model.features import FIELDS
from online_model.model_state import ModelState

Array = np.ndarray

_ITEM = FIELDS.index("item")


@dataclass(slots=True)
class Attended:
    """Weights that sum up to 1 in each row; first that of the null slot, then those of the behaviours in the batch's order."""

    history: Array | None  # float32 [B, 2, 1 + L], the positive family first; None where that block is off
    related: Array | None  # float32 [B, 1 + R]; None where that block is off


def attended(state: ModelState, batch: Batch) -> Attended:
    """By the model as it stands; changes nothing."""
    ranker = state.ranker
    with torch.inference_mode():
        query = _rows(state, batch.fields[:, _ITEM])
        history = related = None
        if ranker.attention is not None:
            given_history = _behaviours(state, batch.action, batch.age_s, batch.history)
            weights = ranker.attention.weights(query, _rows(state, batch.history).transpose(0, 1), *given_history)
            history = weights.transpose(0, 1).numpy(force=True)
        if ranker.related is not None:
            given = (array[:, None] for array in (batch.related_action, batch.related_age_s, batch.related))
            related = ranker.related.weights(query, _rows(state, batch.related)[None], *_behaviours(state, *given))[0].numpy(force=True)
        return Attended(history, related)


def _rows(state: ModelState, keys: Array) -> Tensor:
    """Rows [..., D] of keys [...], as a prediction reads them."""
    distinct, inverse = np.unique(keys, return_inverse=True)
    rows = state.ids.read(distinct, state.ids.rows.find(distinct))
    return rows[torch.from_numpy(inverse.reshape(keys.shape)).to(state.device)]


def _behaviours(state: ModelState, action: Array, age_s: Array, items: Array) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, ages and mask [B, A, L] as the attention wants them, [A, B, L]."""
    arrays = (action.astype(np.int64), age_s, items != 0)
    action_, age, there = (torch.from_numpy(np.ascontiguousarray(a.transpose(1, 0, 2))).to(state.device) for a in arrays)
    return action_, age, there
