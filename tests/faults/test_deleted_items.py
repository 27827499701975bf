"""A deleted item does not come back when its tombstone is gone: what a catalog does not hold is not servable, named or not."""
from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from streams.kafka_io.topics import TopicSettings, names
from tests.faults.harness import values
from tests.integration.test_service import ask, ids, play, put, send, serving, taken, until

pytestmark = pytest.mark.broker


def forget_catalog(topics: TopicSettings, end: int) -> None:
    """What compaction does to an item and its tombstone after a while: the records are gone, the offsets go on."""
    topic = names(topics.prefix).catalog
    admin = KafkaAdminClient(bootstrap_servers=topics.bootstrap)
    try:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={"cleanup.policy": "compact,delete"})])
        admin.delete_records({TopicPartition(topic, 0): end})
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={"cleanup.policy": "compact"})])
    finally:
        admin.close()
    assert list(values(topics, topic)) == []


def test_it_is_in_no_list_after_a_restart_and_its_events_do_not_bring_it_back(
    topic_settings: Callable[[int], TopicSettings], tmp_path: Path
) -> None:
    topics = topic_settings(1)

    async def main() -> None:
        async with serving(topics, tmp_path, acknowledged_within_s=60.0) as (worker, _, client):
            await put(client, {"item_id": "gone"})
            await until(lambda: len(worker.catalog) == 1)
            assert ids(await ask(client, candidates=["gone"])) == ["gone"]
            async with client.delete("/v1/items/gone") as answer:
                assert answer.status == 204
            assert ids(await ask(client, candidates=["gone"])) == []
        await asyncio.to_thread(forget_catalog, topics, 2)
        async with serving(topics, tmp_path, acknowledged_within_s=60.0) as (worker, _, client):
            await send(client, play("ada", "gone"), play("ada", "stranger"))
            await until(lambda: taken(worker) == 2)
            for request in ({"candidates": ["gone", "stranger"]}, {}):  # the catalog is empty, and there is one
                answered = await ask(client, user_id="bob", k=2, **request)
                assert (ids(answered), answered["flags"]) == ([], ["cold", "short", *(["unknown_candidates"] if request else [])])
            allowed = await ask(client, user_id="bob", k=2, candidates=["gone", "stranger"], unknown="allow")
            assert sorted(ids(allowed)) == ["gone", "stranger"]
            await put(client, {"item_id": "here"})
            await until(lambda: len(worker.catalog) == 1)
            assert ids(await ask(client, candidates=["gone", "here"])) == ["here"] == ids(await ask(client))

    asyncio.run(main())
