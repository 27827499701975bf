"""Errors that no restart mends, in processes as a supervisor sees them: one line that says what to do, exit code 2, no traceback."""
from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from bandit.settings import BanditSettings
from streams.core.join.catalog import Catalog
from streams.core.join.settings import PartitionSettings
from streams.kafka_io.topics import TopicSettings
from streams.learner.loop import LearningLoop
from streams.learner.settings import LearnerProcessSettings, LearningSettings
from streams.watchdog import OPERATOR, SOFTWARE
from streams.worker.owned import PartitionOpener
from streams.worker.stores import StoreSettings
from tests.paths import ROOT
from tests.streams.learner.test_loop import save
from tests.test_house import documented

LIMIT_S = 120  # a start takes 3 s on a machine that has nothing else to do
# What a start says anyway; all but the first of a broker that has just started.
ELSE = ("answers at ", "Group Coordinator Request failed", "Marking the coordinator dead")

MakeTopics = Callable[[int], TopicSettings]


def test_exit_codes_are_documented_and_none_that_is_not_there() -> None:
    assert set(documented("Exit codes")) == {"0", "1", str(OPERATOR), str(SOFTWARE)}


@contextmanager
def _started(verb: str, topics: TopicSettings, folder: Path, *assignments: str) -> Iterator[subprocess.Popen[str]]:
    """`segue VERB` with everything in the folder."""
    settings = {
        "topics.bootstrap": topics.bootstrap, "topics.prefix": topics.prefix, "topics.partitions": topics.partitions,
        "stores.data_dir": folder / "state", "learner_process.checkpoint_dir": folder / "checkpoints", "learner_process.device": "cpu",
        "replica.checkpoint_dir": folder / "checkpoints", "service.port": 0, "exporter.port": 0,
    }  # fmt: skip
    given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    given += [word for assignment in assignments for word in ("--set", assignment)]
    with subprocess.Popen(
        [sys.executable, "-m", "streams", verb, *given], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def _ending(verb: str, topics: TopicSettings, folder: Path, *assignments: str) -> tuple[int, list[str]]:
    """Exit code and lines of a process that ends by itself."""
    with _started(verb, topics, folder, *assignments) as process:
        _, said = process.communicate(timeout=LIMIT_S)
        return process.returncode, [line for line in said.splitlines() if not line.startswith(ELSE)]


def _learned(topics: TopicSettings, folder: Path) -> None:
    """A checkpoint of a learner with the default settings."""
    process = LearnerProcessSettings(checkpoint_dir=str(folder / "checkpoints"), device="cpu")
    made = LearningLoop(LearningSettings(topics=topics, process=process), None, None)  # type: ignore[arg-type]
    made.learner, _, made.applied = made.checkpoints.load()
    made.claim.epoch = 1
    save(made)


def _kept(topics: TopicSettings, folder: Path, offset: int) -> None:
    """The store of a partition, folded up to an offset."""
    opener = PartitionOpener(topics, StoreSettings(data_dir=str(folder / "state")), PartitionSettings(), Catalog(), {})
    store = opener.store(0, 0.0)
    store.commit({}, [], offset)
    store.close()


@pytest.mark.broker
def test_a_model_of_other_settings_ends_learner_and_worker_by_the_names_of_those_that_differ(
    topic_settings: MakeTopics, tmp_path: Path
) -> None:
    topics = topic_settings(1)
    _learned(topics, tmp_path)
    for verb in ("learner", "worker"):
        code, lines = _ending(verb, topics, tmp_path, "model.row_rate=0.25", "model.cin_layers=[32, 32]")
        assert (code, len(lines)) == (OPERATOR, 1), lines
        assert lines[0].startswith("segue: ") and "row_rate: 0.05 -> 0.25 (checkpoints in " in lines[0]
        assert "cin_layers" not in lines[0] and "restart" not in lines[0]


@pytest.mark.broker
def test_a_store_of_another_partitioner_or_another_log_ends_the_worker_by_its_name(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    _kept(msgspec.structs.replace(topics, events_partitioner="crc32"), tmp_path / "a", 0)
    _kept(topics, tmp_path / "b", 99)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "state").write_text("a file where the folder of the stores should be")
    for name, wanted in (
        ("a", r"partition-0000 was made with other settings \(events_partitioner: crc32 -> murmur2\): set them back"),
        ("b", r"partition-0000 is at offset 99, but .*events-0 ends at 0: it is another topic; move .*partition-0000 away"),
        ("c", r"c/state.*: (Not a directory|File exists); give the process its folder, or set another"),
    ):
        code, lines = _ending("worker", topics, tmp_path / name)
        assert (code, len(lines)) == (OPERATOR, 1), lines
        assert re.match(f"segue: .*{wanted}", lines[0]), lines


@pytest.mark.broker
def test_a_learner_says_that_it_is_up_on_what_and_from_which_checkpoint_and_a_second_one_that_it_stands_by(
    topic_settings: MakeTopics, tmp_path: Path
) -> None:
    topics = topic_settings(1)
    where = f"{topics.prefix}.examples at {topics.bootstrap}"
    _learned(topics, tmp_path)
    (base,) = (path.name for path in (tmp_path / "checkpoints").iterdir())
    with _started("learner", topics, tmp_path, "bandit.explore=0.1", "faust.slot=0") as first:  # the lowest slot learns
        assert first.stderr is not None
        told = (line.rstrip() for line in first.stderr if not line.startswith(ELSE))
        said = [next(told), next(told)]
        assert said == [
            f"the checkpoint was made under other conditions: settings.bandit.explore: {BanditSettings().explore} -> 0.1",
            f"learns {where} on cpu, from checkpoint {base} (version 0) in {tmp_path}/checkpoints",
        ]
        with _started("learner", topics, tmp_path, "bandit.explore=0.1", "faust.slot=1") as second:
            assert second.stderr is not None
            assert f"stands by: another learner learns {where}\n" in second.stderr
            second.send_signal(signal.SIGTERM)
            assert second.wait(LIMIT_S) == 0
        first.send_signal(signal.SIGTERM)
        assert first.wait(LIMIT_S) == 0
