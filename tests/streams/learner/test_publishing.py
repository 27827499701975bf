"""What a turn publishes: posteriors where they changed, and nothing before the broker has what came before."""
from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

from online_model import checkpoint
from online_model.features import ExampleRecord, Tick
from streams.kafka_io import messages
from streams.kafka_io.messages import Delta, Examples
from streams.learner.loop import QueuedRecord
from streams.watchdog import Watchdog
from tests.streams.core.learning.test_learn import COUNT, T0, example, numbered, reward
from tests.streams.learner.test_loop import Slow, config, loop, turn


def test_a_delta_holds_posteriors_where_they_changed_and_nothing_else_where_no_step_was_made(tmp_path: Path) -> None:
    made = loop(config(tmp_path))
    assert made.learner is not None
    steps = turn(made, [example(n) for n in range(COUNT)], 0)
    assert steps is not None and (steps.strategy_bandit, steps.version, len(steps.rows) > 0) == (b"", 1, True)
    assert turn(made, [reward(1, 1)], 10) is None  # it waits
    both = turn(made, [example(n) for n in range(COUNT)], 20)
    assert both is not None and (both.strategy_bandit, both.version) == (made.learner.strategy_bandit.copy_bytes(), 2)
    alone = turn(made, [reward(2, 2), Tick(T0 + 3, False)], 30)
    assert alone == Delta(1, 2, 2, T0 + 3, [], b"", made.learner.strategy_bandit.copy_bytes())
    assert alone.strategy_bandit != both.strategy_bandit
    assert turn(made, [Tick(T0 + 4, False)], 40) is None


def test_the_broker_may_take_its_time_for_one_turn_and_no_checkpoint_is_ahead_of_it(tmp_path: Path) -> None:
    made, broker = loop(config(tmp_path)), Slow()
    made.publisher._delivery, made._watchdog = broker, Watchdog(60)  # type: ignore[assignment]
    made.checkpoints._watchdog = made._watchdog
    assert made.learner is not None
    learner, acked = made.learner, list[int]()

    async def learned(at: int, *records: ExampleRecord) -> None:
        value = messages.encode(Examples(0, numbered(records or [example(at + n) for n in range(COUNT)], at)))
        event = SimpleNamespace(message=SimpleNamespace(value=value, offset=at), ack=lambda: acked.append(at))
        made._queue.append(QueuedRecord(event))  # type: ignore[arg-type]
        await made._turn()

    async def through() -> None:
        await learned(0)
        second = asyncio.create_task(learned(10))
        while learner.version < 2:  # learned while the first is on its way, and not sent before that is there
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert (len(broker.rows), second.done()) == (1, False)
        broker.acknowledge(broker.topics.model_updates)
        await second
        await learned(20, Tick(T0 + 99, False))  # has nothing to say, and waits for nobody
        saving = asyncio.create_task(made._checkpoint())
        await asyncio.sleep(0.05)
        assert not saving.done()
        broker.acknowledge(broker.topics.model_updates)
        await saving
        await made.checkpoints.settle()

    asyncio.run(through())
    sent = [messages.update(row.value) for row in broker.rows]
    assert [delta.version for delta in sent if isinstance(delta, Delta)] == [1, 2]
    found = checkpoint.load_newest(tmp_path)
    assert found is not None and (found.meta["updates_offset"], found.meta["offset"], acked) == (102, 20, [0, 10, 20])
