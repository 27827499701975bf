"""A replay's steps wait for a span of event time in which the log has some dozens of records."""
from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from replay.prequential import Numbered
from replay.suited.pace import LOOKED_AT, suited
from streams.cli.main import segue
from streams.core.join.events import Event, Reason, Rejected
from streams.core.join.records import Arrived
from streams.core.learning.learn import LearnerSettings

T = 1_704_067_200_000
LIVE = LearnerSettings()


def acts(count: int, gap_ms: int) -> list[Numbered]:
    return [(n, Arrived(n, 0, T + n * gap_ms, Event(ts=T + n * gap_ms, user_id="u", item_id="i", action="play"), "")) for n in range(count)]


@pytest.mark.parametrize(("count", "gap_ms", "span_ms"), [
    (0, 0, 200), (1, 0, 200),  # nothing to go by
    (LOOKED_AT, 4_750, 64 * 4_750),  # KuaiRand's pace
    (640, 4_750, 10 * 4_750),  # a short log: a 64th of it
    (LOOKED_AT, 1, 200),  # denser than live
    (300, 10 * 86_400_000, 86_400_000),  # years
])  # fmt: skip
def test_a_span_has_64_records_or_a_64th_of_a_short_log(count: int, gap_ms: int, span_ms: int) -> None:
    assert suited(LIVE, acts(count, gap_ms)).micro_batch_span_ms == span_ms


def test_what_is_rejected_and_what_comes_later_says_nothing_of_the_pace() -> None:
    bad = (0, Arrived(0, 0, 0, Rejected(Reason.MALFORMED, "", b""), ""))
    later = [(n, msgspec.structs.replace(arrived, arrival_ms=arrived.arrival_ms * 9)) for n, arrived in acts(10, 1)]
    assert suited(LIVE, [bad, *acts(LOOKED_AT - 1, 1_000), *later]).micro_batch_span_ms == 64_000


def test_steps_are_as_live_where_somebody_says_so(tmp_path: Path) -> None:
    act = {"user_id": "u", "action": "impression", "also": ["play"], "full": True}
    rows = [act | {"ts": T + n * 60_000, "item_id": f"i{n}"} for n in range(300)]
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(map(json.dumps, rows)))
    small = [part for name in ("deep=false", "causal=false", "pairs=0") for part in ("--set", f"model.{name}")]

    def steps(*options: str) -> tuple[int, int, list[str]]:
        done = CliRunner().invoke(segue, ["replay", str(log), "--format", "jsonl", "--json", *small, *options], catch_exceptions=False)
        told = json.loads(done.stdout)
        return told["steps"], told["step_span_ms"], [note for note in told["notes"] if "--as-live" in note]

    assert steps("--as-live") == (300, 200, [])
    assert steps("--set", "learner.micro_batch_span_ms=3600000")[1] == 3_600_000
    count, span_ms, (note,) = steps()
    assert span_ms == 4 * 60_000 and 50 <= count <= 75
    assert note.startswith(f"A step every {300 / count:.0f} examples, 240 s of event time at the latest, as suits the log's")
