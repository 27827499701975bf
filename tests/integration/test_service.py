"""The service over HTTP, in front of a worker on a real broker: what a client sees, and what is in Kafka by then."""
from __future__ import annotations

import asyncio
import gzip
import io
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
from click.testing import CliRunner
from yarl import URL

from bandit.settings import BanditSettings
from bandit.strategies import strategies
from streams.cli.main import segue
from streams.core.join.settings import PartitionSettings
from streams.core.serving.pages import PageSettings
from streams.core.serving.recommend import RecommendSettings
from streams.http.contracts import openapi
from streams.http.exporter import Exporter
from streams.http.service import Service
from streams.http.settings import ExporterSettings, ServiceSettings, ServingSettings
from streams.kafka_io.broker import EmbeddedBroker
from streams.kafka_io.topics import TopicSettings, names
from streams.learner.process import LearnerProcess
from streams.learner.settings import LearnerProcessSettings, LearningSettings
from streams.worker import answers
from streams.worker.process import Worker
from streams.worker.settings import ReplicaSettings, WorkerSettings
from streams.worker.stores import StoreSettings
from tests.faults.harness import LEARNER, ROOT, values
from tests.test_house import documented

pytestmark = pytest.mark.broker

MakeTopics = Callable[[int], TopicSettings]
Client = aiohttp.ClientSession
SONGS = [{"item_id": f"i{n}", "domain": "song", "categories": [f"c{n % 2}"], "monetization": n / 10} for n in range(5)]
KEY = "a-bearer-token"
MAY_REPEAT = RecommendSettings(explore_share=0.0, no_repeat_window_ms=0)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def serving(
    topics: TopicSettings, folder: Path, slot: str = "0", bandit: BanditSettings | None = None, recommend: RecommendSettings = MAY_REPEAT,
    **service: Any,
) -> AsyncIterator[tuple[Worker, Service, Client]]:  # fmt: skip
    """A worker that answers, and a client of it. Its lists are without chance, and may repeat."""
    made = Service(
        ServingSettings(
            topics=topics, service=ServiceSettings(port=0, **service),
            replica=ReplicaSettings(checkpoint_dir=str(folder / "checkpoints"), stale_after_s=2.0),
            recommend=recommend, bandit=bandit or BanditSettings(),
        )
    )  # fmt: skip
    settings = WorkerSettings(topics=topics, stores=StoreSettings(data_dir=str(folder / "state")))
    worker = Worker(msgspec.structs.replace(settings, faust=msgspec.structs.replace(settings.faust, slot=slot)), [made])
    token = made.config.service.token
    try:
        await worker.start()
        async with aiohttp.ClientSession(made.url, headers={"authorization": f"Bearer {token}"} if token else {}) as client:
            await until(lambda: worker.ready)
            yield worker, made, client
    finally:
        await worker.stop()


async def until(true: Callable[[], bool], limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.02)


async def ask(client: Client, status: int = 200, **request: Any) -> dict[str, Any]:
    async with client.post("/v1/recommendations", json=request) as answer:
        assert answer.status == status, await answer.text()
        return dict(await answer.json())


async def ask_page(client: Client, status: int = 200, **request: Any) -> dict[str, Any]:
    async with client.post("/v1/pages", json=request) as answer:
        assert answer.status == status, await answer.text()
        return dict(await answer.json())


async def send(client: Client, *events: dict[str, Any]) -> None:
    async with client.post("/v1/events", json=list(events)) as answer:
        assert (answer.status, await answer.json()) == (202, {"accepted": len(events), "rejected": [], "warnings": []})


async def why(client: Client, request_id: str, status: int = 200) -> dict[str, Any]:
    async with client.get(URL(f"/v1/explain/{quote(request_id, safe='')}", encoded=True)) as answer:
        assert answer.status == status, await answer.text()
        return dict(await answer.json())


async def put(client: Client, *items: dict[str, Any]) -> None:
    async with client.put("/v1/items", json=list(items)) as answer:
        assert (answer.status, await answer.json()) == (200, {"accepted": len(items), "rejected": [], "warnings": []})


async def series(client: Client, path: str = "/metrics") -> dict[str, float]:
    async with client.get(path) as answer:
        assert answer.status == 200
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in (await answer.text()).splitlines() if line[0] != "#"}


def play(user: str, item: str, **more: Any) -> dict[str, Any]:
    return {"ts": now_ms(), "user_id": user, "item_id": item, "action": "play", **more}


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def exposures(topics: TopicSettings, partition: int = 0) -> list[dict[str, Any]]:
    log = map(json.loads, values(topics, names(topics.prefix).events, partition))
    return [record for record in log if isinstance(record, dict) and record.get("kind") == "exposure"]


def taken(worker: Worker, what: str = "events") -> int:
    return sum(owned.core.progress.counted.get(what, 0) for owned in worker.ingest.owned.values())


