"""The worker against a real broker, in the test's own loop: what comes in, what goes out, what is refused."""
from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from online_model.features import Example, Reversal, Tick
from replay.simulator.open_loop import simulate_log
from replay.simulator.world import WorldSettings
from streams.core.join import events
from streams.core.join.catalog import Catalog
from streams.core.join.decode import decode
from streams.core.join.events import Reason
from streams.core.join.items import Item
from streams.core.join.partition import Partition
from streams.core.join.records import KIND, Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.state.digest import digest
from streams.core.state.tables import Tables
from streams.kafka_io import dead_letters, messages
from streams.kafka_io.gaps import LogReader
from streams.kafka_io.offset_guard import OffsetError
from streams.kafka_io.send import send, send_closing
from streams.kafka_io.topics import TopicSettings, names
from streams.learner.process import LearnerProcess
from streams.worker.process import Worker
from streams.worker.settings import IngestSettings, WorkerSettings
from streams.worker.stores import StoreSettings, discard, partition_path
from tests.faults.harness import consumed, example_records, replayed, values

pytestmark = pytest.mark.broker

MakeTopics = Callable[[int], TopicSettings]


def _settings(topics: TopicSettings, folder: Path, slot: str = "0", **ingest: bool) -> WorkerSettings:
    base = WorkerSettings(topics=topics, stores=StoreSettings(data_dir=str(folder / "state")), ingest=IngestSettings(**ingest))
    return msgspec.structs.replace(base, faust=msgspec.structs.replace(base.faust, slot=slot))


P = TypeVar("P", Worker, LearnerProcess)


@asynccontextmanager
async def running(process: P) -> AsyncIterator[P]:
    """Stopped whatever happens: one that was left behind would disturb the tests that follow."""
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


def _running(settings: WorkerSettings) -> AbstractAsyncContextManager[Worker]:
    return running(Worker(settings))


async def _until(true: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.02)


async def _taken(worker: Worker, records: int, partition: int = 0) -> None:
    await _until(lambda: partition in worker.ingest.owned and worker.ingest.owned[partition].store.stored >= records - 1)
    await _until(lambda: worker.ingest.unsent == 0)


async def _produce(topics: TopicSettings, *records: bytes | None, partition: int = 0, key: bytes | None = None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=topics.bootstrap, max_request_size=32 << 20)
    await producer.start()
    try:
        for value in records:
            await producer.send_and_wait(names(topics.prefix).events, value, key=key, partition=partition)
    finally:
        await producer.stop()


def _event(ts: int, user: str = "u", item: str = "i", action: str = "play", **more: object) -> bytes:
    return json.dumps({"ts": ts, "user_id": user, "item_id": item, "action": action, **more}).encode()


def _now() -> int:
    return int(time.time() * 1000)


