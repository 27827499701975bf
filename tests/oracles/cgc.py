"""Customized Gate Control as loops over one example (MODEL.md section 3)."""
from __future__ import annotations

import math
from collections.abc import Sequence

from tests.oracles.behaviour_attention import silu, softmax

Row = Sequence[float]
Matrix = Sequence[Row]


def linear(x: Row, w: Matrix, b: Row) -> list[float]:
    """w [I][O]."""
    out = list(b)
    for o in range(len(b)):
        for i, value in enumerate(x):
            out[o] += value * w[i][o]
    return out


def normalised(x: Row) -> list[float]:
    mean = sum(x) / len(x)
    variance = sum((v - mean) ** 2 for v in x) / len(x)
    return [(v - mean) / math.sqrt(variance + 1e-5) for v in x]


def mixture(own: Row, shared: Sequence[Row], gate: Row) -> list[float]:
    out = [gate[0] * v for v in own]
    for g, expert in zip(gate[1:], shared, strict=True):
        for h, v in enumerate(expert):
            out[h] += g * v
    return out


def expert(x: Row, w: Matrix, b: Row, scale: Row, shift: Row) -> list[float]:
    return [silu(v * s + t) for v, s, t in zip(normalised(linear(x, w, b)), scale, shift, strict=True)]


def logit(x: Row, own: Row, shared: Sequence[Row], gates: Matrix, tower: Matrix, tower_bias: Row, out: Row, out_bias: float) -> float:
    """One task's logit, given its own expert's output and the shared ones; gates [I][1 + S]."""
    gate = softmax(linear(x, gates, [0.0] * (1 + len(shared))))
    hidden = [silu(v) for v in linear(mixture(own, shared, gate), tower, tower_bias)]
    return sum(h * w for h, w in zip(hidden, out, strict=True)) + out_bias
