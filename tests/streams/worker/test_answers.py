"""A user's state as a list is made of it: as it was, whole, whatever happens to the user meanwhile. And who waits for whom."""
from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event, Exposure
from streams.core.join.items import Item
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.serving.explain import RecentTraces
from streams.core.serving.pages import PageRequest, PageSettings
from streams.core.serving.recommend import RecommendSettings, SlateRequest
from streams.core.state.rows import UserState
from streams.core.state.tables import Tables
from streams.kafka_io.topics import TopicSettings
from streams.worker.answers import ServingThread, _copied
from streams.worker.owned import OwnedPartition
from streams.worker.replica import Replica
from streams.worker.settings import ReplicaSettings
from streams.worker.unapplied import UnappliedRecord
from tests.streams.core.learning.test_learn import SMALL

START = 1_700_000_000_000


def test_every_field_of_a_user_is_copied_and_none_moves_with_the_original() -> None:
    state = UserState()
    for n, field in enumerate(msgspec.structs.fields(UserState)):  # a new field is filled here too, whatever it is
        kind = type(getattr(state, field.name))
        setattr(state, field.name, {n: b"then"} if kind is dict else b"then%d" % n)
    then = msgspec.msgpack.encode(state)
    copied = _copied(state)
    assert copied is not state and msgspec.msgpack.encode(copied) == then
    for field in msgspec.structs.fields(UserState):
        value = getattr(state, field.name)
        if isinstance(value, dict):
            value[99] = b"now"
        else:
            setattr(state, field.name, b"now")
    assert msgspec.msgpack.encode(copied) == then != msgspec.msgpack.encode(state)


def test_a_change_waits_for_the_list_that_is_being_made_and_not_for_those_behind_it() -> None:
    done, free = list[str](), threading.Event()

    def make(name: str) -> str:
        assert free.wait(30)
        done.append(name)
        return name

    async def main() -> None:
        with ThreadPoolExecutor(1) as thread:
            model = Replica(TopicSettings(), ReplicaSettings(), SMALL, thread=thread)
            serving = ServingThread(RecommendSettings(), PageSettings(), PartitionSettings(), model, thread, RecentTraces(1, 1_000))

            async def request(name: str) -> str:
                async with serving._requests:
                    return await serving._in_thread(make, name)

            requests = [asyncio.create_task(request(name)) for name in ("first", "second", "third", "fourth")]
            await asyncio.sleep(0)
            turn = asyncio.create_task(serving.turn())
            requests[2].cancel()  # its client is gone
            serving._submit(done.append, "change")  # as items, popularity, and versions of the model come
            free.set()
            await turn
            assert done[:1] == ["first"]
            assert await requests[3] == "fourth"
            await serving.turn()  # nothing is being made: nobody waits

    asyncio.run(main())
    assert done == ["first", "change", "second", "fourth"]


class Asked:
    """A thread that serves users of one partition, whose records wait in `log` until `catch_up`."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        model, partition = Replica(TopicSettings(), ReplicaSettings(), SMALL, thread=thread), PartitionSettings()
        self.serving = ServingThread(
            RecommendSettings(explore_share=0.0), PageSettings(), partition, model, thread, RecentTraces(9, 99_999)
        )
        catalog = Catalog()
        items = [catalog.put(Item(item_id=f"i{n}", categories=(f"c{n % 3}",))) for n in range(90)]
        self.serving.update_items([(item, START) for item in items])
        self.owned = OwnedPartition(0, None, None, Partition(partition, Tables.over(), catalog), None)  # type: ignore[arg-type]
        self.log: list[Event | Exposure] = []
        self.applied = 0

    async def slate(self, user: str | None, now: int) -> list[str]:
        (slate, exposure, _), unapplied = await self.serving.slate(SlateRequest(user_id=user), f"r{now}", self.owned, now)
        self.take(exposure, unapplied)
        return [item.item_id for item in slate.items]

    async def page(self, user: str, now: int) -> list[str]:
        request = PageRequest(user_id=user, modules=3, per_module=3, strategy="blend-0")
        (page, exposure, _), unapplied = await self.serving.page(request, f"r{now}", self.owned, now)
        self.take(exposure, unapplied)
        return [item.item_id for module in page.modules for item in module.items]

    def take(self, record: Event | Exposure | None, unapplied: UnappliedRecord | None = None) -> None:
        """Kafka has the record."""
        if record is not None:
            place = len(self.log), 0
            if unapplied is not None:
                unapplied.place = place
            else:
                self.owned.unapplied.put(record, record.ts, place)
            self.log.append(record)

    def catch_up(self) -> None:
        for offset, record in enumerate(self.log[self.applied :], self.applied):
            self.owned.core.apply([Arrived(offset, 0, record.ts, record, f"id{offset}")])
            self.owned.unapplied.applied = offset, 0
        self.applied = len(self.log)


@pytest.mark.parametrize("behind", [True, False])
def test_what_was_just_served_or_taken_is_not_served_again_wherever_the_state_is(behind: bool) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as thread:
            asked = Asked(thread)

            async def now(*several: Awaitable[list[str]]) -> list[str]:
                served = [item for each in await asyncio.gather(*several) for item in each]
                if not behind:
                    asked.catch_up()
                return served

            seen = await now(*(asked.slate("ada", START) for _ in range(4)))  # at once
            asked.take(Event(ts=START + 1, user_id="ada", item_id="i77", action=Action.PLAY))
            seen += await now(asked.page("ada", START + 2), asked.page("ada", START + 2))
            seen += await now(asked.slate("ada", START + 3))
            assert len(seen) == 40 + 18 + 10 == len({*seen, "i77"}) - ("i77" not in seen)
            assert await now(asked.slate("bob", START + 4)) == await now(asked.slate(None, START + 4))  # what ada had is new to others
            assert len(asked.owned.unapplied) == (9 if behind else 0)
            asked.catch_up()
            assert len(asked.owned.unapplied) == 0
            rest = await now(asked.slate("ada", START + 5), asked.slate("ada", START + 5), asked.slate("ada", START + 5))
            assert len(rest) == 90 - len({*seen, "i77"}) and not set(rest) & {*seen, "i77"}  # the last of these lists is short

    asyncio.run(main())
