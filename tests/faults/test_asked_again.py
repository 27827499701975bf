"""Asked again at once: what a worker has just served, or taken over HTTP, does not come again, wherever its state is by then.

list ── exposure acknowledged ── next list                        (some ms)
                 └───────────────────────── state has the exposure  (some ms, or minutes where ingest is behind)
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.core.serving.recommend import RecommendSettings
from streams.kafka_io.topics import TopicSettings
from tests.integration.test_service import Client, ask, ask_page, ids, play, put, send, series, serving, taken, until

pytestmark = pytest.mark.broker

SONGS = [{"item_id": f"i{n}", "domain": "song", "categories": [f"c{n % 5}"]} for n in range(300)]
EVENING = RecommendSettings(explore_share=0.0)
MakeTopics = Callable[[int], TopicSettings]


def on_page(page: dict[str, Any]) -> list[str]:
    return [item["item_id"] for module in page["modules"] for item in module["items"]]


async def session(client: Client, user: str) -> list[str]:
    """What one user is served without a pause: lists, two at once, pages, plays of what nobody served."""
    shown = ids(await ask(client, user_id=user, k=10))
    for _ in range(3):
        played = [song["item_id"] for song in SONGS if song["item_id"] not in shown][-2:]
        await send(client, play(user, str(played[0]), full=True), play(user, str(played[1])))
        shown += map(str, played)
        for answer in await asyncio.gather(*(ask(client, user_id=user, k=10) for _ in range(2))):
            shown += ids(answer)
    page = await ask_page(client, user_id=user, modules=3, per_module=2, strategy="blend-0")
    shown += on_page(page)
    shown += ids(await ask(client, user_id=user, k=5))
    return shown


def test_nothing_comes_again_however_soon_the_user_asks(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)

    async def main() -> None:
        async with serving(topics, tmp_path, recommend=EVENING, acknowledged_within_s=60.0) as (worker, _, client):
            await put(client, *SONGS)
            await until(lambda: len(worker.catalog) == len(SONGS))
            owned, repeated, served = worker.ingest.owned[0], 0, 0
            for n in range(4):
                shown = await session(client, f"u{n}")
                served, repeated = served + len(shown), repeated + len(shown) - len(set(shown))
            print(f"ingest goes on: {repeated} of {served} come again")
            assert (repeated, served) == (0, 4 * 87)
            async with owned.lock:  # the state stands still
                stored = owned.store.stored
                shown = await session(client, "v")
                at_once = [ids(answer) for answer in await asyncio.gather(*(ask(client, user_id="w", k=10) for _ in range(4)))]
                counted = await series(client)
                assert owned.store.stored == stored
            print(f"ingest stands still: {len(shown) - len(set(shown))} of {len(shown)}, four at once: {len(set(sum(at_once, [])))} of 40")
            assert len(set(shown)) == 87 and len(set(sum(at_once, []))) == 40
            assert counted['segue_unapplied_records{partition="0"}'] >= 9 + 6 + 4
            await until(lambda: taken(worker, "exposures") == 4 * 9 + 9 + 4 and taken(worker) == 5 * 6)
            assert len(owned.unapplied) == 0 and owned.unapplied.forgotten == 0
            assert not set(ids(await ask(client, user_id="v", k=5))) & set(shown)

    asyncio.run(main())


def test_what_is_not_remembered_over_the_window_is_not_repeated_in_silence(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)

    async def main() -> None:
        async with serving(topics, tmp_path, recommend=EVENING, acknowledged_within_s=60.0) as (worker, _, client):
            await put(client, *SONGS[:140])
            await until(lambda: len(worker.catalog) == 140)
            seen, in_silence = set[str](), 0
            for n in range(8):
                answer = await ask(client, user_id="ada", k=20)
                again = [item for item in ids(answer) if item in seen]
                assert "repeats" in answer["flags"] or (not again and n < 5)
                in_silence += len(again) if "repeats" not in answer["flags"] else 0
                seen |= set(ids(answer))
            await send(client, *[play("bob", f"i{n}") for n in range(130)])
            answer = await ask(client, user_id="bob", k=20)
            again = [item for item in ids(answer) if int(item[1:]) < 130]
            print(f"in silence: {in_silence}; of 130 plays sent {len(again)} of 20 come again, flags {answer['flags']}")
            assert "repeats" in answer["flags"]
            page = await ask_page(client, user_id="bob", modules=2, per_module=2)
            assert "repeats" in page["flags"]
            counted = await series(client)
            assert counted['segue_answer_flags_total{flag="repeats"}'] == 3 + 2
            assert (await ask(client, user_id="cleo", k=20))["flags"] == ["cold"]

    asyncio.run(main())
