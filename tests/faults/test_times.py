"""Times that are not what they seem: without a zone, or in another unit than ms. Refused in a file, over HTTP and in Kafka alike."""
from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import polars
import pytest
from click.testing import CliRunner, Result

from replay import logs
from replay.log_rows import Columns
from replay.logs import Format
from streams.cli.main import segue
from streams.core.join.decode import decode
from streams.core.join.events import EARLIEST_TS, LATEST_TS, Event, Reason, Rejected
from streams.kafka_io import dead_letters
from streams.kafka_io.topics import TopicSettings
from tests.integration.test_service import ask, series, serving, until
from tests.integration.test_worker import _produce

MS = 1_711_843_200_000  # 2024-03-31
UNITS = {"seconds": MS // 1000, "microseconds": MS * 1000, "nanoseconds": MS * 10**6}
NAIVE = ["2024-03-31T02:30:00", "2024-03-31 02:30:00.5", "2024-03-31", "20240331"]


def event(ts: object, **more: object) -> dict[str, object]:
    return {"ts": ts, "user_id": "u", "item_id": "i", "action": "play"} | more


def call(*arguments: str) -> Result:
    return CliRunner().invoke(segue, arguments)


def written(path: Path, *times: object) -> str:
    path.write_bytes(b"\n".join(msgspec.json.encode(event(ts, event_id=f"e{n}")) for n, ts in enumerate(times)))
    return str(path)


@pytest.mark.parametrize("unit", UNITS)
def test_a_time_in_another_unit_is_rejected_with_the_unit_it_looks_like(unit: str) -> None:
    for alone in (event(UNITS[unit]), {"kind": "exposure", "ts": UNITS[unit], "user_id": "u", "request_id": "r", "slots": []}):
        good = json.dumps(event(MS))
        for value, at in ((json.dumps(alone), 0), (f"[{good}, {json.dumps(alone)}, {good}]", 1), (f"[{json.dumps(alone)}, nonsense]", 0)):
            found = decode(value.encode(), EARLIEST_TS)[at]
            assert isinstance(found, Rejected) and found.reason is Reason.OUT_OF_BOUNDS
            assert f"; it looks like {unit}: 2024-03-31 - at `$.ts`" in found.detail
            assert json.loads(found.raw) == alone


@pytest.mark.parametrize("ts", [0, 1, EARLIEST_TS - 1, LATEST_TS + 1, -5, 2**63 - 1, 2**63, 10**30])
def test_a_time_out_of_bounds_is_rejected_whatever_it_looks_like(ts: int) -> None:
    (found,) = decode(json.dumps(event(ts)).encode(), EARLIEST_TS)
    assert isinstance(found, Rejected) and found.reason in (Reason.OUT_OF_BOUNDS, Reason.WRONG_TYPE) and "`$.ts`" in found.detail


def test_the_earliest_time_is_a_setting_and_holds_for_events_alone() -> None:
    assert isinstance(decode(json.dumps(event(EARLIEST_TS)).encode(), EARLIEST_TS)[0], Event)
    assert isinstance(decode(json.dumps(event(7)).encode(), 7)[0], Event)
    assert not any(isinstance(found, Rejected) for found in decode(b'[{"kind":"tick"},{"kind":"log-begin","ts":0}]', EARLIEST_TS))


@pytest.mark.parametrize("cell", NAIVE)
@pytest.mark.parametrize("field", ["ts", "arrival"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_time_without_a_zone_is_rejected_in_every_format(tmp_path: Path, cell: str, field: str, form: str) -> None:
    row: dict[str, Any] = event("2024-03-31T02:30:00+02:00") | {field: cell}
    path = tmp_path / f"log.{form}"
    if form == "csv":
        path.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    elif form == "jsonl":
        path.write_text(json.dumps(row))
    else:
        polars.DataFrame([row]).with_columns(pl_naive(field, cell)).write_parquet(path)
    columns = Columns(time="iso", fields={"arrival": "arrival"} if field == "arrival" else {})
    (read,) = logs.read([path], Format(form), columns)
    (found,) = decode(read.raw, EARLIEST_TS)
    assert isinstance(found, Rejected) and found.reason is Reason.WRONG_TYPE and "$.ts" in found.detail
    assert cell[:4].encode() in found.raw


def pl_naive(field: str, cell: str) -> Any:
    """The cell as Parquet has it: a date, or a moment without a zone."""
    moment = datetime.datetime.fromisoformat(cell)
    return polars.lit(moment.date() if len(cell) <= 10 else moment).alias(field)


def test_a_time_with_its_zone_is_taken_around_the_change_of_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("ts,user_id,item_id,action\n2024-03-31T01:59:59+01:00,u,i,play\n2024-03-31T03:00:00+02:00,u,j,play\n")
    first, second = (decode(row.raw, EARLIEST_TS)[0] for row in logs.read([path], Format.CSV, Columns(time="iso")))
    assert isinstance(first, Event) and isinstance(second, Event) and second.ts - first.ts == 1000


@pytest.mark.parametrize("unit", UNITS)
def test_a_log_in_another_unit_is_read_in_it_and_with_a_wrong_one_ends_with_1_and_names_it(tmp_path: Path, unit: str) -> None:
    log = written(tmp_path / "log.jsonl", *[UNITS[unit] + n for n in range(3)])
    verdict = json.loads(call("validate", log, "--format", "jsonl", "--json").stdout)
    assert (verdict["good"], verdict["profile"]["first_ms"]) == (3, MS)
    done = call("replay", log, "--format", "jsonl", "--time", "ms")
    assert done.exit_code == 1 and "rejected: out_of_bounds 3" in done.stdout
    assert "3 of 3 rows were rejected; the first in line 1: $.ts: expected" in done.stderr
    assert f"it looks like {unit}: 2024-03-31" in " ".join(done.stdout.split())
    said = call("validate", log, "--format", "jsonl", "--time", "ms")
    assert said.exit_code == 1 and f"it looks like {unit}: 2024-03-31; convert it or pass --time" in said.stdout
    done = call("replay", log, "--format", "jsonl", "--time", "ms", "--set", "events.earliest_ts=0", "--json")
    assert done.exit_code == (0 if unit == "seconds" else 1)


def test_sort_lets_no_other_unit_in_and_order_is_not_broken_by_one(tmp_path: Path) -> None:
    log = written(tmp_path / "log.jsonl", MS + 2, UNITS["seconds"], UNITS["microseconds"], MS + 1)
    done = call("replay", log, "--format", "jsonl", "--sort", "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["events"], found["rejected"]) == (0, 2, {"out_of_bounds": 2})
    assert (found["first_ms"], found["last_ms"]) == (MS + 1, MS + 2)
    log = written(tmp_path / "log.jsonl", MS + 1, UNITS["seconds"], UNITS["microseconds"], MS + 2)
    found = json.loads(call("replay", log, "--format", "jsonl", "--json").stdout)
    assert (found["events"], found["rejected"]) == (2, {"out_of_bounds": 2})


@pytest.mark.broker
def test_over_http_and_in_kafka_seconds_are_refused_and_the_watermark_stays(
    topic_settings: Callable[[int], TopicSettings], tmp_path: Path
) -> None:
    topics, seconds = topic_settings(1), event(UNITS["seconds"])

    async def main() -> None:
        async with serving(topics, tmp_path) as (worker, _, client):
            for body in (seconds, [seconds, seconds]):
                async with client.post("/v1/events", json=body) as answer:
                    assert answer.status == 400 and "it looks like seconds: 2024-03-31" in await answer.text()
            async with client.post("/v1/events", json=[seconds, event(MS)]) as answer:
                told = await answer.json()
                assert (answer.status, told["accepted"]) == (202, 1) and "it looks like seconds" in told["rejected"][0]["detail"]
            async with client.post("/v1/recommendations", json={"plays": [{"item_id": "i", "ts": UNITS["seconds"]}]}) as answer:
                assert answer.status == 400 and "$.plays[0].ts" in await answer.text()
            await _produce(topics, msgspec.json.encode(seconds))
            progress = worker.ingest.owned[0].core.progress
            await until(lambda: progress.counted.get("rejected:out_of_bounds", 0) == 1)
            assert MS <= progress.watermark_ms < MS + 60_000 and progress.counted["events"] == 1  # ticks go on from the good one
            for _ in range(2):  # from the log's end to now, then within a day of the jump that the first one's exposure made
                assert "stale_rows" in (await ask(client, user_id="ada"))["flags"]
                assert (await series(client))['segue_stale_rows{partition="0"}'] == 1
                await until(lambda: progress.counted.get("time_jumps", 0) == 1)

    asyncio.run(main())
    (letter,) = dead_letters.read(topics, pytest.fail)
    assert (letter.reason, letter.original) == (Reason.OUT_OF_BOUNDS, msgspec.json.encode(seconds))
    assert "it looks like seconds: 2024-03-31" in letter.detail
