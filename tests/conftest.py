"""What every test may use: where the public logs lie, and how hard Hypothesis tries."""
from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.broker_fixture import broker, own_broker, topic_settings
from tests.proofs import Proofs

__all__ = ["broker", "own_broker", "topic_settings"]  # fixtures of every test

# Derandomised: a red run is red again. `make prove` tries new examples, and more of them.
settings.register_profile("test", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("prove", deadline=None, max_examples=2_000, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))

PROOF_S = 7_200.0  # of one proof, where it doesn't say itself: the longest take an hour on a slow core

DATA = Path(__file__).parent.parent / os.environ.get("SEGUE_DATA", "../shared/data")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("markexpr") in ("prove", "prove and not gpu", "gpu"):  # as `make prove` and `make gpu` run
        config.pluginmanager.register(Proofs(), "proofs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Proofs may take two hours. Where the public logs are absent, tests that need them are left out; in CI their absence is a failure."""
    for item in items:
        if item.get_closest_marker("prove") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(PROOF_S))
    if DATA.is_dir() or os.environ.get("CI"):
        return
    left_out = [item for item in items if item.get_closest_marker("real_log")]
    items[:] = [item for item in items if not item.get_closest_marker("real_log")]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The public logs. Tests that use it are marked `real_log`."""
    if not DATA.is_dir():
        raise FileNotFoundError(f"no logs at {DATA}: set SEGUE_DATA, or deselect these tests with -m 'not real_log'")
    return DATA
