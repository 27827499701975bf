"""One core, two drivers: what became of a log or of live topics through Kafka is what `segue replay` makes of them, byte for byte."""
from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from online_model.features import Tick
from replay.adapters import catalog, jsonl
from replay.log_rows import Columns
from replay.simulator.open_loop import write_items, write_log
from replay.simulator.world import WorldSettings
from streams.core.join.settings import PartitionSettings
from streams.core.state.digest import digest
from streams.kafka_io.send import send
from streams.kafka_io.topics import TopicSettings
from streams.learner.process import LearnerProcess
from streams.learner.settings import LearnerProcessSettings, LearningSettings
from streams.worker.process import Worker
from streams.worker.settings import WorkerSettings
from streams.worker.stores import StoreSettings
from tests.faults.harness import LEARNER, example_records
from tests.integration.test_worker import _event, _now, _produce, _until, running
from tests.paths import ROOT

KUAIRAND = "kuairand-pure/log_standard_4_25_to_4_30_pure.csv.gz"
WINDOW_MS = 1_500

MakeTopics = Callable[[int], TopicSettings]


def replay(*arguments: str, **environment: str) -> dict[str, Any]:
    """`segue replay … --json` in a process of its own."""
    command = [sys.executable, "-m", "streams", "replay", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def _page(ts: int, user_id: str, request_id: str) -> bytes:
    """A page of two places whose strategy was chosen: it earns something, which moves posteriors."""
    choice = {"surface": "page", "arms": ["blend-0", "fixed"], "chances": [0.75, 0.25], "segment": 0}
    slots = [{"item_id": f"i{n}", "position": n, "module": "new", "monetization": 0.5} for n in (1, 2)]
    shown = {"kind": "exposure", "ts": ts, "user_id": user_id, "request_id": request_id, "slots": slots}
    return json.dumps(shown | {"event_id": request_id, "strategy": "fixed", "choice": choice}).encode()


def differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


#  segue send: items, log-begin, 400 rows, closing tick │ plays, a page   │ 2 s of silence: ticks close the batch, │ plays again │ silence
#                                                       │                │ then the windows                       │             │
#  = segue replay FILE --items                          │ = segue replay --format topic, of all there is
@pytest.mark.broker
def test_a_sent_log_and_then_live_events_with_silence_between_are_their_replays(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    world, log, items = WorldSettings(), tmp_path / "log.jsonl", tmp_path / "items.jsonl"
    write_log(log, world, 400, seed=11)
    write_items(items, world, seed=11)
    worker_settings = WorkerSettings(
        topics=topics, stores=StoreSettings(data_dir=str(tmp_path / "state")), partition=PartitionSettings(join_window_ms=WINDOW_MS)
    )
    process = LearnerProcessSettings(checkpoint_dir=str(tmp_path / "checkpoints"), device="cpu")
    config = LearningSettings(topics=topics, learner=LEARNER, process=process)

    async def main() -> list[dict[str, str]]:
        async with running(LearnerProcess(config)) as learning, running(Worker(worker_settings)) as worker:
            await _until(lambda: worker.ready and learning.loop.learner is not None, 60)
            owned, learner = worker.ingest.owned[0], learning.loop.learner
            assert learner is not None

            async def settled() -> dict[str, str]:
                """When all is closed, sent and learned: nothing changes any more, and no tick is due."""
                await _until(lambda: owned.core.progress.watermark_ms > 0 and not owned.core.progress.in_log, 60)
                await _until(lambda: owned.core.progress.open_lists == 0 and not owned.tick_due and worker.ingest.unsent == 0, 30)
                await asyncio.sleep(0.3)  # longer than a tick takes to come, were one due
                await _until(lambda: learner.last_applied.get(0, (-1, 0, 0))[0] == owned.store.stored, 60)  # a tick is last
                return digest(owned.store.rows()) | learner.digest()

            rows = [(row.raw, row.arrival_ms) for row in jsonl.rows(log, Columns())]
            await send(topics, rows, catalog.items(items, {}))
            after = [await settled()]
            for burst in range(2):
                await _produce(topics, _page(_now(), "l0", f"page {burst}"))
                for n in range(12):
                    action = ("play", "skip", "impression")[n % 3]
                    await _produce(topics, _event(_now(), f"l{n % 5}", f"i{n}", action, event_id=f"live {burst} {n}", full=n % 2 == 0))
                await _produce(topics, _event(_now(), "l0", "i2", "play", event_id=f"live {burst} page", request_id=f"page {burst}"))
                await _until(lambda: owned.core.progress.open_lists > 0)
                after.append(await settled())
            assert worker.ticks.written >= 4
            return after

    sent, first_burst, all_of_it = asyncio.run(main())
    told = [r for r in example_records(topics)[0] if isinstance(r, Tick)]
    assert [t.last for t in told].count(True) == 1
    assert len(told) >= 5  # the closing one, and the worker's own

    window = f"partition.join_window_ms={WINDOW_MS}"
    settings = ["--set", window, "--set", f"learner.micro_batch_span_ms={LEARNER.micro_batch_span_ms}"]
    of_file = replay(str(log), "--format", "jsonl", "--items", str(items), *settings)
    live = ["--format", "topic", "--items", str(items), "--broker", topics.bootstrap, "--set", f"topics.prefix={topics.prefix}"]
    of_topic = replay(*live, "--set", "topics.partitions=1", *settings)
    assert differing(sent, of_file["digests"]) == set()
    assert differing(all_of_it, of_topic["digests"]) == set()
    # It compares different things: every kind of state has moved from one of these moments to the next. What was open is closed but for
    # exposures that wait to be compared.
    moved = set(sent) - {"open"}
    assert differing(sent, first_burst) - {"open"} == differing(first_burst, all_of_it) - {"open"} == moved
    assert of_topic["rows"] == of_file["rows"] + 2 + 28 + len(told) - 1  # log-begin and closing tick, what came live, ticks


@pytest.mark.real_log
def test_the_first_rows_of_a_real_log_give_one_digest_in_any_time_zone_and_again(data_dir: Path) -> None:
    """The whole log, with defaults: tests/replay/test_prequential_real_log.py. Here with full batches, which take fewer steps."""
    arguments = (str(data_dir / KUAIRAND), "--format", "kuairand", "--rows", "600", "--set", "learner.micro_batch_span_ms=60000")
    one, other = replay(*arguments, TZ="UTC", PYTHONHASHSEED="1"), replay(*arguments, TZ="Asia/Shanghai", PYTHONHASHSEED="2")
    assert one["rows"] == one["events"] + sum(one["merged"].values()) == 600 and one["rejected"] == one["left_out"] == {}
    assert one["examples"] == one["metrics"]["skip"]["n"] == one["events"]
    for result in (one, other):
        del result["seconds"], result["learned_s"]
    assert one == other  # digests, figures, windows, counts
