"""One checked tree of all settings, and where each value came from: default < TOML file < environment < flags.

Each settings struct is defined beside the code that reads it; this file nests them and assembles what each process needs.
A key is the path in the tree: `partition.join_window_ms` in a flag, `[partition]` and `join_window_ms` in the file,
SEGUE_PARTITION__JOIN_WINDOW_MS in the environment. An unknown key is refused, so that a misspelt setting never falls back to
its default silently; a renamed key is refused with its new name.
"""
from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bandit.settings import BanditSettings
from online_model.model_settings import ModelSettings
from streams.core.join.settings import EventSettings, PartitionSettings
from streams.core.learning.learn import LearnerSettings
from streams.core.serving.pages import PageSettings
from streams.core.serving.recommend import RecommendSettings
from streams.core.serving.surfaces import arms
from streams.http.settings import ExporterSettings, ServiceSettings, ServingSettings
from streams.kafka_io.topics import FaustSettings, TopicSettings
from streams.learner.settings import LearnerProcessSettings, LearningSettings
from streams.status import StatusSettings
from streams.worker.settings import IngestSettings, ReplicaSettings, TickSettings, WorkerSettings
from streams.worker.stores import StoreSettings

FILE = "segue.toml"  # read from the working directory unless another file is named
PREFIX = "SEGUE_"
CONFIG = "SEGUE_CONFIG"  # names the file; not a setting
NOT_SETTINGS = (CONFIG, "SEGUE_DATA")  # SEGUE_DATA: the tests' folder of public logs
SECRETS = ("token", "password", "secret")
RENAMED = {  # sections and settings of earlier versions
    "process": "learner_process",
    "copy": "replica",
    "standing": "status",
    "bandit.keep": "bandit.retain_after_drift",
    "pages.blends": "pages.revenue_blends",
    "pages.tasters": "pages.single_item_modules",
}
CONSTANTS = frozenset(  # settings of earlier versions that are constants of online_model/model_settings.py now
    f"model.{name}"
    for name in (
        "row_start", "wide_start", "number_start", "effect_start", "number_lifts", "dense_betas", "logit_clip", "square_half_life_d",
    )
)  # fmt: skip


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    topics: TopicSettings = TopicSettings()
    events: EventSettings = EventSettings()
    partition: PartitionSettings = PartitionSettings()
    learner: LearnerSettings = LearnerSettings()
    model: ModelSettings = ModelSettings()
    recommend: RecommendSettings = RecommendSettings()
    pages: PageSettings = PageSettings()
    bandit: BanditSettings = BanditSettings()
    stores: StoreSettings = StoreSettings()
    ingest: IngestSettings = IngestSettings()
    ticks: TickSettings = TickSettings()
    faust: FaustSettings = FaustSettings()
    learner_process: LearnerProcessSettings = LearnerProcessSettings()
    replica: ReplicaSettings = ReplicaSettings()
    service: ServiceSettings = ServiceSettings()
    exporter: ExporterSettings = ExporterSettings()
    status: StatusSettings = StatusSettings()


def worker(s: Settings) -> WorkerSettings:
    """The settings of a worker."""
    return WorkerSettings(
        topics=s.topics, stores=s.stores, events=s.events, partition=s.partition, ingest=s.ingest, ticks=s.ticks, faust=s.faust
    )


def learner(s: Settings) -> LearningSettings:
    """The settings of the learner."""
    return LearningSettings(
        topics=s.topics, learner=s.learner, model=s.model, bandit=s.bandit, arms=arms(s.pages, s.recommend),
        reward=s.partition.reward, presets=s.recommend.presets, process=s.learner_process, faust=s.faust,
    )  # fmt: skip


def serving(s: Settings) -> ServingSettings:
    """The settings of a worker's HTTP service."""
    return ServingSettings(
        topics=s.topics, events=s.events, partition=s.partition, service=s.service, recommend=s.recommend, pages=s.pages, bandit=s.bandit,
        replica=s.replica, model=s.model,
    )  # fmt: skip


class SettingsError(ValueError):
    """A setting is unknown or has an invalid value. The command line prints the message and exits with 2."""


class Value(NamedTuple):
    """One effective setting."""

    key: str
    value: Any  # as TOML or JSON represent it
    source: str  # default, or the file, variable or flag that set it


class Loaded(NamedTuple):
    """The checked settings, and every value with its source."""

    settings: Settings
    values: list[Value]


