"""Around `segue send`: whether the partitions would take a log, looked at before anything is sent, and what became of its rows.

A partition's watermark only grows: once live traffic has moved it to now, a log of last year is late as a whole. Afterwards: a
worker acknowledges a record when Kafka has all its effects, dead letters among them. So once its group has committed what was
sent, the dead letters of these offsets are complete, and what is not among them was accepted.
"""
from __future__ import annotations

import asyncio
import datetime
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from streams.core.join.admission import Admission
from streams.core.join.events import Event, Exposure, Tick
from streams.core.join.items import Item
from streams.core.join.records import arrivals
from streams.core.join.settings import PartitionSettings
from streams.core.state.rows import Progress
from streams.core.state.tables import Tables
from streams.kafka_io.send import Row, Sent, send
from streams.kafka_io.topics import ISOLATION, LARGEST_MESSAGE_BYTES, TopicSettings, names, partitioner

TAIL = 50  # newest records of a partition that are looked at: its newest times, which no worker may have told yet
TOLD = 2_000  # newest records of `metrics` among which the status of workers is looked for
STILL_S = 30.0  # without a commit that moves: the workers hang, or are busy with what came before
LOOK_S = 0.25
POLL_MS = 500
UNMERGED = 1 << 16  # offsets that are kept one by one

Places = Mapping[int, int]  # partition -> an offset, or a time


class LateLogError(ValueError):
    """The partitions would reject rows of the log as late; the message says how many, and what to do."""


class Report(Sent, frozen=True, kw_only=True):
    """What was sent, and what the workers made of it."""

    accepted: int | None  # None: not all is taken in
    rejected: dict[str, int]  # by reason
    waiting: int  # Kafka records up to the last one sent that no worker has taken in

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.rows:,} rows and {self.items:,} items in {self.records:,} Kafka records ({self.bytes:,} bytes)"
        rejected = ", ".join(f"{reason} {n:,}" for reason, n in self.rejected.items())
        if self.accepted is not None:
            yield f"accepted {self.accepted:,}" + (f"; rejected: {rejected} (`segue dead-letters` shows them)" if rejected else "")
        else:
            so_far = f"; rejected so far: {rejected}" if rejected else ""
            yield f"{self.waiting:,} Kafka records wait for a worker (`segue worker`), which accepts or rejects them{so_far}"


class _PartitionStatus(msgspec.Struct):
    stored: int = -1
    watermark_ms: int = -1


class _WorkerStatus(msgspec.Struct):
    """What `streams.status` writes, as far as it matters here."""

    kind: str = ""
    partitions: dict[int, _PartitionStatus] = {}


class _Letter(msgspec.Struct):
    """A dead letter, as far as it matters here."""

    reason: str
    topic: str
    partition: int
    offset: int
    index: int


class _Row(msgspec.Struct):
    ts: int
    user_id: str = ""


_status, _letter, _row = msgspec.json.Decoder(_WorkerStatus), msgspec.json.Decoder(_Letter), msgspec.json.Decoder(_Row)
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Offsets:
    """Offsets by partition, kept as ranges.

    >>> offsets = Offsets()
    >>> for offset in (7, 5, 6, 9):
    ...     offsets.add(0, offset)
    >>> [offset for offset in range(12) if offsets.has(0, offset)], offsets.ends()
    ([5, 6, 7, 9], {0: 10})
    """

    def __init__(self) -> None:
        self._loose: dict[int, list[int]] = {}
        self._ranges: dict[int, list[tuple[int, int]]] = {}  # [first, end), ascending, apart

    def add(self, partition: int, offset: int) -> None:
        """Add one."""
        loose = self._loose.setdefault(partition, [])
        loose.append(offset)
        if len(loose) >= UNMERGED:
            self._merged(partition)

    def has(self, partition: int, offset: int) -> bool:
        """Whether it was added."""
        ranges = self._merged(partition)
        at = bisect_right(ranges, offset, key=lambda one: one[0]) - 1
        return at >= 0 and offset < ranges[at][1]

    def ends(self) -> dict[int, int]:
        """Behind the last one, by partition."""
        return {partition: self._merged(partition)[-1][1] for partition in self._loose}

    def _merged(self, partition: int) -> list[tuple[int, int]]:
        loose, ranges = self._loose.get(partition), self._ranges.setdefault(partition, [])
        if loose:
            merged: list[tuple[int, int]] = []
            for first, end in sorted([*ranges, *((offset, offset + 1) for offset in loose)]):
                if merged and first <= merged[-1][1]:
                    merged[-1] = merged[-1][0], max(end, merged[-1][1])
                else:
                    merged.append((first, end))
            ranges[:] = merged
            loose.clear()
        return ranges


