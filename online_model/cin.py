"""Compressed Interaction Network: explicit products of fields, of bounded degree.

Lian et al., "xDeepFM", 1803.05170 (section 3.1, equations 6 and 7), in the paper's form: every layer goes whole to the output and
to the next layer. (The authors' code halves each layer.) No activation and no bias within: both would spoil the sign of products.
Shapes: B examples, F fields, D embedding, H feature maps of a layer.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class CIN(nn.Module):
    """X^k = sum over i, j of W^k_hij (X^(k-1)_i * X^0_j), pooled over D."""

    def __init__(self, fields: int, layers: Sequence[int]) -> None:
        super().__init__()
        self.width = sum(layers)
        i, j = torch.triu_indices(fields, fields)
        self.upper: Tensor
        self.lower: Tensor
        self.two: Tensor  # 0 where a field meets itself: there is one such filter, of the others two
        for name, buffer in (("upper", i * fields + j), ("lower", j * fields + i), ("two", (i != j).to(torch.get_default_dtype()))):
            self.register_buffer(name, buffer, persistent=False)
        self.filters = nn.ParameterList(
            nn.Parameter(torch.randn(maps, before, fields) / (before * fields) ** 0.5)
            for maps, before in zip(layers, [fields, *layers[:-1]], strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, F, D] -> pools of all layers [B, sum of H]."""
        n, fields, dim = x.shape
        rows = x.transpose(0, 1).reshape(fields, n * dim)  # long rows: the products are what costs
        last, pools = rows, []
        for weights in self.filters[:-1]:
            if last is rows:  # each product of two fields comes up twice
                filters, products = self._folded(weights), _Pairs.apply(rows)
            else:
                filters, products = weights.view(len(weights), -1), (last[:, None] * rows).view(-1, n * dim)  # [H' * F, B * D]
            last = filters @ products
            pools.append(last.view(-1, n, dim).sum(2).t())
        # Of the last layer only the pools are wanted: sum over D before the filters, not behind them (3 x as fast, forth and back)
        products = torch.bmm(last.view(-1, n, dim).transpose(0, 1), x.transpose(1, 2))  # [B, H', F]
        weights = self.filters[-1]
        pools.append(products.reshape(n, -1) @ weights.view(len(weights), -1).t())
        return torch.cat(pools, 1)

    def _folded(self, weights: Tensor) -> Tensor:
        """Filters [H, F, F] -> [H, F (F + 1) / 2], of products i <= j."""
        flat = weights.view(len(weights), -1)
        return flat.index_select(1, self.upper) + flat.index_select(1, self.lower) * self.two


class _Pairs(torch.autograd.Function):
    """Rows [F, N] -> their products [F (F + 1) / 2, N], that of i and j behind those of all before i, j from i on."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        fields = len(rows)
        out = rows.new_empty(fields * (fields + 1) // 2, rows.shape[1])
        for i, part in enumerate(out.split([*range(fields, 0, -1)])):
            torch.mul(rows[i:], rows[i], out=part)
        ctx.save_for_backward(rows)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        out = torch.zeros_like(rows)
        for i, part in enumerate(gradient.split([*range(len(rows), 0, -1)])):
            out[i:].addcmul_(part, rows[i])
            out[i] += (part * rows[i:]).sum(0)
        return out
