"""The learner's process without its topics: what a turn publishes, and what a start makes of a checkpoint of other settings."""
from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bandit.settings import BanditSettings
from online_model import checkpoint
from online_model.checkpoint import Incompatible
from online_model.features import ExampleRecord, Tick
from streams.core.join.rewards import RewardSettings
from streams.core.learning.learn import LearnerSettings
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.recommend import Preset
from streams.kafka_io import messages
from streams.kafka_io.messages import Delta, Examples, Out
from streams.learner.loop import LearnerProcessSettings, LearningLoop, LearningSettings, _Work, _write
from streams.settings import Settings
from streams.settings import learner as config_of
from streams.watchdog import Watchdog
from tests.paths import ROOT
from tests.streams.core.learning.test_learn import COUNT, SMALL, T0, example, numbered, reward


def config(folder: Path, **more: Any) -> LearningSettings:
    learns = LearnerSettings(micro_batch_examples=COUNT)
    process = LearnerProcessSettings(checkpoint_dir=str(folder), device="cpu", dense_every_s=1e9)
    return LearningSettings(learner=learns, model=SMALL, process=process, **more)


def loop(config: LearningSettings) -> LearningLoop:
    """Not started, so that neither Kafka nor a watchdog is asked for anything."""
    made = LearningLoop(config, None, None)  # type: ignore[arg-type]
    made.learner, _, made.applied = made._load()
    made.epoch, made._told = 1, made.learner.strategy_bandit.version
    return made


def turn(made: LearningLoop, records: Sequence[ExampleRecord], at: int) -> Delta | None:
    value = messages.encode(Examples(0, numbered(records, at)))
    made._work.append(_Work(SimpleNamespace(message=SimpleNamespace(value=value, offset=at))))  # type: ignore[arg-type]
    assert made.learner is not None
    delta = made._learn(made.learner)
    made._work.clear()
    return delta


class Slow:
    """In the place of the producer: records are with the broker when the test says so."""

    def __init__(self) -> None:
        self.rows: list[Out] = []
        self.acks: list[asyncio.Future[Any]] = []

    async def begin(self, rows: Iterable[Out]) -> list[asyncio.Future[Any]]:
        began = [asyncio.get_running_loop().create_future() for _ in rows]
        self.rows += rows
        self.acks += began
        return began

    def acknowledge(self, topic: str) -> None:
        for offset, ack in enumerate(self.acks):
            if not ack.done():
                ack.set_result(SimpleNamespace(topic=topic, offset=100 + offset))


def save(made: LearningLoop, folder: Path) -> None:
    assert made.learner is not None
    _write(folder, made._copy(made.learner), made._conditions(), 3)


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
    made._delivery, made._watchdog = broker, Watchdog(60)  # type: ignore[assignment]
    assert made.learner is not None
    learner, acked = made.learner, list[int]()

    async def learned(at: int, *records: ExampleRecord) -> None:
        value = messages.encode(Examples(0, numbered(records or [example(at + n) for n in range(COUNT)], at)))
        event = SimpleNamespace(message=SimpleNamespace(value=value, offset=at), ack=lambda: acked.append(at))
        made._work.append(_Work(event))  # type: ignore[arg-type]
        await made._turn()

    async def through() -> None:
        await learned(0)
        second = asyncio.create_task(learned(10))
        while learner.version < 2:  # learned while the first is on its way, and not sent before that is there
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert (len(broker.rows), second.done()) == (1, False)
        broker.acknowledge(made._topics.model_updates)
        await second
        await learned(20, Tick(T0 + 99, False))  # has nothing to say, and waits for nobody
        saving = asyncio.create_task(made._checkpoint())
        await asyncio.sleep(0.05)
        assert not saving.done()
        broker.acknowledge(made._topics.model_updates)
        await saving
        await made._saved()

    asyncio.run(through())
    sent = [messages.update(row.value) for row in broker.rows]
    assert [delta.version for delta in sent if isinstance(delta, Delta)] == [1, 2]
    found = checkpoint.load_newest(tmp_path)
    assert found is not None and (found.meta["updates_offset"], found.meta["offset"], acked) == (102, 20, [0, 10, 20])


def test_what_the_broker_refuses_is_in_no_checkpoint(tmp_path: Path) -> None:
    made, broker = loop(config(tmp_path)), Slow()
    made._delivery = broker  # type: ignore[assignment]

    async def through() -> None:
        await made._publish([Out("model_updates", 0, None, b"")])
        broker.acks[0].set_exception(OSError("refused"))
        await made._checkpoint()

    with pytest.raises(OSError, match="refused"):
        asyncio.run(through())
    assert checkpoint.load_newest(tmp_path) is None


