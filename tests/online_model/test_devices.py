from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from online_model import devices
from tests.paths import ROOT


@pytest.mark.parametrize(("there", "wanted", "found"), [(True, "auto", "cuda"), (False, "auto", "cpu"), (True, "cpu", "cpu")])
def test_auto_takes_cuda_where_there_is_one(there: bool, wanted: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert devices.chosen(wanted) == found


@pytest.mark.parametrize("wanted", ["gpu", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused_by_name(wanted: str) -> None:
    with pytest.raises(ValueError, match=f"^torch can't compute on the device '{wanted}'.*; use auto, cpu, or cuda where there is one$"):
        devices.chosen(wanted)


def test_threads_are_those_asked_for() -> None:
    before = torch.get_num_threads()
    devices.use_threads(1)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="a matter of glibc")
def test_memory_that_was_freed_is_there_for_the_next_step() -> None:
    """In a process of its own: where other tests have left more free than is kept, glibc gives it back all the same. The first rounds
    make holes that fit."""
    code = """
import resource, torch
from online_model import devices
devices.use_threads(1)
faults = []
for _ in range(24):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(64 * 2**20, dtype=torch.uint8).fill_(1)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sorted(faults[12:])[6] * resource.getpagesize())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 2**20 / 100
