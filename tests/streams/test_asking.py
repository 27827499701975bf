"""`segue recommend` says what is wrong with a call before it asks anybody."""
from __future__ import annotations

import pytest
from click.testing import CliRunner

from streams.cli import segue


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--weight", "skip"], "--weight skip: expected a number"),
        (["--weight", "skip=much"], "--weight skip=much: expected a number"),
        (["--weight", "skip=nan"], "--weight skip=nan: expected a number"),
        (["--gamma-item", "inf"], "--gamma-item inf: expected a number"),
        (["--rank-scale", "x"], "--rank-scale x: expected a number"),
        (["--url", "nowhere"], "--url nowhere: expected http://HOST:PORT"),
    ],
)
def test_what_is_no_number_is_no_call(flags: list[str], said: str) -> None:
    done = CliRunner().invoke(segue, ["recommend", "ada", *flags])
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
