"""The command line: what it imports, how its help ends, what it answers with."""
from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from replay.simulator.world import WorldSettings
from streams import settings
from streams.cli import offline
from streams.cli.live import WINDOWS, _asked, _told
from streams.cli.main import segue
from streams.core.learning.live_value import StrategyValue
from tests.paths import ROOT


def call(*arguments: str) -> Result:
    return CliRunner().invoke(segue, arguments)


def test_help_imports_neither_torch_nor_faust() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from streams.cli.main import segue\n"
        "assert CliRunner().invoke(segue, ['--help']).exit_code == 0\n"
        "print(sorted({'torch', 'faust', 'numpy', 'kafka'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def calls(line: str) -> list[list[str]]:
    """The calls of `segue` in a shell line: of each part, what stands behind `--`, and what stands in `sh -c`."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", "&", ";", "--"):
            found.append([])
        else:
            found[-1].append(word)
    out = []
    for part in found:
        part = part[2:] if part[0] == "timeout" else part
        if part[0] not in ("true", "kill", "wait"):
            out += calls(part[2]) if part[:2] == ["sh", "-c"] else [part]
    return out


def test_calls_are_found_in_a_shell_line() -> None:
    line = "segue a -o x && segue broker -- sh -c 'segue b && timeout 5 segue c; true' && sh -c 'segue d & segue e; kill $!; wait'"
    assert calls(line) == [["segue", "a", "-o", "x"], *[["segue", name] for name in ("broker", "b", "c", "d", "e")]]


@pytest.mark.parametrize("name", sorted(segue.commands))
def test_every_help_ends_in_a_line_that_parses(name: str) -> None:
    last = call(name, "--help").output.rstrip().splitlines()[-1].strip()
    found = calls(last)
    assert name in [words[1] for words in found]
    for program, verb, *rest in found:
        assert program == "segue"
        given = [__file__ if word.endswith(".jsonl") else word for word in rest]  # what the line before it wrote
        segue.commands[verb].make_context(verb, given)


def test_simulate_validate_and_replay_agree_on_the_rows(tmp_path: Path) -> None:
    log, items = str(tmp_path / "events.jsonl"), str(tmp_path / "items.jsonl")
    made = json.loads(call("simulate", "--events", "300", "-o", log, "--items", items, "--json").stdout)
    assert (made["events"], made["items"]) == (300, WorldSettings().items)
    checked = json.loads(call("validate", log, "--format", "jsonl", "--json").stdout)
    assert (checked["rows"], checked["bad"]) == (300, {})


def test_config_says_where_a_value_came_from() -> None:
    told = json.loads(call("config", "--set", "partition.history_limit=7", "--json").stdout)
    assert told["partition.history_limit"] == {"value": 7, "source": "--set partition.history_limit=7"}
    assert told["topics.prefix"] == {"value": "segue", "source": "default"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("config", "--set", "x=1"), 2),
        (("validate", "nowhere.jsonl", "--format", "jsonl"), 2),
        (("replay", "--format", "jsonl"), 2),
        (("replay", "--format", "topic", "--offsets", "soon"), 2),
        (("replay", "--format", "topic", "--since", "2022-04-28"), 2),
        (("dead-letters", "--json", "extra"), 2),
    ],
)
def test_wrong_call_ends_with_2(arguments: tuple[str, ...], code: int) -> None:
    assert call(*arguments).exit_code == code


def test_no_checkpoint_is_an_empty_list(tmp_path: Path) -> None:
    done = call("checkpoint", "--root", str(tmp_path), "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {})


def test_unreachable_broker_is_one_line_and_a_no() -> None:
    command = [sys.executable, "-m", "streams", "topics", "--broker", "127.0.0.1:1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["recommend", "page"])
def test_nobody_there_to_answer_is_one_line_with_the_way_out(verb: str) -> None:
    done = call(verb, "ada", "--url", "http://127.0.0.1:1")
    assert done.exit_code == 1
    assert "no service answers at http://127.0.0.1:1" in done.stderr and "segue worker" in done.stderr and "Traceback" not in done.stderr


def test_a_strategys_hour_is_a_line_with_its_value_and_what_stands_behind_it() -> None:
    hour = StrategyValue(
        surface="page", strategy="blend-0.25", start_ms=1_700_002_800_000, end_ms=1_700_006_400_000, n=1_200, chosen=80, ess=64.4,
        experience=0.25, experience_error=0.0312, experience_mean=0.2, revenue=0.5, revenue_error=None, revenue_mean=0.4, late=0,
    )  # fmt: skip
    assert list(_told(msgspec.json.decode(msgspec.json.encode(hour)))) == [
        "2023-11-14 23:00 +60 min  page blend-0.25      experience 0.2500 ± 0.0312  revenue 0.5000  chosen 80 of 1,200  ESS 64"
    ]


def test_windows_that_metrics_can_be_asked_for_are_those_there_are() -> None:
    from online_model.metrics import WIDTHS_MS

    assert tuple(WINDOWS.values()) == WIDTHS_MS


def test_a_width_leaves_windows_of_others_out_and_all_that_has_none_in() -> None:
    five, hour, stands = {"width_ms": 300_000, "tasks": {}}, {"width_ms": 3_600_000, "tasks": {}}, {"kind": "worker"}
    assert [[_asked(record, width) for record in (five, hour, stands)] for width in (None, "5m", "1h")] == [
        [True, True, True], [True, False, True], [False, True, True],
    ]  # fmt: skip


def test_package_of_another_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "replay").mkdir()
    (tmp_path / "replay" / "__init__.py").touch()
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; from streams.cli.main import stranger; print(stranger())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"the package `replay` comes from {tmp_path}, not from {ROOT} (the library replay-rec")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from streams.cli.main import stranger; print(stranger())"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path.parent, capture_output=True, text=True, check=True).stdout == "None\n"


def test_a_world_can_be_set_in_every_part(tmp_path: Path) -> None:
    def log(name: str, *world: str) -> str:
        called = call("simulate", "--events", "200", "-o", str(tmp_path / name), *(word for text in world for word in ("--world", text)))
        assert called.exit_code == 0, called.output
        return (tmp_path / name).read_text()

    tables = settings.toml([settings.Value(f"world.{key}", value, "") for key, value in msgspec.to_builtins(WorldSettings()).items()])
    every = [line.removesuffix("  # ").replace(" = ", "=", 1) for line in tables.splitlines()[1:]]
    assert len(every) == len(WorldSettings.__struct_fields__)
    assert log("said", *every) == log("by default")
    assert log("switched", "switch_days=[0.001]", "switch_share=1") != log("by default again")
    wrong = call("simulate", "-o", str(tmp_path / "none"), "--world", "switch_days=soon")
    assert wrong.exit_code == 2 and "--world: Expected `array`, got `str` - at `$.switch_days`" in wrong.output


def test_choices_in_the_help_are_those_that_the_code_knows() -> None:
    from replay.off_policy import evaluate, rounds, strategy_rounds
    from replay.options import ReplayOptions
    from replay.proofs import prove
    from streams.core.join.events import MAX_SLOTS

    assert offline.PROOFS == prove.PROOFS
    assert (offline.Q_HATS, offline.LEVELS) == (evaluate.Q_HATS, tuple(evaluate.LEVELS))
    assert set(offline.REWARDS) == {*rounds.REWARDS, *strategy_rounds.REWARDS}
    assert (offline.MAX_SLOTS, offline.EVERY) == (MAX_SLOTS, ReplayOptions().next_every)


def test_a_renamed_option_is_refused_with_its_new_name_and_stands_in_no_help() -> None:
    refused = call("replay", __file__, "--format", "jsonl", "--gamma", "0,1", "--judge", __file__)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--judge: it was renamed to --holdout" in refused.stderr
    assert "--judge" not in call("replay", "--help").output


def test_a_log_needs_a_name_and_a_proof_needs_none() -> None:
    assert call("simulate", "--events", "5").exit_code == 2
    assert call("simulate", "--prove", "everything").exit_code == 2
    curves = call("simulate", "--prove", "debias", "--report", "out")
    assert curves.exit_code == 2 and "only --prove pages has curves to write" in curves.output
