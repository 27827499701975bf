"""Behaviour attention as loops over one family of one example (MODEL.md section 2)."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Row = Sequence[float]


@dataclass
class Attention:
    """Weights of one family: hidden [4D][H] of [q, k, q - k, q * k], bias [H], out [H], action bias by code."""

    hidden: Sequence[Row]
    bias: Row
    out: Row
    action: Row
    decay: float  # already through softplus
    null_logit: float
    null_value: Row


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


def score(a: Attention, q: Row, k: Row) -> float:
    x = [*q, *k, *(u - v for u, v in zip(q, k, strict=True)), *(u * v for u, v in zip(q, k, strict=True))]
    out = 0.0
    for h in range(len(a.bias)):
        z = a.bias[h]
        for i, value in enumerate(x):
            z += value * a.hidden[i][h]
        out += silu(z) * a.out[h]
    return out


def softmax(logits: Row) -> list[float]:
    top = max(logits)
    powers = [math.exp(z - top) for z in logits]
    return [p / sum(powers) for p in powers]


def attend(a: Attention, q: Row, keys: Sequence[Row], actions: Sequence[int], ages_s: Row) -> list[float]:
    """Over the behaviours that are there; padding is simply not in the lists."""
    logits = [a.null_logit]
    for k, action, age in zip(keys, actions, ages_s, strict=True):
        logits.append(score(a, q, k) + a.action[action] - a.decay * math.log(1 + age / 3600))
    weights = softmax(logits)
    out = []
    for d in range(len(q)):
        total = weights[0] * a.null_value[d]
        for w, k in zip(weights[1:], keys, strict=True):
            total += w * k[d]
        out.append(total)
    return out
