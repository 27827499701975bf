"""A replica of the model: deltas that came together are applied together, any cut gives the same, a missing one is found."""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from bandit.settings import BanditSettings
from online_model import checkpoint
from online_model.batch import Batch, of_records
from online_model.features import Tick
from online_model.model_settings import ModelSettings
from streams.core.learning.learn import Learner
from streams.kafka_io import messages
from streams.kafka_io.messages import Beat, Claim, Delta
from streams.kafka_io.topics import TopicSettings
from streams.watchdog import NeedsOperator
from streams.worker.replica import TOGETHER, Replica
from streams.worker.settings import ReplicaSettings
from tests.streams.core.learning.test_learn import COUNT, SMALL, T0, example, learner, numbered, reward
from tests.streams.learner.test_loop import config, loop, turn
from tests.streams.learner.test_loop import save as write

EPOCH = 7
N = 2 * TOGETHER + 3


class Counting(ThreadPoolExecutor):
    """How often somebody stood in line."""

    def __init__(self) -> None:
        super().__init__(1)
        self.submitted = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        return super().submit(fn, *args, **kwargs)


def save(made: Learner, folder: Path) -> None:
    meta = made.meta() | {"epoch": EPOCH, "offset": 0, "updates_offset": 0}
    checkpoint.save(folder, checkpoint.name_of(EPOCH, made.version), made.arrays(), meta)


def step(made: Learner) -> Delta:
    """One version, from acts of its own times."""
    at = made.version * 10
    (done,) = made.apply(0, numbered([example(at + n, at, n % 4) for n in range(COUNT)], at))
    rows = made.trainer.delta(done.report.touched, dense=True)
    return Delta(EPOCH, done.version, done.version, done.watermark_ms, [at, at + 1], rows)


def records(updates: Sequence[Claim | Beat | Delta]) -> list[Any]:
    return [SimpleNamespace(value=messages.encode(update), offset=100 + at) for at, update in enumerate(updates)]


async def begun(folder: Path, thread: ThreadPoolExecutor) -> Replica:
    replica = Replica(TopicSettings(), ReplicaSettings(checkpoint_dir=str(folder)), SMALL, thread=thread)
    await replica._load()
    return replica


def asked() -> Batch:
    return of_records([example(n) for n in range(9)])


@pytest.mark.parametrize("cuts", [[N], [1] * N, [5, TOGETHER, N - TOGETHER - 5]])
def test_versions_that_came_together_wait_in_line_together_and_give_the_learners_predictions(cuts: list[int], tmp_path: Path) -> None:
    made = learner()
    save(made, tmp_path)
    deltas = [step(made) for _ in range(N)]

    async def main() -> Replica:
        with Counting() as thread:
            replica = await begun(tmp_path, thread)
            before, at = thread.submitted, 0
            for n in cuts:
                await replica._handle(
                    records([Beat(EPOCH, at), *deltas[at : at + n], *deltas[max(at - 1, 0) : at]])
                )  # an old one comes again
                at += n
            assert thread.submitted - before == sum(-(-n // TOGETHER) for n in cuts)
            return replica

    replica = asyncio.run(main())
    assert (replica.version, replica.watermark_ms, replica.applied, replica.loads, replica.stale) == (
        made.version,
        made.watermark_ms,
        N,
        1,
        False,
    )
    assert (replica.measured, len(replica.freshness_ms)) == (2 * N, 2 * N)
    np.testing.assert_array_equal(replica.predict(asked()).logits, made.trainer.predict(asked()).logits)


def test_a_checkpoint_of_another_model_or_other_arms_needs_an_operator(tmp_path: Path) -> None:
    made = loop(config(tmp_path))
    turn(made, [reward(1, 1), Tick(T0 + 3, False)], 0)
    write(made)

    def read(model: ModelSettings = SMALL, **bandit: Any) -> None:
        settings = ReplicaSettings(checkpoint_dir=str(tmp_path))
        Replica(TopicSettings(), settings, model, bandit=BanditSettings(**bandit))._read()

    read()
    with pytest.raises(NeedsOperator, match=rf"^model settings differ from the saved ones: row_rate: \S+ -> 0.25 \(.* in {tmp_path}\); "):
        read(msgspec.structs.replace(SMALL, row_rate=0.25))
    with pytest.raises(NeedsOperator, match=r"bandit.arms was 'beta' when this was learned and is 'gaussian' now"):
        read(arms="gaussian")


def test_options_of_the_bandit_that_the_learner_has_otherwise_are_named_and_no_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker draws strategies, the learner learns them: other options here are other propensities than the operator set there."""
    write(loop(config(tmp_path, bandit=BanditSettings(explore=0.1, alarm=0.05))))
    settings = ReplicaSettings(checkpoint_dir=str(tmp_path))
    with caplog.at_level(logging.WARNING):
        Replica(TopicSettings(), settings, SMALL, bandit=BanditSettings(explore=0.1, alarm=0.05))._read()
        assert caplog.messages == []
        Replica(TopicSettings(), settings, SMALL, arms={"list": ("ranked", "tail")})._read()
    said = [text.partition("this worker's: ")[2] for text in caplog.messages]
    assert [line.partition(":")[0] for line in said] == ["arms.list", "arms.page", "bandit.alarm", "bandit.explore"]
    assert said[2:] == ["bandit.alarm: 0.05 -> 0.002", "bandit.explore: 0.1 -> 0.02"]


def test_a_version_that_is_missing_is_found_in_a_checkpoint_or_the_replica_says_that_it_is_behind(tmp_path: Path) -> None:
    made = learner()
    save(made, tmp_path)
    deltas = [step(made) for _ in range(4)]

    async def main() -> None:
        with Counting() as thread:
            replica = await begun(tmp_path, thread)
            await replica._handle(records([deltas[0], deltas[2], deltas[3]]))  # the second is lost, and no checkpoint has it
            assert (replica.version, replica.stale, replica.applied) == (0, True, 1)  # as the checkpoint has it
            save(made, tmp_path)
            last = [step(made), step(made)]
            await replica._handle(records(last))
            assert (replica.version, replica.stale, replica.applied) == (6, False, 3)
            np.testing.assert_array_equal(replica.predict(asked()).logits, made.trainer.predict(asked()).logits)

    asyncio.run(main())


def test_what_a_learner_said_before_another_took_over_is_applied_before_the_others_checkpoint_is(tmp_path: Path) -> None:
    made = learner()
    save(made, tmp_path)
    first = step(made)
    base = checkpoint.name_of(EPOCH, made.version)
    save(made, tmp_path)
    theirs, late = step(made), step(learner())

    async def main() -> None:
        with Counting() as thread:
            replica = await begun(tmp_path, thread)
            claim = records([first, Claim(base, 1, "other")])
            ours = Delta(101, theirs.first, theirs.version, theirs.watermark_ms, theirs.arrivals_ms, theirs.rows)
            await replica._handle(claim + records([ours, late]))  # its claim lies at offset 101; the last is of the reign before
            assert (replica.epoch, replica.version, replica.applied, replica.stale) == (101, 2, 2, False)
            np.testing.assert_array_equal(replica.predict(asked()).logits, made.trainer.predict(asked()).logits)

    asyncio.run(main())
