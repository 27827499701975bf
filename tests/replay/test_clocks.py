"""Wrong clocks in a file without arrival times are rejected by reason, and make nobody else late."""
from __future__ import annotations

import json
import random
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path

import pytest
from click.testing import CliRunner

from replay.clocks import BEHIND
from replay.log_rows import Columns, LogError, LogRow
from replay.logs import Format, read
from replay.prequential import Numbered, of_file
from streams.cli.main import segue
from streams.core.join.catalog import Catalog
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.state.tables import Tables

T, DAY_MS = 1_704_067_200_000, 86_400_000
HONEST = 400
WRONG = {
    "a day fast": lambda ts: ts + DAY_MS,
    "2099": lambda ts: 4_070_908_800_000,
    "microseconds": lambda ts: ts * 1_000,
    "seconds": lambda ts: ts // 1_000,
}


def event(n: int, ts: int, user: str) -> dict[str, object]:
    return {"ts": ts, "user_id": user, "item_id": f"i{n % 20}", "action": "play", "event_id": f"{user}-{n}"}


def traffic(gap_ms: int) -> list[dict[str, object]]:
    """Honest events in order of time; in their middle, every device with a wrong clock sends twenty."""
    rows = []
    for n in range(HONEST):
        ts = T + n * gap_ms
        rows.append(event(n, ts, f"u{n % 7}"))
        if HONEST // 2 <= n < HONEST // 2 + 20:
            rows += [event(n, wrong(ts), name) for name, wrong in WRONG.items()]
    return rows


def written(tmp_path: Path, rows: list[dict[str, object]]) -> Path:
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(map(json.dumps, rows)))
    return log


def rejected(rows: Iterable[Numbered], gap_ms: int) -> None:
    """Those of wrong clocks, each by its reason; of the others none."""
    partition = Partition(PartitionSettings(), Tables.over(), Catalog())
    dead = partition.apply([arrived for _, arrived in rows]).dead
    found: dict[str, set[str]] = {}
    for one in dead:
        found.setdefault(json.loads(one.raw)["user_id"], set()).add(one.reason)
    assert found == {"a day fast": {"future"}, "2099": {"future"}, "microseconds": {"out_of_bounds"}, "seconds": {"out_of_bounds"}}
    assert len(dead) == 20 * len(WRONG)
    assert partition.progress.counted["events"] == HONEST
    assert partition.progress.watermark_ms == T + (HONEST - 1) * gap_ms


@pytest.mark.parametrize("gap_ms", [50, 60_000, 3_600_000])
def test_wrong_clocks_are_rejected_by_reason_and_no_honest_event_is_late(tmp_path: Path, gap_ms: int) -> None:
    rows = traffic(gap_ms)
    rejected(of_file(read([written(tmp_path, rows)], Format.JSONL, Columns())), gap_ms)
    honest = accumulate((int(str(row["ts"])) if str(row["user_id"]).startswith("u") else 0 for row in rows), max)
    rejected(of_file(LogRow(n, json.dumps(row).encode(), at) for n, (row, at) in enumerate(zip(rows, honest, strict=True))), gap_ms)  # live


def test_the_command_says_what_became_of_them(tmp_path: Path) -> None:
    done = CliRunner().invoke(segue, ["validate", str(written(tmp_path, traffic(60_000))), "--format", "jsonl"], catch_exceptions=False)
    assert "future" in done.output and "check the sender's clock" in done.output


@pytest.mark.parametrize("order", ["newest first", "any", "two halves"])
def test_a_log_in_another_order_is_refused_with_the_way_out(tmp_path: Path, order: str) -> None:
    rows = [event(n, T + n * 60_000, "u") for n in range(4 * BEHIND)]
    match order:
        case "newest first":
            rows.reverse()
        case "any":
            random.Random(5).shuffle(rows)
        case _:
            rows = rows[2 * BEHIND :] + rows[: 2 * BEHIND]
    with pytest.raises(LogError, match="out of time order: .* pass --sort"):
        list(read([written(tmp_path, rows)], Format.JSONL, Columns()))
