"""Where torch computes, and with how many threads: both are part of what makes a rerun give the same bytes."""
from __future__ import annotations

import torch


def chosen(device: str) -> str:
    """`auto`: cuda where there is one, else cpu; any other name stays."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def use_threads(n: int) -> None:
    """For all that follows in this process."""
    torch.set_num_threads(n)
