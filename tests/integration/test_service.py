"""The service over HTTP, in front of a worker on a real broker: what a client sees, and what is in Kafka by then."""
from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from streams.core.recommend import RecommendSettings
from streams.entrance import ServiceSettings
from streams.model_updates import CopySettings
from streams.service import Service, ServiceConfig
from streams.stores import StoreSettings
from streams.topics import TopicSettings, names
from streams.worker import Worker, WorkerSettings
from tests.faults.harness import values

pytestmark = pytest.mark.broker

MakeTopics = Callable[[int], TopicSettings]
Client = aiohttp.ClientSession


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def serving(topics: TopicSettings, folder: Path, **service: Any) -> AsyncIterator[tuple[Worker, Service, Client]]:
    """A worker that answers, and a client of it."""
    made = Service(
        ServiceConfig(
            topics=topics, service=ServiceSettings(port=0, **service), copy=CopySettings(checkpoint_dir=str(folder / "checkpoints")),
            recommend=RecommendSettings(explore_share=0.0),  # lists without chance
        )
    )  # fmt: skip
    worker = Worker(WorkerSettings(topics=topics, stores=StoreSettings(data_dir=str(folder / "state"))), [made])
    await worker.start()
    headers = {"authorization": f"Bearer {made.config.service.token}"} if made.config.service.token else {}
    host, port = made.address
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}", headers=headers) as client:
            await until(lambda: worker.ready)
            yield worker, made, client
    finally:
        await worker.stop()


async def until(true: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.02)


async def ask(client: Client, status: int = 200, **request: Any) -> dict[str, Any]:
    async with client.post("/v1/recommendations", json=request) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def send(client: Client, *events: dict[str, Any]) -> None:
    async with client.post("/v1/events", json=list(events)) as answer:
        assert (answer.status, await answer.json()) == (202, {"accepted": len(events), "rejected": []})


async def put(client: Client, *items: dict[str, Any]) -> None:
    async with client.put("/v1/items", json=list(items)) as answer:
        assert (answer.status, await answer.json()) == (200, {"accepted": len(items), "rejected": []})


def play(user: str, item: str, **more: Any) -> dict[str, Any]:
    return {"ts": now_ms(), "user_id": user, "item_id": item, "action": "play", **more}


def test_cold_list_is_popular_and_its_exposure_is_in_kafka_before_the_answer(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)

    async def main() -> tuple[dict[str, Any], list[bytes]]:
        async with serving(topics, tmp_path) as (worker, _, client):
            await put(client, *[{"item_id": f"i{n}", "domain": "song"} for n in range(5)])
            await send(client, play("ada", "i3"), play("bob", "i3"), play("bob", "i4"))
            await until(lambda: len(worker.catalog) == 5 and worker.ingest.owned[0].core.progress.counted.get("events") == 3)
            answer = await ask(client, user_id="cleo", k=2, request_id="r1")
            return answer, list(await asyncio.to_thread(values, topics, names(topics.prefix).events))

    answer, log = asyncio.run(main())
    assert [item["item_id"] for item in answer["items"]] == ["i3", "i4"]  # two plays, one play
    assert (answer["request_id"], answer["flags"], answer["model_version"]) == ("r1", ["cold"], None)
    exposures = [record for record in map(json.loads, log) if isinstance(record, dict) and record.get("kind") == "exposure"]
    assert [(e["user_id"], e["request_id"], [s["item_id"] for s in e["slots"]]) for e in exposures] == [("cleo", "r1", ["i3", "i4"])]
