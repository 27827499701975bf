"""The exact worth of a page is what many readings of it come to."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

from replay.simulator.page_worth import expected_experience, gains
from replay.simulator.reactions import react, realised, satisfaction
from replay.simulator.world import World, WorldSettings
from streams.core.join.events import Action

V = np.array([-3.0, -0.5, 0.0, 1.2, 4.0])
FLAT = WorldSettings(taste=0.0, quality=0.0, scene=0.0, mood=0.0, conformity=0.0, curiosity=1e-12, satiation=0.0, sessions_per_day=50.0)


def test_gains_of_a_slot_sum_to_1_and_their_mean_is_the_satisfaction() -> None:
    each = gains(WorldSettings(), V)
    np.testing.assert_allclose(each.sum(1), 1, atol=1e-12)
    assert (each >= 0).all()
    np.testing.assert_allclose(each @ (np.arange(19) - 9) / 2, satisfaction(WorldSettings(), V), atol=1e-12)


def test_experience_of_one_item_at_utility_zero_by_hand() -> None:
    # full play .299344, of which collected .014197 (test_reactions.py); share of a play s(-4.5) = .010987; experience 1 from 2 on
    # not full .299344: shared -> 1; full, not collected .285147: .25, shared -> 1; collected -> 1
    expected = 0.299344 * 0.010987 + 0.285147 * (0.25 * (1 - 0.010987) + 0.010987) + 0.014197
    assert expected_experience(FLAT, np.zeros(1), 2.0) == pytest.approx(expected, abs=2e-6)


def test_expected_experience_is_the_mean_of_many_readings() -> None:
    world = World(FLAT, 1)
    n, clipped = 12_000, []
    for session in itertools.islice(world.sessions(1), n):
        acts = [act for act in react(world, session, [0, 1, 2, 3], session.ts) if act.action is not Action.UNCOLLECT]
        clipped.append(min(max(realised(acts) / 2.0, 0.0), 1.0))
    assert expected_experience(FLAT, np.zeros(4), 2.0) == pytest.approx(np.mean(clipped), abs=4 * np.std(clipped) / n**0.5)


def test_a_better_slot_makes_a_better_page_the_more_the_higher_it_stands() -> None:
    s = WorldSettings(attention=0.6)
    low, high = expected_experience(s, np.array([0.0, 0.0, 1.0]), 2.0), expected_experience(s, np.array([1.0, 0.0, 0.0]), 2.0)
    assert expected_experience(s, np.zeros(3), 2.0) < low < high
    assert expected_experience(s, np.zeros(0), 2.0) == 0.0
    assert expected_experience(s, np.zeros(30), 2.0) == expected_experience(s, np.zeros(s.slots), 2.0)  # looked at no further
