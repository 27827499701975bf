"""What `segue inspect` prints can be pasted and works: for files as people bring them, and nobody edits anything in between."""
from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streams.cli.main import segue
from tests.replay.inspect.exports import EXPORTS, Export, movielens


def call(*arguments: str) -> Result:
    return CliRunner().invoke(segue, arguments)


def inspected(path: Path) -> dict[str, Any]:
    found = call("inspect", str(path), "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@pytest.mark.parametrize("export", EXPORTS)
def test_the_printed_command_reads_every_row_as_an_independent_count_has_it(export: Callable[[Path, int], Export], tmp_path: Path) -> None:
    made = export(tmp_path, 400)
    command = shlex.split(inspected(made.path)["command"])
    end = next(at for at, part in enumerate(command) if part in ("--next", "--set"))
    found = call("validate", *command[2:end], "--json")
    verdict = json.loads(found.stdout)
    profile = verdict["profile"]
    assert verdict["good"] == made.events and set(verdict["bad"]) <= {"duplicate"}
    assert (profile["users"], profile["items"]) == (made.users, made.items)
    assert (profile["first_ms"], profile["last_ms"]) == (made.first_s * 1000, made.last_s * 1000)
    assert profile["disordered"] == 0  # --sort


def test_a_pasted_command_gives_figures(tmp_path: Path) -> None:
    command = shlex.split(inspected(movielens(tmp_path, 120).path)["command"])
    assert command[:2] == ["segue", "replay"]
    found = call(*command[1:], "--json")
    result = json.loads(found.stdout)
    assert found.exit_code == 0 and result["metrics"]["collect"]["auc"] is not None


@pytest.mark.prove
@pytest.mark.parametrize("export", EXPORTS)
def test_twenty_thousand_rows_give_figures_by_the_pasted_command(export: Callable[[Path, int], Export], tmp_path: Path) -> None:
    made = export(tmp_path, 20_000)
    found = call(*shlex.split(inspected(made.path)["command"])[1:], "--json")
    result = json.loads(found.stdout)
    parts = [result["events"], *(sum(result[kind].values()) for kind in ("rejected", "merged", "left_out"))]
    print(made.path.name, result["rows"], parts, {task: m["auc"] for task, m in result["metrics"].items()}, result.get("evidence", [{}])[0])
    assert found.exit_code == 0 and result["events"] == made.events and sum(parts) == result["rows"]
    figures = [m["auc"] for m in result["metrics"].values()] + [e.get("questions") for e in result.get("evidence", [])]
    assert any(figures)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.csv", "user,item\n1,2\n3,4\n", "no column holds times"),
        ("b.csv", "user,item,time\n1,2,7\n3,4,8\n", "by no unit and no known form is that between 1990 and a year from now; pass --time"),
        ("c.csv", "time,amount\n1700000000,2\n1700000001,4\n", "no column says which item was played or rated"),
    ],
)
def test_what_is_no_log_is_refused_with_the_reason(tmp_path: Path, name: str, text: str, problem: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    for verb in ("inspect", "validate"):
        found = call(verb, str(path))
        assert found.exit_code == 1 and problem in found.output


@pytest.mark.parametrize(("data", "problem"), [(b"\x00\x01", "neither text nor Parquet"), (b"  \n", "the file is empty")])
def test_what_is_no_text_or_empty_is_a_wrong_call(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "x").write_bytes(data)
    found = call("inspect", str(tmp_path / "x"))
    assert found.exit_code == 2 and problem in found.output


def test_our_own_events_need_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    rows = [{"ts": 1_700_000_000_000 + n, "user_id": "u", "item_id": f"i{n}", "action": "impression", "also": ["skip"]} for n in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert inspected(path)["command"] == f"segue replay {path} --format jsonl"
