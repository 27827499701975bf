"""A look into a log: bounds, the first record of a range, and what a consumer passed that holds none."""
from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiokafka.errors import KafkaTimeoutError, LeaderNotAvailableError, TopicAuthorizationFailedError
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka_io import gaps
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.gaps import EmptyOffsets, LogEnds, LogReader, patiently
from streams.kafka_io.messages import Out
from streams.kafka_io.topics import TopicSettings, names


def test_a_reader_that_was_not_started_says_so() -> None:
    with pytest.raises(ValueError, match="not started"):
        asyncio.run(LogReader("127.0.0.1:1").bounds("t", 0))


class ScriptedEnds:
    """A log whose ends are told, or not."""

    def __init__(self, **ends: int) -> None:
        self.ends, self.empty = ends, EmptyOffsets()

    async def end(self, topic: str, partition: int) -> int:
        if topic not in self.ends:
            raise LeaderNotAvailableError
        return self.ends[topic]


def test_a_lag_is_unknown_where_the_end_of_the_log_cant_be_read_and_right_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not 0: that would say that all is well. What was heard longer ago than `KNOWN_S` is no knowledge."""
    monkeypatch.setattr(gaps, "ASK_S", 0.01)
    monkeypatch.setattr(gaps, "KNOWN_S", 0.1)

    async def main() -> None:
        log = ScriptedEnds(a=10)
        ends = LogEnds(log, lambda: [("a", 0), ("b", 0)])  # type: ignore[arg-type]
        assert (ends.lag(("a", 0), 3, 10), ends.silent) == (None, False)  # before the first question
        asking = asyncio.create_task(ends.run())
        await asyncio.sleep(0.05)
        assert (ends.lag(("a", 0), 3, None), ends.lag(("a", 0), 3, 12), ends.lag(("a", 0), 20, 12)) == (6, 8, 0)
        assert (ends.lag(("b", 0), 3, 12), ends.silent) == (None, False)
        assert (ends.just_opened(("a", 0)), ends.just_opened(("b", 0)), ends.just_opened(("c", 0))) == (False, True, True)
        log.ends.clear()
        await asyncio.sleep(0.2)
        assert not ends.just_opened(("b", 0))  # never told, and opened too long ago: what was read then is no knowledge either
        assert (ends.lag(("a", 0), 3, 12), ends.silent) == (None, True)
        log.ends |= {"a": 11, "b": 5}
        await asyncio.sleep(0.05)
        assert (ends.lag(("a", 0), 3, None), ends.lag(("b", 0), 3, None), ends.silent) == (7, 1, False)
        asking.cancel()

    asyncio.run(main())


def test_a_question_is_asked_until_the_broker_answers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "RETRY_S", 0.0)
    answers: list[Exception | int] = [KafkaTimeoutError(), LeaderNotAvailableError(), 7, TopicAuthorizationFailedError()]

    async def ask() -> int:
        match answers.pop(0):
            case Exception() as error:
                raise error
            case number:
                return number

    assert asyncio.run(patiently("a question", ask)) == 7
    with pytest.raises(TopicAuthorizationFailedError):
        asyncio.run(patiently("another", ask))


AT = ("t.events", 3)


def test_between_two_records_that_came_and_behind_the_last_one_there_is_nothing() -> None:
    #   0 1 | 2 3 | 4 5 | 6        records at 1, 4, 5; the log ends at 7
    empty = EmptyOffsets()
    empty.begin([(AT, 0)])
    empty.passed(AT, [1, 4], 5)
    assert empty.end(AT, 7) == 7  # not read to the end: there may be more
    empty.passed(AT, [5], 6)
    empty.passed(AT, [], 7)
    assert [empty.covers(AT, first, end) for first, end in ((0, 1), (2, 4), (2, 3), (3, 4))] == [True] * 4
    assert [empty.covers(AT, first, end) for first, end in ((2, 5), (4, 5), (6, 9), (0, 1))] == [False] * 4  # a record; unread; forgotten
    assert (empty.end(AT, 7), empty.end(AT, 8)) == (6, 8)
    assert (empty.end(("t.events", 4), 7), empty.covers(("t.events", 4), 2, 4)) == (7, False)


def test_a_log_of_nothing_but_markers_ends_where_reading_began() -> None:
    empty = EmptyOffsets()
    empty.begin([(AT, 5)])
    empty.passed(AT, [], 6)
    assert empty.end(AT, 6) == 5


@given(st.data())
def test_no_record_that_is_not_read_yet_is_ever_said_to_be_missing(data: st.DataObject) -> None:
    """Reading in turns, going back to behind what is applied, at random: what is said holds for all behind what is applied."""
    records = [offset for offset, is_one in enumerate(data.draw(st.lists(st.booleans(), min_size=1, max_size=30))) if is_one]
    end = data.draw(st.integers(max(records, default=0) + 1, 32))
    empty, applied, position = EmptyOffsets(), data.draw(st.integers(-1, end - 1)), -1
    for turn in range(data.draw(st.integers(1, 8))):
        if not turn or data.draw(st.booleans()):  # assigned anew
            empty.begin([(AT, applied + 1)])
            position = applied + 1
        until = data.draw(st.integers(position, end))
        empty.passed(AT, [offset for offset in records if position <= offset < until], until)
        position = until
        left = [offset for offset in records if offset > applied]
        assert empty.end(AT, end) > max(left, default=-1)
        if position == end:
            assert empty.end(AT, end) <= max(applied, *records, -1, -1) + 1
        for after in left:
            between = [offset for offset in left if offset < after]
            assert not (between and empty.covers(AT, applied + 1, after))
        applied = data.draw(st.integers(applied, max(applied, position - 1)))


@pytest.mark.broker
def test_the_first_record_of_a_range_is_found_and_none_where_there_is_none(topic_settings: Callable[[int], TopicSettings]) -> None:
    topics = topic_settings(1)
    topic = names(topics.prefix).events

    async def main() -> tuple[tuple[int, int], list[int | None]]:
        delivery, reader = Delivery(topics), LogReader(topics.bootstrap)
        await delivery.start()
        await reader.start()
        try:
            await delivery.send([Out("events", 0, None, b"%d" % n) for n in range(10)])
            ranges = ((3, 5), (10, 10), (9, 12))
            return await reader.bounds(topic, 0), [await reader.first_record(topic, 0, first, end) for first, end in ranges]
        finally:
            await reader.stop()
            await delivery.stop()

    assert asyncio.run(main()) == ((0, 10), [3, None, 9])
