"""Segue's topics: their names, how they are made, and whether a broker has them as they must be.

The number of partitions of `events` is fixed for a prefix: users' states live by partition, so a changed count would
split them. To grow, replay into a new prefix.
"""
from __future__ import annotations

import logging
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from streams.watchdog import NeedsOperator

HOUR_MS = 3_600_000
ISOLATION = "read_committed"  # of every reader: what a producer aborted was never said
LARGEST_MESSAGE_BYTES = 32 << 20  # of what workers and learner write among themselves: dense parameters of a wide model fit

UNKNOWN_TOPIC, TOPIC_AUTHORIZATION_FAILED = 3, 29  # error codes of Kafka's protocol
READ = ("READ",)
AGAIN_S = 0.5  # between two tries to reach a broker

Partitioner = Literal["murmur2", "crc32"]
ClientOptions = dict[str, str | int | None]
Needs = Mapping[str, tuple[str, ...]]  # field of `Topics` to the operations that this process needs there: READ, WRITE
PATIENCE: ClientOptions = {"bootstrap_timeout_ms": 3_000}  # a person waits for the answer; the client's own is 30 s

log = logging.getLogger(__name__)


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
    skip: tuple[str, ...] = ()  # records to go on without, as the error about them names each: "segue.examples-0:123"

    def __post_init__(self) -> None:
        for place in self.skip:
            if not re.fullmatch(r".+-\d+:\d+", place):
                raise ValueError(f"skip must name records as TOPIC-PARTITION:OFFSET, got {place!r}")
        if not self.prefix or not all(c.isalnum() or c in "._-" for c in self.prefix) or len(self.prefix) > 200:
            raise ValueError(f"prefix must be letters, digits, '.', '_' or '-', got {self.prefix!r}")


class FaustSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a process takes part in its consumer group."""

    session_timeout_s: float = 10.0  # a dead worker's partitions stand still this long
    heartbeat_s: float = 1.0
    commit_interval_s: float = 0.5  # commits only shorten what is read again: the store is the truth
    stream_buffer_records: int = 65_536  # below it, pausing and resuming partitions costs half of the rate
    slot: str = ""  # unique among live processes of a group, the same after a restart (then it rejoins in 2 s); "": host and data folder


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


class Refused(NeedsOperator):
    """A broker answers, and refuses what is asked for; the message says what to do."""


@contextmanager
def reaching(bootstrap: str) -> Iterator[None]:
    """Turns errors of the Kafka clients into `Unreachable` and `Refused`, which say what to do."""
    from aiokafka import errors as of_aiokafka
    from kafka import errors as of_kafka

    try:
        yield
    except (of_aiokafka.KafkaError, of_kafka.KafkaError) as error:
        raise refused(bootstrap, error) or Unreachable(
            f"{bootstrap}: {str(error) or type(error).__name__}; start a broker with `segue broker`, or name yours with --broker HOST:PORT"
        ) from error


def refused(bootstrap: str, error: BaseException | None) -> Refused | None:
    """What a Kafka client's error says, where a broker has answered with it and would do so again."""
    from aiokafka import errors as of_aiokafka
    from kafka import errors as of_kafka

    if not isinstance(error, of_aiokafka.BrokerResponseError | of_kafka.BrokerResponseError) or error.retriable:
        return None
    way = "; grant this user what it needs (kafka-acls.sh)" if "Authorization" in type(error).__name__ else ""
    return Refused(f"{bootstrap}: the broker refuses: {error}{way}")


def names(prefix: str) -> Topics:
    """The topics of a prefix.

    >>> names("segue").model_updates
    'segue.model-updates'
    """
    return Topics(**{f: f"{prefix}.{f.replace('_', '-')}" for f in Topics.__struct_fields__})


def wanted(settings: TopicSettings) -> list[Wanted]:
    """All topics of a prefix, as they must be."""
    t = names(settings.prefix)
    kept = {"cleanup.policy": "delete"}  # compacted, all but the newest act of a user would go, and no tick could be written: it has no key
    hours = kept | {"retention.ms": str(int(settings.retention_h * HOUR_MS))}
    long = kept | {"retention.ms": str(int(settings.events_retention_h * HOUR_MS))}
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


