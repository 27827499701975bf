"""What `segue replay --json` prints of a result: summed up, of bounded size, and nothing else changed."""
from __future__ import annotations

import json
from math import nan
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from online_model.features import TASKS
from online_model.metrics import WindowResult
from online_model.tally import TaskMetrics
from replay.brief import Spread, by_width, totals
from streams.cli.main import segue
from streams.core.learning.live_value import StrategyValue

T = 1_704_067_200_000
HOUR_MS = 3_600_000


def window(n: int, auc: float, width: int = HOUR_MS) -> WindowResult:
    figures = TaskMetrics(n=10.0, positives=float(n), auc=auc, logloss=0.5, ne=1.0, rig=0.0, copc=1.0, ece=0.0)
    return WindowResult(width_ms=width, start_ms=T + n * width, end_ms=T + (n + 1) * width, late=n, tasks={"skip": figures})


def hour(n: int, rounds: int, experience: float, error: float | None) -> StrategyValue:
    return StrategyValue(
        surface="page", strategy="tail", start_ms=T + n * HOUR_MS, end_ms=T + (n + 1) * HOUR_MS, n=rounds, chosen=1, ess=1.0,
        experience=experience, experience_error=error, experience_mean=None, revenue=2.0, revenue_error=None, revenue_mean=None, late=0,
    )  # fmt: skip


def test_windows_of_a_width_are_one_by_hand() -> None:
    day, hours = by_width([window(0, 0.5), window(1, 0.75), window(3, nan), window(2, 0.875), window(0, nan, 24 * HOUR_MS)])[::-1]
    assert (hours.width_ms, hours.windows, hours.start_ms, hours.end_ms, hours.late) == (HOUR_MS, 4, T, T + 4 * HOUR_MS, 3)
    assert (hours.tasks["skip"].n, hours.tasks["skip"].positives) == (40, 6)
    assert hours.tasks["skip"].auc == Spread(windows=3, least=0.5, median=0.75, most=0.875)
    assert day.tasks["skip"].auc == Spread(windows=0, least=None, median=None, most=None)


def test_hours_of_a_strategy_are_one_by_their_rounds() -> None:
    (found,) = totals([hour(0, 10, 0.5, 0.03), hour(5, 30, 0.25, 0.01)])
    assert (found.hours, found.n, found.chosen, found.experience, found.revenue) == (2, 40, 2, 0.3125, 2.0)
    assert found.experience_error == pytest.approx(((10 * 0.03) ** 2 + (30 * 0.01) ** 2) ** 0.5 / 40)
    assert found.revenue_error is None
    assert totals([hour(0, 0, 0.5, 0.03)])[0].experience == 0.0


def test_the_json_of_a_replay_is_bounded_and_the_report_has_every_window(tmp_path: Path) -> None:
    """An exposure every 7 minutes of two days: about as many windows of 5 min as exposures."""
    rows = [
        {"event_id": f"e{n}", "ts": T + n * 2 * 86_400_000 // 400, "user_id": f"u{n % 7}", "item_id": f"i{n % 5}",
         "action": "impression", "also": ["play"] if n % 3 else ["skip"], "full": n % 3 == 1}
        for n in range(400)
    ]  # fmt: skip
    log, report = tmp_path / "log.jsonl", tmp_path / "report"
    log.write_bytes(b"\n".join(msgspec.json.encode(row) for row in rows))
    small = [f"model.{name}=4" for name in ("embedding_dim", "attention_units", "expert_units", "tower_units")]
    sets = [part for assignment in (*small, "learner.micro_batch_span_ms=86400000") for part in ("--set", assignment)]
    done = CliRunner().invoke(segue, ["replay", str(log), "--format", "jsonl", "--json", "--report", str(report), *sets])
    assert done.exit_code == 0, done.output
    assert len(done.stdout) < 20_000
    told, whole = json.loads(done.stdout), json.loads((report / "result.json").read_bytes())["result"]
    assert [each["width_ms"] for each in told["windows"]] == [300_000, HOUR_MS, 24 * HOUR_MS]
    for each in told["windows"]:
        of_width = [w for w in whole["windows"] if w["width_ms"] == each["width_ms"]]
        assert each["windows"] == len(of_width) > 1 and set(each["tasks"]) == set(TASKS)
        assert each["tasks"]["skip"]["n"] == sum(w["tasks"]["skip"]["n"] for w in of_width) == 400
    assert {key: value for key, value in told.items() if key not in ("windows", "strategies")} == {
        key: value for key, value in whole.items() if key not in ("windows", "strategies")
    }