def test_a_start_with_other_arms_keeps_what_the_others_learned_and_says_what_differs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = loop(config(tmp_path))
    turn(before, [*[reward(n, n, n % 3) for n in range(90)], Tick(T0 + 99, False)], 0)
    save(before, tmp_path)
    arms = before.config.arms | {"page": ("fixed", "tail", "blend-1")}
    with caplog.at_level(logging.WARNING):
        after = loop(config(tmp_path, arms=arms, bandit=BanditSettings(explore=0.1)))
    said = " ".join(caplog.messages)
    assert "settings.arms.page: " in said and "settings.bandit.explore: 0.02 -> 0.1" in said
    assert before.learner is not None and after.learner is not None
    old, new = (made.learner.strategy_bandit.expected("page", 3, ("fixed", "tail")) for made in (before, after))
    assert new == pytest.approx(old)
    assert after.learner.strategy_bandit.choose("page", 0.0, 0, 0.0)[1].arms == arms["page"]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"bandit": BanditSettings(arms="gaussian")}, "settings.bandit.arms: beta -> gaussian"),
        ({"bandit": BanditSettings(revenue_most=3.0)}, "settings.bandit.revenue_most: 1.0 -> 3.0"),
        ({"reward": RewardSettings(experience_full=4.0)}, "settings.partition.reward.experience_full: 2.0 -> 4.0"),
        ({"presets": {"tail": Preset(gamma_item=0.5)}}, r"settings.recommend.presets.tail.gamma_item: \(not set\) -> 0.5"),
        ({"arms": {"page": ("tail", "fixed"), "list": ("x", "y")}}, r"recommend.chosen.*none of the arms \['x', 'y'\]"),
    ],
)
def test_a_start_that_does_not_fit_what_was_learned_ends_by_the_name_of_the_setting(
    changed: dict[str, Any], named: str, tmp_path: Path
) -> None:
    made = loop(config(tmp_path))
    save(made, tmp_path)
    assert loop(config(tmp_path, **changed)).learner is not None  # nothing was learned yet
    turn(made, [reward(1, 1), msgspec.structs.replace(reward(2, 2), surface="list", strategy="tail"), Tick(T0 + 3, False)], 0)
    save(made, tmp_path)
    with pytest.raises(ValueError, match=named) as error:
        loop(config(tmp_path, **changed))
    assert isinstance(error.value, Incompatible) == ("arms" not in changed)
    for name in ("other", "fixed"):  # nothing was learned of the first; the second is an arm of pages, which presets are not
        assert loop(config(tmp_path, presets={name: Preset(gamma_item=0.5)})).learner is not None


def test_the_learner_chooses_among_what_pages_and_lists_are_set_to(tmp_path: Path) -> None:
    tree = {"pages": {"revenue_blends": [0.5]}, "recommend": {"chosen": ["ranked", "popular"]}, "bandit": {"explore": 0.2}}
    of = config_of(msgspec.convert(tree, Settings))
    assert of.arms == {"page": ("blend-0.5", "tail", "explore", "fixed"), "list": ("ranked", "popular")}
    strategy_bandit = StrategyBandit(of.arms, of.bandit)
    assert (strategy_bandit.policies["list"].names, strategy_bandit.policies["page"].settings.explore) == (("ranked", "popular"), 0.2)


@pytest.mark.parametrize("again", [False, True])
def test_a_learner_learns_before_what_takes_seconds_to_import_is_there(tmp_path: Path, again: bool) -> None:
    """From the first turn or from a checkpoint, drift's windows in it, to the next checkpoint."""
    if again:
        made = loop(config(tmp_path))
        turn(made, [*(example(n) for n in range(COUNT)), reward(1, 1), Tick(T0 + 3, False)], 0)
        assert made.learner is not None and made.learner.strategy_bandit.policies["page"].drift["experience"].arrays()["lengths"].any()
        save(made, tmp_path)
    code = f"""
import sys
from pathlib import Path
from tests.streams.learner.test_loop import COUNT, config, example, save, loop, turn
made = loop(config(Path({str(tmp_path)!r})))
assert (made.applied, turn(made, [example(n) for n in range(COUNT)], 10) is not None) == (-1, True)
save(made, Path({str(tmp_path)!r}))
print(sorted({{"river", "sympy", "pandas", "sklearn", "scipy.stats"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
