"""Exposures of a ledger: labels and predictions meet by id, in whatever order they come."""
from __future__ import annotations

import numpy as np
import pytest

from replay.evidence.tables import ALL_ON, Evidence, Question
from tests.replay.evidence.test_tables import LEARNING, SKIP, SMALL, log, run


def test_ledger_has_the_labels_of_the_log_and_the_predictions_that_were_scored() -> None:
    evidence = Evidence(Question(), SMALL, LEARNING, "cpu")
    result = run(evidence, log())
    judged = evidence._ledger.exposures()
    assert len(judged) == 480 == result.metrics["skip"].n
    assert judged.labels[:, SKIP].sum() == result.metrics["skip"].positives
    p = judged.probabilities[ALL_ON][:, SKIP].astype(float)
    loss = -np.where(judged.labels[:, SKIP] > 0, np.log(p), np.log1p(-p)).mean()
    assert loss == pytest.approx(result.metrics["skip"].logloss, rel=1e-6)
    assert judged.age_s.min() == 0  # of each item at its first exposure: there is no catalog
