"""What a checkpoint contains, and what a start makes of one that was made under other settings."""
from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bandit.settings import BanditSettings
from online_model import checkpoint
from online_model.checkpoint import Incompatible
from online_model.features import Tick
from streams.core.join.rewards import RewardSettings
from streams.core.serving.recommend import Preset
from streams.kafka_io.messages import Out
from streams.learner.checkpointing import _forget_redefined
from streams.watchdog import NeedsOperator, Watchdog
from tests.streams.core.learning.test_learn import COUNT, T0, reward
from tests.streams.learner.test_loop import Slow, config, loop, save, turn


def test_what_the_broker_refuses_is_in_no_checkpoint(tmp_path: Path) -> None:
    made, broker = loop(config(tmp_path)), Slow()
    made.publisher._delivery = broker  # type: ignore[assignment]

    async def through() -> None:
        await made.publisher.send([Out("model_updates", 0, None, b"")])
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
    save(before)
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
    save(made)
    assert loop(config(tmp_path, **changed)).learner is not None  # nothing was learned yet
    turn(made, [reward(1, 1), msgspec.structs.replace(reward(2, 2), surface="list", strategy="tail"), Tick(T0 + 3, False)], 0)
    save(made)
    with pytest.raises(NeedsOperator, match=rf"{named}.*checkpoints in {tmp_path}; to start anew, move them away") as error:
        loop(config(tmp_path, **changed))
    assert isinstance(error.value.__cause__, Incompatible) == ("arms" not in changed)
    for name in ("other", "fixed"):  # nothing was learned of the first; the second is an arm of pages, which presets are not
        assert loop(config(tmp_path, presets={name: Preset(gamma_item=0.5)})).learner is not None


def test_a_model_of_other_settings_is_refused_by_those_that_differ_and_by_no_others(tmp_path: Path) -> None:
    """Lists come back from disk as lists and are tuples in the settings: that is no difference."""
    before = config(tmp_path)
    made = loop(before)
    save(made)
    model = msgspec.structs.replace(before.model, row_rate=0.25, cin_layers=(7, 5))
    with pytest.raises(NeedsOperator) as error:
        loop(msgspec.structs.replace(before, model=model))
    was = list(before.model.cin_layers)
    assert str(error.value).partition(" (checkpoints in ")[0].partition("start anew: ")[2] == (
        f"settings.model.cin_layers: {was} -> [7, 5]; settings.model.row_rate: {before.model.row_rate} -> 0.25"
    )


def test_a_checkpoint_that_is_older_than_a_setting_had_its_default(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = loop(config(tmp_path))
    written = made.checkpoints.conditions
    older = msgspec.structs.replace(written(), settings=written().settings | {"bandit": {}, "learner": {"micro_batch_examples": COUNT}})
    made.checkpoints.conditions = lambda: older  # type: ignore[method-assign]
    save(made)
    with caplog.at_level(logging.WARNING):
        assert loop(config(tmp_path)).learner is not None
        assert caplog.messages == []
        loop(config(tmp_path, bandit=BanditSettings(explore=0.1)))
    assert [text.rpartition("conditions: ")[2] for text in caplog.messages] == ["settings.bandit.explore: 0.02 -> 0.1"]


def test_a_start_without_a_whole_checkpoint_or_without_its_device_needs_an_operator(tmp_path: Path) -> None:
    made = loop(config(tmp_path))
    save(made)
    for folder in tmp_path.iterdir():
        (folder / checkpoint.ARRAYS).write_bytes(b"damaged")
    with pytest.raises(NeedsOperator, match="no checkpoint is whole; remove the directory to start anew"):
        made.checkpoints.load()
    process = msgspec.structs.replace(made.config.process, device="gpu")
    with pytest.raises(NeedsOperator, match=r"^learner_process.device: torch can't compute on the device 'gpu'"):
        loop(msgspec.structs.replace(made.config, process=process))


def test_an_event_is_acknowledged_once_its_checkpoint_is_on_disk(tmp_path: Path) -> None:
    made = loop(config(tmp_path))
    assert made.learner is not None
    learner, acked = made.learner, list[str]()
    made.checkpoints._watchdog = Watchdog(60)

    async def main() -> None:
        snapshot = made.checkpoints.snapshot(learner, 1, 7, 9)
        made.checkpoints.start_writing(snapshot, [SimpleNamespace(ack=lambda: acked.append(made.checkpoints.newest()))])  # type: ignore[list-item]
        assert (acked, made.checkpoints.due) == ([], False)
        await made.checkpoints.settle()

    asyncio.run(main())
    assert acked == [checkpoint.name_of(1, 8)]
    again = made.checkpoints.load()
    assert (again.base, again.offset, again.learner.digest()) == (acked[0], 7, learner.digest())


def test_a_retired_strategy_whose_preset_is_another_one_now_is_forgotten_and_no_other() -> None:
    presets = {name: {"gamma_item": 0.5} for name in ("same", "redefined", "gone")}
    learned: dict[str, Any] = {"list": {"retired": {"same": 3, "redefined": 3, "gone": 3, "popular": 3}}}
    newest: Any = SimpleNamespace(
        meta={"posteriors": {"choosing": {"learned": learned}}},
        conditions=SimpleNamespace(settings={"recommend": {"presets": presets}}),
    )
    _forget_redefined(newest, {"same": {"gamma_item": 0.5}, "redefined": {"gamma_item": 0.7}})
    kept = [name for name, rounds in learned["list"]["retired"].items() if rounds < BanditSettings().retired_rounds]
    assert kept == ["same", "popular"]
