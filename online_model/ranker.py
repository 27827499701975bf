"""The blocks composed: rows and numbers of an exposure -> logits.

Each block can be left out; what it would give is then absent from the input of the experts.
Shapes: B examples, W of them whole, S users (B, 1 where all are one's, or as many as `owner` tells apart), F fields, G bags,
K keys of a bag, A families, L behaviours, R related behaviours, N domains, D embedding, M numbers, T tasks.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from online_model import id_cross
from online_model.behaviour_attention import BehaviourAttention
from online_model.cgc import CGC
from online_model.cin import CIN
from online_model.features import BAGS, FIELDS, TASKS
from online_model.history import ACTIONS
from online_model.model_settings import ModelSettings
from online_model.mv_conet import OUT, MVCoNet
from online_model.numeric import WIDTH

FAMILIES = 2  # positive, negative
RANK = len(TASKS)  # the rank head stands behind the tasks
_USER, _ITEM, _ARTIST, _CATEGORY = (FIELDS.index(name) for name in ("user", "item", "artist", "category"))
_SIGNS = [-1.0 if task in ("skip", "dislike") else 1.0 for task in TASKS]
_ATTRIBUTES = BAGS.index("user_attributes")


@dataclass(slots=True)
class Inputs:
    """A batch on the device, ids replaced by their rows."""

    fields: Tensor  # [B, F, D]
    bags: Tensor  # [B, G, K, D]
    bag_sizes: Tensor  # [B, G, 1] >= 1
    history: Tensor  # [A, S, L, D]
    action: Tensor  # int64 [A, S, L]
    age_s: Tensor  # [A, S, L]
    there: Tensor  # bool [A, S, L]
    numbers: Tensor  # [B, M]
    lasting: Tensor  # [B, M], without what momentary popularity moves
    related: Tensor  # [1, B, R, D]
    related_action: Tensor  # int64 [1, B, R]
    related_age_s: Tensor  # [1, B, R]
    related_there: Tensor  # bool [1, B, R]
    cross: Tensor  # [B, id_cross.WIDTH]
    feed: Tensor  # [S, L, id_cross.FEED], of the positive family
    own: Tensor  # [S, N, D], the user's row in each domain
    liked: Tensor  # [S, N, D], mean of the rows of what was liked there
    domain_visits: Tensor  # [S, N, 2], log count of exposures there; 1 where there were any
    target: Tensor  # int64 [B], place of the candidate's domain
    owner: Tensor | None  # int64 [B], which user is an example's; None: each has its own, or all the only one
    first: Tensor | None  # int64 [S], an example of each, where there is an owner
    whole: int  # examples that all tasks are asked of; those behind them are only ranked


@dataclass(slots=True)
class Scores:
    """Logits before base rates, linear path and popularity are added."""

    deep: Tensor  # [W, T]
    rank: Tensor  # [B], the rank head
    user: Tensor | None  # [W, T], what the user adds whatever is shown; None where the causal part is off
    transfer: Tensor | None  # [W, T], what the user did in other domains adds; None where the cross-domain towers are off
    entering: Tensor  # [B, I], what the experts and their gates are given


class Ranker(nn.Module):
    """The deep part; the linear one beside it is in `wide.py`."""

    def __init__(self, s: ModelSettings) -> None:
        super().__init__()
        dim = s.embedding_dim
        fields = len(FIELDS) + len(BAGS)
        self.attention = BehaviourAttention(FAMILIES, ACTIONS, dim, s.attention_units) if s.attention else None
        self.related = BehaviourAttention(1, ACTIONS, dim, s.attention_units) if s.related else None
        self.cin = CIN(fields, s.cin_layers) if s.cin else None
        self.id_cross = s.id_cross
        self.domains = MVCoNet(s.domain_places, 2 * dim + dim + 1, 3 * dim, _SIGNS) if s.cross_domain else None
        self.effect = nn.Linear(2 * dim, len(TASKS)) if s.causal else None
        if self.effect is not None:
            nn.init.zeros_(self.effect.weight)
        inputs = dim * fields + WIDTH
        inputs += dim * FAMILIES if s.attention else 0
        inputs += dim if s.related else 0
        inputs += self.cin.width if self.cin else 0
        inputs += id_cross.OUT if s.id_cross else 0
        inputs += OUT + 1 if s.cross_domain else 0
        self.tasks = CGC(inputs, len(TASKS) + 1, s.shared_experts, s.expert_units, s.tower_units, s.gates)

    def forward(self, x: Inputs) -> Scores:
        """All blocks; see `Scores`."""
        n = len(x.fields)
        bags = x.bags.sum(2) / x.bag_sizes
        query = x.fields[:, _ITEM]
        parts = [x.fields.reshape(n, -1), bags.view(n, -1)]
        if self.attention is not None:
            parts.append(self.attention(query, x.history, x.action, x.age_s, x.there, x.owner))
        parts.append(x.lasting)
        if self.related is not None:
            parts.append(self.related(query, x.related, x.related_action, x.related_age_s, x.related_there))
        if self.cin is not None:
            parts.append(self.cin(torch.cat([x.fields, bags], 1)))
        if self.id_cross:
            feed, there = x.feed, x.there[0]
            if x.owner is not None:
                feed, there = feed.index_select(0, x.owner), there.index_select(0, x.owner)
            parts.append(id_cross.id_cross(x.cross, feed, there))
        transfer = None
        if self.domains is not None:
            attributes = bags[: len(x.own), _ATTRIBUTES] if x.first is None else bags[:, _ATTRIBUTES].index_select(0, x.first)
            towers = torch.cat([x.own, attributes[:, None].expand(-1, x.own.shape[1], -1), x.liked, x.domain_visits[..., :1]], 2)
            item = x.fields[:, [_ITEM, _ARTIST, _CATEGORY]].reshape(n, -1)
            own, transferred = self.domains(towers, x.domain_visits[..., 1], x.target, item, x.owner)
            parts.append(own)
            transfer = transferred[: x.whole]
        user = None
        if self.effect is not None:
            user = self.effect(torch.cat([x.fields[: x.whole, _USER], bags[: x.whole, _ATTRIBUTES]], 1))
        entering = torch.cat(parts, 1)
        deep, rank = self.tasks.heads(entering, x.whole)
        return Scores(deep, rank, user, transfer, entering)
