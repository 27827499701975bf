"""One listener who plays one song all day is one listener: what is popular, and what is learned of others, hardly moves."""
from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from replay import prequential
from replay.evidence import predictions
from replay.log_rows import LogRow
from replay.suited import pace
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.surfaces import default_strategy_bandit
from streams.core.state.tables import Tables

START, DAY_MS = 1_700_000_000_000, 86_400_000
LISTENERS, PLAYS, SONGS, TIMES = 200, 20, 100, 5_000
SONG = "s7"  # one that the others skip more often than not


def day(times: int) -> list[Event]:
    """Listeners play songs, of which they like one half more; one more listener plays one song of the other half so many times."""
    rng = np.random.default_rng(17)
    rows = []
    for user, song, at in zip(
        np.repeat(np.arange(LISTENERS), PLAYS), rng.integers(SONGS, size=LISTENERS * PLAYS), rng.integers(DAY_MS, size=LISTENERS * PLAYS),
        strict=True,
    ):  # fmt: skip
        liked = rng.random() < (0.8 if song % 2 == 0 else 0.3)
        rows.append((int(at), f"u{user}", f"s{song}", Action.PLAY if liked else Action.SKIP))
    rows += [(n * DAY_MS // times, "one", SONG, Action.PLAY) for n in range(times)]
    return [
        Event(ts=START + at, user_id=user, item_id=song, action=act, full=True if act is Action.PLAY else None, event_id=f"e{n}")
        for n, (at, user, song, act) in enumerate(sorted(rows, key=lambda row: row[0]))
    ]


def popular(settings: PartitionSettings) -> list[str]:
    """Songs by popularity as lists see it, after a day of all of them."""
    partition, index = Partition(settings, Tables.over(), Catalog()), CatalogIndex()
    for n in range(SONGS):
        index.add_uncatalogued(f"s{n}")
    for increment in partition.apply([Arrived(n, 0, e.ts, e, e.event_id or "") for n, e in enumerate(day(TIMES))]).popularity:
        index.add(increment)
    index.advance(START + DAY_MS)
    return [index.name(key) or "" for key in islice(index.of_domain(None).popular(), 10)]


def test_a_song_that_one_plays_5000_times_in_a_day_is_not_among_the_ten_most_popular() -> None:
    assert popular(PartitionSettings(repeat_limit=1e18))[0] == SONG  # where each repeat counts whole
    plays = Counter(event.item_id for event in day(TIMES) if event.action is Action.PLAY and event.user_id != "one")
    most = {song for song, _ in plays.most_common(25)}
    assert SONG not in most
    found = popular(PartitionSettings())
    assert SONG not in found
    assert set(found) <= most


def learned(times: int, folder: Path) -> tuple[pl.DataFrame, int]:
    """What was predicted of the others, and the alarms of drift, where one listener plays one song so many times."""
    partition = Partition(PartitionSettings(), Tables.over(), Catalog())
    rows = [LogRow(n, msgspec.json.encode(event), None) for n, event in enumerate(day(times))]
    settings = pace.suited(LearnerSettings(), prequential.of_file(rows))
    learner = Learner(settings, Trainer(ModelSettings()), default_strategy_bandit())
    file = folder / f"{times}.parquet"
    with predictions.written(file) as written:
        prequential.run(prequential.of_file(rows), partition, learner, closing=True, **written.following(learner))
    return pl.read_parquet(file).filter(pl.col("user") != "one"), int(learner.drift.alarms.sum())


@pytest.mark.prove
def test_what_is_learned_of_others_stays_as_it_was_and_no_alarm_is_raised(tmp_path: Path) -> None:
    (without, _), (beside, alarms) = learned(1, tmp_path), learned(TIMES, tmp_path)
    assert alarms == 0
    for task in ("full_play", "skip"):
        auc, copc = ([f(frame[task], frame[f"{task}_probability"]) for frame in (without, beside)] for f in (roc_auc_score, copc_of))
        print(
            f"{task}: {len(beside):,} exposures of others; AUC {auc[0]:.4f} without, {auc[1]:.4f} beside; COPC {copc[0]:.4f}, {copc[1]:.4f}"
        )
        assert abs(auc[1] - auc[0]) <= 0.005
        assert abs(copc[1] - copc[0]) <= 0.005


def copc_of(labels: pl.Series, probabilities: pl.Series) -> float:
    """Observed over predicted."""
    return float(labels.sum() / probabilities.sum())