class SentLog(NamedTuple):
    """A log in Kafka, of which it is not known yet what became of it."""

    sent: Sent
    written: Offsets
    letters_from: int  # where its dead letters begin


async def send_log(
    topics: TopicSettings, settings: PartitionSettings, rows: Callable[[], Iterable[Row]], items: Iterable[Item], source: str,
    progress: Callable[[int], None],
) -> SentLog:  # fmt: skip
    """Look, then send. `rows` gives them anew at each call, `progress` gets how many are sent.

    Raises LateLogError where the partitions would reject rows as late; then nothing is sent.
    """
    refuse_late((raw for raw, _ in rows()), await watermarks(topics, settings), topics, settings, source)
    written, letters = Offsets(), _letters(topics)
    async with _consuming(topics) as consumer:
        letters_from = (await consumer.end_offsets([letters]))[letters]
    return SentLog(await send(topics, rows(), items, source, progress, written=written.add), written, letters_from)


async def outcome(topics: TopicSettings, log: SentLog, waiting: Callable[[int], None], still_s: float = STILL_S) -> Report:
    """Wait for the workers, as long as there are some and they go on; `waiting` gets how many Kafka records are left."""
    left = await _await_workers(topics, log.written.ends(), waiting, still_s)
    rejected = await _rejected(topics, log)
    accepted = None if left else log.sent.events - sum(rejected.values())
    return Report(**msgspec.structs.asdict(log.sent), accepted=accepted, rejected=dict(sorted(rejected.items())), waiting=left)


async def watermarks(topics: TopicSettings, settings: PartitionSettings) -> dict[int, int]:
    """The watermark of each partition that has one, as its worker told it last, or its newest records give it."""
    t = names(topics.prefix)
    at, metrics = [TopicPartition(t.events, number) for number in range(topics.partitions)], TopicPartition(t.metrics, 0)
    async with _consuming(topics) as consumer:
        ends = await consumer.end_offsets(at)
        newest = await _newest(consumer, dict.fromkeys(at, TAIL) | {metrics: TOLD})
    found = {one.partition: _watermark(newest[one], settings) for one in at}
    for number, status in (row for record in newest[metrics] for row in _told(record).items()):
        if number in found and status.stored < ends[at[number]]:  # else it is of an earlier topic of this name
            found[number] = max(found[number], status.watermark_ms)
    return {number: watermark_ms for number, watermark_ms in found.items() if watermark_ms > 0}


def refuse_late(rows: Iterable[bytes], watermarks_ms: Places, topics: TopicSettings, settings: PartitionSettings, source: str) -> None:
    """Raise LateLogError where some of the rows would be late as the partitions stand. Rows are read only where one has a watermark."""
    partition, bounds = partitioner(topics.events_partitioner), {n: ms - settings.allowed_lateness_ms for n, ms in watermarks_ms.items()}
    n = late = missed = 0
    newest = -1
    for raw in rows if bounds else ():
        n += 1
        try:
            row = _row.decode(raw)
        except _UNDECODABLE:
            continue  # rejected for that, whenever it comes
        number = partition(row.user_id.encode("utf-8", "surrogatepass"), topics.partitions)
        if row.ts < bounds.get(number, row.ts):
            late += 1
            if row.ts > newest:
                newest, missed = row.ts, number
    if late:
        at, minutes = f"{names(topics.prefix).events}-{missed}", settings.allowed_lateness_ms / 60_000
        raise LateLogError(
            f"{source}: {late:,} of {n:,} rows would be rejected as late (the newest of them: {_utc(newest)}), since event time in {at} is "
            f"at {_utc(watermarks_ms[missed])}, and rows may be {minutes:,.0f} min behind it (partition.allowed_lateness_ms). "
            "Nothing was sent. Send the log into a new system, before its first live event (--set topics.prefix=NAME, with stores and "
            "checkpoints of its own), or run it by `segue replay`"
        )


