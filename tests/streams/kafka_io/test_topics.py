"""Names and settings of topics, and what a broker has of them."""
from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaConnectionError, KafkaTimeoutError, TopicAuthorizationFailedError

from streams.kafka_io import topics
from streams.kafka_io.broker import EmbeddedBroker
from streams.kafka_io.topics import Refused, TopicProblem, TopicSettings


def test_murmur2_chooses_the_partitions_of_the_java_client() -> None:
    # UtilsTest.testMurmur2 of Apache Kafka
    from aiokafka.partitioner import murmur2

    java = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    assert {k: murmur2(k) - (1 << 32) if murmur2(k) >= 1 << 31 else murmur2(k) for k in java} == java
    assert topics.partitioner("murmur2")(b"foobar", 7) == (-790332482 & 0x7FFFFFFF) % 7


def test_crc32_is_that_of_librdkafka() -> None:
    # rd_crc32 is zlib's; check value of the CRC-32 catalogue: "123456789" -> cbf43926
    assert topics.partitioner("crc32")(b"123456789", 1000) == 0xCBF43926 % 1000


def test_names_carry_the_prefix() -> None:
    assert topics.names("x").model_updates == "x.model-updates"
    assert len({w.name for w in topics.wanted(TopicSettings(prefix="x"))}) == 8


def test_only_catalog_is_compacted_and_all_append_their_own_time() -> None:
    configs = {w.name.split(".")[1]: w.config for w in topics.wanted(TopicSettings(prefix="x"))}
    assert [n for n, c in configs.items() if c.get("cleanup.policy") == "compact"] == ["catalog"]
    assert {c["message.timestamp.type"] for c in configs.values()} == {"LogAppendTime"}


def test_whoever_waits_for_a_broker_says_so_once_and_a_refusal_is_not_waited_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception | None] = [KafkaConnectionError("nobody"), KafkaTimeoutError(), None, TopicAuthorizationFailedError("events")]

    def create(settings: TopicSettings, client: object, needs: object) -> None:
        if error := errors.pop(0):
            raise error

    monkeypatch.setattr(topics, "create", create)
    monkeypatch.setattr(topics, "AGAIN_S", 0.0)
    topics.await_created(TopicSettings(bootstrap="b:1"), {})
    assert [r.getMessage() for r in caplog.records] == [
        "waiting for a broker: b:1: KafkaConnectionError: nobody; start a broker with `segue broker`, or name yours with --broker HOST:PORT"
    ]
    with pytest.raises(Refused, match=r"b:1: the broker refuses: .*events; grant this user what it needs"):
        topics.await_created(TopicSettings(bootstrap="b:1"), {})


@pytest.mark.parametrize("prefix", ["", "a b", "x/y"])
def test_a_prefix_that_kafka_would_refuse_is_refused_at_once(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix must be"):
        TopicSettings(prefix=prefix)


@pytest.mark.broker
def test_topics_are_made_once_and_a_changed_partition_count_is_refused(topic_settings: Callable[[int], TopicSettings]) -> None:
    settings = topic_settings(2)
    assert topics.create(settings) == []  # all were there
    assert topics.check(settings) == []
    other = TopicSettings(bootstrap=settings.bootstrap, prefix=settings.prefix, partitions=3)
    with pytest.raises(TopicProblem, match=r"events: 2 partitions, wanted 3; the count is fixed"):
        topics.create(other)


@pytest.mark.broker
@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_a_compacted_topic_other_than_the_catalog_is_refused_by_name(topic_settings: Callable[[int], TopicSettings], policy: str) -> None:
    """It would lose all but a user's newest act; and it takes no tick, which has no key."""
    settings = topic_settings(1)
    events = topics.names(settings.prefix).events
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap)
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, events, configs={"cleanup.policy": policy})])
    admin.close()
    line = f"topic {events}: cleanup.policy is {policy}, wanted delete; change it by `kafka-configs.sh --alter`, or the setting"
    assert line in topics.check(settings)
    with pytest.raises(TopicProblem, match=line):
        topics.create(settings)


@pytest.mark.broker
def test_missing_topics_are_named(broker: EmbeddedBroker) -> None:
    found = topics.check(TopicSettings(bootstrap=broker.bootstrap, prefix="nobody"))
    assert len(found) == 8
    assert found[0] == "topic nobody.events is missing; `segue topics --create` makes it"


@pytest.mark.broker
def test_arrival_is_the_brokers_time_and_a_topic_of_32_mb_takes_20_mb(broker: EmbeddedBroker) -> None:
    settings = TopicSettings(bootstrap=broker.bootstrap, prefix="wide", partitions=1, max_event_bytes=32 << 20)
    topics.create(settings)
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap, acks="all", max_request_size=33 << 20)
    before = int(time.time() * 1000)
    sent = producer.send(topics.names("wide").events, b"x" * (20 << 20), timestamp_ms=5).get(30)
    producer.close()
    assert before - 1000 <= sent.timestamp <= int(time.time() * 1000) + 1000
