"""Compressed Interaction Network as four nested loops over one example (MODEL.md section 2)."""
from __future__ import annotations

from collections.abc import Sequence

Matrix = Sequence[Sequence[float]]


def layer(before: Matrix, fields: Matrix, weights: Sequence[Matrix]) -> list[list[float]]:
    """X^k[h][d] = sum over i, j of W[h][i][j] * X^(k-1)[i][d] * X^0[j][d]."""
    dim = len(fields[0])
    out = [[0.0] * dim for _ in weights]
    for h in range(len(weights)):
        for i in range(len(before)):
            for j in range(len(fields)):
                for d in range(dim):
                    out[h][d] += weights[h][i][j] * before[i][d] * fields[j][d]
    return out


def pools(fields: Matrix, filters: Sequence[Sequence[Matrix]]) -> list[float]:
    """All layers' maps, each summed over its embedding."""
    last, out = fields, []
    for weights in filters:
        last = layer(last, fields, weights)
        out += [sum(row) for row in last]
    return out