def load(
    config: Path | None, environment: Mapping[str, str], flags: Sequence[tuple[str, str]] = (), tree: type[Settings] = Settings
) -> Loaded:
    """Read the file (`config`, else SEGUE_CONFIG, else segue.toml if it exists), then the environment, then the flags.

    A flag is a pair: what the user typed, and `key=value`. Raises SettingsError, naming the source of the value at fault.

    >>> load(None, {}, [("--set topics.prefix=demo", "topics.prefix=demo")]).settings.topics.prefix
    'demo'
    """
    kinds = dict(leaves(tree))
    chosen: dict[str, tuple[Any, str]] = {}
    for source, key, raw in (*_from_file(config, environment, kinds), *_from_environment(environment), *_from_flags(flags)):
        if key not in kinds:
            raise SettingsError(f"{source}: unknown setting {key!r}; {_hint(key, kinds)}")
        chosen[key] = (_converted(key, raw, kinds[key], source), source)
    nested: dict[str, Any] = {}
    for key, (value, _) in chosen.items():
        *path, name = key.split(".")
        functools.reduce(lambda table, part: table.setdefault(part, {}), path, nested)[name] = value
    try:
        settings = msgspec.convert(nested, tree)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        section = where.rstrip("`")
        sources = sorted({source for key, (_, source) in chosen.items() if key.startswith(section)})
        raise SettingsError(f"{section}: {message} (set by {', '.join(sources)})") from None
    values = [
        Value(key, "***" if _secret(key) and value else value, chosen[key][1] if key in chosen else "default")
        for key, value in _flat(msgspec.to_builtins(settings), kinds)
    ]
    return Loaded(settings, values)


def values(settings: Settings, source: str) -> list[Value]:
    """Every setting of a tree that was assembled elsewhere, with one source for all."""
    return [Value(key, value, source) for key, value in _flat(msgspec.to_builtins(settings), dict(leaves(type(settings))))]


def changed(settings: Settings, chosen: Mapping[str, Any]) -> Settings:
    """The settings with other values for some keys of two parts; checked only as far as the struct of a section checks itself.

    >>> changed(Settings(), {"topics.prefix": "demo"}).topics.prefix
    'demo'
    """
    for key, value in chosen.items():
        section, _, name = key.partition(".")
        inner = msgspec.structs.replace(getattr(settings, section), **{name: value})
        settings = msgspec.structs.replace(settings, **{section: inner})
    return settings


def leaves(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a tree of structs, with its type."""
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from leaves(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field.type


def toml(values: Sequence[Value]) -> str:
    """The values as a settings file, each followed by its source as a comment.

    >>> print(toml([Value("topics.prefix", "segue", "default")]), end="")
    [topics]
    prefix = "segue"  # default
    """
    lines: list[str] = []
    section = None
    for key, value, source in values:
        table, _, name = key.rpartition(".")
        if table != section:
            lines += ["", f"[{table}]"] if lines else [f"[{table}]"]
            section = table
        # TOML has no null: an unset value is commented out.
        lines.append(f"{'# ' if value is None else ''}{name} = {_toml_value(value)}  # {source}")
    return "\n".join(lines) + "\n"


def _from_file(config: Path | None, environment: Mapping[str, str], kinds: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    named = config or (Path(environment[CONFIG]) if environment.get(CONFIG) else None)
    path = named or Path(FILE)
    if named is None and not path.is_file():
        return
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such settings file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from None
    yield from ((str(path), key, value) for key, value in _flat(table, kinds))


def _flat(table: Mapping[str, Any], kinds: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys and values of nested tables, down to a setting or an unknown key."""
    for name, value in table.items():
        key = prefix + name
        if isinstance(value, Mapping) and key not in kinds and any(k.startswith(key + ".") for k in kinds):
            yield from _flat(value, kinds, key + ".")
        else:
            yield key, value


class _Text(str):
    """A value from the environment or a flag: a number, a list or a word."""


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    for name, text in sorted(environment.items()):
        if name.startswith(PREFIX) and name not in NOT_SETTINGS:
            yield name, name.removeprefix(PREFIX).lower().replace("__", "."), _Text(text)


def _from_flags(flags: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str, Any]]:
    for typed, assignment in flags:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise SettingsError(f"{typed}: expected KEY=VALUE, as in --set partition.join_window_ms=60000")
        yield typed, key.strip(), _Text(text.strip())


def parsed(text: str) -> Any:
    """A number, a list or a table if the text is one in TOML, else the text itself.

    >>> parsed("[1, 2]"), parsed("0.5"), parsed("murmur2")
    ([1, 2], 0.5, 'murmur2')
    """
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return str(text)


def _converted(key: str, raw: Any, kind: Any, source: str) -> Any:
    """The value in the setting's type. Text is read as TOML first, then as a word."""
    readings = [parsed(raw), str(raw)] if isinstance(raw, _Text) else [raw]
    error: msgspec.ValidationError | None = None
    for reading in readings:
        try:
            return msgspec.convert(reading, kind)
        except msgspec.ValidationError as failed:
            error = error or failed
    raise SettingsError(f"{source}: {key} = {'***' if _secret(key) else raw!s}: {error}")


def _hint(key: str, kinds: Mapping[str, Any]) -> str:
    """What to write instead of an unknown key."""
    for old, new in RENAMED.items():
        if key == old or key.startswith(f"{old}."):
            return f"it was renamed to {new + key.removeprefix(old)!r}"
    if key in CONSTANTS:
        return "it is a constant now: leave it out"
    near = difflib.get_close_matches(key, kinds, 1, 0.5)
    return f"did you mean {near[0]}?" if near else "`segue config` lists all"


def _secret(key: str) -> bool:
    return any(word in key.rpartition(".")[2] for word in SECRETS)


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {_toml_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    return "none" if value is None else msgspec.json.encode(value).decode()
