"""The model's output for a candidate becomes one score, by weights and gammas that a request may set.

score = sum over tasks of weight x probability + weight x tanh(rank head / scale); before, a share (gamma)
of what the user and of what momentary popularity add is taken away from the logits (MODEL.md sections 1 and 4).
Shapes: B candidates, T tasks.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta

from online_model.features import TASKS

if TYPE_CHECKING:  # the core starts without torch
    from online_model.trainer import Prediction

RANK = "rank"
PARTS = (*TASKS, RANK)  # of a score, in this order
WEIGHT = (-1e6, 1e6)  # beyond it a sum loses the digits of its small terms
GAMMA = (-1.0, 1.5)  # below 0 popularity is put in twice, above 1 it counts against an item; further out nothing else would count
SCALE = (1e-3, 1e3)  # of the rank head: beyond it only the sign, or nothing, is left of it

Weight = Annotated[float, Meta(ge=WEIGHT[0], le=WEIGHT[1])]
Gamma = Annotated[float, Meta(ge=GAMMA[0], le=GAMMA[1])]
Scale = Annotated[float, Meta(ge=SCALE[0], le=SCALE[1])]
Array = np.ndarray


class RequestError(ValueError):
    """A request that can't be served; `field` is the one that is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"$.{field}: {message}")
        self.field = field


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one certain feedback of each task adds to a score; the sum over tasks of weight x probability is most of it."""

    full_play: Weight = 0.5  # common, so it carries most of the order; the unit that the others are measured in
    collect: Weight = 2.0  # rare, and the wish to come back: worth four full plays
    share: Weight = 2.0  # as a collect
    skip: Weight = -0.5  # takes back what a full play gives
    dislike: Weight = -4.0  # rarest and worst: two collects don't make up for it
    rank: Weight = 0.5  # of the rank head, from -1 to 1: at most a full play up or down; 0 switches it off (MODEL.md section 1)


@dataclass(frozen=True, slots=True)
class Fusion:
    """How the scores of one slate are made."""

    weights: tuple[float, ...]  # in the order of PARTS
    rank_scale: float
    gamma_user: float
    gamma_item: float


def merged_weights(weights: Weights, overrides: Mapping[str, float]) -> tuple[float, ...]:
    """The settings' weights with those of a request in their place, in the order of PARTS. Raises RequestError.

    >>> merged_weights(Weights(), {"collect": 0.0})
    (0.5, 0.0, 2.0, -0.5, -4.0, 0.5)
    """
    out = msgspec.structs.asdict(weights)
    for part, weight in overrides.items():
        if part not in out:
            raise RequestError(f"weights.{part}", f"no such weight; one of {', '.join(PARTS)}")
        out[part] = bounded(f"weights.{part}", weight, WEIGHT)
    return tuple(out[part] for part in PARTS)


def bounded(field: str, value: float, bounds: tuple[float, float]) -> float:
    """The value; raises RequestError where it is no number within the bounds."""
    if not bounds[0] <= value <= bounds[1]:  # NaN is not
        raise RequestError(field, f"must be in [{bounds[0]:,g}, {bounds[1]:,g}], got {value:g}")
    return value


def values(prediction: Prediction, rank_scale: float) -> Array:
    """What the weights multiply, float64 [B, T + 1]."""
    return np.column_stack([prediction.probabilities.astype(np.float64), np.tanh(prediction.rank.astype(np.float64) / rank_scale)])


def fuse(values: Array, weights: tuple[float, ...]) -> Array:
    """Scores float64 [B]: values @ weights, added part by part in the order of PARTS. A part whose weight is 0 is not read.

    >>> fuse(np.array([[0.5, np.nan], [0.25, np.nan]]), (2.0, 0.0)).tolist()
    [1.0, 0.5]
    """
    out = np.zeros(len(values))
    for part, weight in enumerate(weights):
        if weight:
            out += weight * values[:, part]
    return out


def terms(values: Array, weights: tuple[float, ...]) -> Iterator[tuple[str, float, float, float]]:
    """Of one candidate [T + 1]: part, weight, value, and what it adds to the score."""
    for part, weight, value in zip(PARTS, weights, values.tolist(), strict=True):
        yield part, weight, value, weight * value if weight else 0.0
