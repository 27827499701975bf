"""Verbs without a broker: their choices, their rules, and that they agree on a log."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from online_model.model_settings import ModelSettings
from replay.simulator.world import WorldSettings
from streams.cli import offline
from streams.cli.main import segue


def call(*arguments: str) -> Result:
    return CliRunner().invoke(segue, arguments)


def test_simulate_validate_and_replay_agree_on_the_rows(tmp_path: Path) -> None:
    log, items = str(tmp_path / "events.jsonl"), str(tmp_path / "items.jsonl")
    made = json.loads(call("simulate", "--events", "300", "-o", log, "--items", items, "--json").stdout)
    assert (made["events"], made["items"]) == (300, WorldSettings().items)
    checked = json.loads(call("validate", log, "--format", "jsonl", "--json").stdout)
    assert (checked["rows"], checked["bad"]) == (300, {})


def test_choices_in_the_help_are_those_that_the_code_knows() -> None:
    from replay.off_policy import evaluate, rounds, strategy_rounds
    from replay.options import ReplayOptions
    from streams.core.join.events import MAX_SLOTS

    assert (offline.Q_HATS, offline.LEVELS) == (evaluate.Q_HATS, tuple(evaluate.LEVELS))
    assert set(offline.REWARDS) == {*rounds.REWARDS, *strategy_rounds.REWARDS}
    assert (offline.MAX_SLOTS, offline.EVERY) == (MAX_SLOTS, ReplayOptions().next_every)


def test_a_light_replay_is_that_of_the_linear_settings_and_says_so(tmp_path: Path) -> None:
    log = str(tmp_path / "events.jsonl")
    call("simulate", "--events", "60", "-o", log)

    def replayed(*flags: str) -> dict[str, Any]:
        called = call("replay", log, "--format", "jsonl", "--json", *flags)
        return dict(json.loads(called.stdout))

    off = [part for text in ("deep=false", "causal=false", "pairs=0") for part in ("--set", f"model.{text}")]
    light, linear = replayed("--light", "--report", str(tmp_path / "report")), replayed(*off)
    assert light["digest"] == linear["digest"] and light["notes"] == linear["notes"]
    assert [note for note in light["notes"] if note.startswith("Light: the linear path")]
    said = json.loads((tmp_path / "report" / "result.json").read_text())["settings"]
    assert {key for key, value in said.items() if value["source"] == "--light"} == {"model.deep", "model.causal", "model.pairs"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--holdout", __file__), "--holdout: it needs --gamma, and logs of files"),
        (("--every", "3"), "--every: it needs --next"),
        (("--next", "5", "--ablate"), "--next: it excludes --ablate, --freshness and --gamma"),
        (("--light", "--ablate"), "--light: it excludes --ablate and --gamma"),
        (("--ablate", "cin,towers"), "--ablate cin,towers: no block is named towers; there are deep, attention, cin, "),
        (("--ablate", "cin", "--set", "model.cin=false"), "--ablate cin: cin is switched off already (model.cin)"),
        (("--ablate", __file__), "it stands before --ablate, or behind --ablate=all"),
        (("--gamma", "0,half"), "--gamma 0,half: expected numbers with commas"),
        (("--since", "2022-04-28T00:00"), "name its zone"),
        (("--since", "soon"), "--since soon: "),
    ],
)
def test_flags_of_replay_that_do_not_go_together_or_say_nothing_are_refused(flags: tuple[str, ...], message: str) -> None:
    done = call("replay", __file__, "--format", "jsonl", *flags)
    assert (done.exit_code, done.stdout) == (2, "") and message in done.stderr


def test_every_block_is_ablated_unless_some_are_named() -> None:
    model = ModelSettings(cin=False)
    every = offline._blocks("all", model)
    assert len(every) == 11 and {"deep", "attention", "id_cross", "platt", "wide", "pairs"} < {*every} and "cin" not in every
    assert offline._blocks("id_cross, deep,id_cross", model) == ("id_cross", "deep") and offline._blocks(None, model) == ()


@pytest.mark.parametrize(("offsets", "range_"), [(None, (None, None)), ("3:9", (3, 9)), ("500:", (500, None)), (":9", (None, 9))])
def test_offsets_are_a_range_open_where_nothing_is_named(offsets: str | None, range_: tuple[int | None, int | None]) -> None:
    assert offline._range(offsets) == range_


def test_validate_words_at_most_so_many_complaints_a_reason_and_is_a_no(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("{\n" * 3)
    done = call("validate", str(log), "--format", "jsonl", "--show", "1")
    first, more, counts, *_ = done.stdout.splitlines()
    assert done.exit_code == 1 and first.startswith("log.jsonl:1: malformed")
    assert (more, counts) == ("… and 2 more: malformed", "3 records, 0 good")