def test_cold_list_is_popular_and_its_exposure_is_in_kafka_before_the_answer(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)

    async def main() -> None:
        async with serving(topics, tmp_path) as (worker, _, client):
            await put(client, *SONGS)
            await send(client, play("ada", "i3"), play("bob", "i3"), play("bob", "i4"))
            await until(lambda: len(worker.catalog) == 5 and taken(worker) == 3)
            answer = await ask(client, user_id="cleo", k=2, request_id="r1", domain="song", context={"device": "car"})
            (shown,) = await asyncio.to_thread(exposures, topics)
            assert ids(answer) == ["i3", "i4"]  # two plays, one play
            assert (answer["request_id"], answer["flags"], answer["model_version"]) == ("r1", ["cold"], None)
            assert (shown["user_id"], shown["request_id"], shown["domain"], shown["context"]) == ("cleo", "r1", "song", {"device": "car"})
            assert [(s["item_id"], s["position"], s["propensity"]) for s in shown["slots"]] == [("i3", 0, 1.0), ("i4", 1, 1.0)]
            await until(lambda: taken(worker, "exposures") == 1)  # and comes back as any record does
            await paged(client)
            await until(lambda: taken(worker, "exposures") == 3)
            before = taken(worker, "impressions")
            await ask(client, user_id="dora", k=2, request_id="r2", seen=False)
            *_, unseen = await asyncio.to_thread(exposures, topics)
            assert "seen" not in shown and (unseen["request_id"], unseen["seen"]) == ("r2", False)
            await until(lambda: taken(worker, "served") == 2)
            assert taken(worker, "impressions") == before

    async def paged(client: Client) -> None:
        """Nothing was learned yet, so all strategies have the same chance; the exposure tells page, chances and what items bring in."""
        page = await ask_page(client, user_id="cleo", request_id="p1", context={"device": "car"})
        *_, shown = await asyncio.to_thread(exposures, topics)
        assert (page["request_id"], page["flags"], page["model_version"]) == ("p1", ["cold", "short"], None)
        arms = strategies(PageSettings().revenue_blends)
        assert page["chances"] == pytest.approx({arm.name: 1 / len(arms) for arm in arms}, abs=1e-12)
        assert page["propensity"] == page["chances"][page["strategy"]]
        assert (shown["strategy"], shown["user_id"], shown["context"]) == (page["strategy"], "cleo", {"device": "car"})
        assert dict(zip(shown["choice"]["arms"], shown["choice"]["chances"], strict=True)) == page["chances"]
        assert (shown["choice"]["surface"], shown["choice"]["segment"]) == ("page", page["segment"])
        placed = [(module["name"], item["position"], item["item_id"]) for module in page["modules"] for item in module["items"]]
        assert [(slot["module"], slot["position"], slot["item_id"]) for slot in shown["slots"]] == placed
        assert {slot["item_id"]: slot["monetization"] for slot in shown["slots"]} == {f"i{n}": n / 10 for n in range(5)}

        named = await ask_page(client, user_id="cleo", request_id="p2", strategy="tail", modules=2, per_module=2, domain="song")
        *_, shown = await asyncio.to_thread(exposures, topics)
        assert (named["strategy"], named["propensity"], named["chances"], named["segment"]) == ("tail", 1.0, {}, None)
        assert [(module["name"], len(module["items"])) for module in named["modules"]] in (
            [("category:c0", 2), ("category:c1", 2)], [("category:c1", 2), ("category:c0", 2)],
        )  # fmt: skip
        assert "choice" not in shown and (shown["strategy"], shown["domain"]) == ("tail", "song")
        told = await series(client)
        served = {name: n for name, n in told.items() if name.startswith("segue_pages_total")}
        assert sum(served.values()) == 2 and served['segue_pages_total{strategy="tail"}'] >= 1
        assert told['segue_requests_total{route="/v1/pages",status="200"}'] == 2

    asyncio.run(main())


def test_a_repeated_request_is_answered_as_before_and_a_dry_run_leaves_nothing(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)

    async def main() -> None:
        async with serving(topics, tmp_path, recommend=RecommendSettings(explore_share=0.0)) as (worker, _, client):
            await put(client, *SONGS)
            await until(lambda: len(worker.catalog) == 5)
            dry = [await ask(client, user_id="ada", k=2, request_id="d", dry_run=True) for _ in range(2)]
            dry_page = await ask_page(client, user_id="ada", request_id="d", dry_run=True, modules=1, per_module=2)
            assert ids(dry[0]) == ids(dry[1]) and dry[1]["flags"] == ["cold", "dry_run"] and "dry_run" in dry_page["flags"]
            assert await asyncio.to_thread(exposures, topics) == [] and len(worker.ingest.owned[0].unapplied) == 0
            assert "'d'" in (await why(client, "d", 404))["error"]
            together = await asyncio.gather(*[ask(client, user_id="ada", k=2, request_id="r") for _ in range(4)])
            assert ids(together[0]) == ids(dry[0]) and together[1:] == together[:1] * 3  # without memory the second would be other items
            other = await ask(client, user_id="ada", k=3, request_id="r")
            assert (other["items"], other["flags"]) == (together[0]["items"], ["cold", "request_id_reused"])
            assert "is that of a list" in (await ask_page(client, 409, user_id="ada", request_id="r"))["error"]
            unknown = await ask(client, user_id="bob", request_id="r", candidates=["i1", 7, "nobody-knows-it"], domain="opera")
            assert (ids(unknown), unknown["flags"]) == (["i1"], ["cold", "short", "unknown_candidates", "unknown_domain"])
            assert [shown["user_id"] for shown in await asyncio.to_thread(exposures, topics)] == ["ada", "bob"]
            told = await series(client)
            assert (told["segue_repeated_requests_total"], told['segue_answers_total{strategy="ranked"}']) == (4, 2)
            lines = b"\n".join([json.dumps(play("7", "i1", timestamp=3)).encode() for _ in range(2)])
            packed = {"content-encoding": "gzip", "content-type": "application/x-ndjson; charset=utf-8"}
            async with client.post("/v1/events", data=gzip.compress(lines), headers=packed) as answer:
                taken = await answer.json()
                assert (answer.status, taken["accepted"], [w["field"] for w in taken["warnings"]]) == (202, 2, ["$.timestamp"])
            ahead = {**play("ada", "i1"), "ts": now_ms() + 600_000}
            async with client.post("/v1/events", json=ahead) as answer:
                assert answer.status == 400 and "ahead of this worker's clock" in await answer.text()

    asyncio.run(main())


