"""What the model runs by. Without torch, so that a process can read its settings before, or without, loading it."""
from __future__ import annotations

import math

import msgspec

_COUNTS = (
    "embedding_dim", "attention_units", "shared_experts", "expert_units", "tower_units", "domain_places", "dense_batch", "id_capacity",
    "wide_capacity", "item_admission_events",
)  # fmt: skip
_POSITIVE = (
    "liked_half_life_d", "effect_start", "row_start", "wide_start", "number_start", "count_strength", "square_half_life_d", "clip_norm",
    "logit_clip", "expire_d",
)  # fmt: skip
_NOT_NEGATIVE = (
    "map_penalty", "effect_rate", "user_effect_alone", "pairs", "pair_exponent", "cross_rate", "row_rate", "row_spread", "wide_rate",
    "number_rate", "dense_rate", "floor_h",
)  # fmt: skip


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ranker's size, its rates and the bounds of its tables."""

    seed: int = 1  # of the first weights
    embedding_dim: int = 16  # of an id's row
    attention_units: int = 32  # hidden units of the behaviour attention
    shared_experts: int = 2  # beside one own expert a task
    expert_units: int = 64
    tower_units: int = 32  # of a task's head
    deep: bool = True  # off: the linear path alone answers; with pairs = 0 and causal off as well, the rest is not computed either
    attention: bool = True  # over the last behaviours, positive and negative apart
    cin: bool = True  # products of fields
    related: bool = True  # attention over behaviours with the candidate's artist or category
    id_cross: bool = True  # a candidate's own little network over the user's behaviours
    cross_domain: bool = True  # a user vector a domain, helped by the others
    gates: bool = True  # each task mixes its own expert with the shared ones; off: all take the shared ones' mean
    platt: bool = True  # logits are calibrated by a line a task before they are probabilities
    causal: bool = True  # what user and popularity add is kept apart, to be taken away when serving
    cin_layers: tuple[int, ...] = (32, 32)  # feature maps of each layer of products
    domain_places: int = 6  # domains with towers of their own; the last is shared by all that come later
    domain_rows: bool = True  # a row of the user in each domain; off: one for all, which costs the dense domain
    liked_half_life_d: float = 7.0  # of what a user liked in a domain, in the mean that stands for it there
    map_penalty: float = 0.01  # that keeps the maps between two domains each other's inverse
    effect_rate: float = 0.05  # of the popularity effect
    effect_start: float = 1.0  # first square of its weights
    user_effect_alone: float = 0.3  # weight of the loss of the user's effect by itself
    pairs: float = 0.1  # weight of the pairwise loss on the rank head; 0 = none
    pair_exponent: float = 0.5  # of how rare a kind of pair is among all, in what a pair weighs; 0 = all alike
    cross_rate: float = 0.05  # of ID-Cross rows
    wide: bool = True  # off: the linear path has no ids and pairs, only the numbers
    row_rate: float = 0.05  # of the deep path's rows; AUC is flat between 0.04 and 0.2 (KuaiRand before 28 April)
    row_start: float = 1e-4  # first square of a row, below that of a gradient: the first step has nearly the full rate
    row_spread: float = 0.01  # a row is born within this of zero
    wide_rate: float = 0.05  # of the linear path's ids and pairs
    wide_start: float = 1.0  # first square of theirs: a pair that was seen once says little
    number_rate: float = 0.05  # of the linear path's numbers
    number_start: float = 1.0
    number_lifts: tuple[float, float, float, float] = (0.7, 0.8, 0.0, 0.0)  # first weights of own rates: user, item, domain, category
    count_strength: float = 10.0  # exposures that a rate is drawn to the base rate with
    square_half_life_d: float = 30.0  # of idle time, after which squares count half: what comes back learns faster again
    dense_rate: float = 1e-3  # of Adam; from 5e-4 to 3e-3 within 0.001 of AUC (KuaiRand before 28 April)
    dense_betas: tuple[float, float] = (0.9, 0.99)
    dense_batch: int = 64  # examples a step of the dense parameters takes; single ones: AUC of skip .693, these .710 (same rows)
    clip_norm: float = 1.0  # of the dense gradient, a mean over examples
    logit_clip: float = 15.0  # of each path
    id_capacity: int = 1 << 20  # rows of the deep path
    wide_capacity: int = 1 << 22  # rows of the linear path
    expire_d: float = 14.0  # unused for so long, a row goes
    floor_h: float = 1.0  # used within it, a row does not go for another
    item_admission_events: int = 3  # of an item, before it has a row; users have one at once

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting, where a value would end the first step or mean nothing."""
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in _POSITIVE:
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        for name in _NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or above and finite, got {getattr(self, name)}")
        if not all(width >= 1 for width in self.cin_layers) or not self.cin_layers:
            raise ValueError(f"cin_layers must name one or more widths of at least 1, got {self.cin_layers}; cin = false leaves it out")
        if not all(0 <= beta < 1 for beta in self.dense_betas):
            raise ValueError(f"dense_betas must be in [0, 1), got {self.dense_betas}")
        if not all(math.isfinite(lift) for lift in self.number_lifts):
            raise ValueError(f"number_lifts must be finite, got {self.number_lifts}")
