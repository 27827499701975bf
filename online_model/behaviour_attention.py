"""Attention of the candidate over a user's last behaviours, positive and negative family apart.

Zhou et al., "Deep Interest Network", 1706.06978 (local activation unit), with time and a null slot. Departs: SiLU instead of
Dice (batch statistics are not order-stable online); weights are normalised over the behaviours and one learned null slot, so
that an empty history is no special case and a weak one can abstain; older behaviours lose a learned amount of logit.
Shapes: B examples, A families, L behaviours, D embedding, H hidden units.
"""
from __future__ import annotations

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

    def forward(self, query: Tensor, keys: Tensor, action: Tensor, age_s: Tensor, there: Tensor) -> Tensor:
        """Candidate [B, D], behaviours [A, B, L, D], codes [A, B, L] int64, ages [A, B, L], mask [A, B, L] -> [B, A * D]."""
        families, shared, length, dim = keys.shape
        n = len(query)
        weights = self.weights(query, keys, action, age_s, there)
        if shared == 1:
            seen = torch.bmm(weights[:, :, 1:], keys[:, 0])  # [A, B, D]
        elif _sparse(there):
            place = there.reshape(-1).nonzero().squeeze(1)
            each = weights[:, :, 1:].reshape(-1, 1).index_select(0, place) * keys.reshape(-1, dim).index_select(0, place)
            seen = keys.new_zeros(families * n, dim).index_add(0, place // length, each).view(families, n, dim)
        else:
            seen = (weights[:, :, 1:, None] * keys).sum(2)
        return (seen + weights[:, :, :1] * self.null_value[:, None]).transpose(0, 1).reshape(n, families * dim)

    def weights(self, query: Tensor, keys: Tensor, action: Tensor, age_s: Tensor, there: Tensor) -> Tensor:
        """What `forward` sums the behaviours by: [A, B, 1 + L], that of the null slot first."""
        families, shared, length, dim = keys.shape
        w_query, w_key, w_difference, w_product = self.hidden.split(dim, 1)
        of_query = torch.baddbmm(self.bias, query.expand(families, -1, -1), w_query + w_difference)  # [A, B, H]
        parts = (of_query, w_key - w_difference, w_product)
        if shared == 1:
            score = self._scores_shared(parts, query, keys[:, 0])
        elif _sparse(there):
            score = self._scores_of(there, parts, query, keys)
        else:
            score = self._scores(parts, query, keys)
        bias = self.action.gather(1, action.reshape(families, -1)).view(families, shared, length)
        return weigh(score, bias, age_s, there, functional.softplus(self.decay), self.null_logit)

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

    def _scores_of(self, there: Tensor, parts: tuple[Tensor, Tensor, Tensor], query: Tensor, keys: Tensor) -> Tensor:
        """Only where something is `there`, 0 elsewhere: histories differ in length, and most places of a batch may be empty."""
        scores = []
        for mask, key, of_query, of_key, of_product, out in zip(there, keys, *parts, self.out, strict=True):
            place = mask.reshape(-1).nonzero().squeeze(1)
            example = place // mask.shape[1]
            key = key.reshape(-1, key.shape[2]).index_select(0, place)  # [n, D]
            units = key @ of_key + (key * query.index_select(0, example)) @ of_product + of_query.index_select(0, example)
            score = (functional.silu(units) @ out).squeeze(1)
            scores.append(key.new_zeros(mask.numel()).index_add(0, place, score).view(mask.shape))
        return torch.stack(scores)


def _sparse(there: Tensor) -> bool:
    """Whether most places of a batch are empty, which pays on a CPU only: elsewhere shapes should stay as they are."""
    return not there.is_cuda and 2 * int(there.sum()) < there.numel()


def weigh(score: Tensor, bias: Tensor, age_s: Tensor, there: Tensor, decay: Tensor, null_logit: Tensor) -> Tensor:
    """Scores, action biases, ages and mask [A, B, L], decay and null logit [A] -> weights [A, B, 1 + L], null slot first."""
    logit = score + bias - decay[:, None, None] * torch.log1p(age_s / TAU_S)
    logit = logit.masked_fill(~there, -torch.inf)
    null = null_logit[:, None, None].expand(*logit.shape[:2], 1)
    return torch.softmax(torch.cat([null, logit], -1), -1)