def create(settings: TopicSettings, client: ClientOptions | None = None, needs: Needs | None = None) -> list[str]:
    """Make the topics that are missing, check the others; the names of those made.

    Raises TopicProblem where one is not as it must be, or does not permit what is needed.
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
        found = problems(admin, settings, needs)
    if found:
        raise TopicProblem("\n".join(found))
    return made


def await_created(settings: TopicSettings, needs: Needs) -> None:
    """`create`, once a broker answers: whoever starts all at once need not order it. A line says that it waits."""
    told = False
    while True:
        try:
            with reaching(settings.bootstrap):
                create(settings, PATIENCE, needs)
            return
        except Unreachable as error:
            if not told:
                log.warning("waiting for a broker: %s", error)
                told = True
            time.sleep(AGAIN_S)


def require(settings: TopicSettings, needs: Needs, client: ClientOptions | None = None) -> None:
    """Raises TopicProblem where one of these topics is missing, has another number of partitions, or does not permit what is needed."""
    t = names(settings.prefix)
    chosen = [w for w in wanted(settings) if w.name in {getattr(t, topic) for topic in needs}]
    with _admin(settings, client) as admin:
        found = list(_unfit(admin, settings, chosen, needs))
    if found:
        raise TopicProblem("\n".join(found))


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

    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what it logs of a broker that is away, its error says, too
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap.split(","), **(client or {}))
    try:
        yield admin
    finally:
        admin.close()


def problems(admin: Any, settings: TopicSettings, needs: Needs | None = None) -> list[str]:
    """As `check`, over an open kafka-python admin client."""
    from kafka.admin import ConfigResource, ConfigResourceType

    existing = set(admin.list_topics())
    out = list(_unfit(admin, settings, wanted(settings), needs or {}))
    present = [w for w in wanted(settings) if w.name in existing]
    if not present:
        return out
    resources = [ConfigResource(ConfigResourceType.TOPIC, w.name) for w in present]
    configs = admin.describe_configs(resources, config_filter="all")["topic"]
    for w in present:
        for key, value in w.config.items():
            found = configs[w.name].get(key, {}).get("value")
            if found != value and not _suffices(key, found, value):
                out.append(f"topic {w.name}: {key} is {found}, wanted {value}; change it by `kafka-configs.sh --alter`, or the setting")
    return out


def _unfit(admin: Any, settings: TopicSettings, chosen: list[Wanted], needs: Needs) -> Iterator[str]:
    """What is missing, has another number of partitions, or does not permit what is needed."""
    t = names(settings.prefix)
    operations = {getattr(t, topic): given for topic, given in needs.items()}
    found = {topic["name"]: topic for topic in admin.describe_topics([w.name for w in chosen])}
    for w in chosen:
        topic = found.get(w.name, {})
        permitted = topic.get("authorized_operations")  # None of a broker that does not tell
        lacking = [o for o in operations.get(w.name, ()) if permitted is not None and o not in permitted]
        if topic.get("error_code") == TOPIC_AUTHORIZATION_FAILED:
            yield f"topic {w.name}: this user may not even describe it; grant it by `kafka-acls.sh --add --operation Describe`"
        elif topic.get("error_code", UNKNOWN_TOPIC):
            yield f"topic {w.name} is missing; `segue topics --create` makes it"
        elif len(topic["partitions"]) != w.partitions and operations.get(w.name) != READ:  # whoever only reads names the partition
            yield (
                f"topic {w.name}: {len(topic['partitions'])} partitions, wanted {w.partitions}; the count is fixed for a prefix: "
                "set partitions back, or replay into a new prefix"
            )
        elif lacking:
            options = " ".join(f"--operation {o.title()}" for o in lacking)
            yield f"topic {w.name}: this user may not {' and '.join(lacking).lower()}; grant it by `kafka-acls.sh --add {options}`"


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
