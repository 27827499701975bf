"""The trainer with one measure of speed off each: the same predictions, computed the slower way."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from online_model.batch import Batch, Compared, of_records
from online_model.cin import CIN
from online_model.embedding import RowLookup, Table, occurrences
from online_model.features import Example, Reversal
from online_model.model_settings import DENSE_BETAS, ModelSettings
from online_model.model_state import ModelState
from online_model.trainer import Trainer

Array = np.ndarray


class _EveryOccurrence(ModelState):
    def find(self, table: Table, flat: Array, *how: Any) -> RowLookup:
        seen = occurrences(flat)  # equal keys learn together all the same
        values = table.read(flat, table.rows.find(flat))
        return RowLookup(seen, table.rows.find(seen.keys), values)


class EveryOccurrence(Trainer):
    """Keys are looked up, and rows gathered, wherever they occur: the same predictions to the last bit."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.state = _EveryOccurrence(settings)


class PlainAdam:
    """`torch.optim.Adam`, parameter by parameter, in the place of the fused one over a flat buffer."""

    def __init__(self, trainer: Trainer) -> None:
        s = trainer.settings
        self.clip, self.examples, self.n = s.clip_norm, s.dense_batch, 0
        self.parameters = list(trainer.state.ranker.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=s.dense_rate, betas=DENSE_BETAS)

    def take(self, gradient: Tensor, n: int) -> bool:
        """As `Adam.take` of adam.py."""
        self.n += n
        for parameter, part in zip(self.parameters, gradient.split([p.numel() for p in self.parameters]), strict=True):
            part = part.view_as(parameter)
            parameter.grad = part.clone() if parameter.grad is None else parameter.grad.add_(part)
        if self.n < self.examples:
            return False
        for parameter in self.parameters:
            assert parameter.grad is not None
            parameter.grad /= self.n
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.n = 0
        return True


def unfolded(self: CIN, x: Tensor) -> Tensor:
    """`CIN.forward`, layer by layer: every product of two fields in its two orders, pools summed up behind the filters."""
    last, pools = x, []
    for weights in self.filters:
        products = (last[:, :, None] * x[:, None]).view(len(x), -1, x.shape[2])  # [B, H' * F, D]
        last = weights.view(len(weights), -1) @ products
        pools.append(last.sum(2))
    return torch.cat(pools, 1)


def everywhere(there: Tensor) -> bool:
    """For `behaviour_attention._sparse`: scores are computed of empty places, too."""
    return False


def own_halves(records: Sequence[Example | Reversal], compared: Sequence[Compared] = ()) -> Batch:
    """`of_records`, each row with its user's half to itself."""
    return of_records(records, compared).apart()


class Unflattened(Trainer):
    """With `PlainAdam`."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.state.dense = PlainAdam(self)  # type: ignore[assignment]
