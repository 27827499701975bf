"""What the model runs by. Without torch, so that a process can read its settings before, or without, loading it."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

# Constants of the model: no metric asks for other values. A checkpoint records them beside the settings (`recorded`).
ROW_START = 1e-4  # first square of a row of the deep path, below that of a gradient: the first step has nearly the full rate
WIDE_START = 1.0  # of a row of the linear path: a pair that was seen once says little
NUMBER_START = 1.0  # of a weight of a number
EFFECT_START = 1.0  # of a weight of the popularity effect
NUMBER_LIFTS = (0.7, 0.8, 0.0, 0.5)  # first weights of own rates: user, item, domain, category
SQUARE_HALF_LIFE_D = 30.0  # of idle time, after which squares count half: what comes back learns faster again
DENSE_BETAS = (0.9, 0.99)  # of Adam
LOGIT_CLIP = 15.0  # of each path; `tally.py` has its bins within it

FIXED: Mapping[str, Any] = {  # by the names that they had as settings
    "row_start": ROW_START, "wide_start": WIDE_START, "number_start": NUMBER_START, "effect_start": EFFECT_START,
    "number_lifts": NUMBER_LIFTS, "square_half_life_d": SQUARE_HALF_LIFE_D, "dense_betas": DENSE_BETAS, "logit_clip": LOGIT_CLIP,
}  # fmt: skip

Count = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ranker's size, its rates and the bounds of its tables."""

    seed: int = 1  # of the first weights
    embedding_dim: Count = 16  # of an id's row
    attention_units: Count = 32  # hidden units of the behaviour attention
    shared_experts: Count = 2  # beside one own expert a task
    expert_units: Count = 64
    tower_units: Count = 32  # of a task's head
    deep: bool = True  # off: the linear path alone answers; with pairs = 0 and causal off as well, the rest is not computed either
    attention: bool = True  # over the last behaviours, positive and negative apart
    cin: bool = True  # products of fields
    related: bool = True  # attention over behaviours with the candidate's artist or category
    id_cross: bool = True  # a candidate's own little network over the user's behaviours
    cross_domain: bool = True  # a user vector a domain, helped by the others
    gates: bool = True  # each task mixes its own expert with the shared ones; off: all take the shared ones' mean
    platt: bool = True  # logits are calibrated by a line a task before they are probabilities
    causal: bool = True  # what user and popularity add is kept apart, to be taken away when serving
    # beside the ranker, a Gaussian an item of what its logits lack: lists that explore by belief (`recommend.explore_by`) need it
    beliefs: bool = False
    cin_layers: Annotated[tuple[Count, ...], Meta(min_length=1)] = (32, 32)  # feature maps of each layer of products
    domain_places: Count = 6  # domains with towers of their own; the last is shared by all that come later
    domain_rows: bool = True  # a row of the user in each domain; off: one for all, which costs the dense domain
    liked_half_life_d: Positive = 7.0  # of what a user liked in a domain, in the mean that stands for it there
    map_penalty: NotNegative = 0.01  # that keeps the maps between two domains each other's inverse
    effect_rate: NotNegative = 0.05  # of the popularity effect
    user_effect_alone: NotNegative = 0.3  # weight of the loss of the user's effect by itself
    pairs: NotNegative = 0.1  # weight of the pairwise loss on the rank head; 0 = none
    pair_exponent: NotNegative = 0.5  # of how rare a kind of pair is among all, in what a pair weighs; 0 = all alike
    cross_rate: NotNegative = 0.05  # of ID-Cross rows
    vectors: bool = True  # of users and items, by which candidates are retrieved; off, or without the ranker: that source is empty
    vector_dim: Count = 16  # numbers of a vector
    vector_rate: NotNegative = 0.1  # of rows of queries and candidates
    wide: bool = True  # off: the linear path has no ids and pairs, only the numbers
    row_rate: NotNegative = 0.05  # of the deep path's rows; AUC is flat between 0.04 and 0.2 (KuaiRand before 28 April)
    row_spread: NotNegative = 0.01  # a row is born within this of zero
    wide_rate: NotNegative = 0.05  # of the linear path's ids and pairs
    number_rate: NotNegative = 0.05  # of the linear path's numbers
    count_strength: Positive = 10.0  # exposures that a rate is drawn to the base rate with
    dense_rate: NotNegative = 1e-3  # of Adam; from 5e-4 to 3e-3 within 0.001 of AUC (KuaiRand before 28 April)
    dense_batch: Count = 64  # examples a step of the dense parameters takes; single ones: AUC of skip .693, these .710 (same rows)
    clip_norm: Positive = 1.0  # of the dense gradient, a mean over examples
    id_capacity: Count = 1 << 20  # rows of the deep path
    wide_capacity: Count = 1 << 22  # rows of the linear path
    expire_d: Positive = 14.0  # unused for so long, a row goes; a quarter of the most rows that a table ever had stay
    floor_h: NotNegative = 1.0  # used within it, a row does not go for another
    item_admission_events: Count = 3  # of an item, before it has a row; users have one at once

    def __post_init__(self) -> None:
        """Raise ValueError, naming the setting, where a value is not finite or out of its bounds: msgspec checks those in decoding only."""
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value}")
            try:
                msgspec.convert(value, kind)
            except msgspec.ValidationError as error:
                raise ValueError(f"{name} must be {str(error).removeprefix('Expected ')}, got {value}") from None


LIGHT: Mapping[str, bool | float] = {"deep": False, "causal": False, "pairs": 0.0}  # the linear path alone: nothing else is computed


def linear(settings: ModelSettings) -> ModelSettings:
    """The settings with the linear path alone: a logistic regression of ids, pairs of them, and numbers.

    >>> linear(ModelSettings(seed=7)) == ModelSettings(seed=7, deep=False, causal=False, pairs=0.0)
    True
    """
    return msgspec.structs.replace(settings, **LIGHT)


def blocks(settings: ModelSettings) -> tuple[str, ...]:
    """What of the ranker can be switched off: every switch that is on, and the pairwise loss.

    >>> "cin" in blocks(ModelSettings()), "cin" in blocks(ModelSettings(cin=False)), "pairs" in blocks(ModelSettings(pairs=0.0))
    (True, False, False)
    """
    beside = ("vectors", "beliefs")  # no part of the ranker
    switches = [field.name for field in msgspec.structs.fields(ModelSettings) if field.type is bool and field.name not in beside]
    return tuple([name for name in (*switches, "pairs") if getattr(settings, name)])


def recorded(settings: ModelSettings) -> dict[str, Any]:
    """Settings and constants that a state belongs to, as a checkpoint has them.

    >>> recorded(ModelSettings(seed=7))["seed"], recorded(ModelSettings())["logit_clip"]
    (7, 15.0)
    """
    return {**msgspec.to_builtins(settings), **FIXED}


def differences(settings: ModelSettings, saved: Mapping[str, Any]) -> list[str]:
    """What differs between `recorded(settings)` and a saved record of it, a line each; a setting that it lacks had its default.

    >>> differences(ModelSettings(), recorded(ModelSettings()) | {"row_rate": 0.5, "logit_clip": 10.0, "width": 3})
    ['row_rate: 0.5 -> 0.05', 'logit_clip: 10.0 -> 15.0', 'width: 3 -> (no setting)']
    """
    kept = {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}
    before, now = recorded(ModelSettings()) | kept, recorded(settings)
    return [f"{name}: {was} -> {now.get(name, '(no setting)')}" for name, was in before.items() if name not in now or was != now[name]]
