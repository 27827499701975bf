"""Amazon's reviewers of two domains: what the vector of MV-CoNet is worth in the sparser one, by the same exposures with and without.

A log of fourteen years in which a user comes back after months, so rows and counts must last: expiry and half-lives are lifted, alike
for both. Figures say how well a reviewed item is told from an equally popular one (see the adapter), not how often anything happens.
"""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
import torch

from bandit.bootstrap import Interval
from online_model import trainer
from online_model.features import FIELDS, TASKS
from online_model.model_settings import ModelSettings
from replay import logs, prequential
from replay.evidence.intervals import Users
from replay.evidence.intervals import interval as bootstrap_interval
from replay.evidence.ledger import Ledger
from replay.evidence.side_by_side import ComparedLearner
from replay.proofs.claims import interval
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.partition import Partition
from streams.core.join.records import Outgoing
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import LearnerSettings
from streams.core.state.tables import Tables

pytestmark = [pytest.mark.real_log, pytest.mark.prove]

LOG = "amazon-beauty-electronics/abe_50_preprocessed.txt.gz"
YEARS_D = 20 * 365.0
MODEL = ModelSettings(expire_d=YEARS_D, liked_half_life_d=YEARS_D, pairs=0.0)  # rank head: not judged here
LEARNING = LearnerSettings(micro_batch_span_ms=30 * 86_400_000)  # so that a list is predicted whole, before any of it is learned
PARTITION = PartitionSettings(rate_half_life_h=24 * 365.0)
COLLECT = TASKS.index("collect")


SEEDS = (1, 2, 3)  # of the first weights, which alone move a model by .002 to .006 here: more than the interval over users


class Lift(NamedTuple):
    """AUC of collect in one domain, over the second half of the exposures: means of the seeds, with intervals over users."""

    on: Interval  # with MV-CoNet
    off: Interval
    more: Interval
    by_seed: list[float]  # on - off
    positives: int


def lift(path: Path, model: ModelSettings, seeds: Sequence[int] = SEEDS) -> dict[str, Lift]:
    """By domain; all models of all seeds see the same exposures in one pass."""
    catalog = Catalog()
    for item in logs.items([path], logs.Format.AMAZON_CROSS_DOMAIN):
        catalog.put(item)
    ledger, domains = Ledger(), list[np.ndarray]()
    models = [msgspec.structs.replace(model, cross_domain=crossed, seed=seed) for crossed in (True, False) for seed in seeds]
    first, *others = (ComparedLearner(str(at), each, LEARNING, "cpu", ledger) for at, each in enumerate(models))
    first.before(lambda batch, now_ms: ledger.exposed(batch))
    first.before(lambda batch, now_ms: domains.append(batch.fields[~batch.foreseen, FIELDS.index("domain")]))
    numbered = prequential.of_file(logs.read([path], logs.Format.AMAZON_CROSS_DOMAIN, logs.Columns()))

    def also(source: int, records: Sequence[Outgoing]) -> None:
        ledger.learned(records)
        for other in others:
            other.apply(source, records)

    prequential.run(numbered, Partition(PARTITION, Tables.over(), catalog), first.learner, closing=True, also=also)
    judged, where = ledger.exposures(), np.concatenate(domains)
    out = {}
    for name in ("beauty", "electronics"):
        inside = np.flatnonzero((where == np.uint64(keys.key("domain", name))) & (np.arange(len(judged)) >= len(judged) // 2))
        users, labels = Users(judged.users[inside]), judged.labels[inside, COLLECT]
        read = users.read([users.auc(judged.logits[str(at)][inside, COLLECT], labels) for at in range(len(models))])
        on, off = read[:, : len(seeds)], read[:, len(seeds) :]
        means = np.stack([on.mean(1), off.mean(1)], 1)
        by_seed = (on[0] - off[0]).tolist()
        out[name] = Lift(
            bootstrap_interval(means[:, 0]),
            bootstrap_interval(means[:, 1]),
            bootstrap_interval(means[:, 0] - means[:, 1]),
            by_seed,
            int(labels.sum()),
        )
    return out


def over(by_seed: Sequence[float]) -> str:
    found = interval(by_seed)
    return f"[{found.low:+.4f}, {found.high:+.4f}]"


def test_mv_conet_helps_the_sparser_domain(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All 114,129 reviews, judged on the second half: what the vector is worth grows with what is known of users who have been in both."""
    torch.set_num_threads(1)
    monkeypatch.setattr(trainer, "SQUARE_HALF_LIFE_MS", YEARS_D * 86_400_000)  # users of this log write a few reviews a year
    found = lift(data_dir / LOG, MODEL)
    for name, (on, off, more, by_seed, positives) in found.items():
        print(f"{name:12} AUC of collect with MV-CoNet {on.value:.4f}, without {off.value:.4f}: {more}, {positives:,} positives")
        print(f"{'':12} by seed {', '.join(f'{each:+.4f}' for each in by_seed)}, their mean's interval over seeds {over(by_seed)}")
    assert found["beauty"].more.low > 0  # 50,329 of the events: the sparser one
