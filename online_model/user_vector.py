"""What the ranker knows of a user, as a few numbers: for whoever chooses by it; learning and predicting don't need them.

It is what the shared experts say of the user before no item at all, as they stand now. Shapes: B users, H units of an expert.
"""
from __future__ import annotations

import numpy as np
import torch

from online_model import forward
from online_model.batch import Batch
from online_model.trainer import Trainer

Array = np.ndarray

WIDTH = 32


def user_vector(trainer: Trainer, batch: Batch) -> Array:
    """[B, WIDTH] of length 1; [B, 0] where there is no ranker. By the model as it stands; changes nothing.

    Of more units each number is a sum with signs that are fixed for ever: distances stay nearly as they were (Achlioptas, "Database-
    friendly random projections", 2003).
    """
    if not trainer.ranks:
        return np.zeros((len(batch), 0))
    with torch.inference_mode():
        said = trainer.ranker.tasks.common(forward.run(trainer, batch, len(batch), learns=False).scores.entering).numpy(force=True)
    units = said.shape[1]
    signs = np.random.default_rng(0).integers(0, 2, (units, WIDTH)) * 2.0 - 1.0 if units > WIDTH else np.eye(units, WIDTH)
    vector = said.astype(np.float64) @ signs
    return vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-9)
