"""Compressed Interaction Network: explicit products of fields, of bounded degree.

Lian et al., "xDeepFM", 1803.05170 (section 3.1, equations 6 and 7), in the paper's form: every layer goes whole to the output and
to the next layer. (The authors' code halves each layer.) No activation and no bias within: both would spoil the sign of products.
Shapes: B examples, F fields, D embedding, H feature maps of a layer.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class CIN(nn.Module):
    """X^k = sum over i, j of W^k_hij (X^(k-1)_i * X^0_j), pooled over D."""

    def __init__(self, fields: int, layers: Sequence[int]) -> None:
        super().__init__()
        self.width = sum(layers)
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
            products = (last[:, None] * rows).view(-1, n * dim)  # [H' * F, B * D]
            last = weights.view(len(weights), -1) @ products
            pools.append(last.view(-1, n, dim).sum(2).t())
        # Of the last layer only the pools are wanted: sum over D before the filters, not behind them (3 x as fast, forth and back)
        products = torch.bmm(last.view(-1, n, dim).transpose(0, 1), x.transpose(1, 2))  # [B, H', F]
        weights = self.filters[-1]
        pools.append(products.reshape(n, -1) @ weights.view(len(weights), -1).t())
        return torch.cat(pools, 1)
