"""An arm that is put back into a grid knows what it knew, as if it had stayed and never been drawn."""
from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from bandit.linear import VECTOR
from bandit.policy import Policy
from bandit.settings import BanditSettings
from online_model.adwin import Adwin

NAMES = ("a", "b", "c")
LEFT = ("a", "c")


def made(names: tuple[str, ...], settings: BanditSettings, of: Policy | None = None) -> Policy:
    policy = Policy(names, 2, settings, Adwin)
    if of is not None:
        learned = msgspec.convert(msgspec.json.decode(msgspec.json.encode(of.learned())), type(of.learned()))
        policy.load(of.checkpoint(), learned)
    return policy


def teach(policies: list[Policy], rounds: int, arms: str, seed: int, rate: float = 0.2) -> None:
    """The same rounds for all of them."""
    rng = np.random.default_rng(seed)
    for _ in range(0, rounds, 50):
        drawn, segment = rng.choice(list(arms), 50), rng.integers(0, 2, 50)
        reward, paid, vectors = (rng.random(50) < rate).astype(float), rng.random(50), rng.random((50, VECTOR)).tolist()
        for policy in policies:
            policy.learn(segment, np.array([policy.names.index(arm) for arm in drawn]), reward, paid, vectors)


@pytest.mark.parametrize("more", [{}, {"arms": "gaussian"}, {"arms": "linear", "linear_memory_rounds": 500.0}])
def test_an_arm_put_back_is_as_one_that_stayed_and_was_not_drawn(more: dict[str, Any]) -> None:
    settings = BanditSettings(memory_rounds=2_000.0, alarm=0.0, **more)
    stayed = made(NAMES, settings)
    teach([stayed], 1_000, "abc", 1)
    without = made(LEFT, settings, stayed)
    teach([stayed, without], 500, "ac", 2)
    without = made(LEFT, settings, without)  # restarted meanwhile
    teach([stayed, without], 500, "ac", 3)
    back = made(("b", "a", "c"), settings, without)
    assert back.learned().retired == {}
    for vector in ((), np.linspace(0, 1, VECTOR).tolist()):
        wanted, found = stayed.posteriors(1, vector), back.posteriors(1, vector)
        for mine, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(mine[:, [1, 0, 2]], theirs, rtol=1e-9)


def test_it_is_kept_for_the_stated_number_of_rounds_and_no_longer() -> None:
    settings = BanditSettings(retired_rounds=400.0)
    first = made(NAMES, settings)
    teach([first], 1_000, "abc", 1)
    without = made(LEFT, settings, first)
    teach([without], 350, "ac", 2)
    assert without.learned().retired == {"b": 350}
    assert made(NAMES, settings, without).arms.won[0, :, 1].sum() > 10
    teach([without], 50, "ac", 3)
    assert "retired" not in msgspec.to_builtins(without.learned())
    assert not [name for name in without.checkpoint() if name.startswith("retired")]
    assert made(NAMES, settings, without).arms.won[0, :, 1].sum() == 0


def test_several_come_and_go_and_each_keeps_its_own() -> None:
    settings = BanditSettings(alarm=0.0)
    first = made(NAMES, settings)
    teach([first], 1_000, "abc", 1)
    won = dict(zip(NAMES, first.arms.won[0].sum(0).tolist(), strict=True))
    second = made(("c", "d"), settings, first)
    teach([second], 100, "d", 2)
    third = made(("a", "d"), settings, second)
    assert third.learned().retired == {"c": 0, "b": 100}
    fourth = made(NAMES, settings, third)
    assert fourth.learned().retired == {"d": 0}
    assert fourth.arms.won[0].sum(0).tolist() == pytest.approx([won[name] for name in NAMES], rel=0.01)


def test_an_alarm_of_drift_cuts_what_it_knew_as_that_of_the_others() -> None:
    settings = BanditSettings()
    first = made(NAMES, settings)
    teach([first], 2_000, "abc", 1, rate=0.05)
    without = made(LEFT, settings, first)
    before = without.retired.arrays()["lost"][0, :, 0]
    teach([without], 500, "a", 2, rate=0.95)
    assert without.drift["experience"].alarms.sum(1).tolist() == [1, 1]
    assert without.retired.arrays()["lost"][0, :, 0] == pytest.approx(0.1 * before, rel=0.02)


def test_where_no_arm_left_nothing_is_kept_or_said() -> None:
    policy = made(NAMES, BanditSettings())
    teach([policy], 100, "abc", 1)
    again = made(NAMES, BanditSettings(), policy)
    for one in (policy, again):
        assert "retired" not in msgspec.to_builtins(one.learned())
        assert not [name for name in one.checkpoint() if name.startswith("retired")]
    copied = made(NAMES, BanditSettings())
    without = made(LEFT, BanditSettings(), policy)
    copied.load(without.arrays(), without.learned())  # as replicas do: they draw, and need no more
    assert copied.learned().retired == {}
