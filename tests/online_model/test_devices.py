from __future__ import annotations

import pytest
import torch

from online_model import devices


@pytest.mark.parametrize(("there", "wanted", "found"), [(True, "auto", "cuda"), (False, "auto", "cpu"), (True, "cpu", "cpu")])
def test_auto_takes_cuda_where_there_is_one(there: bool, wanted: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert devices.chosen(wanted) == found


def test_threads_are_those_asked_for() -> None:
    before = torch.get_num_threads()
    devices.use_threads(1)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)
