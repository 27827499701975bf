"""Segue's topics: their names, how they are made, and whether a broker has them as they must be.

The number of partitions of `events` is fixed for a prefix: users' states live by partition, so a changed count would
split them. To grow, replay into a new prefix.
"""
from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

HOUR_MS = 3_600_000
LARGEST_MESSAGE_BYTES = 32 << 20  # of what workers and learner write among themselves: dense parameters of a wide model fit

Partitioner = Literal["murmur2", "crc32"]
ClientOptions = dict[str, str | int | None]


class TopicSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which broker, which topics."""

    bootstrap: str = "127.0.0.1:9092"  # HOST:PORT, several separated by commas
    prefix: str = "segue"  # of every topic; another prefix is another system on the same broker
    partitions: Annotated[int, Meta(ge=1, le=1024)] = 4  # of `events`: the most workers that can share the work; fixed for a prefix
    events_partitioner: Partitioner = "murmur2"  # how the product's own producers choose a partition; librdkafka: crc32
    replication: int = 1  # 3 in a cluster
    events_retention_h: float = 168.0  # a week: what a lost store can be rebuilt from
    retention_h: float = 24.0  # of the topics in between; readers follow within seconds
    max_event_bytes: int = 1 << 20  # of one record of `events`; the broker's own default

    def __post_init__(self) -> None:
        if not self.prefix or not all(c.isalnum() or c in "._-" for c in self.prefix) or len(self.prefix) > 200:
            raise ValueError(f"prefix must be letters, digits, '.', '_' or '-', got {self.prefix!r}")


class Topics(msgspec.Struct, frozen=True, kw_only=True):
    """The names under one prefix."""

    events: str
    catalog: str
    exposures: str
    examples: str
    popularity: str
    model_updates: str
    metrics: str
    dead_letter: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as it must be."""

    name: str
    partitions: int
    config: dict[str, str]


class TopicProblem(ValueError):
    """The broker's topics are not as they must be; the message names topic, setting, found and wanted."""


class Unreachable(RuntimeError):
    """No broker answers there; the message says what to do."""


@contextmanager
def reaching(bootstrap: str) -> Iterator[None]:
    """Turns errors of the Kafka clients into `Unreachable`, which says what to do."""
    from aiokafka.errors import KafkaConnectionError
    from kafka.errors import KafkaError

    try:
        yield
    except (KafkaConnectionError, KafkaError) as error:
        way = "start a broker with `segue broker`, or name yours with --broker HOST:PORT"
        raise Unreachable(f"{bootstrap}: {error}; {way}") from error


def names(prefix: str) -> Topics:
    """The topics of a prefix.

    >>> names("segue").model_updates
    'segue.model-updates'
    """
    return Topics(**{f: f"{prefix}.{f.replace('_', '-')}" for f in Topics.__struct_fields__})


def wanted(settings: TopicSettings) -> list[Wanted]:
    """All topics of a prefix, as they must be."""
    t = names(settings.prefix)
    hours = {"retention.ms": str(int(settings.retention_h * HOUR_MS))}
    long = {"retention.ms": str(int(settings.events_retention_h * HOUR_MS))}
    append = {"message.timestamp.type": "LogAppendTime"}
    own = {"max.message.bytes": str(LARGEST_MESSAGE_BYTES)}
    events = {"max.message.bytes": str(settings.max_event_bytes)}
    n = settings.partitions
    return [
        Wanted(name=t.events, partitions=n, config=long | append | events),
        Wanted(name=t.catalog, partitions=1, config={"cleanup.policy": "compact"} | append),
        Wanted(name=t.exposures, partitions=n, config=long | append | events),
        Wanted(name=t.examples, partitions=1, config=long | append | own),
        Wanted(name=t.popularity, partitions=n, config=long | append | own),
        Wanted(name=t.model_updates, partitions=1, config=hours | append | own),
        Wanted(name=t.metrics, partitions=1, config=hours | append),
        Wanted(name=t.dead_letter, partitions=1, config=long | append),
    ]


def create(settings: TopicSettings, client: ClientOptions | None = None) -> list[str]:
    """Make the topics that are missing, check the others; the names of those made.

    Raises TopicProblem where one is not as it must be.
    """
    from kafka.errors import TopicAlreadyExistsError

    made = []
    with _admin(settings, client) as admin:
        existing = set(admin.list_topics())
        for topic in wanted(settings):
            if topic.name in existing:
                continue
            spec = {"num_partitions": topic.partitions, "replication_factor": settings.replication, "configs": topic.config}
            try:
                admin.create_topics({topic.name: spec}, wait_for_metadata=True)
                made.append(topic.name)
            except TopicAlreadyExistsError:
                pass  # another process was quicker
        found = problems(admin, settings)
    if found:
        raise TopicProblem("\n".join(found))
    return made


def delete(settings: TopicSettings, made: list[str], client: ClientOptions | None = None) -> None:
    """Delete topics, with all that is in them."""
    with _admin(settings, client) as admin:
        admin.delete_topics(made)


def check(settings: TopicSettings, client: ClientOptions | None = None) -> list[str]:
    """What is not as it must be, a line each; empty: all is well."""
    with _admin(settings, client) as admin:
        return problems(admin, settings)


@contextmanager
def _admin(settings: TopicSettings, client: ClientOptions | None) -> Iterator[Any]:
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap.split(","), **(client or {}))
    try:
        yield admin
    finally:
        admin.close()


def problems(admin: Any, settings: TopicSettings) -> list[str]:
    """As `check`, over an open kafka-python admin client."""
    from kafka.admin import ConfigResource, ConfigResourceType

    existing = set(admin.list_topics())
    out = [f"topic {w.name} is missing; `segue topics --create` makes it" for w in wanted(settings) if w.name not in existing]
    present = [w for w in wanted(settings) if w.name in existing]
    if not present:
        return out
    counts = {t["name"]: len(t["partitions"]) for t in admin.describe_topics([w.name for w in present])}
    resources = [ConfigResource(ConfigResourceType.TOPIC, w.name) for w in present]
    configs = admin.describe_configs(resources, config_filter="all")["topic"]
    for w in present:
        if counts[w.name] != w.partitions:
            out.append(
                f"topic {w.name}: {counts[w.name]} partitions, wanted {w.partitions}; the count is fixed for a prefix: "
                "set partitions back, or replay into a new prefix"
            )
        for key, value in w.config.items():
            found = configs[w.name].get(key, {}).get("value")
            if found != value and not _suffices(key, found, value):
                out.append(f"topic {w.name}: {key} is {found}, wanted {value}; change it by `kafka-configs.sh --alter`, or the setting")
    return out


def _suffices(key: str, found: str | None, value: str) -> bool:
    """An operator may keep more and allow more than we ask for."""
    if key not in ("retention.ms", "max.message.bytes") or found is None:
        return False
    return int(found) >= int(value) or (key == "retention.ms" and int(found) == -1)


def partitioner(kind: Partitioner) -> Callable[[bytes, int], int]:
    """(key, partition count) -> partition, as that kind of producer chooses it.

    >>> partitioner("crc32")(b"123456789", 1000) == 0xCBF43926 % 1000
    True
    """
    return _murmur2 if kind == "murmur2" else _crc32


@lru_cache(maxsize=1 << 17)
def _murmur2(key: bytes, partitions: int) -> int:
    from aiokafka.partitioner import murmur2

    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def _crc32(key: bytes, partitions: int) -> int:
    return zlib.crc32(key) % partitions
