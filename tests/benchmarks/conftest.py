"""A short log of the simulator, as the benchmarks of the learner take it."""
from __future__ import annotations

import pytest

from benchmarks.learning import Step, steps


@pytest.fixture(scope="session")
def log() -> list[Step]:
    """Some 1,000 examples in steps of 32."""
    return steps(1_500, 32)
