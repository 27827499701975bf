"""Attention of the candidate over a user's last behaviours, positive and negative family apart.

Zhou et al., "Deep Interest Network", 1706.06978 (local activation unit), with time and a null slot. Departs: SiLU instead of
Dice (batch statistics are not order-stable online); weights are normalised over the behaviours and one learned null slot, so
that an empty history is no special case and a weak one can abstain; older behaviours lose a learned amount of logit.
Shapes: B examples, S users (B, 1, or as many as `owner` tells apart), A families, L behaviours, D embedding, H hidden units.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

TAU_S = 3600.0  # ages count in units of this: within it a behaviour loses little
DECAY_INIT = -1.05  # softplus^-1(0.3)


class BehaviourAttention(nn.Module):
    """One attention a family, all families in one product each."""

    def __init__(self, families: int, actions: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Parameter(torch.empty(families, 4 * dim, hidden))  # of [q, k, q - k, q * k]
        self.bias = nn.Parameter(torch.zeros(families, 1, hidden))
        self.out = nn.Parameter(torch.empty(families, hidden, 1))
        self.action = nn.Parameter(torch.zeros(families, actions))
        self.decay = nn.Parameter(torch.full((families,), DECAY_INIT))
        self.null_logit = nn.Parameter(torch.zeros(families))
        self.null_value = nn.Parameter(torch.zeros(families, dim))
        for weight in (*self.hidden, *self.out):
            nn.init.xavier_uniform_(weight)

    def forward(
        self, query: Tensor, keys: Tensor, action: Tensor, age_s: Tensor, there: Tensor, owner: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        """Candidate [B, D], behaviours [A, S, L, D], codes [A, S, L] int64, ages [A, S, L], mask [A, S, L] -> [B, A * D].

        `owner`: int64 [B], whose behaviours are a candidate's; None where each has its own, or all share one's.
        """
        families, _, length, dim = keys.shape
        n = len(query)
        weights, keys, found = self._attend(query, keys, action, age_s, there, owner)
        if found is not None:
            each = weights[:, :, 1:].reshape(-1, 1).index_select(0, found.place) * keys
            seen = keys.new_zeros(families * n, dim).index_add(0, found.line, each).view(families, n, dim)
        elif keys.shape[1] == 1:
            seen = torch.bmm(weights[:, :, 1:], keys[:, 0])  # [A, B, D]
        else:
            seen = (weights[:, :, 1:, None] * keys).sum(2)
        return (seen + weights[:, :, :1] * self.null_value[:, None]).transpose(0, 1).reshape(n, families * dim)

    def weights(
        self, query: Tensor, keys: Tensor, action: Tensor, age_s: Tensor, there: Tensor, owner: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        """What `forward` sums the behaviours by: [A, B, 1 + L], that of the null slot first."""
        return self._attend(query, keys, action, age_s, there, owner)[0]

    def _attend(
        self, query: Tensor, keys: Tensor, action: Tensor, age_s: Tensor, there: Tensor, owner: Tensor | None
    ) -> tuple[Tensor, Tensor, _BehaviourRows | None]:  # fmt: skip
        """The weights, and the behaviours that they belong to: [A, S, L, D], or [n, D] where something was `_BehaviourRows`."""
        families, shared, length, dim = keys.shape
        w_query, w_key, w_difference, w_product = self.hidden.split(dim, 1)
        of_query = torch.baddbmm(self.bias, query.expand(families, -1, -1), w_query + w_difference)  # [A, B, H]
        parts = (of_query, w_key - w_difference, w_product)
        bias = self.action.gather(1, action.reshape(families, -1)).view(families, shared, length)
        bias = faded(bias, age_s, functional.softplus(self.decay))
        if owner is not None:
            bias, there = bias.index_select(1, owner), there.index_select(1, owner)
        found = None
        if shared == 1 and owner is None:
            score = self._scores_shared(parts, query, keys[:, 0])
        elif _sparse(there):
            found = _found(there, shared, owner)
            keys = keys.reshape(-1, dim).index_select(0, found.behaviour)
            score = self._scores_of(found, parts, query, keys).view(there.shape)
        else:
            keys = keys if owner is None else keys.index_select(1, owner)
            score = self._scores(parts, query, keys)
        return weigh(score, bias, there, self.null_logit), keys, found

    # [q, k, q - k, q * k] W = q (W1 + W3) + k (W2 - W3 + diag(q) W4): one product with a matrix of each candidate's own. The first
    # term, (W2 - W3) and W4 are the `parts` [A, B, H], [A, D, H], [A, D, H]; scores are [A, B, L].

    def _scores_shared(self, parts: tuple[Tensor, Tensor, Tensor], query: Tensor, keys: Tensor) -> Tensor:
        """All candidates' matrices side by side: [A, L, D] x [A, D, B * H]."""
        of_query, of_key, of_product = parts
        families, length, dim = keys.shape
        each = query.t().contiguous()[None, :, :, None]
        matrices = torch.addcmul(of_key[:, :, None], each, of_product[:, :, None])  # [A, D, B, H]
        units = torch.bmm(keys, matrices.view(families, dim, -1)).view(families, length, len(query), -1).add_(of_query[:, None])
        units = functional.silu(units, inplace=not torch.is_grad_enabled())  # fresh memory would cost as much as the rest
        return torch.bmm(units.view(families, length * len(query), -1), self.out).view(families, length, -1).transpose(1, 2)

    def _scores(self, parts: tuple[Tensor, Tensor, Tensor], query: Tensor, keys: Tensor) -> Tensor:
        of_query, of_key, of_product = parts
        matrices = of_key[:, None] + query[None, :, :, None] * of_product[:, None]  # [A, B, D, H]
        units = functional.silu(torch.matmul(keys, matrices) + of_query[:, :, None])  # [A, B, L, H]
        return torch.bmm(units.view(len(units), -1, units.shape[3]), self.out).view(keys.shape[:3])

    def _scores_of(self, found: _BehaviourRows, parts: tuple[Tensor, Tensor, Tensor], query: Tensor, keys: Tensor) -> Tensor:
        """Only where something is there, 0 elsewhere: histories differ in length, and most places of a batch may be empty."""
        of_query, of_key, of_product = parts
        candidates = query.index_select(0, found.line % len(query) if len(self.out) > 1 else found.line)
        pairs = torch.cat([keys, keys * candidates], 1).split(found.sizes)
        filters = torch.cat([of_key, of_product], 1)
        units = torch.cat([pair @ filter_ for pair, filter_ in zip(pairs, filters, strict=True)])
        units = functional.silu(units.add_(of_query.reshape(-1, units.shape[1]).index_select(0, found.line))).split(found.sizes)
        score = torch.cat([unit @ out for unit, out in zip(units, self.out, strict=True)]).squeeze(1)
        return score.new_zeros(found.places).index_add(0, found.place, score)


