"""The model as one request sees it."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from online_model.batch import Batch
from streams.core.indexes.vector_index import Vectors

if TYPE_CHECKING:  # the core starts without torch
    from online_model.trainer import Prediction
    from streams.core.learning.strategy_bandit import StrategyBandit

Predict = Callable[[Batch, float, float], "Prediction"]  # a batch, gamma_user, gamma_item
UserVector = Callable[[Batch], np.ndarray]  # a batch [B] -> the ranker's representation of its users [B, D]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """Ranker and strategy bandit of one moment. All defaults: no model has been loaded yet.

    >>> ModelView().cold, ModelView(predict=lambda batch, gamma_user, gamma_item: None, version=7).cold
    (True, False)
    """

    predict: Predict | None = None
    user_vector: UserVector | None = None  # read by linear arms of the bandit
    vectors: Vectors | None = None  # of users and items, by which candidates are retrieved
    bandit: StrategyBandit | None = None
    version: int | None = None
    age_ms: int = 0
    stale: bool = False

    @property
    def cold(self) -> bool:
        """No model, or one that has learned nothing (version 0): popularity orders the items."""
        return self.predict is None or self.version == 0


NO_MODEL = ModelView()
