"""Cross-domain towers as loops over one user and one candidate (MODEL.md section 5)."""
from __future__ import annotations

import math
from collections.abc import Sequence

Row = Sequence[float]
Matrix = Sequence[Row]


def applied(matrix: Matrix, x: Row) -> list[float]:
    """Matrix times column."""
    return [sum(m * v for m, v in zip(row, x, strict=True)) for row in matrix]


def through(x: Row, weights: Matrix) -> list[float]:
    """Row times weights [I][O]."""
    return [sum(x[i] * weights[i][o] for i in range(len(x))) for o in range(len(weights[0]))]


def exchange(own: Matrix, sent: Matrix, maps: Sequence[Sequence[Matrix]]) -> list[list[float]]:
    """Own part of each domain and what every other one sends it; maps [from][to]."""
    out = []
    for to in range(len(own)):
        total = list(own[to])
        for other in range(len(own)):
            if other != to:
                total = [a + b for a, b in zip(total, applied(maps[other][to], sent[other]), strict=True)]
        out.append(total)
    return out


def tower(
    x: Matrix, there: Row, target: int, item: Row, own: Sequence[Matrix], maps: Sequence[Sequence[Matrix]], user: Sequence[Matrix],
    items: Sequence[Matrix], transfer_user: Sequence[Matrix], transfer_items: Sequence[Matrix], transfer_weight: Matrix,
) -> tuple[list[float], list[float]]:  # fmt: skip
    """The user's vector in the candidate's domain, then its product with the item's tower there; and what the other domains say."""
    parts = [[math.tanh(v) for v in through(x[d], own[d])] for d in range(len(x))]
    sent = [[there[d] * v for v in parts[d]] for d in range(len(x))]
    vector, of_item = through(parts[target], user[target]), through(item, items[target])
    nothing = [[0.0] * len(parts[0]) for _ in parts]
    transfer = [math.tanh(v) for v in exchange(nothing, sent, maps)[target]]
    other, its = through(transfer, transfer_user[target]), through(item, transfer_items[target])
    own_part = [*vector, sum(a * b for a, b in zip(vector, of_item, strict=True))]
    return own_part, through([a * b for a, b in zip(other, its, strict=True)], transfer_weight)


def penalty(maps: Sequence[Sequence[Matrix]]) -> float:
    """||M_b->a M_a->b - I||^2 / H, summed over ordered pairs."""
    total, width = 0.0, len(maps[0][0])
    for a in range(len(maps)):
        for b in range(len(maps)):
            if a == b:
                continue
            for i in range(width):
                for j in range(width):
                    back = sum(maps[b][a][i][k] * maps[a][b][k][j] for k in range(width))
                    total += (back - (1.0 if i == j else 0.0)) ** 2
    return total / width
