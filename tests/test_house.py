"""The house: what there is, is documented, and what is documented, is there; the four packages are ours."""
from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import msgspec
import pytest

from online_model.features import TASKS
from online_model.tally import TaskMetrics
from replay.evidence.next_found import NextFound
from replay.evidence.predictions import SCHEMA
from streams import settings
from streams.cli.frame import PACKAGES
from streams.cli.log_options import FORMATS
from streams.cli.main import segue, stranger
from streams.core.join.events import Reason
from streams.core.serving.requests import FLAGS, Flag
from streams.kafka_io.topics import Topics
from tests.paths import ROOT

REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def documented(heading: str) -> dict[str, str]:
    """First column -> second column of the table under a heading, rows in backticks only."""
    section = REFERENCE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (.*?) \|", section, re.MULTILINE))


def test_every_setting_is_documented_with_its_default_and_none_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = settings.load(None, {}).values
    assert {value.key: f"`{msgspec.json.encode(value.value).decode()}`" for value in values} == documented("Settings")


def test_every_command_is_documented_as_its_help_begins_and_none_that_is_not_there() -> None:
    helps = {f"segue {name}": " ".join((verb.help or "").split("\n\n")[0].split()) for name, verb in segue.commands.items()}
    assert documented("Commands") == helps


def test_every_topic_is_documented_and_none_that_is_not_there() -> None:
    assert set(documented("Topics")) == {field.replace("_", "-") for field in Topics.__struct_fields__}


def test_every_reason_is_documented_and_none_that_is_not_there() -> None:
    assert set(documented("Reasons of rejection")) == {reason.value for reason in Reason}


def test_every_flag_is_documented_with_its_meaning_and_none_that_is_not_there() -> None:
    assert documented("Flags") == {flag.value: meaning for flag, meaning in FLAGS.items()} and set(FLAGS) == set(Flag)


def test_every_metric_is_documented_and_none_that_is_not_there() -> None:
    assert set(documented("Metrics")) == set(TaskMetrics.__struct_fields__)


def test_every_log_format_is_documented_and_none_that_is_not_there() -> None:
    assert set(documented("Log formats")) == {*FORMATS, "topic"}


def test_every_field_about_next_plays_is_documented_and_none_that_is_not_there() -> None:
    assert set(documented("Next plays")) == set(NextFound.__struct_fields__)


def test_every_column_of_predictions_is_documented_and_none_that_is_not_there() -> None:
    by_task = {column.replace(task, "TASK") for task in TASKS for column in SCHEMA if column.startswith(task)}
    others = {column for column in SCHEMA if not column.startswith(TASKS)}
    assert set(documented("Predictions")) == by_task | others


def test_the_four_packages_are_ours_alone() -> None:
    assert stranger() is None
    brought = metadata.packages_distributions()
    assert {name: set(brought[name]) for name in PACKAGES} == {name: {"segue"} for name in PACKAGES}


def test_no_module_hides_one_of_a_rival() -> None:
    rivals = {
        "bandit": {"core", "cli", "plugins", "formatters", "blacklists"},
        "replay": {"metrics", "models", "data", "utils", "nn", "preprocessing", "splitters", "scenarios"},
    }
    for package, names in rivals.items():
        assert not names & {path.stem for path in (ROOT / package).iterdir()}


def test_every_test_folder_is_a_package_and_every_package_init_is_a_docstring() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)
    for package in PACKAGES:
        for init in (ROOT / package).rglob("__init__.py"):
            assert re.fullmatch(r'""".*?"""\n', init.read_text(encoding="utf-8"), re.DOTALL), init


def test_pinned_versions_name_no_host_and_cover_every_dependency() -> None:
    pinned = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in pinned)
    names = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in pinned}
    wanted = {re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in metadata.requires("segue") or ()}
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in wanted} <= names
