"""Amazon's reviewers of two domains: what the vector of MV-CoNet is worth in the sparser one, by the same exposures with and without.

A log of fourteen years in which a user comes back after months, so rows and counts must last: expiry and half-lives are lifted, alike
for both. Figures say how well a reviewed item is told from an equally popular one (see the adapter), not how often anything happens.
"""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from online_model.features import FIELDS, TASKS
from online_model.model_settings import ModelSettings
from replay import logs, prequential
from replay.intervals import Interval, Users, of_difference, of_figure
from replay.ledger import Ledger
from replay.side_by_side import Rival
from streams.core import keys
from streams.core.catalog import Catalog
from streams.core.learn import LearnerSettings
from streams.core.partition import Partition
from streams.core.records import Outgoing
from streams.core.settings import PartitionSettings
from streams.core.state import Tables

pytestmark = [pytest.mark.real_log, pytest.mark.prove]

LOG = "amazon-beauty-electronics/abe_50_preprocessed.txt.gz"
YEARS_D = 20 * 365.0
MODEL = ModelSettings(expire_d=YEARS_D, square_half_life_d=YEARS_D, pairs=0.0)  # the rank head is not judged here
LEARNING = LearnerSettings(micro_batch_span_ms=30 * 86_400_000)  # so that a list is predicted whole, before any of it is learned
PARTITION = PartitionSettings(rate_half_life_h=24 * 365.0)
COLLECT = TASKS.index("collect")


def lift(path: Path, model: ModelSettings) -> dict[str, tuple[Interval, Interval, Interval, int]]:
    """By domain, over the second half of the exposures: AUC of collect with MV-CoNet and without, the difference, and positives."""
    catalog = Catalog()
    for item in logs.items([path], logs.Format.AMAZON_CROSS_DOMAIN):
        catalog.put(item)
    ledger, domains = Ledger(), list[np.ndarray]()
    models = {"with": model, "without": msgspec.structs.replace(model, cross_domain=False)}
    first, second = (Rival(name, each, LEARNING, "cpu", ledger) for name, each in models.items())
    first.trainer.before.append(lambda batch, now_ms: ledger.shown(batch))
    first.trainer.before.append(lambda batch, now_ms: domains.append(batch.fields[batch.is_example > 0, FIELDS.index("domain")]))
    numbered = prequential.of_file(logs.read([path], logs.Format.AMAZON_CROSS_DOMAIN, logs.Columns()))

    def also(source: int, records: Sequence[Outgoing]) -> None:
        ledger.closed(records)
        second.apply(source, records)

    prequential.run(numbered, Partition(PARTITION, Tables.over(), catalog), first.learner, closing=True, also=also)
    judged, where = ledger.judged(), np.concatenate(domains)
    out = {}
    for name in ("beauty", "electronics"):
        inside = np.flatnonzero((where == np.uint64(keys.key("domain", name))) & (np.arange(len(judged)) >= len(judged) // 2))
        users, labels = Users(judged.users[inside]), judged.labels[inside, COLLECT]
        read = users.read([users.auc(judged.logits[each][inside, COLLECT], labels) for each in models])
        out[name] = (of_figure(read, 0), of_figure(read, 1), of_difference(read, 0, 1), int(labels.sum()))
    return out


def test_mv_conet_helps_the_sparser_domain(data_dir: Path) -> None:
    """All 114,129 reviews, judged on the second half: what the vector is worth grows with what is known of users who have been in both
    (beauty, first 20,000 reviews -.0011 [-.0030, .0009], 45,000 +.0007 [-.0006, .0021]). The interval of the whole log still touches 0.
    """
    torch.set_num_threads(1)
    found = lift(data_dir / LOG, MODEL)
    for name, (on, off, more, positives) in found.items():
        print(f"{name:12} AUC of collect with MV-CoNet {on.value:.4f}, without {off.value:.4f}: {more}, {positives:,} positives")
    assert found["beauty"][2].low > 0  # 50,329 of the events: the sparser one
