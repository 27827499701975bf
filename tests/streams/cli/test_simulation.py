"""The verb that makes a log: its world, its end, and what it refuses."""
from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
from click.testing import CliRunner, Result

from replay.proofs import prove
from replay.simulator.world import WorldSettings
from streams import settings
from streams.cli import simulation
from streams.cli.main import segue


def call(*arguments: str) -> Result:
    return CliRunner().invoke(segue, arguments)


def test_a_world_can_be_set_in_every_part(tmp_path: Path) -> None:
    def log(name: str, *world: str) -> str:
        called = call("simulate", "--events", "200", "-o", str(tmp_path / name), *(word for text in world for word in ("--world", text)))
        assert called.exit_code == 0, called.output
        return (tmp_path / name).read_text()

    tables = settings.toml([settings.Value(f"world.{key}", value, "") for key, value in msgspec.to_builtins(WorldSettings()).items()])
    every = [line.removesuffix("  # ").replace(" = ", "=", 1) for line in tables.splitlines()[1:]]
    assert len(every) == len(WorldSettings.__struct_fields__)
    start = f"start_ms={WorldSettings().start_ms}"
    assert log("said", *every) == log("by default", start)
    assert log("switched", start, "switch_days=[0.001]", "switch_share=1") != log("by default again", start)
    wrong = call("simulate", "-o", str(tmp_path / "none"), "--world", "switch_days=soon")
    assert wrong.exit_code == 2 and "--world: Expected `array`, got `str` - at `$.switch_days`" in wrong.output


def test_a_simulated_log_ends_now_or_when_it_is_told_to(tmp_path: Path) -> None:
    def ended(*arguments: str) -> int:
        assert call("simulate", "--events", "200", "-o", str(tmp_path / "log"), *arguments).exit_code == 0
        return int(json.loads((tmp_path / "log").read_text().splitlines()[-1])["ts"])

    before = time.time_ns() // 1_000_000
    assert before <= ended() <= time.time_ns() // 1_000_000
    assert ended("--until", "2025-11-30T12:00+02:00") == 1_764_496_800_000  # date -d 2025-11-30T10:00Z +%s
    both = call("simulate", "-o", str(tmp_path / "log"), "--until", "2025-11-30T12:00Z", "--world", "start_ms=1735689600000")
    assert both.exit_code == 2 and "leave one of them out" in both.output
    naive = call("simulate", "-o", str(tmp_path / "log"), "--until", "2025-11-30T12:00")
    assert naive.exit_code == 2 and "--until 2025-11-30T12:00: name its zone" in naive.output


def test_a_log_needs_a_name_and_a_proof_needs_none() -> None:
    assert call("simulate", "--events", "5").exit_code == 2
    assert call("simulate", "--prove", "everything").exit_code == 2
    curves = call("simulate", "--prove", "debias", "--report", "out")
    assert curves.exit_code == 2 and "only --prove pages has curves to write" in curves.output


def test_claims_in_the_help_are_those_that_the_code_knows() -> None:
    assert simulation.PROOFS == prove.PROOFS
