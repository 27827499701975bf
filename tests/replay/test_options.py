"""Options are plain values: they load without torch, and the core settings are the live system's own."""
from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from replay.options import CoreSettings, EvaluateOptions, ReplayOptions
from streams.settings import Settings
from tests.paths import ROOT


def test_options_load_without_torch() -> None:
    code = "import sys, replay.options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_replay_has_the_live_systems_defaults() -> None:
    live, core = Settings(), CoreSettings()
    for name in ("partition", "learner", "model", "recommend", "pages", "bandit"):
        assert getattr(core, name) == getattr(live, name), name


def test_without_options_one_model_is_measured_and_options_stay_as_they_were_given() -> None:
    options = ReplayOptions()
    assert not (options.ablate or options.freshness or options.gammas or options.next_k or options.since_ms)
    with pytest.raises(AttributeError):
        options.ablate = ("cin",)  # type: ignore[misc]
    with pytest.raises(TypeError, match="policy"):
        EvaluateOptions()  # type: ignore[call-arg]
    assert msgspec.structs.replace(options, next_k=5).next_k == 5
