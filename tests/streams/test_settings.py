"""What holds, and where it came from: default < file < environment < flags."""
from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from online_model import model_settings
from streams import settings
from streams.settings import SettingsError, load
from tests.paths import ROOT


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def source(values: list[settings.Value], key: str) -> tuple[object, str]:
    return next((value.value, value.source) for value in values if value.key == key)


def test_nothing_set_is_all_defaults() -> None:
    loaded = load(None, {})
    assert loaded.settings == settings.Settings()
    assert {value.source for value in loaded.values} == {"default"}
    assert source(loaded.values, "partition.join_window_ms") == (600_000, "default")  # DESIGN: 10 min


def test_each_layer_wins_over_the_one_below_and_is_named(tmp_path: Path) -> None:
    Path("segue.toml").write_text('[partition]\njoin_window_ms = 1000\nhistory_limit = 20\n[topics]\nprefix = "a"\n')
    environment = {"SEGUE_PARTITION__JOIN_WINDOW_MS": "2000", "SEGUE_TOPICS__PREFIX": "b", "HOME": "/"}
    loaded = load(None, environment, [("--set topics.prefix=c", "topics.prefix=c")])
    assert loaded.settings.partition.history_limit == 20
    assert source(loaded.values, "partition.history_limit") == (20, "segue.toml")
    assert source(loaded.values, "partition.join_window_ms") == (2000, "SEGUE_PARTITION__JOIN_WINDOW_MS")
    assert source(loaded.values, "topics.prefix") == ("c", "--set topics.prefix=c")


def test_named_file_is_taken_before_the_one_in_the_folder(tmp_path: Path) -> None:
    Path("segue.toml").write_text("[partition]\nhistory_limit = 20\n")
    Path("a.toml").write_text("[partition]\nhistory_limit = 30\n")
    Path("b.toml").write_text("[partition]\nhistory_limit = 40\n")
    assert load(None, {"SEGUE_CONFIG": "a.toml"}).settings.partition.history_limit == 30
    assert load(Path("b.toml"), {"SEGUE_CONFIG": "a.toml"}).settings.partition.history_limit == 40


