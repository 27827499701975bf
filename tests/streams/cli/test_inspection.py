"""Verbs that look at a log: without a format, `validate` looks as `inspect` does."""
from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from streams.cli.main import segue


def test_validate_without_a_format_inspects_and_with_one_prints_the_profile_behind_its_verdict(tmp_path: Path) -> None:
    path = tmp_path / "plays.csv"
    path.write_text("user,track,at\n" + "".join(f"u{n % 3},t{n % 4},{1_700_000_000 + n}\n" for n in range(12)))
    call = CliRunner().invoke
    printed = call(segue, ["inspect", str(path)])
    assert printed.exit_code == 0 and printed.stdout == call(segue, ["validate", str(path)]).stdout
    options = ["--format", "csv", "--map", "user_id=user", "--map", "item_id=track", "--map", "ts=at", "--const", "action=play"]
    assert all(" ".join(options[at : at + 2]) in printed.stdout for at in range(0, 8, 2))
    verdict = call(segue, ["validate", str(path), *options])
    assert verdict.exit_code == 0 and verdict.stdout.startswith("12 records, 12 good\n")
    assert "3 users, 4 items" in verdict.stdout and "3 users, 4 items" in printed.stdout
    assert json.loads(call(segue, ["validate", str(path), *options, "--json"]).stdout)["profile"]["items"] == 4


def test_no_file_is_a_wrong_call() -> None:
    assert CliRunner().invoke(segue, ["inspect"]).exit_code == 2
