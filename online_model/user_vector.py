"""What the ranker knows of a user, as a few numbers: for whoever chooses by it; learning and predicting don't need them.

It is what the shared experts say of the user before no item at all, as they stand now. Shapes: B users, H units of an expert.
"""
from __future__ import annotations

import numpy as np
import torch

from online_model.batch import Batch
from online_model.forward import forward
from online_model.model_state import ModelState
from online_model.projection import of_width

Array = np.ndarray

WIDTH = 32


def user_vector(state: ModelState, batch: Batch) -> Array:
    """[B, WIDTH] of length 1; [B, 0] where there is no ranker. By the model as it stands; changes nothing."""
    if not state.uses_ranker:
        return np.zeros((len(batch), 0))
    with torch.inference_mode():
        shared = state.ranker.tasks.common(forward(state, batch, len(batch), learns=False).scores.entering).numpy(force=True)
    return of_width(shared, WIDTH)
