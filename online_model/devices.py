"""Where torch computes, and with how many threads: both are part of what makes a rerun give the same bytes."""
from __future__ import annotations

import ctypes
import sys

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT_BYTES = 1 << 28  # free memory at the heap's end that stays, and an allocation's size from which it comes from the system alone


def chosen(device: str) -> str:
    """`auto`: cuda where there is one, else cpu; any other name stays. Raises ValueError where torch can't compute there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        text = str(error).split("\n")[0]
        raise ValueError(f"torch can't compute on the device {device!r} ({text}); use auto, cpu, or cuda where there is one") from None
    return device


def use_threads(n: int) -> None:
    """For all that follows in this process, which also keeps the memory that it frees for the next step."""
    torch.set_num_threads(n)
    _keep_memory()


def _keep_memory() -> None:
    """Steps and predictions free some tens of megabytes and ask for them again at once. glibc gives such memory back to the system, and
    its pages come anew, zeroed one by one: 5,400 faults and an eighth of a step of 512 rows. Without glibc nothing happens.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(parameter, _KEPT_BYTES)
