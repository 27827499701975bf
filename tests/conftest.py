"""What every test may use: where the public logs lie, and how hard Hypothesis tries."""
from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import real_logs
from tests.broker_fixture import broker, own_broker, topic_settings

__all__ = ["broker", "own_broker", "topic_settings"]  # fixtures of every test

# Derandomised: a red run is red again. `make prove` tries new examples, and more of them.
settings.register_profile("test", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("prove", deadline=None, max_examples=2_000, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The public logs. Tests that use it are marked `real_log`."""
    if not real_logs.FOLDER.is_dir():
        raise FileNotFoundError(f"no logs at {real_logs.FOLDER}: set REAL_LOGS, or deselect these tests with -m 'not real_log'")
    return real_logs.FOLDER
