"""What all verbs share: errors and their exit codes, an example that parses, options."""
from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from streams.cli import frame
from streams.cli.main import segue


def call(*arguments: str) -> Result:
    return CliRunner().invoke(segue, arguments)


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
    parent = click.Context(segue, **segue.context_settings)  # a verb keeps the help option of its first context
    for program, verb, *rest in found:
        assert program == "segue"
        given = [__file__ if word.endswith(".jsonl") else word for word in rest]  # what the line before it wrote
        segue.commands[verb].make_context(verb, given, parent)


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


def test_a_renamed_option_is_refused_with_its_new_name_and_stands_in_no_help() -> None:
    refused = call("replay", __file__, "--format", "jsonl", "--gamma", "0,1", "--judge", __file__)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--judge: it was renamed to --holdout" in refused.stderr
    assert "--judge" not in call("replay", "--help").output


def outcome(error: Exception) -> Result:
    """Of a verb that raises the error."""

    @click.group(cls=frame.Verbs)
    def group() -> None: ...

    @group.command()
    def fail() -> None:
        raise error

    return CliRunner().invoke(group, ["fail"])


def test_a_wrong_call_ends_with_2_a_no_with_1_and_a_defect_stays_a_traceback() -> None:
    from streams.http.client import Unanswered
    from streams.settings import SettingsError

    wrong, no, file, defect = (
        outcome(error)
        for error in (SettingsError("x = 1"), Unanswered("nobody", 0), FileNotFoundError(2, "gone", "a.csv"), ValueError("x"))
    )
    assert (wrong.exit_code, wrong.stderr) == (2, "segue: x = 1\n")
    assert (no.exit_code, no.stderr) == (1, "segue: nobody\n")
    assert (file.exit_code, file.stderr) == (2, "segue: a.csv: gone\n")
    assert isinstance(defect.exception, ValueError)


@pytest.mark.parametrize("option", ["--map", "--const", "--action"])
def test_what_is_no_pair_is_refused_by_the_name_of_its_option(option: str) -> None:
    done = call("validate", __file__, "--format", "jsonl", option, "uid")
    assert done.exit_code == 2 and f"{option} uid: expected KEY=VALUE" in done.stderr


def test_the_broker_is_a_setting_that_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[topics]\nbootstrap = "file:1"\n')
    config = ("config", "--config", str(tmp_path / "a.toml"))
    assert 'bootstrap = "file:1"' in call(*config).stdout
    assert 'bootstrap = "flag:2"  # --broker flag:2' in call(*config, "--broker", "flag:2").stdout
