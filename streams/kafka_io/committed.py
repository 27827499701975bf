"""Faust's consumer where producers use transactions: what was committed is read, what was aborted never comes.

A marker takes an offset and holds nothing; so does an aborted record. The thread that fetches knows them as it passes them,
so that nobody looks into the log for each, and a log that ends in one has ended.
"""
from __future__ import annotations

from typing import Any

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from streams.kafka_io.gaps import EmptyOffsets
from streams.kafka_io.topics import ISOLATION


class CommittedThread(AIOKafkaConsumerThread):
    """Faust's thread that fetches, read_committed."""

    empty: EmptyOffsets  # gets what it passes

    def highwater(self, tp: TP) -> int:
        """Behind the last record there is; behind the last offset, where a transaction is open: there may be more."""
        end: Any = super().highwater(tp)  # None before the first fetch
        return end and self.empty.end(tp, end)

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = ISOLATION  # Faust has no setting of its own for it
        return consumer

    async def _fetch_records(self, consumer: Any, *arguments: Any, **options: Any) -> Any:
        records = await super()._fetch_records(consumer, *arguments, **options)
        subscription = consumer._subscription.subscription
        if subscription is not None and subscription.assignment is not None:
            for tp, reached in subscription.assignment.all_consumed_offsets().items():
                self.empty.passed(tp, [record.offset for record in records.get(tp, ())], reached.offset)
        return records
