"""The command holds every option that the log needs, quoted for a shell."""
from __future__ import annotations

import shlex
from pathlib import Path

from msgspec.structs import replace

from replay.inspect.command import command
from replay.log_rows import Columns
from replay.logs import Format
from tests.replay.inspect.test_profile import T, profile


def test_every_option_survives_the_shell() -> None:
    columns = Columns(
        fields={"item_id": "artist || ' - ' || \"the track\""}, labels={"collect": "rating >= 8"}, constants={"action": "play"},
        actions={"search": ""}, time="%d %b %Y, %H:%M", zone="UTC", names=("a", "b"), delimiter="\t", quotes=False,
    )  # fmt: skip
    parts = shlex.split(command([Path("my log.csv")], Format.CSV, columns, replace(profile({}), events=1), sort=True))
    assert parts == [
        "segue", "replay", "my log.csv", "--format", "csv", "--columns", "a,b", "--delimiter", "tab", "--no-quotes",
        "--map", "item_id=artist || ' - ' || \"the track\"", "--label", "collect=rating >= 8", "--const", "action=play",
        "--action", "search=", "--time", "%d %b %Y, %H:%M", "--zone", "UTC", "--sort", "--next", "20",
    ]  # fmt: skip


def test_acts_that_are_far_apart_get_steps_that_hold_some() -> None:
    sparse = replace(profile({}), events=1_000, first_ms=T, last_ms=T + 600_000 * 1_000, exposures=1_000)
    assert command([Path("x")], Format.JSONL, Columns(), sparse, sort=False) == (
        "segue replay x --format jsonl --set learner.micro_batch_span_ms=20000000"  # 32 acts ten minutes apart: 19,200 s
    )
