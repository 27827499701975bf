from __future__ import annotations

import pytest

from streams.kafka_io import topics
from streams.kafka_io.topics import TopicSettings


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


@pytest.mark.parametrize("prefix", ["", "a b", "x/y"])
def test_a_prefix_that_kafka_would_refuse_is_refused_at_once(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix must be"):
        TopicSettings(prefix=prefix)