def test_words_that_look_like_numbers_stay_words_where_a_word_is_wanted() -> None:
    assert load(None, {"SEGUE_TOPICS__PREFIX": "123"}).settings.topics.prefix == "123"
    assert load(None, {}, [("--set", "topics.prefix=true")]).settings.topics.prefix == "true"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SEGUE_PARTITION__JOIN_WINDOW": "5"}, r"unknown setting 'partition.join_window'; did you mean partition.join_window_ms\?"),
        ({"SEGUE_ZZZ": "5"}, r"SEGUE_ZZZ: unknown setting 'zzz'; `segue config` lists all"),
        ({"SEGUE_PARTITION__JOIN_WINDOW_MS": "soon"}, r"partition.join_window_ms = soon: Expected `int`, got `str`"),
        ({"SEGUE_PARTITION__DEDUPE_WINDOW_MS": "5"}, r"partition: dedupe_window_ms \(5\) must .*set by SEGUE_PARTITION__"),
        ({"SEGUE_STATUS__EVERY_S": "0"}, r"SEGUE_STATUS__EVERY_S: status.every_s = 0: Expected `float` > 0"),
        ({"SEGUE_TOPICS__EVENTS_PARTITIONER": "md5"}, r"topics.events_partitioner = md5: Invalid enum value 'md5'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(None, environment)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[partition]\nhistory = 3\n", "segue.toml: unknown setting 'partition.history'"),
        ("a =", "segue.toml: not TOML"),
        ("x = 1", "unknown setting 'x'"),
    ],
)
def test_bad_file_is_refused_by_name(text: str, message: str) -> None:
    Path("segue.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load(None, {})


@pytest.mark.parametrize(("old", "new"), settings.RENAMED.items())
def test_a_renamed_setting_is_refused_with_its_new_name_wherever_it_is_set(old: str, new: str) -> None:
    kinds = dict(settings.leaves(settings.Settings))
    assert not any(key == old or key.startswith(f"{old}.") for key in kinds)
    present = [key for key in kinds if key == new or key.startswith(f"{new}.")]
    assert present
    for key in present:
        before = old + key.removeprefix(new)
        table, _, name = before.rpartition(".")
        message = f"unknown setting '{re.escape(before)}'; it was renamed to '{re.escape(key)}'"
        with pytest.raises(SettingsError, match=f"--set: {message}"):
            load(None, {}, [("--set", f"{before}=1")])
        variable = f"SEGUE_{before.upper().replace('.', '__')}"
        with pytest.raises(SettingsError, match=f"{variable}: {message}"):
            load(None, {variable: "1"})
        Path("old.toml").write_text(f"[{table}]\n{name} = 1\n")
        with pytest.raises(SettingsError, match=rf"old\.toml: unknown setting '{re.escape(old)}"):
            load(Path("old.toml"), {})


@pytest.mark.parametrize("key", sorted(settings.CONSTANTS))
def test_a_setting_that_became_a_constant_is_refused_as_such(key: str) -> None:
    assert key not in dict(settings.leaves(settings.Settings))
    assert hasattr(model_settings, key.removeprefix("model.").upper())
    with pytest.raises(SettingsError, match=f"--set: unknown setting '{key}'; it is a constant now"):
        load(None, {}, [("--set", f"{key}=1")])


def test_a_refused_secret_is_not_shown() -> None:
    with pytest.raises(SettingsError) as refused:
        load(None, {"SEGUE_SERVICE__TOKEN": "two words"})
    assert "service.token = ***" in str(refused.value) and "words" not in str(refused.value)


def test_changed_settings_differ_in_the_named_keys_alone() -> None:
    before = settings.Settings()
    after = settings.changed(before, {"topics.prefix": "a", "topics.partitions": 2, "status.every_s": 1.0})
    assert (after.topics.prefix, after.topics.partitions, after.status.every_s) == ("a", 2, 1.0)
    assert settings.changed(after, {"topics.prefix": before.topics.prefix, "topics.partitions": before.topics.partitions,
                                    "status.every_s": before.status.every_s}) == before  # fmt: skip
    with pytest.raises(TypeError):
        settings.changed(before, {"topics.nothing": 1})


def test_missing_file_and_flag_without_a_value_are_refused() -> None:
    with pytest.raises(SettingsError, match="x.toml: no such settings file"):
        load(Path("x.toml"), {})
    with pytest.raises(SettingsError, match="expected KEY=VALUE"):
        load(None, {}, [("--set partition", "partition")])


def test_what_config_prints_is_a_file_that_gives_the_same_settings() -> None:
    preset = "{ calm = { gamma_item = 0.2, weights = { dislike = -40.0 } } }"
    loaded = load(None, {"SEGUE_PARTITION__HISTORY_LIMIT": "7", "SEGUE_RECOMMEND__PRESETS": preset})
    assert loaded.settings.recommend.presets["calm"].gamma_item == 0.2
    text = settings.toml(loaded.values)
    assert "history_limit = 7  # SEGUE_PARTITION__HISTORY_LIMIT" in text
    assert tomllib.loads(text)["partition"]["history_limit"] == 7
    Path("again.toml").write_text(text)
    assert load(Path("again.toml"), {}).settings == loaded.settings


def test_secrets_are_not_shown() -> None:
    inner = msgspec.defstruct("Inner", [("tokens", tuple[str, ...], ()), ("limit", int, 1)], frozen=True)
    tree = msgspec.defstruct("Tree", [("service", inner, inner())], frozen=True)
    loaded = load(None, {"SEGUE_SERVICE__TOKENS": '["hush"]'}, tree=tree)
    assert source(loaded.values, "service.tokens") == ("***", "SEGUE_SERVICE__TOKENS")
    assert loaded.settings.service.tokens == ("hush",)


def test_every_setting_has_a_unit_or_needs_none() -> None:
    for key, kind in settings.leaves(settings.Settings):
        name = key.rpartition(".")[2]
        if getattr(kind, "__origin__", kind) in (int, float) and any(
            word in name for word in ("window", "lateness", "retention", "timeout", "interval")
        ):
            assert name.endswith(("_ms", "_s", "_h", "_d", "_bytes")), f"{key}: what unit?"


BEFORE_TORCH = ("streams.settings", "streams.cli.main", "streams.worker.process")


def test_settings_command_line_and_worker_are_there_before_torch() -> None:
    there = "; ".join(f"import {module}; print('{module}', 'torch' in sys.modules)" for module in BEFORE_TORCH)
    done = subprocess.run([sys.executable, "-c", f"import sys; {there}"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "".join(f"{module} False\n" for module in BEFORE_TORCH)


def test_settings_are_there_before_faust_so_that_a_replay_never_loads_it() -> None:
    there = "import sys, streams.settings; print(sorted({'faust', 'mode', 'aiokafka', 'kafka', 'aiohttp'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", there], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
