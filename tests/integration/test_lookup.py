"""Over HTTP: lists with filters, pins and seeds, similar items; what is known of items and users."""
from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.main import segue
from streams.kafka_io.topics import TopicSettings
from tests.integration.test_service import ask, ids, now_ms, play, put, send, serving, taken, until

pytestmark = pytest.mark.broker


def test_what_is_wanted_of_a_list_and_what_is_similar_go_over_http(topic_settings: Callable[[int], TopicSettings], tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(topic_settings(1), tmp_path) as (worker, _, client):
            songs = [{"item_id": f"i{n}", "domain": "song", "artist_id": f"a{n % 2}", "features": {"bpm": 100 + n}} for n in range(6)]
            await put(client, *songs)
            await until(lambda: len(worker.catalog) == 6)
            begun = now_ms() - 60_000
            for n, (user, item) in enumerate([("u", "i0"), ("u", "i1"), ("v", "i0"), ("v", "i1"), ("v", "i3")]):
                await send(client, play(user, item) | {"ts": begun + n, "full": True})
            await until(lambda: taken(worker) == 5)
            fast = {"features": {"bpm": {"min": 102}}}
            assert sorted(ids(await ask(client, filter=fast))) == ["i2", "i3", "i4", "i5"]
            pinned = await ask(client, filter=fast, pins={"i5": 0}, per_artist=2, exclude_artists=["a0"], k=5)
            assert ids(pinned)[0] == "i5" and sorted(ids(pinned)) == ["i3", "i5"] and pinned["items"][0]["source"] == "pinned"
            radio = await ask(client, seed_items=["i0"])
            assert {item["item_id"] for item in radio["items"] if item["source"] == "co-listened"} == {"i1", "i3"}
            async with client.post("/v1/similar", json={"items": ["i0"], "k": 3}) as response:
                found = await response.json()
            assert response.status == 200 and found["flags"] == ["short"]
            # i1 came right after it twice, i3 once with one between; 2 others
            scores = {item["item_id"]: item["score"] for item in found["items"]}
            assert list(scores) == ["i1", "i3"] and scores == pytest.approx({"i1": 2 / 4.7, "i3": 0.7 / 4.7}, rel=1e-3)
            async with client.get("/v1/items/i0") as response:
                item = await response.json()
            assert item["item"] == songs[0] and item["servable"] and item["why_not"] == []
            assert item["counts"]["full_play"] == pytest.approx(2, rel=1e-3)
            async with client.get("/v1/users/v") as response:
                user = await response.json()
            assert [act["item_id"] for act in user["acts"]] == ["i3", "i1", "i0"] and user["domains"][0]["name"] == "song"
            async with client.post("/v1/recommendations:batch", json={"user_ids": ["u", "v"], "request": {"k": 2}}) as response:
                batch = (await response.json())["slates"]
            assert [(one["user_id"], len(one["slate"]["items"]), one["problem"]) for one in batch] == [("u", 2, None), ("v", 2, None)]
            users, lists = tmp_path / "users.txt", tmp_path / "lists.jsonl"
            users.write_text("".join(f"w{n}\n" for n in range(130)) + "\n", encoding="utf-8")
            url = f"http://{client._base_url.host}:{client._base_url.port}" if client._base_url else ""
            call = ["recommend", "--users", str(users), "-o", str(lists), "--k", "1", "--dry-run", "--url", url]
            done = await asyncio.to_thread(CliRunner().invoke, segue, call)
            rows = [json.loads(line) for line in lists.read_text(encoding="utf-8").splitlines()]
            assert done.exit_code == 0 and [row["user_id"] for row in rows] == [f"w{n}" for n in range(130)], done.output
            assert all(len(row["slate"]["items"]) == 1 for row in rows)
            for path in ("/v1/items/nothing", "/v1/users/nobody"):
                async with client.get(path) as response:
                    assert response.status == 404
            for path, body, said in (
                ("/v1/recommendations", {"filter": {"genres": ["jazz"]}}, "genres"),
                ("/v1/recommendations", {"pins": {"i1": 10}}, "the last of k = 10 places is 9"),
                ("/v1/similar", {"items": []}, "length >= 1"), ("/v1/similar", {"items": ["i0"], "kk": 1}, "no such field"),
            ):  # fmt: skip
                async with client.post(path, json=body) as refused:
                    assert refused.status == 400 and said in (await refused.text())

    asyncio.run(main())