def test_a_short_list_a_guest_and_nobody_s_list_say_so_and_what_is_nobody_s_is_not_written_down(
    topic_settings: MakeTopics, tmp_path: Path
) -> None:
    topics = topic_settings(1)

    async def main() -> None:
        async with serving(topics, tmp_path) as (worker, _, client):
            empty = await ask(client, user_id="ada")
            assert (empty["items"], empty["flags"]) == ([], ["cold", "short"])
            blank = await ask_page(client, user_id="ada")
            assert (blank["modules"], blank["strategy"], blank["flags"]) == ([], "fixed", ["cold", "short", "uncategorised"])
            await put(client, *SONGS)
            await until(lambda: len(worker.catalog) == 5)
            guest = await ask(client, k=5, plays=[{"item_id": "i0", "action": "play"}])
            assert (len(guest["items"]), guest["flags"]) == (5, ["cold", "guest"])
            short = await ask(client, k=6)
            assert (len(short["items"]), short["flags"]) == (5, ["cold", "guest", "short"])
            assert guest["request_id"] != short["request_id"]
            page = await ask_page(client, plays=[{"item_id": "i0", "action": "play"}], modules=2, per_module=2)
            assert page["flags"][:2] == ["cold", "guest"] and page["modules"] and sum(page["chances"].values()) == pytest.approx(1.0)
            assert await asyncio.to_thread(exposures, topics) == []
            assert worker.ingest.owned[0].store.stored == -1  # a guest leaves no trace

    asyncio.run(main())


