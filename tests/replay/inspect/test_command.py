"""The command holds every option that the log needs, quoted for a shell."""
from __future__ import annotations

import shlex
from pathlib import Path

from msgspec.structs import replace

from replay.inspect.command import command
from replay.log_rows import Columns
from replay.logs import Format
from tests.replay.inspect.test_profile import profile


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


def test_a_log_of_our_own_exposures_needs_its_form_alone() -> None:
    exposed = replace(profile({}), exposures=1)
    assert command([Path("x")], Format.JSONL, Columns(), exposed, sort=False) == "segue replay x --format jsonl"
