"""`segue recommend` and `segue page` say what is wrong with a call before they ask anybody."""
from __future__ import annotations

import pytest
from click.testing import CliRunner

from streams.cli.main import segue


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
    for verb in ("recommend", "page"):
        done = CliRunner().invoke(segue, [verb, "ada", *flags])
        assert (done.exit_code, done.stdout) == (2, "")
        assert said in done.stderr


@pytest.mark.parametrize(("verb", "flag"), [("recommend", "--k"), ("page", "--modules"), ("page", "--per-module")])
def test_nothing_is_asked_for_less_than_one(verb: str, flag: str) -> None:
    done = CliRunner().invoke(segue, [verb, "ada", flag, "0"])
    assert done.exit_code == 2 and flag in done.stderr