def test_a_sent_log_is_its_replay_state_and_examples_alike(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    log = [row.rstrip(b"\n") for row in simulate_log(WorldSettings(), 3_000, seed=3)]

    async def main() -> dict[str, str]:
        sent = await send(topics, [(row, None) for row in log])
        async with _running(_settings(topics, tmp_path)) as worker:
            await _taken(worker, sent.records)
            return digest(worker.ingest.owned[0].store.rows())

    wanted, wanted_examples = replayed(log, PartitionSettings())
    assert asyncio.run(main()) == wanted
    assert example_records(topics)[0] == [o.record for o in wanted_examples]


def _told(record: object) -> object:
    """A record of `examples` without what other partitions' events move: popularity, what is near to what, when a window closed."""
    if not isinstance(record, Example | Reversal):
        return None
    f = record.features
    kept = f.counts[: 4 * 6] + f.counts[2 * 4 * 6 :]  # scopes of 6 float32: user, item, user x domain, user x category
    features = msgspec.structs.replace(f, popularity=b"", counts=kept, followed=0.0, near=0.0)
    closed_window = record.arrival_ms == 0  # as of its partition's watermark
    return msgspec.structs.replace(record, features=features, ts=0 if closed_window else record.ts)


def test_four_partitions_and_two_workers_give_the_users_of_one_replay(topic_settings: MakeTopics, tmp_path: Path) -> None:
    """Users and examples are those of one partition; popularity is exchanged and ends equal within 1e-9."""
    topics = topic_settings(4)
    log = [row.rstrip(b"\n") for row in simulate_log(WorldSettings(), 1_500, seed=4)]
    alone = Partition(PartitionSettings(), Tables.over(), Catalog())
    made = [
        o.record
        for n, row in enumerate(log)
        for o in alone.apply([Arrived(n, i, getattr(r, "ts", 0), r, f"{n}-{i}") for i, r in enumerate(decode(row))]).examples
    ]
    made += [o.record for o in alone.apply([Arrived(len(log), 0, 0, events.Tick(last=True), "")]).examples]
    at = alone.progress.watermark_ms
    items = [int.from_bytes(key, "big") for key, _ in alone.tables.popularity.rows()]
    wanted = {item: pytest.approx(alone.item_counts(item, at), rel=1e-9, abs=1e-12) for item in items}

    async def main() -> dict[bytes, bytes]:
        await send(topics, [(row, None) for row in log])
        async with _running(_settings(topics, tmp_path, "a")) as first, _running(_settings(topics, tmp_path, "b")) as second:
            both = (first, second)
            reader = LogReader(topics.bootstrap)
            await reader.start()
            ends = {p: (await reader.bounds(names(topics.prefix).events, p))[1] for p in range(4)}
            await reader.stop()
            owned = lambda: {p: o for w in both for p, o in w.ingest.owned.items()}  # noqa: E731
            await _until(lambda: len(owned()) == 4 and len(first.ingest.owned) == 2, 60)
            await _until(lambda: all(o.store.stored == ends[p] - 1 for p, o in owned().items()), 60)
            await _until(lambda: first.ingest.unsent == 0 and second.ingest.unsent == 0)
            assert sum(o.counted.get("misplaced_records", 0) for o in owned().values()) == 0
            for o in owned().values():  # every worker comes to know of all partitions
                await _until(lambda o=o: all(o.core.item_counts(item, at) == figures for item, figures in wanted.items()))  # type: ignore[misc]
            return {k: v for o in owned().values() for k, v in o.store.rows()["users"]}

    assert asyncio.run(main()) == dict(alone.tables.users.rows())
    got, _ = example_records(topics)
    assert Counter(map(_told, got)) - Counter({None: len(got)}) == Counter(map(_told, made)) - Counter({None: len(made)})
    assert len(items) > 50
    assert sum(isinstance(r, Reversal) for r in made) > 10


def test_every_bad_record_is_a_dead_letter_once_and_every_good_one_is_learned(topic_settings: MakeTopics, tmp_path: Path) -> None:
    """Each kind alone, and between two good ones in an array; 20 MB: below."""
    topics = topic_settings(1)
    now = _now()
    numbers = itertools.count()
    good = lambda: _event(now, item=f"i{next(numbers)}", event_id=f"g{next(numbers)}")  # noqa: E731
    first = good()
    bad: list[tuple[Reason, bytes]] = [
        (Reason.MALFORMED, b'{"ts": 1, "user_id":'),
        (Reason.MALFORMED, _event(now, user="#").replace(b'"#"', b'"\xff\xfe"')),
        (Reason.MALFORMED, _event(now, propensity=float("nan"))),
        (Reason.WRONG_TYPE, _event(now, user="#").replace(b'"#"', b"true")),
        (Reason.WRONG_TYPE, b"null"),
        (Reason.UNKNOWN_ACTION, _event(now, action="stare")),
        (Reason.OUT_OF_BOUNDS, _event(now, played_ms=-5)),
        (Reason.OUT_OF_BOUNDS, _event(now, duration_ms=10**15)),
        (Reason.TOO_DEEP, b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
        (Reason.LATE, _event(now - 10 * 3_600_000, event_id="late")),
        (Reason.FUTURE, _event(now + 3_600_000, event_id="future")),
        (Reason.DUPLICATE, first),
        (Reason.EMPTY, b""),
    ]
    values_ = [first]
    wanted: list[tuple[int, int, Reason, bytes]] = []
    for reason, raw in bad:
        wanted.append((len(values_), 0, reason, raw))
        wanted.append((len(values_) + 1, 1, reason, raw))
        values_ += [raw, b"[" + b",".join([good(), raw, good()]) + b"]", good()]

    async def main() -> dict[str, int]:
        await _produce(topics, *values_)
        async with _running(_settings(topics, tmp_path)) as worker:
            await _taken(worker, len(values_))
            return worker.ingest.owned[0].core.progress.counted

    assert asyncio.run(main())["events"] == 1 + 3 * len(bad)
    learned = [r for r in example_records(topics)[0] if isinstance(r, Example)]
    assert len({r.features.fields for r in learned}) == len(learned) == 1 + 3 * len(bad)
    letters = list(dead_letters.read(topics, pytest.fail))
    assert {(letter.topic, letter.partition) for letter in letters} == {(names(topics.prefix).events, 0)}
    assert [(letter.offset, letter.index, letter.reason, letter.original) for letter in letters] == [
        (offset, index, reason, raw[: 64 << 10]) for offset, index, reason, raw in wanted
    ]
    assert [letter.length for letter in letters] == [len(raw) for _, _, _, raw in wanted]


def test_20_mb_in_one_record_is_a_dead_letter_alone_and_between_good_ones(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    wide = msgspec.structs.replace(topics, prefix=f"{topics.prefix}-wide", max_event_bytes=32 << 20)
    huge = _event(_now(), context={"x": "y" * (20 << 20)})

    async def main() -> int:
        from streams.kafka_io import topics as of

        of.create(wide)
        between = b"[" + b",".join([_event(_now(), event_id="before it"), huge, _event(_now(), event_id="behind it")]) + b"]"
        await _produce(wide, huge, _event(_now(), event_id="after"), between)
        async with _running(_settings(wide, tmp_path)) as worker:
            await _taken(worker, 3)
            return worker.ingest.owned[0].core.progress.counted["events"]

    assert asyncio.run(main()) == 3
    letters = list(dead_letters.read(wide, pytest.fail))
    assert [(letter.offset, letter.index) for letter in letters] == [(0, 0), (2, 1)]
    for letter in letters:
        assert (letter.reason, letter.length, len(letter.original)) == (Reason.OVERSIZED, len(huge), 64 << 10)


@pytest.mark.alone
def test_after_quiet_a_tick_closes_what_is_open_and_then_all_is_still(topic_settings: MakeTopics, tmp_path: Path) -> None:
    """play ── 200 ms ── tick, then one a second while the join is open (window 2 s) ── closed: no more ticks."""
    topics = topic_settings(1)
    settings = msgspec.structs.replace(_settings(topics, tmp_path), partition=PartitionSettings(join_window_ms=2_000))

    async def main() -> tuple[int, int]:
        async with _running(settings) as worker:
            await _until(lambda: bool(worker.ingest.owned))
            await _produce(topics, _event(_now()))
            await _until(lambda: worker.ingest.owned[0].core.progress.watermark_ms > 0)
            await _until(lambda: worker.ingest.owned[0].core.progress.open_lists == 0)
            await asyncio.sleep(0.5)
            written = worker.ticks.written
            await asyncio.sleep(2.5)
            return written, worker.ticks.written

    written, later = asyncio.run(main())
    assert 3 <= written <= 4  # at 0.2, 1.2 and 2.2 s, the last of which closes the window
    assert later == written
    records = example_records(topics)[0]
    assert isinstance(records[0], Example)
    assert isinstance(records[1], Tick)
    assert isinstance(records[-1], Tick)
    # another consumer of `events` that waits for silence passes over what carries the header, without a look at the value
    assert [kind for _, kind in _kinds(topics)] == [None, *[b"tick"] * later]


def test_what_opens_and_closes_a_sent_log_says_so_in_a_header(topic_settings: MakeTopics) -> None:
    topics = topic_settings(1)
    asyncio.run(send(topics, [(_event(_now()), None)]))
    asyncio.run(send_closing(topics))
    kinds = [(json.loads(value).get("kind"), kind) for value, kind in _kinds(topics)]
    assert kinds == [("log-begin", b"log-begin"), (None, None), ("tick", b"tick"), ("tick", b"tick")]


def _kinds(topics: TopicSettings) -> list[tuple[bytes, bytes | None]]:
    """Value and header of every record of `events`."""
    return [(r.value, dict(r.headers).get(KIND)) for r in consumed(topics, names(topics.prefix).events)]


def test_inside_of_a_log_the_worker_writes_no_ticks(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)

    async def main() -> int:
        await _produce(topics, b'{"kind": "log-begin", "ts": 0}', _event(_now()))
        async with _running(_settings(topics, tmp_path)) as worker:
            await _taken(worker, 2)
            await asyncio.sleep(1.5)
            return worker.ticks.written

    assert asyncio.run(main()) == 0


def test_a_catalog_sent_before_the_log_is_known_to_the_first_event(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    items = [Item(item_id="i", artist_id="a", categories=("jazz",)), Item(item_id="gone")]

    async def main() -> tuple[int, bool]:
        await send(topics, [(_event(1_700_000_000_000), None)], items)
        producer = AIOKafkaProducer(bootstrap_servers=topics.bootstrap)
        await producer.start()
        await producer.send_and_wait(names(topics.prefix).catalog, None, key=b"gone")
        await producer.stop()
        async with _running(_settings(topics, tmp_path)) as worker:
            await _taken(worker, 3)
            return len(worker.catalog), worker.ready

    assert asyncio.run(main()) == (1, True)
    example = example_records(topics)[0][0]
    assert isinstance(example, Example)
    fields = [int.from_bytes(example.features.fields[8 * k : 8 * k + 8], "little") for k in range(8)]
    assert fields[2] != 0  # artist
    assert fields[3] != 0  # category


def test_a_gap_without_records_is_legal_and_counted(topic_settings: MakeTopics, tmp_path: Path) -> None:
    """A producer with transactions leaves markers, which take offsets and hold nothing."""
    topics = topic_settings(1)

    async def main() -> dict[str, int]:
        producer = AIOKafkaProducer(bootstrap_servers=topics.bootstrap, transactional_id=topics.prefix)
        await producer.start()
        for n in range(3):
            async with producer.transaction():
                await producer.send_and_wait(names(topics.prefix).events, _event(_now(), event_id=str(n)), partition=0)
        await producer.stop()
        async with _running(_settings(topics, tmp_path)) as worker:
            await _taken(worker, 5)
            owned = worker.ingest.owned[0]
            return owned.counted | {"events": owned.core.progress.counted["events"]}

    counted = asyncio.run(main())
    assert counted["events"] == 3
    assert counted["empty_offsets"] == 2


def test_a_store_that_was_lost_is_built_anew_from_the_log(topic_settings: MakeTopics, tmp_path: Path) -> None:
    """The group has committed, the store begins at nothing: reading goes back to where the store stands."""
    topics = topic_settings(1)
    log = [row.rstrip(b"\n") for row in simulate_log(WorldSettings(), 1_000, seed=5)]
    settings = _settings(topics, tmp_path)

    async def main() -> tuple[dict[str, str], dict[str, str]]:
        sent = await send(topics, [(row, None) for row in log], array_records=20)
        found = []
        for _ in range(2):
            async with _running(settings) as worker:
                await _taken(worker, sent.records)
                await asyncio.sleep(1.2)  # so that the group has committed
                found.append(digest(worker.ingest.owned[0].store.rows()))
            discard(partition_path(settings.stores, names(topics.prefix).events, 0))
        return found[0], found[1]

    first, second = asyncio.run(main())
    assert first == second == replayed(log, PartitionSettings())[0]
    kept, dropped = example_records(topics)
    assert dropped == len(kept)  # all came twice, and are taken once


def test_lost_offsets_are_named_and_refused_until_accepted(topic_settings: MakeTopics, tmp_path: Path) -> None:
    from kafka import KafkaAdminClient
    from kafka import TopicPartition as At

    topics = topic_settings(1)

    async def first() -> None:
        await _produce(topics, *[_event(_now(), event_id=str(n)) for n in range(3)])
        async with _running(_settings(topics, tmp_path)) as worker:
            await _taken(worker, 3)

    asyncio.run(first())

    async def more() -> None:
        await _produce(topics, *[_event(_now(), event_id=str(n)) for n in range(3, 10)])

    asyncio.run(more())
    admin = KafkaAdminClient(bootstrap_servers=topics.bootstrap)
    admin.delete_records({At(names(topics.prefix).events, 0): 8})
    admin.close()

    async def again(accept: bool) -> int:
        worker = Worker(_settings(topics, tmp_path, accept_loss=accept))
        await worker.delivery.start()
        await worker.ingest.start()
        try:
            from faust.types import TP

            return (await worker.ingest.assigned([TP(names(topics.prefix).events, 0)], {}))[TP(names(topics.prefix).events, 0)]
        finally:
            await worker.ingest.stop()
            await worker.delivery.stop()

    with pytest.raises(OffsetError, match=r"offsets \d to 7 are lost.*--set ingest.accept_loss=true"):
        asyncio.run(again(False))
    assert asyncio.run(again(True)) == 8


def test_a_store_of_another_topic_incarnation_is_refused(topic_settings: MakeTopics, tmp_path: Path) -> None:
    from faust.types import TP

    topics = topic_settings(1)
    settings = _settings(topics, tmp_path)

    async def main() -> None:
        worker = Worker(settings)
        await worker.delivery.start()
        await worker.ingest.start()
        try:
            store = worker.ingest.opener.store(0, 0.0)
            store.commit({}, [], 99)
            store.close()
            await worker.ingest.assigned([TP(names(topics.prefix).events, 0)], {})
        finally:
            await worker.ingest.stop()
            await worker.delivery.stop()

    with pytest.raises(OffsetError, match="is at offset 99, but .* ends at 0"):
        asyncio.run(main())


def test_a_record_in_the_wrong_partition_is_counted(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(2)

    async def main() -> dict[int, int]:
        for partition in (0, 1):
            await _produce(topics, _event(_now(), user="u", event_id=str(partition)), partition=partition, key=b"u")
        async with _running(_settings(topics, tmp_path)) as worker:
            await _taken(worker, 1, 0)
            await _taken(worker, 1, 1)
            return {p: o.counted.get("misplaced_records", 0) for p, o in worker.ingest.owned.items()}

    assert sorted(asyncio.run(main()).values()) == [0, 1]


def test_popularity_is_exchanged_and_ends_as_one_partition_has_it(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(2)
    users = [f"u{n}" for n in range(40)]
    first = 1_700_000_000_000
    log = [(_event(first + 1_000 * n, user=user, event_id=user), None) for n, user in enumerate(users)]
    from streams.core.join import keys

    item, at = keys.key("item", "i"), first + 100_000

    async def main() -> list[tuple[float, ...]]:
        await send(topics, log)
        async with _running(_settings(topics, tmp_path)) as worker:
            await _taken(worker, 1, 0)
            await _taken(worker, 1, 1)
            await _until(lambda: all(not o.core.progress.in_log and o.core.progress.watermark_ms > 0 for o in worker.ingest.owned.values()))
            await _until(lambda: all(o.core.item_counts(item, at)[0] > 30 for o in worker.ingest.owned.values()))
            await asyncio.sleep(0.3)
            return [tuple(o.core.item_counts(item, at)) for o in worker.ingest.owned.values()]

    # 40 plays, one a second, half-life of an hour: sum of 2^-((at - t) / 3,600,000)
    wanted = sum(2.0 ** (-(at - (first + 1_000 * n)) / 3_600_000) for n in range(40))
    both = asyncio.run(main())
    assert both[0] == pytest.approx(both[1], rel=1e-9)
    assert both[0][0] == pytest.approx(wanted, rel=1e-9)


def test_outbox_rows_found_at_start_are_sent_before_anything_else(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    settings = _settings(topics, tmp_path)

    async def main() -> None:
        worker = Worker(settings)
        store = worker.ingest.opener.store(0, 0.0)
        store.commit({}, [messages.encode(messages.Out("examples", 0, None, b"left from before"))], -1)
        store.close()
        async with _running(settings) as running:
            await _until(lambda: 0 in running.ingest.owned)
            assert running.ingest.owned[0].store.outbox() == []

    asyncio.run(main())
    assert list(values(topics, names(topics.prefix).examples)) == [b"left from before"]
