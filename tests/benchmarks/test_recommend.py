"""Candidates are scored alike however the user's part is shared."""
from __future__ import annotations

import msgspec
import numpy as np

from benchmarks.learning import Step
from benchmarks.recommend import apart
from online_model.batch import of_candidates, of_records
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer


def test_candidates_are_scored_alike_with_the_users_part_shared_and_for_each(log: list[Step]) -> None:
    trainer = Trainer(ModelSettings())
    for step in log[:10]:
        trainer.step(of_records(step.records, step.compared), step.now_ms)
    user, others = log[-5].records[0].features, [r.features.fields for r in log[0].records[:7]]
    batch = of_candidates([msgspec.structs.replace(user, fields=user.fields[:8] + fields[8:]) for fields in others])
    assert len(batch.history) == 1 and len(apart(batch).history) == len(batch) == 7
    shared, each = (trainer.predict(b, 0.3, 0.5) for b in (batch, apart(batch)))
    np.testing.assert_allclose(each.probabilities, shared.probabilities, atol=1e-6)
    assert np.ptp(shared.probabilities[:, 0]) > 1e-4