async def _await_workers(topics: TopicSettings, ends: Places, waiting: Callable[[int], None], still_s: float) -> int:
    """How many records are left when the workers' group has committed all up to `ends`, does not go on, or has no member."""
    group, at = f"{topics.prefix}-worker", {number: TopicPartition(names(topics.prefix).events, number) for number in ends}
    before, moved_at = -1, time.monotonic()
    admin = AIOKafkaAdminClient(bootstrap_servers=topics.bootstrap)
    await admin.start()
    try:
        while True:
            left, alive = sum(ends.values()), True
            try:
                committed = await admin.list_consumer_group_offsets(group, partitions=list(at.values()))
                left = sum(max(end - max(committed[at[n]].offset if at[n] in committed else 0, 0), 0) for n, end in ends.items())
                described = await admin.describe_consumer_groups([group])
                alive = any(members for response in described for _, _, _, _, _, members, *_ in response.groups)
            except KafkaError as error:
                if not error.retriable:
                    raise  # else its coordinator moves, or is chosen just now
            waiting(left)
            if left != before:
                before, moved_at = left, time.monotonic()
            if not left or not alive or time.monotonic() - moved_at > still_s:
                return left
            await asyncio.sleep(LOOK_S)
    finally:
        await admin.close()


async def _rejected(topics: TopicSettings, log: SentLog) -> Counter[str]:
    """Reasons of the dead letters of what was written. One that came again after a crash counts once: they come in their partition's
    order."""
    found: Counter[str] = Counter()
    newest: dict[int, tuple[int, int]] = {}
    async with _consuming(topics) as consumer:
        async for record in _records(consumer, {_letters(topics): log.letters_from}):
            try:
                letter = _letter.decode(record.value or b"")
            except _UNDECODABLE:
                continue  # of nobody of ours
            place = letter.offset, letter.index
            ours = letter.topic == names(topics.prefix).events and log.written.has(letter.partition, letter.offset)
            if ours and place > newest.get(letter.partition, (-1, -1)):
                newest[letter.partition] = place
                found[letter.reason] += 1
    return found


def _letters(topics: TopicSettings) -> TopicPartition:
    return TopicPartition(names(topics.prefix).dead_letter, 0)


def _watermark(records: Iterable[ConsumerRecord], settings: PartitionSettings) -> int:
    """What these records alone make of a partition's watermark; 0 and below: none."""
    progress = Progress()
    admission = Admission(settings, Tables.over().dedupe, progress)
    for r in records:
        for arrived in arrivals(f"{r.topic}-{r.partition}", r.offset, r.timestamp, list(r.headers), r.value):
            if isinstance(arrived.record, Event | Exposure):
                admission.admit(arrived.record, arrived)
            elif isinstance(arrived.record, Tick):
                admission.advance(arrived.record.ts)
    return progress.watermark_ms


def _told(record: ConsumerRecord) -> dict[int, _PartitionStatus]:
    """What a record of `metrics` tells of partitions: something where it is the status of a worker."""
    try:
        status = _status.decode(record.value or b"")
    except _UNDECODABLE:
        return {}
    return status.partitions if status.kind == "worker" else {}


async def _newest(consumer: AIOKafkaConsumer, sizes: Mapping[TopicPartition, int]) -> dict[TopicPartition, list[ConsumerRecord]]:
    """The records within the last offsets of each partition, so many as `sizes` says."""
    first, end = await consumer.beginning_offsets(list(sizes)), await consumer.end_offsets(list(sizes))
    out: dict[TopicPartition, list[ConsumerRecord]] = {one: [] for one in sizes}
    async for record in _records(consumer, {one: max(first[one], end[one] - n) for one, n in sizes.items()}):
        out[TopicPartition(record.topic, record.partition)].append(record)
    return out


async def _records(consumer: AIOKafkaConsumer, begin: Mapping[TopicPartition, int]) -> AsyncIterator[ConsumerRecord]:
    """The records of partitions, each from its offset to where it ends now. Once a consumer: one that is given other partitions and
    stopped before its fetcher has noticed does not stop."""
    ends = await consumer.end_offsets(list(begin))
    consumer.assign(list(begin))
    for at, offset in begin.items():
        consumer.seek(at, offset)
    while left := [at for at in begin if await consumer.position(at) < ends[at]]:
        for records in (await consumer.getmany(*left, timeout_ms=POLL_MS)).values():
            for record in records:
                yield record


@asynccontextmanager
async def _consuming(topics: TopicSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, for a look."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=topics.bootstrap, group_id=None, enable_auto_commit=False, isolation_level=ISOLATION,
        max_partition_fetch_bytes=LARGEST_MESSAGE_BYTES,
    )  # fmt: skip
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


def _utc(ms: int) -> str:
    try:
        return f"{datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"
