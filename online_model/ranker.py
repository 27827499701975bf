"""The blocks composed: rows and numbers of an exposure -> a logit a task.

Shapes: B examples, F fields, G bags, K keys of a bag, A families, L behaviours, D embedding, M numbers, T tasks.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from online_model.behaviour_attention import BehaviourAttention
from online_model.cgc import CGC
from online_model.features import BAGS, FIELDS, TASKS
from online_model.history import ACTIONS
from online_model.numeric import WIDTH

FAMILIES = 2  # positive, negative
_ITEM = FIELDS.index("item")


@dataclass(slots=True)
class Inputs:
    """A batch on the device, ids replaced by their rows."""

    fields: Tensor  # [B, F, D]
    bags: Tensor  # [B, G, K, D]
    bag_sizes: Tensor  # [B, G, 1] >= 1
    history: Tensor  # [A, B, L, D]
    action: Tensor  # int64 [A, B, L]
    age_s: Tensor  # [A, B, L]
    there: Tensor  # bool [A, B, L]
    numbers: Tensor  # [B, M]


class Ranker(nn.Module):
    """The deep part; the linear one beside it is in `wide.py`."""

    def __init__(self, dim: int, attention: int, shared: int, expert: int, tower: int) -> None:
        super().__init__()
        self.attention = BehaviourAttention(FAMILIES, ACTIONS, dim, attention)
        self.tasks = CGC(dim * (len(FIELDS) + len(BAGS) + FAMILIES) + WIDTH, len(TASKS), shared, expert, tower)

    def forward(self, x: Inputs) -> Tensor:
        """Logits [B, T], before the linear part and the base rates are added."""
        n = len(x.fields)
        bags = x.bags.sum(2) / x.bag_sizes
        seen = self.attention(x.fields[:, _ITEM], x.history, x.action, x.age_s, x.there)
        flat = torch.cat([x.fields.reshape(n, -1), bags.view(n, -1), seen, x.numbers], 1)
        return self.tasks(flat)