@dataclass(slots=True)
class _BehaviourRows:
    """The n places of a mask [A, B, L] where something is there."""

    places: int  # A * B * L
    place: Tensor  # int64 [n], rising
    line: Tensor  # int64 [n], of A * B
    behaviour: Tensor  # int64 [n], of A * S * L
    sizes: list[int]  # [A], how many there are in each family


def _found(there: Tensor, shared: int, owner: Tensor | None) -> _BehaviourRows:
    families, n, length = there.shape
    place = there.reshape(-1).nonzero().squeeze(1)
    line = place // length
    behaviour = place
    if owner is not None:
        family = torch.arange(families, device=place.device)[:, None] * shared
        behaviour = (family + owner).reshape(-1).index_select(0, line) * length + place % length
    return _BehaviourRows(there.numel(), place, line, behaviour, there.sum((1, 2)).tolist())


def _sparse(there: Tensor) -> bool:
    """Whether most places of a batch are empty, which pays on a CPU only: elsewhere shapes should stay as they are."""
    return not there.is_cuda and 2 * int(there.sum()) < there.numel()


def faded(bias: Tensor, age_s: Tensor, decay: Tensor) -> Tensor:
    """Action biases and ages [A, S, L], decay [A] -> what is added to the scores."""
    return bias - decay[:, None, None] * torch.log1p(age_s / TAU_S)


def weigh(score: Tensor, bias: Tensor, there: Tensor, null_logit: Tensor) -> Tensor:
    """Scores, what `faded` gave, mask [A, B, L] (or [A, 1, L]), null logit [A] -> weights [A, B, 1 + L], null slot first."""
    logit = (score + bias).masked_fill(~there, -torch.inf)
    null = null_logit[:, None, None].expand(*logit.shape[:2], 1)
    return torch.softmax(torch.cat([null, logit], -1), -1)
