"""What the worlds of the proofs share."""
from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from replay.proofs.small_world import START_MS, auc, exposures, keys

RNG = np.random.default_rng(1)
SCORES, LABELS = RNG.integers(20, size=500).astype(float), RNG.random(500) < 0.3


def test_auc_is_scikit_learns_with_ties() -> None:
    assert auc(SCORES, LABELS) == pytest.approx(roc_auc_score(LABELS, SCORES), abs=1e-12)


def test_auc_of_true_probabilities_is_that_of_many_labels() -> None:
    probability = np.clip(SCORES / 20 + RNG.normal(0, 0.2, 500), 0.01, 0.99)
    labels = RNG.random((400, 500)) < probability
    drawn = roc_auc_score(labels.ravel(), np.broadcast_to(SCORES, labels.shape).ravel())
    assert auc(SCORES, probability) == pytest.approx(drawn, abs=0.005)  # 200,000 labels


def test_auc_of_one_label_is_none() -> None:
    assert np.isnan(auc(SCORES, np.ones(500)))


def test_keys_of_different_fields_and_numbers_differ() -> None:
    made = np.concatenate([keys("user", np.arange(1000)), keys("item", np.arange(1000))])
    assert len(np.unique(made)) == 2000
    assert made.all()


def test_an_unknown_exposure_is_predicted_near_the_base_rate() -> None:
    predicted = Trainer(ModelSettings()).predict(exposures(np.array([START_MS]))).probabilities[0]
    assert np.isfinite(predicted).all()
    assert predicted[0] == pytest.approx(0.3, abs=0.1)  # base_rates.PRIOR of full plays
