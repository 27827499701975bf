"""The linear mix: what it is asked with, that a step goes along the gradient, and that it learns what a log is made of."""
from __future__ import annotations

import numpy as np
import pytest

from replay.evidence.linear_mix import FEATURES, RATE, LinearMix, Question
from replay.evidence.sessions import Sessions

EMPTY = np.zeros(0, np.int64)


def test_features_are_of_the_plays_before_by_hand() -> None:
    sessions = Sessions()
    for session, user, item in (("a", "u", 1), ("a", "u", 2), ("b", "v", 1), ("b", "v", 3), ("c", "u", 1)):
        sessions.add(session, user, item, None, session not in sessions._open)
    mix = LinearMix(sessions, 2)
    asked = mix.ask("c", "u", None)
    raw = asked.features * np.sqrt(mix._variance) + mix._mean
    one, two, three = (sessions.number(item, None) for item in (1, 2, 3))
    assert asked.items.tolist() == [one, two, three] and set(asked.recent.tolist()) == {two, three}
    share = np.log(1e-4 + 1 / 4)  # each followed 1 once, of two: 1 / (2 + 2)
    row = dict(zip(FEATURES, raw[1], strict=True))
    assert (row["last successors"], row["recent successors"], row["neighbours"]) == pytest.approx((share, share, np.log(1e-5 + 0.5)))
    assert (row["own plays"], row["own recency"], row["own"], row["plays"]) == pytest.approx((np.log(2), 1 / 2, 1, np.log(2)))
    last = dict(zip(FEATURES, raw[0], strict=True))
    assert (last["own plays"], last["own recency"], last["plays"]) == pytest.approx((np.log(3), 1, np.log(4)))
    assert [dict(zip(FEATURES, each, strict=True))["the last item"] for each in raw] == pytest.approx([1, 0, 0])


def test_step_goes_along_the_gradient_of_log_softmax() -> None:
    rng = np.random.default_rng(0)
    features, items = rng.normal(size=(7, len(FEATURES))), np.arange(20, 27)
    mix = LinearMix(Sessions(), 5)
    before = mix._weights.copy()

    def loss(weights: np.ndarray) -> float:
        scores = features @ weights
        return float(np.log(np.exp(scores).sum()) - scores[3])

    gradient = np.array([(loss(before + d) - loss(before - d)) / 2e-6 for d in 1e-6 * np.eye(len(FEATURES))])
    mix.learn(Question(EMPTY, EMPTY, EMPTY, items, features), 23)
    assert mix._weights == pytest.approx(before - RATE * gradient / np.sqrt(1 + gradient**2), abs=1e-6)
    after = mix._weights.copy()
    mix.learn(Question(EMPTY, EMPTY, EMPTY, items, features), 99)
    mix.learn(Question(EMPTY, EMPTY, EMPTY, items, features), None)
    assert (mix._weights == after).all()


def test_mix_finds_out_that_users_play_their_own_again() -> None:
    """Every user walks own three items in random order; what is popular and what follows in other sessions says nothing."""
    rng = np.random.default_rng(1)
    sessions, hits = Sessions(), list[bool]()
    mix = LinearMix(sessions, 3)
    for n in range(400):
        user = int(rng.integers(8))
        for step in range(3):
            item = 10 * (user % 4) + int(rng.integers(6)) if user < 4 else 10 * (user % 4) + int(rng.integers(3))
            if step:
                asked = mix.ask(n, f"u{user}", None)
                number = sessions.number(item, None)
                hits.append(number in asked.mixed.tolist())
                mix.learn(asked, number)
            sessions.add(n, f"u{user}", item, None, step == 0)
    assert np.mean(hits[-300:]) > 0.6 > np.mean(hits[:20])
