"""A user's state as a list is made of it: as it was, whole, whatever happens to the user meanwhile. And who waits for whom."""
from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec

from streams.core.join.settings import PartitionSettings
from streams.core.serving.explain import RecentTraces
from streams.core.serving.pages import PageSettings
from streams.core.serving.recommend import RecommendSettings
from streams.core.state.rows import UserState
from streams.kafka_io.topics import TopicSettings
from streams.worker.answers import ServingThread, _copied
from streams.worker.replica import Replica, ReplicaSettings
from tests.streams.core.learning.test_learn import SMALL


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
            requests = [asyncio.create_task(serving._request(make, name)) for name in ("first", "second", "third", "fourth")]
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
