"""`segue send`: a log into `events`, as arrays of one partition each, and its catalog before it.

In this order: the items, acknowledged; `log-begin` in every partition; the rows, in log order within a partition; one
closing tick last in every partition. Between the two the worker writes no ticks, so the state follows from the rows of the
log alone. Arrival times are sent as a header: the broker's own would be the time of sending.
"""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from streams.core.join.decode import decode
from streams.core.join.events import LogBegin, Tick
from streams.core.join.items import Item
from streams.core.join.records import ARRIVAL, KIND, pack_arrivals
from streams.kafka_io.topics import LARGEST_MESSAGE_BYTES, TopicSettings, names, partitioner

ARRAY_RECORDS = 500  # of one Kafka record: as many as a flush takes
ARRAY_BYTES = 256 << 10
IN_FLIGHT = 64  # Kafka records sent and not acknowledged

Row = tuple[bytes, int | None]  # JSON of one record; its arrival, None = at its own ts
Written = Callable[[int, int], None]  # gets partition and offset


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """How much was sent."""

    items: int
    rows: int
    events: int  # in the rows: one that is an array holds several
    records: int  # Kafka records
    bytes: int


class _Peek(msgspec.Struct):
    user_id: str = ""


_peek = msgspec.json.Decoder(_Peek)


async def send(
    settings: TopicSettings, rows: Iterable[Row], items: Iterable[Item] = (), source: str = "",
    progress: Callable[[int], None] | None = None,
    array_records: int = ARRAY_RECORDS, written: Written | None = None,
) -> Sent:  # fmt: skip
    """Send a catalog and a log, and wait until the broker has them.

    `progress` gets the number of rows so far, `written` the place of each record in `events`.
    """
    async with _sending(settings, array_records, written) as sender:
        n_items = await sender.items(items)
        await sender.everywhere(msgspec.json.encode(LogBegin(ts=0, source=source[:256])), "log-begin")
        n = 0
        for raw, arrival in rows:
            await sender.row(raw, arrival)
            n += 1
            if progress is not None and n % 10_000 == 0:
                progress(n)
        await sender.flush()
        await sender.everywhere(msgspec.json.encode(Tick(ts=0, last=True)), "tick")
        if progress is not None:
            progress(n)
        return Sent(items=n_items, rows=n, events=sender.events, records=sender.records, bytes=sender.bytes)


async def send_items(settings: TopicSettings, items: Iterable[Item]) -> int:
    """Send a catalog alone; how many items."""
    async with _sending(settings) as sender:
        return await sender.items(items)


async def send_closing(settings: TopicSettings) -> None:
    """Send the closing tick alone, into every partition: open joins close now, as at the end of a log."""
    async with _sending(settings) as sender:
        await sender.everywhere(msgspec.json.encode(Tick(ts=0, last=True)), "tick")


@asynccontextmanager
async def _sending(settings: TopicSettings, array_records: int = ARRAY_RECORDS, written: Written | None = None) -> AsyncIterator[_Sender]:
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap, enable_idempotence=True, linger_ms=5, max_batch_size=1 << 20,
        max_request_size=LARGEST_MESSAGE_BYTES,
    )  # fmt: skip
    await producer.start()
    try:
        yield _Sender(producer, settings, array_records, written)
    finally:
        await producer.stop()


class _Sender:
    """Sends rows in arrays, one open array a partition."""

    def __init__(self, producer: AIOKafkaProducer, settings: TopicSettings, array_records: int, written: Written | None) -> None:
        self._producer, self._settings, self._array_records, self._written = producer, settings, array_records, written
        self._topics = names(settings.prefix)
        self._partition = partitioner(settings.events_partitioner)
        self._open: list[list[Row]] = [[] for _ in range(settings.partitions)]
        self._sizes = [0] * settings.partitions
        self._pending: set[asyncio.Future[RecordMetadata]] = set()
        self.events = self.records = self.bytes = 0

    async def items(self, items: Iterable[Item]) -> int:
        """Send a catalog, and wait; how many items."""
        n = 0
        for item in items:
            await self._send(self._topics.catalog, 0, msgspec.json.encode(item), key=item.item_id.encode())
            n += 1
        await self._wait(0)
        return n

    async def everywhere(self, value: bytes, kind: str) -> None:
        """Send one record of a kind into every partition, and wait."""
        for partition in range(self._settings.partitions):
            await self._send(self._topics.events, partition, value, headers=[(KIND, kind.encode())])
        await self._wait(0)

    async def row(self, raw: bytes, arrival: int | None) -> None:
        """Add a row to its user's array; what is not one valid record is sent alone, so that it can't spoil an array."""
        user = _user(raw)
        if user is None or len(raw) > ARRAY_BYTES:
            self.events += len(decode(raw))
            await self._alone(raw, arrival, user or "")
            return
        at = self._partition(user.encode("utf-8", "surrogatepass"), self._settings.partitions)
        array = self._open[at]
        if array and (self._sizes[at] + len(raw) > ARRAY_BYTES or (array[-1][1] is None) != (arrival is None)):
            await self._close(at)
            array = self._open[at]
        array.append((raw, arrival))
        self.events += 1
        self._sizes[at] += len(raw) + 1
        if len(array) >= self._array_records:
            await self._close(at)

    async def flush(self) -> None:
        """Send the open arrays, and wait."""
        for partition in range(self._settings.partitions):
            await self._close(partition)
        await self._wait(0)

    async def _alone(self, raw: bytes, arrival: int | None, user: str) -> None:
        at = self._partition(user.encode("utf-8", "surrogatepass"), self._settings.partitions)
        await self._close(at)  # rows of a partition keep their order
        await self._send(self._topics.events, at, raw, headers=[(ARRIVAL, pack_arrivals([arrival]))])

    async def _close(self, partition: int) -> None:
        array = self._open[partition]
        if array:
            self._open[partition], self._sizes[partition] = [], 0
            value = array[0][0] if len(array) == 1 else b"[" + b",".join([raw for raw, _ in array]) + b"]"
            await self._send(self._topics.events, partition, value, headers=[(ARRIVAL, pack_arrivals([a for _, a in array]))])

    async def _send(
        self, topic: str, partition: int, value: bytes, key: bytes | None = None, headers: list[tuple[str, bytes]] | None = None
    ) -> None:
        self.records += 1
        self.bytes += len(value)
        self._pending.add(await self._producer.send(topic, value, key=key, partition=partition, headers=headers))
        await self._wait(IN_FLIGHT)

    async def _wait(self, at_most: int) -> None:
        """Wait until no more than so many are under way; raises the error of one that failed."""
        while len(self._pending) > at_most:
            done, self._pending = await asyncio.wait(self._pending, return_when=asyncio.FIRST_COMPLETED)
            for sent in done:
                record = sent.result()
                if self._written is not None and record.topic == self._topics.events:
                    self._written(record.partition, record.offset)


def _user(raw: bytes) -> str | None:
    """The user of a row that is one JSON object; None where it isn't."""
    try:
        return _peek.decode(raw).user_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
