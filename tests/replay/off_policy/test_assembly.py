"""`segue evaluate` as a whole: which level a policy is evaluated at, and what that loads."""
from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from replay import logs
from replay.off_policy.assembly import evaluate
from replay.off_policy.evaluate import Evaluation
from replay.options import CoreSettings, EvaluateOptions
from replay.prequential import of_file
from tests.paths import ROOT
from tests.replay.off_policy.strategy_log import written


def evaluation(log: str, options: EvaluateOptions) -> Evaluation:
    read = partial(logs.read, [Path(log)], logs.Format.JSONL, logs.Columns())
    return evaluate(lambda: of_file(read()), [], CoreSettings(), options, lambda *_: None)


@pytest.mark.parametrize(
    ("policy", "level", "found"),
    [
        ("strategy:tail", None, ("page", "experience", "out-of-time", 30)),
        ("logged", None, ("page", "experience", "out-of-time", 30)),
        ("uniform", "strategies", ("page", "experience", "out-of-time", 30)),
        ("uniform", "items", (None, "full_play", "cross-fitted", 90)),
    ],
)
def test_policy_or_level_says_what_is_a_round(
    policy: str, level: str | None, found: tuple[str | None, str, str, int], tmp_path: Path
) -> None:
    """30 pages of three items each."""
    log = written(tmp_path / "log.jsonl", n=30)
    options = EvaluateOptions(policy=policy, level=level, q_hat="cross-fitted" if level == "items" else None)
    got = evaluation(log, options)
    assert (got.surface, got.reward, got.q_hat, got.rows) == found


def test_evaluation_of_strategies_loads_no_torch(tmp_path: Path) -> None:
    log = written(tmp_path / "log.jsonl", n=30)
    code = (
        "import sys; from click.testing import CliRunner; from streams.cli.main import segue\n"
        f"done = CliRunner().invoke(segue, ['evaluate', {log!r}, '--format', 'jsonl', '--policy', 'strategy:tail', '--json'])\n"
        "assert done.exit_code in (0, 1) and 'families' in done.stdout, done.output\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
