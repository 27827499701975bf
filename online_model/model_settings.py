"""What the model runs by. Without torch, so that a process can read its settings before, or without, loading it."""
from __future__ import annotations

import msgspec


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ranker's size, its rates and the bounds of its tables."""

    seed: int = 1
    embedding_dim: int = 16
    attention_units: int = 32
    shared_experts: int = 2
    expert_units: int = 64
    tower_units: int = 32
    deep: bool = True
    wide: bool = True
    row_rate: float = 0.003  # steps of one example overfit rows at 0.01: AUC of skip .6857, here .6882 (KuaiRand, first 16,000 rows)
    row_start: float = 1.0
    row_spread: float = 0.01
    wide_rate: float = 0.05
    wide_start: float = 1.0
    number_rate: float = 0.05
    number_start: float = 1.0
    number_lifts: tuple[float, float, float, float] = (0.7, 0.8, 0.0, 0.0)
    count_strength: float = 10.0
    square_half_life_d: float = 30.0
    dense_rate: float = 3e-5  # measured together with row_rate (1e-4 there), for the same reason
    dense_betas: tuple[float, float] = (0.9, 0.99)
    dense_batch: int = 64
    clip_norm: float = 1.0
    logit_clip: float = 15.0
    id_capacity: int = 1 << 20
    wide_capacity: int = 1 << 22
    expire_d: float = 14.0
    floor_h: float = 1.0
    item_admission_events: int = 3
