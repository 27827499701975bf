"""Rewards in the learner: learned where a micro-batch ends, in order, whole after a restart, and on their way to a copy."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bandit.settings import BanditSettings
from online_model import checkpoint
from online_model.features import ExampleRecord, Reward, Tick
from online_model.trainer import Trainer
from replay import prequential
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event, ExposedItem, Exposure
from streams.core.join.events import Tick as WireTick
from streams.core.join.keys import HOUR_MS
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived, Outgoing
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.learning.reward_queue import AT_ONCE
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.surfaces import by_default, default_strategy_bandit
from streams.core.state.tables import Tables
from streams.kafka_io import messages
from streams.kafka_io.messages import Delta
from streams.kafka_io.topics import TopicSettings
from streams.worker.replica import Replica
from streams.worker.settings import ReplicaSettings
from tests.streams.core.learning.test_learn import COUNT, SMALL, T0, closed, example, learner, numbered, reward

MINUTE = 60_000


# ms  0 rewards   0 … a step of four examples: they are learned   1 reward   2 tick: it is   256 more, without either: these are
def test_rewards_are_learned_where_a_micro_batch_ends_at_a_tick_or_when_many_wait() -> None:
    made, learned = learner(), list[int]()
    records: list[ExampleRecord] = [reward(1, 0), reward(2, 0), *[example(n) for n in range(COUNT)], reward(3, 1), Tick(T0 + 2, False)]
    records += [reward(n, 3) for n in range(AT_ONCE + 1)]
    for at, record in enumerate(records):
        before = made.counted.get("rewards_learned", 0)
        made.apply(0, numbered([record], at))
        if made.counted.get("rewards_learned", 0) > before:
            learned += [at, made.counted["rewards_learned"] - before]
    assert learned == [5, 2, 7, 1, 7 + AT_ONCE, AT_ONCE]
    assert (made.has_open_batch, made.version, made.counted["rewards"]) == (True, 1, AT_ONCE + 4)
    made.apply(0, numbered([Tick(T0 + 3, False)], len(records)))
    assert (made.has_open_batch, made.version) == (False, 1)


def test_posteriors_are_those_of_a_choice_that_was_told_the_same() -> None:
    made, alone = learner(), StrategyBandit(by_default(), BanditSettings())
    rewards = [reward(n, n, n % 3) for n in range(90)]
    for at in range(0, 90, 30):
        made.apply(0, numbered([*rewards[at : at + 30], Tick(T0, False)], 2 * at))
        alone.learn(rewards[at : at + 30])
    assert made.strategy_bandit.copy_bytes() == alone.copy_bytes()
    assert made.strategy_bandit.version == 3


@pytest.mark.parametrize("change", ["drop", "double", "swap"])
def test_dropping_doubling_or_swapping_a_reward_changes_the_digest_even_where_they_commute(change: str) -> None:
    rewards = [reward(n, 5, n % 3) for n in range(6)]  # each in a segment of its own: their sums are the same in any order
    other = {"drop": [*rewards[:3], *rewards[4:]], "double": [*rewards[:3], rewards[2], *rewards[3:]]}.get(change)
    other = other or [*rewards[:2], rewards[3], rewards[2], *rewards[4:]]
    both = [learner(), learner()]
    for made, log in zip(both, (rewards, other), strict=True):
        made.apply(0, numbered([*log, Tick(T0 + 10, False)]))
    digests = [made.digest() for made in both]
    assert digests[0].pop("posteriors") != digests[1].pop("posteriors")
    assert digests[0] == digests[1]


def test_an_older_checkpoint_knows_nothing_of_rewards_and_they_begin() -> None:
    before, after = learner(), learner()
    before.apply(0, numbered([example(n) for n in range(COUNT)]))
    meta = before.meta()
    del meta["posteriors"]
    after.load({n: a for n, a in before.arrays().items() if not n.startswith("posteriors.")}, meta)
    assert after.digest() == before.digest()


# min  10 20 65 shown, a step: learned   75 closed: all shown before 65 have   81: before 71, and the hour closes with the next
def test_what_strategies_are_worth_leaves_when_the_hour_has_passed_also_where_no_tick_comes() -> None:
    def at(minute: float, arm: int = 0) -> Reward:
        return msgspec.structs.replace(reward(1, int(minute * MINUTE), arm), shown_ms=T0 + int((minute - 10) * MINUTE))

    made = learner()
    records = [at(20), at(30, 1), at(75), *[example(n, 75 * MINUTE) for n in range(COUNT)]]
    made.apply(0, numbered([*records, closed(75 * MINUTE, s1=0), closed(81 * MINUTE, s2=0)]))
    assert made.take_values() == []
    made.apply(0, numbered([closed(82 * MINUTE, s3=0)], 9))
    values = made.take_values()
    assert [(v.strategy, v.start_ms, v.n, v.chosen) for v in values] == [("blend-0", T0, 2, 1), ("fixed", T0, 2, 0), ("tail", T0, 2, 1)]
    made.apply(0, numbered([Tick(T0 + 83 * MINUTE, True)], 10))
    assert [(v.start_ms - T0, v.n) for v in made.take_values()] == [(HOUR_MS, 1)] * 3  # the log has ended
    assert made.take_values() == []


def pages(n: int) -> list[Arrived]:
    """Pages that were chosen by a choice of its own, and acts on them."""
    rng, strategy_bandit, out = np.random.default_rng(2), StrategyBandit(by_default(), BanditSettings()), list[Arrived]()
    for at in range(n):
        ts, user = T0 + at * MINUTE // 2, f"u{at % 5}"
        name, choice = strategy_bandit.choose("page" if at % 3 else "list", float(at % 11), at % 4, float(rng.random()))
        slots = tuple(ExposedItem(item_id=f"i{(at + k) % 9}", position=k, monetization=0.1 * k) for k in range(3))
        out.append(Arrived(
            len(out), 0, ts, Exposure(ts=ts, user_id=user, request_id=f"r{at}", slots=slots, strategy=name, arm_draw=choice), f"e{at}"
        ))  # fmt: skip
        for k in rng.permutation(3)[: rng.integers(0, 3)]:
            action = Action(rng.choice(["play", "skip", "collect", "impression"]))
            ts += 1_000
            acted = Event(ts=ts, user_id=user, item_id=slots[k].item_id, action=action, full=True, request_id=f"r{at}")
            out.append(Arrived(len(out), 0, ts, acted, f"{len(out)}"))
    return [*out, Arrived(len(out), 0, 0, WireTick(last=True), "end")]


def test_a_log_of_pages_gives_the_same_posteriors_in_batches_of_any_size() -> None:
    log, found = pages(40), list[dict[str, str]]()
    for size in (1, 7, 512):
        partition = Partition(PartitionSettings(), Tables.over(), Catalog())
        made = Learner(LearnerSettings(micro_batch_examples=32), Trainer(SMALL), default_strategy_bandit())

        def cut(rows: Iterator[prequential.Numbered], size: int = size) -> Iterator[list[prequential.Numbered]]:
            return iter(lambda: list(islice(rows, size)), [])

        result = prequential.run(enumerate(log), partition, made, closing=False, batches=cut)
        assert sum(v.chosen for v in result.strategies) == made.counted["rewards_learned"]
        assert made.counted["rewards"] == 40
        assert made.counted["rewards_learned"] + made.counted["rewards_unseen"] == 40
        assert made.strategy_bandit.version > 5
        found.append(made.digest())
    assert found[0] == found[1] == found[2]


def of_choices(strategy_bandit: StrategyBandit) -> list[object]:
    return [strategy_bandit.choose(surface, float(n), n % 4, n / 30) for n in range(30) for surface in ("page", "list")]


def test_a_serving_copy_begins_with_a_checkpoint_and_follows_deltas_that_hold_posteriors_alone(tmp_path: Path) -> None:
    def outgoing(rewards: Sequence[Reward], at: int) -> list[Outgoing]:
        return numbered([*rewards, Tick(T0 + at, False)], at)

    made = Learner(LearnerSettings(), Trainer(SMALL), default_strategy_bandit())
    copy = Replica(TopicSettings(), ReplicaSettings(checkpoint_dir=str(tmp_path)), SMALL)
    assert of_choices(copy.strategy_bandit) == of_choices(made.strategy_bandit)  # equal chances, before there is a checkpoint
    made.apply(0, numbered([example(n) for n in range(8)]))
    made.apply(0, outgoing([reward(n, n, n % 3) for n in range(60)], 100))
    meta = made.meta() | {"epoch": 1, "offset": 0, "updates_offset": 0}
    checkpoint.save(tmp_path, checkpoint.name_of(1, 1), made.arrays(), meta)
    read = copy._read()
    assert read is not None
    copy._replace(read[0], read[2], read[1].meta)
    assert of_choices(copy.strategy_bandit) == of_choices(made.strategy_bandit)
    before = made.version
    made.apply(0, outgoing([reward(n, n, 2) for n in range(60)], 200))
    assert made.version == before
    assert of_choices(copy.strategy_bandit) != of_choices(made.strategy_bandit)
    sent = messages.encode(Delta(1, before, before, T0, [], b"", made.strategy_bandit.copy_bytes()))
    delta = messages.update(sent)
    assert isinstance(delta, Delta)
    copy._apply([delta])
    assert of_choices(copy.strategy_bandit) == of_choices(made.strategy_bandit)
    older = messages.update(msgspec.msgpack.encode(["delta", 1, before, before, T0, [], b""]))  # of a learner that knew no choice
    assert isinstance(older, Delta) and older.strategy_bandit == b""
    copy._apply([older])
    assert of_choices(copy.strategy_bandit) == of_choices(made.strategy_bandit)