def test_deleted_item_is_in_no_list_even_where_a_request_names_it(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    odd = "/a b?c=%2F/ö"

    async def main() -> None:
        async with serving(topics, tmp_path) as (worker, _, client):
            await put(client, {"item_id": odd}, {"item_id": "i1"}, {"item_id": "i2", "hidden": True})
            await send(client, play("ada", odd))
            await until(lambda: len(worker.catalog) == 3 and taken(worker) == 1)
            named = ["i1", "i2", odd, "nobody-knows-it"]
            assert set(ids(await ask(client, user_id="bob", candidates=named))) == {odd, "i1"}
            assert set(ids(await ask(client, user_id="bob", candidates=named, unknown="allow"))) == {odd, "i1", "nobody-knows-it"}
            async with client.delete(URL("/v1/items/%2Fa%20b%3Fc=%252F%2F%C3%B6", encoded=True)) as answer:
                assert (answer.status, await answer.read()) == (204, b"")
            assert len(worker.catalog) == 2  # at once
            assert ids(await ask(client, user_id="bob", candidates=named)) == ["i1"]
            assert set(ids(await ask(client, user_id="bob", candidates=named, unknown="allow"))) == {"i1", "nobody-knows-it"}
            assert ids(await ask(client, user_id="bob")) == ["i1"]
            for path in ("/v1/items/%ff", f"/v1/items/{'x' * 257}"):
                async with client.delete(URL(path, encoded=True)) as answer:
                    assert answer.status == 400, path

    asyncio.run(main())
    assert list(values(topics, names(topics.prefix).catalog))[-1] is None  # a tombstone that compaction understands


def test_without_a_catalog_what_events_named_is_what_there_is(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)

    async def main() -> None:
        async with serving(topics, tmp_path) as (worker, _, client):
            await send(client, play("ada", "x"), play("bob", "x"), play("bob", "y"))
            await until(lambda: taken(worker) == 3)
            assert ids(await ask(client, user_id="cleo")) == ["x", "y"]

    asyncio.run(main())


@pytest.mark.parametrize("partitions", [1, 3])
def test_popularity_is_known_again_after_a_restart_from_all_partitions(partitions: int, topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(partitions)

    played = ["i0"] * 4 + ["i1"] * 3 + ["i2"] * 2 + ["i3"]

    async def main() -> None:
        for turn in range(2):
            async with serving(topics, tmp_path) as (worker, _, client):
                await until(lambda: len(worker.ingest.owned) == partitions)
                if turn == 0:
                    await put(client, *SONGS)
                    await send(client, *[play(f"u{n}", item) for n, item in enumerate(played)], play("u9", "i0"))  # after i3
                    await until(lambda: len(worker.catalog) == 5 and taken(worker) == len(played) + 1)
                await listed(client, ["i0", "i1", "i2", "i3"], k=4, context={"turn": turn})
                await listed(client, ["i1", "i3"], k=2, candidates=["i3", "i1", "i4"])
                listening = await ask(client, k=4, plays=[{"item_id": "i3"}])
                assert [item["source"] for item in listening["items"]] == ["co-listened", "popular", "popular", "own"]

    async def listed(client: Client, wanted: list[str], **request: Any) -> None:
        async with asyncio.timeout(30):
            while ids(await ask(client, **request)) != wanted:  # with several partitions their parts are exchanged first
                await asyncio.sleep(0.05)

    asyncio.run(main())


BAD_REQUESTS: list[tuple[bytes, str]] = [
    (b"", "empty"),
    (b"nonsense", "malformed"),
    (b"\xff\xfe", "malformed"),
    (b"[]", "wrong_type"),
    (b'"ada"', "wrong_type"),
    (b'{"user_id": [7]}', "wrong_type"),
    (b'{"user_id": "ada", "limit": 5, "category": "jazz"}', "$.limit (perhaps `k` is meant), $.category"),
    (b'{"user_id": ""}', "out_of_bounds"),
    (b'{"user_id": "' + b"u" * 257 + b'"}', "out_of_bounds"),
    (b'{"user_id": "\\ud800"}', "malformed"),
    (b'{"k": 0}', "$.k"),
    (b'{"k": -1}', "$.k"),
    (b'{"k": 1e99}', "wrong_type"),
    (b'{"k": 100000000000000000000000000000}', ""),
    (b'{"k": 101}', "$.k"),
    (b'{"k": "many"}', "wrong_type"),
    (b'{"candidates": ["' + b'","'.join([b"x"] * 1_001) + b'"]}', "out_of_bounds"),
    (b'{"candidates": ["' + b'","'.join([b"x%d" % n for n in range(501)]) + b'"]}', "$.candidates"),
    (b'{"candidates": [["x"]]}', "wrong_type"),
    (b'{"candidates": ["x"], "unknown": "perhaps"}', "$.unknown"),
    (b'{"user_id": "u", "plays": [{"item_id": "i"}]}', "$.plays"),
    (b'{"weights": {"fame": 1}}', "$.weights"),
    (b'{"weights": {"skip": 1e999}}', ""),
    (b'{"weights": {"rank": "much"}}', "wrong_type"),
    (b'{"gamma_item": 2}', "$.gamma_item"),
    (b'{"gamma_user": -1.5}', "$.gamma_user"),
    (b'{"rank_scale": 0}', "$.rank_scale"),
    (b'{"strategy": "best"}', "$.strategy"),
    (b'{"context": {"a": {"b": 1}}}', "wrong_type"),
    (b'{"context": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, "too_deep"),
    (b'{"unknown": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too_deep"),
    (b"[" * 200_000, "too_deep"),
]


BAD_PAGES: list[tuple[bytes, str]] = [
    (b"", "empty"),
    (b"[]", "wrong_type"),
    (b'{"user_id": true}', "wrong_type"),
    (b'{"k": 7}', "$.k"),
    (b'{"modules": 0}', "$.modules"),
    (b'{"modules": 13}', "$.modules"),
    (b'{"per_module": 31}', "$.per_module"),
    (b'{"modules": 12, "per_module": 17}', "$.per_module"),  # 204 slots; an exposure has 200 at most
    (b'{"strategy": "best"}', "$.strategy"),
    (b'{"user_id": "u", "plays": [{"item_id": "i"}]}', "$.plays"),
    (b'{"weights": {"fame": 1}}', "$.weights"),
    (b'{"gamma_item": 2}', "$.gamma_item"),
    (b'{"context": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, "too_deep"),
]


def test_hostile_requests_are_told_what_is_wrong_and_nothing_is_an_error_of_ours(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)

    async def main() -> None:
        async with serving(topics, tmp_path) as (_, _, client):
            for path, body, said in (*(("/v1/recommendations", *bad) for bad in BAD_REQUESTS), *(("/v1/pages", *bad) for bad in BAD_PAGES)):
                async with client.post(path, data=body) as answer:
                    told = await answer.text()
                    assert answer.status == 400, (body[:60], told)
                    problem = json.loads(told)
                    assert set(problem) == {"error", "where", "what_to_do"}
                    assert said in problem["error"] and len(told) < 2_000, (body[:60], told)
            for method, path, status in (
                ("GET", "/nowhere", 404), ("GET", "/v1/recommendations", 405), ("GET", "/v1/pages", 405), ("POST", "/v1/items", 405),
                ("PUT", "/v1/items/x", 405),
                ("GET", "/" + "x" * 5_000, 404), ("GET", "/%ff%00", 404), ("TRACE", "/v1/events", 405), ("POST", "/healthz", 405),
            ):  # fmt: skip
                async with client.request(method, path) as answer:
                    assert answer.status == status, (method, path[:20])
                    assert set(json.loads(await answer.text())) == {"error", "where", "what_to_do"}
            async with client.put("/v1/items", data=b'{"item_id": ' + b"[" * 10_000) as answer:
                assert answer.status == 400
            told = await series(client)
            assert {line for line in told if 'status="500"' in line} == set()
            assert all(label in {"/v1/recommendations", "/v1/pages", "/v1/items", "/v1/items/{item_id}", "/healthz", "/v1/events", "other"}
                       for line in told for label in re.findall(r'route="([^"]*)"', line))  # fmt: skip

    asyncio.run(main())


def test_bad_events_of_an_array_are_told_by_place_and_counted_and_the_others_taken(topic_settings: MakeTopics, tmp_path: Path) -> None:
    from tests.streams.http.test_accept import BAD, body

    topics = topic_settings(2)

    async def main() -> None:
        async with serving(topics, tmp_path) as (worker, _, client):
            good = [play(f"u{n}", "i") for n in range(len(BAD) + 1)]
            mixed = body(good[0], *[part for (bad, _), one in zip(BAD, good[1:], strict=True) for part in (bad, one)])
            async with client.post("/v1/events", data=mixed) as answer:
                assert answer.status == 202
                told = await answer.json()
            assert told["accepted"] == len(good)
            assert [(one["index"], one["reason"]) for one in told["rejected"]] == [(2 * n + 1, reason) for n, (_, reason) in enumerate(BAD)]
            async with client.post("/v1/events", data=b"nonsense") as answer:
                assert (answer.status, set(await answer.json())) == (400, {"error", "where", "what_to_do"})
            await until(lambda: taken(worker) == len(good))
            counted = await series(client)
            reasons = [reason for _, reason in BAD] + ["malformed"]
            assert {r: counted[f'segue_refused_total{{reason="{r}"}}'] for r in set(reasons)} == {r: reasons.count(r) for r in set(reasons)}
            assert counted['segue_taken_total{what="events"}'] == len(good)
            assert all(owned.counted.get("misplaced_records", 0) == 0 for owned in worker.ingest.owned.values())
            assert sum(len(set(dict(o.store.rows()["users"]))) for o in worker.ingest.owned.values()) == len(good)

    asyncio.run(main())


def test_20_mb_is_413_and_too_many_at_once_is_429(topic_settings: MakeTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topics = topic_settings(1)

    async def main() -> None:
        async with serving(topics, tmp_path, max_in_flight=2) as (worker, service, client):
            for method, path in (("POST", "/v1/events"), ("POST", "/v1/recommendations"), ("PUT", "/v1/items")):
                async with client.request(method, path, data=io.BytesIO(b"[" + b" " * (20 << 20) + b"]")) as answer:
                    assert answer.status == 413
                    assert "1,048,576" in (await answer.json())["error"]
            hold = asyncio.Event()
            made = service._serving.slate

            async def slow(*given: Any) -> Any:
                await hold.wait()
                return await made(*given)

            monkeypatch.setattr(service._serving, "slate", slow)
            waiting = [asyncio.create_task(ask(client)) for _ in range(2)]
            await until(lambda: service._entrance.in_flight == 2)
            async with client.post("/v1/events", json=play("u", "i")) as answer:
                assert (answer.status, answer.headers["retry-after"]) == (429, "1")
            for path in ("/healthz", "/readyz", "/metrics", "/docs"):
                async with client.get(path) as answer:
                    assert answer.status == 200
            hold.set()
            assert [(await task)["flags"] for task in waiting] == [["cold", "guest", "short"]] * 2
            await send(client, play("u", "i"))
            await until(lambda: taken(worker) == 1)

    asyncio.run(main())


def test_token_is_asked_for_and_the_documentation_is_served(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)

    async def main() -> None:
        async with serving(topics, tmp_path, token=KEY) as (_, service, client), aiohttp.ClientSession(service.url) as stranger:
            for path in openapi()["paths"]:
                async with stranger.get(path) as answer:
                    assert answer.status == (200 if path in ("/healthz", "/readyz") else 401), path
            async with client.get("/docs") as answer:
                assert (answer.status, answer.content_type) == (200, "text/html")
                assert "POST /v1/recommendations" in await answer.text()
            async with client.get("/docs/openapi.json") as answer:
                assert (answer.status, (await answer.json())["openapi"]) == (200, "3.1.0")
            await ask(client)

    asyncio.run(main())


def test_the_last_lists_are_explained_and_what_is_not_among_them_is_404(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    odd = "/a b?c=%2F/\u00f6"

    async def main() -> None:
        async with serving(topics, tmp_path, explained_requests=2) as (worker, _, client):
            await put(client, *SONGS)
            await send(client, play("bob", "i3"))
            await until(lambda: len(worker.catalog) == 5 and taken(worker) == 1)
            await ask(client, user_id="ada", request_id="first")
            await ask(client, user_id="ada", request_id=odd, k=2)
            guest = await ask(client, k=1)
            assert "request id 'first'" in (await why(client, "first", 404))["error"]
            told = await why(client, odd)
            assert (told["request_id"], told["user_id"], told["strategy"], told["flags"]) == (odd, "ada", "ranked", ["cold"])
            assert (told["model_version"], told["weighed_by"], told["weights"]) == (None, None, None)
            assert [(item["item_id"], item["source"], item["propensity"], item["terms"]) for item in told["items"]][:1] == [
                ("i3", "popular", 1.0, [{"part": "popularity", "weight": 1.0, "value": told["items"][0]["score"],
                                         "adds": told["items"][0]["score"]}])
            ]  # fmt: skip
            assert (await why(client, guest["request_id"]))["user_id"] is None
            page = await ask_page(client, user_id="ada", request_id="a-page", modules=2, per_module=2)
            told_of_page = await why(client, "a-page")
            assert dict(zip(told_of_page["choice"]["arms"], told_of_page["choice"]["chances"], strict=True)) == page["chances"]
            placed = [(module["name"], item["position"], item["item_id"]) for module in page["modules"] for item in module["items"]]
            assert [(item["module"], item["position"], item["item_id"]) for item in told_of_page["items"]] == placed != []
            refused = await why(client, "nobody's", 404)
            assert set(refused) == {"error", "where", "what_to_do"} and "service.explained_requests" in refused["what_to_do"]
            for path in ("/v1/explain/%ff", f"/v1/explain/{'x' * 65}"):
                async with client.get(URL(path, encoded=True)) as answer:
                    assert answer.status == 400, path
            told = await series(client)
            assert told['segue_requests_total{route="/v1/explain/{request_id}",status="404"}'] == 2

    asyncio.run(main())


def test_user_of_another_workers_partition_is_503_that_names_it(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(2)

    async def main() -> None:
        async with serving(topics, tmp_path, "a") as (first, _, one), serving(topics, tmp_path, "b") as (second, _, other):
            await until(lambda: len(first.ingest.owned) == len(second.ingest.owned) == 1)
            await put(one, *SONGS)
            await until(lambda: len(second.catalog) == 5 and len(first.catalog) == 5)
            for user in (f"u{n}" for n in range(8)):
                partition = first.delivery.partition(user.encode())
                mine, theirs = (one, other) if partition in first.ingest.owned else (other, one)
                assert len((await ask(mine, user_id=user))["items"]) == 5
                for asked in (ask, ask_page):
                    assert f"partition {partition}" in (await asked(theirs, 503, user_id=user))["error"]
            await send(one, *[play(f"u{n}", "i0") for n in range(8)])  # events are taken by any worker
            await until(lambda: taken(first) + taken(second) == 8 and taken(first) > 0 and taken(second) > 0)

    asyncio.run(main())


def test_stalled_worker_is_not_alive_and_one_without_partitions_is_not_ready(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)

    async def main() -> None:
        async with serving(topics, tmp_path) as (worker, _, client):
            async with client.get("/readyz") as answer:
                ready = {
                    "ready": True, "waiting_for": [], "catalog_items": 0, "partitions": [0], "catching_up": {}, "model_version": None
                }  # fmt: skip
                assert (answer.status, await answer.json()) == (200, ready)
            worker.watchdog._started["a flush"] = time.monotonic() - worker.watchdog.limit_s - 0.1
            async with client.get("/healthz") as answer:
                assert (answer.status, await answer.json()) == (503, {"alive": False, "stalled": ["a flush"], "waiting_for": []})
            del worker.watchdog._started["a flush"]
            async with worker.ingest.owned[0].lock:
                worker.ingest.owned[0].flush_began_at = time.monotonic() - 9
                async with client.get("/healthz") as answer:
                    assert (answer.status, (await answer.json())["stalled"]) == (503, ["flush of partition 0"])
            async with client.get("/healthz") as answer:
                assert answer.status == 200
            await worker.ingest.revoked([owned.tp for owned in worker.ingest.owned.values()])
            async with client.get("/readyz") as answer:
                assert answer.status == 503
                assert (await answer.json())["waiting_for"] == ["partitions of events"]
            assert "partition 0" in (await ask(client, 503, user_id="ada"))["error"]
            await ask(client, 503)

    asyncio.run(main())


@pytest.mark.alone
def test_with_a_learner_lists_come_from_the_model_and_without_it_grow_stale(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    process = LearnerProcessSettings(checkpoint_dir=str(tmp_path / "checkpoints"), device="cpu")
    linear = BanditSettings(arms="linear")
    config = LearningSettings(
        topics=topics, learner=msgspec.structs.replace(LEARNER, micro_batch_span_ms=100), process=process, bandit=linear
    )  # fmt: skip

    async def main() -> None:
        async with serving(topics, tmp_path, bandit=linear) as (worker, service, client):
            exporter = Exporter(ExporterSettings(port=0))
            learner = LearnerProcess(config, [exporter])
            await learner.start()
            try:
                await put(client, *SONGS)
                await until(lambda: service.model.version is not None and len(worker.catalog) == 5)
                await send(client, *[play(f"u{n}", f"i{n % 5}") for n in range(20)])
                await until(lambda: (service.model.version or 0) > 0 and service.model.measured > 0)
                answer = await ask(client, user_id="ada", k=3, request_id="r")
                assert answer["flags"] == []
                assert 0 < answer["model_version"] <= (service.model.version or 0)
                assert all(set(item["probabilities"]) == {"full_play", "collect", "share", "skip", "dislike"} for item in answer["items"])
                assert [item["score"] for item in answer["items"]] == sorted((item["score"] for item in answer["items"]), reverse=True)
                (shown,) = await asyncio.to_thread(exposures, topics)
                assert shown["model_version"] == answer["model_version"]
                await explained(client, service, answer)
                popular = await ask(client, user_id="ada", strategy="popular")
                assert (popular["strategy"], popular["items"][0]["probabilities"]) == ("popular", None)
                drawn = await ask(client, user_id="ada", strategy="auto", request_id="auto", k=3)
                *_, shown = await asyncio.to_thread(exposures, topics)
                assert drawn["strategy"] == shown["strategy"] in RecommendSettings().chosen
                assert (shown["choice"]["surface"], shown["choice"]["arms"]) == ("list", list(RecommendSettings().chosen))
                assert sum(x * x for x in shown["choice"]["vector"]) == pytest.approx(1.0, abs=1e-3)  # what the ranker knows of ada
                await paged(client, service)

                shown_by_worker = await series(client)
                assert shown_by_worker["segue_model_version"] >= answer["model_version"]
                assert shown_by_worker["segue_freshness_seconds_count"] == 20
                assert shown_by_worker['segue_records_total{partition="0",what="events"}'] == 20
                assert shown_by_worker['segue_requests_total{route="/v1/recommendations",status="200"}'] == 5  # two of the command line
                assert shown_by_worker['segue_requests_total{route="/v1/pages",status="200"}'] == 4
                assert exporter.address is not None
                async with aiohttp.ClientSession("http://{}:{}".format(*exporter.address)) as other:
                    shown_by_learner = await series(other)
                    async with other.get("/healthz") as answered:
                        assert answered.status == 200
                    async with other.get("/x") as answered:
                        assert answered.status == 404
                    described = await kinds(other)
                assert shown_by_learner['segue_learned_total{what="examples"}'] == 20
                assert shown_by_learner["segue_learner_version"] == learner.loop.learner.version  # type: ignore[union-attr]
                assert await kinds(client) == {name for name, of in documented("Prometheus").items() if "worker" in of}
                assert described == {name for name, of in documented("Prometheus").items() if "learner" in of}
            finally:
                await learner.stop()
            await until(lambda: service.model.stale)
            late = await ask(client, user_id="ada", k=3)
            assert late["flags"] == ["stale"]
            assert late["model_age_ms"] >= 2_000

    async def explained(client: Client, service: Service, answer: dict[str, Any]) -> None:
        """Why Ada's list is as it is; u3, who has played i3, by the command line; and by a request's own weights."""
        told = await why(client, "r")
        assert (told["user_id"], told["model_version"], told["gamma_item"]) == ("ada", answer["model_version"], 0.7)
        for item, served in zip(told["items"], answer["items"], strict=True):
            assert {name: item[name] for name in served} == served  # every number of the answer
            assert abs(sum(term["adds"] for term in item["terms"]) - item["score"]) < 1e-6
            assert set(item["user"]) == set(item["popularity"]) == set(served["probabilities"])
            assert [(a["over"], a["behaviours"]) for a in item["attention"][:2]] == [("positive", []), ("negative", [])]
        call = ["recommend", "u3", "--k", "5", "--url", service.url, "--weight", "rank=0", "--weight", "skip=-1", "--gamma-item", "0"]
        done = await asyncio.to_thread(CliRunner().invoke, segue, [*call, "--why", "--json"])
        assert done.exit_code == 0, done.stderr
        by_hand = json.loads(done.stdout)
        assert (by_hand["weights"]["rank"], by_hand["weights"]["skip"], by_hand["gamma_item"]) == (0.0, -1.0, 0.0)
        for item in by_hand["items"]:
            assert item["attention"][0]["behaviours"][0]["item_id"] == "i3" and item["terms"][-1]["adds"] == 0.0
        assert by_hand["weighed_by"] >= by_hand["model_version"] == answer["model_version"]
        plain = await asyncio.to_thread(CliRunner().invoke, segue, [*call, "--why"])
        assert "full_play 0.5 x " in plain.stdout and "positive: i3 (partial_play) " in plain.stdout

    async def paged(client: Client, service: Service) -> None:
        """A page of the model, for u3, who has played i3; and the same on the command line, why it is so with it."""
        page = await ask_page(client, user_id="u3", strategy="blend-0", modules=2, per_module=2)
        assert page["flags"] == [] and page["model_version"] > 0
        assert [module["score"] for module in page["modules"]] == sorted((module["score"] for module in page["modules"]), reverse=True)
        assert all(item["probabilities"] is not None for module in page["modules"] for item in module["items"])
        call = ["page", "u3", "--modules", "2", "--per-module", "2", "--url", service.url]
        done = await asyncio.to_thread(CliRunner().invoke, segue, [*call, "--json"])
        assert done.exit_code == 0, done.stderr
        drawn = json.loads(done.stdout)
        assert drawn["propensity"] == drawn["chances"][drawn["strategy"]]
        *_, shown = await asyncio.to_thread(exposures, topics)
        assert len(shown["choice"]["vector"]) == 32
        plain = await asyncio.to_thread(CliRunner().invoke, segue, [*call, "--strategy", "blend-0", "--why"])
        assert plain.exit_code == 0, plain.stderr
        lines = plain.stdout.splitlines()
        assert [line.split()[1] for line in lines if " preference " in line] == [module["name"] for module in page["modules"]]
        assert sum("full_play 0.5 x " in line for line in lines) == 4 and "positive: i3 (partial_play) " in plain.stdout
        assert "2 modules, 4 items; blend-0, model version " in plain.stderr
        size = ["--modules", "1", "--tasters", "1"]
        broad = await asyncio.to_thread(CliRunner().invoke, segue, ["page", "u3", *size, *call[4:], "--strategy", "blend-0"])
        assert "2 modules, 3 items; blend-0, " in broad.stderr

    async def kinds(client: Client) -> set[str]:
        async with client.get("/metrics") as answer:
            found = re.findall(r"^# TYPE (\S+)", await answer.text(), re.MULTILINE)
        return {name for name in found if name.startswith("segue_")}

    asyncio.run(main())


def test_partition_that_moves_while_a_list_is_made_is_503(
    topic_settings: MakeTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = topic_settings(1)

    async def main() -> None:
        async with serving(topics, tmp_path) as (worker, service, client):
            await put(client, *SONGS)
            await until(lambda: len(worker.catalog) == 5)
            made = answers.ServingThread._make
            loop = asyncio.get_running_loop()

            def moved(self: answers.ServingThread, *given: Any) -> Any:
                revoke = worker.ingest.revoked([owned.tp for owned in worker.ingest.owned.values()])
                asyncio.run_coroutine_threadsafe(revoke, loop).result()
                return made(self, *given)

            monkeypatch.setattr(answers.ServingThread, "_make", moved)
            assert "has just moved" in (await ask(client, 503, user_id="ada"))["error"]

    asyncio.run(main())
    assert exposures(topics) == []


@pytest.mark.alone
def test_while_kafka_stands_still_lists_are_flagged_and_the_rest_is_503_and_all_of_it_arrives_later(
    own_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    topics = TopicSettings(bootstrap=own_broker.bootstrap, prefix="still", partitions=1)

    async def main() -> None:
        async with serving(topics, tmp_path, acknowledged_within_s=0.3) as (worker, _, client):
            await put(client, *SONGS)
            await send(client, play("bob", "i0"))
            await until(lambda: len(worker.catalog) == 5 and taken(worker) == 1)
            assert own_broker.pid is not None
            os.kill(own_broker.pid, signal.SIGSTOP)
            try:
                answer = await ask(client, user_id="ada", request_id="r", k=5)
                assert (len(answer["items"]), answer["flags"]) == (5, ["cold", "stale", "unlogged"])
                async with client.post("/v1/events", json=play("ada", "i0", event_id="e", request_id="r")) as refused:
                    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
                assert (await ask(client, k=5))["flags"] == ["cold", "guest"]  # nothing to write down
                async with client.get("/healthz") as alive:
                    assert alive.status == 200
            finally:
                os.kill(own_broker.pid, signal.SIGCONT)
            await until(lambda: taken(worker) == 2 and taken(worker, "exposures") == 1)
            await send(client, play("ada", "i0", event_id="e", request_id="r"))  # as the client was told: it counts once
            await until(lambda: taken(worker, "rejected:duplicate") == 1)
            assert (await ask(client, user_id="ada", k=5))["flags"] == ["cold"]

    asyncio.run(main())


def test_sigterm_in_the_midst_of_requests_breaks_no_answer_and_loses_no_exposure(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    chosen = {"topics.prefix": topics.prefix, "topics.partitions": 1, "service.port": port, "stores.data_dir": tmp_path / "state",
              "replica.checkpoint_dir": tmp_path / "checkpoints", "recommend.no_repeat_window_ms": 0}  # fmt: skip
    flags = [word for key, value in chosen.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "streams", "worker", "--broker", topics.bootstrap, *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    answered: list[str] = []
    broken: list[str] = []

    async def client_of(session: Client, n: int) -> None:
        """Asks until nobody listens any more; an answer that began comes to its end."""
        for turn in itertools.count():
            request = {"user_id": f"u{n}", "request_id": f"{n}-{turn}"}
            try:
                async with session.post("/v1/recommendations", json=request, headers={"connection": "close"}) as answer:
                    told = await answer.json()
                    assert answer.status == 200
                    answered.append(told["request_id"])
            except aiohttp.ClientConnectorError:
                return
            except aiohttp.ClientError as error:  # refused in the moment of closing: no answer had begun
                broken.append(repr(error))
                return

    async def main(process: subprocess.Popen[bytes]) -> int:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            await answering(session)
            await put(session, *SONGS)
            async with asyncio.timeout(30):
                while not (await ask(session))["items"]:
                    await asyncio.sleep(0.05)
            clients = [asyncio.create_task(client_of(session, n)) for n in range(8)]
            await until(lambda: len(answered) > 50)
            process.send_signal(signal.SIGTERM)
            await asyncio.gather(*clients)
            return await asyncio.to_thread(process.wait, 30)

    async def answering(session: Client) -> None:
        async with asyncio.timeout(60):
            while True:
                try:
                    async with session.get("/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)

    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        assert asyncio.run(main(process)) == 0
    finally:
        process.kill()
        said = process.communicate()[1].decode()
    assert "Traceback" not in said, said
    assert f"answers at http://127.0.0.1:{port}" in said
    written = [shown["request_id"] for shown in exposures(topics)]
    assert set(answered) <= set(written)
    assert len(written) == len(set(written)) <= len(answered) + len(broken)


def test_partition_settings_are_the_workers() -> None:
    assert ServingSettings().partition == WorkerSettings().partition == PartitionSettings()
