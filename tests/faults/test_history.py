"""History after live traffic: `segue send` looks first, and says what became of the rows that it sent."""
from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from replay.simulator.open_loop import simulate_log
from replay.simulator.world import WorldSettings
from streams.cli.main import segue
from streams.core.join.settings import PartitionSettings
from streams.kafka_io.topics import TopicSettings, names
from streams.send_report import watermarks
from tests.faults.harness import values
from tests.integration.test_service import ask, now_ms, play, put, send, serving, taken, until

pytestmark = pytest.mark.broker

MakeTopics = Callable[[int], TopicSettings]
LATE = 3 * 3_600_000


def _segue_send(topics: TopicSettings, log: Path, *options: str) -> Result:
    given = [f"topics.bootstrap={topics.bootstrap}", f"topics.prefix={topics.prefix}", f"topics.partitions={topics.partitions}"]
    settings = [word for assignment in given for word in ("--set", assignment)]
    return CliRunner().invoke(segue, ["send", str(log), "--format", "jsonl", *settings, *options])


def _log(path: Path, rows: list[bytes]) -> Path:
    path.write_bytes(b"".join(row.rstrip(b"\n") + b"\n" for row in rows))
    return path


def _row(ts: int, n: int, **more: Any) -> bytes:
    return json.dumps({"ts": ts, "user_id": f"u{n % 7}", "item_id": f"i{n % 5}", "action": "play", "event_id": f"e{n}", **more}).encode()


def test_after_one_live_request_a_log_of_the_past_is_refused_and_nothing_of_it_is_sent(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(2)
    log = _log(tmp_path / "old.jsonl", list(simulate_log(WorldSettings(), 2_000, seed=3)))

    def written() -> list[int]:
        return [len(values(topics, names(topics.prefix).events, partition)) for partition in range(2)]

    async def live() -> None:
        async with serving(topics, tmp_path) as (worker, _, client):
            await until(lambda: len(worker.ingest.owned) == 2)
            await put(client, {"item_id": "i0"})
            await until(lambda: len(worker.catalog) == 1)
            await ask(client, user_id="ada")
            await until(lambda: taken(worker, "exposures") == 1)

    asyncio.run(live())
    before = written()
    done = _segue_send(topics, log)
    assert (done.exit_code, written()) == (2, before)
    assert "of 2,000 rows would be rejected as late" in done.stderr and "Traceback" not in done.stderr
    assert "Nothing was sent. Send the log into a new system" in done.stderr and "segue replay" in done.stderr


def test_the_watermark_of_a_partition_is_known_from_its_records_and_from_what_its_worker_told(
    topic_settings: MakeTopics, tmp_path: Path
) -> None:
    """Of the partition without a record, nothing; of one whose newest records are all late, by the status."""
    from streams.kafka_io.delivery import Delivery
    from streams.kafka_io.messages import Out

    topics, now = topic_settings(3), now_ms()

    async def main() -> None:
        delivery = Delivery(topics)
        await delivery.start()
        assert await watermarks(topics, PartitionSettings()) == {}
        await delivery.send([Out("events", 0, None, _row(now, 1)), Out("events", 1, None, _row(now - LATE, 1))])
        assert await watermarks(topics, PartitionSettings()) == {0: now, 1: now - LATE}
        told = {0: {"stored": 0, "watermark_ms": now - 7}, 1: {"stored": 0, "watermark_ms": now - 5}, 2: {"stored": 5, "watermark_ms": now}}
        for record in (b"garbage", json.dumps({"kind": "worker", "partitions": told}).encode()):
            await delivery.append(Out("metrics", 0, b"worker", record))
        assert await watermarks(topics, PartitionSettings()) == {0: now, 1: now - 5}  # partition 2 never had six records: another topic
        await delivery.stop()

    asyncio.run(main())


def test_the_report_counts_what_the_workers_accepted_and_rejected_of_these_rows_and_of_no_others(
    topic_settings: MakeTopics, tmp_path: Path
) -> None:
    """Among live traffic, whose own rejections are not counted. 1,000 rows in order, then the bad ones."""
    topics, now = topic_settings(2), now_ms()
    good = [_row(now + n, n) for n in range(1_000)]
    bad = [_row(now + 999, n) for n in range(13)]  # came before
    bad += [_row(now + 1_000, 2_000 + n, action="stare") for n in range(3)] + [b'{"ts":', b"[" + _row(now + 1_000, 3_000) + b",7]"]
    log = _log(tmp_path / "log.jsonl", good + bad)

    async def main() -> None:
        async with serving(topics, tmp_path) as (worker, _, client):
            await until(lambda: len(worker.ingest.owned) == 2)
            sending = asyncio.create_task(asyncio.to_thread(_segue_send, topics, log, "--json"))
            n = 0
            while not sending.done():
                n += 1
                await send(client, play("live", "i1"), {**play("live", "i1"), "ts": now - LATE})  # the second is late once the first is in
                await asyncio.sleep(0.05)
            done = await sending
            assert done.exit_code == 0, done.stderr
            report = json.loads(done.stdout)
            wanted = {"accepted": 1_001, "rejected": {"duplicate": 13, "malformed": 1, "unknown_action": 3, "wrong_type": 1}, "waiting": 0}
            assert {name: report[name] for name in wanted} == wanted
            assert (report["rows"], report["events"]) == (1_019, 1_019)
            rejected = sum(o.core.progress.counted.get("rejected:late", 0) for o in worker.ingest.owned.values())
            assert n > 1 and rejected > 0

    asyncio.run(main())


def test_without_a_worker_the_report_says_that_the_rows_wait_for_one(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    log = _log(tmp_path / "log.jsonl", [_row(1_700_000_000_000 + n, n) for n in range(10)])
    report = json.loads(_segue_send(topics, log, "--json").stdout)
    assert (report["rows"], report["accepted"], report["rejected"], report["waiting"]) == (10, None, {}, 3)
