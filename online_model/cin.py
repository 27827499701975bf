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
        n, _, dim = x.shape
        last, pools = x, []
        for weights in self.filters:
            products = (last[:, :, None] * x[:, None]).view(n, -1, dim)  # [B, H' * F, D]
            last = torch.matmul(weights.view(len(weights), -1), products)  # one product a layer: [B, H, D]
            pools.append(last.sum(2))
        return torch.cat(pools, 1)
