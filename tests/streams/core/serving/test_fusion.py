"""A score is the sum that it is said to be; what a request chooses does what it says, and nothing else."""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.batch import Batch
from online_model.features import FIELDS, TASKS
from online_model.trainer import Prediction, Trainer
from streams.core.join.items import Item
from streams.core.serving.fusion import PARTS, Weights, fuse, terms, values
from streams.core.serving.recommend import RecommendSettings
from tests.online_model.test_trainer import T0, batch, trained
from tests.streams.core.serving.test_recommend import ITEM, NAMES, SETTLED, House, event, k

numbers = st.floats(-50, 50, width=32)
weights = st.tuples(*[st.floats(-8, 8) for _ in PARTS])


def moved() -> Trainer:
    """A model in which user, popularity and rank head all say something."""
    made = trained(12)
    for at in range(20):
        taught = batch(8, 100 + at)
        taught.popularity *= 50
        taught.labels[:, TASKS.index("full_play")] = taught.popularity[:, 0] > 25
        made.step(taught, T0 + 60_000 + at * 1000)
    return made


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    n = draw(st.integers(1, 6))
    probabilities = np.array(draw(st.lists(st.tuples(*[st.floats(0, 1, width=32) for _ in TASKS]), min_size=n, max_size=n)), np.float32)
    rank = np.array(draw(st.lists(numbers, min_size=n, max_size=n)), np.float32)
    return Prediction(probabilities, probabilities, rank, probabilities, probabilities)


def test_a_score_by_hand() -> None:
    said = Prediction(
        *(np.float32([[0.5, 0.25, 0.0, 0.5, 0.125]]),) * 2, np.float32([2.0]), *(np.zeros((1, 5), np.float32),) * 2
    )  # fmt: skip
    defaults = tuple(getattr(Weights(), part) for part in PARTS)
    # .5 x .5 + 2 x .25 + 2 x 0 - .5 x .5 - 4 x .125 + .5 x tanh(2 / 2)
    assert fuse(values(said, 2.0), defaults).tolist() == pytest.approx([0.25 + 0.5 - 0.25 - 0.5 + 0.5 * math.tanh(1.0)], abs=1e-12)


def test_defaults_are_the_models() -> None:
    s = RecommendSettings()  # MODEL.md sections 1 and 4
    assert (s.weights.full_play, s.weights.collect, s.weights.share, s.weights.skip, s.weights.dislike) == (0.5, 2.0, 2.0, -0.5, -4.0)
    assert (s.weights.rank, s.rank_scale, s.gamma_item, s.gamma_user) == (0.5, 2.0, 0.7, 0.0)


@given(predictions(), weights, st.floats(0.1, 10))
def test_the_terms_are_what_the_score_is_made_of(said: Prediction, weights: tuple[float, ...], scale: float) -> None:
    multiplied = values(said, scale)
    for row, score in zip(multiplied, fuse(multiplied, weights), strict=True):
        told = list(terms(row, weights))
        assert [part for part, *_ in told] == list(PARTS)
        assert all(adds == weight * value for _, weight, value, adds in told)
        assert math.fsum(adds for *_, adds in told) == pytest.approx(score, abs=1e-6)


@given(predictions(), weights, st.integers(-4, 4))
def test_larger_weights_are_a_larger_scale_and_the_same_order(said: Prediction, weights: tuple[float, ...], power: int) -> None:
    one = fuse(values(said, 2.0), weights)
    other = fuse(values(said, 2.0), tuple(weight * 2.0**power for weight in weights))
    assert other.tolist() == (one * 2.0**power).tolist()  # powers of two are exact


@given(predictions(), weights, st.sampled_from([0.0, np.nan, np.inf]))
def test_without_its_weight_the_rank_head_is_not_looked_at(said: Prediction, weights: tuple[float, ...], rank: float) -> None:
    off = (*weights[:-1], 0.0)
    other = Prediction(said.logits, said.probabilities, np.full_like(said.rank, rank), said.user, said.popularity)
    assert fuse(values(said, 2.0), off).tobytes() == fuse(values(other, 2.0), off).tobytes()


def lists(**settings: object) -> tuple[House, Callable[..., list[tuple[str, float]]]]:
    """Twelve songs, some played; asked for lists of the model of `moved`."""
    house = House([Item(item_id=name) for name in NAMES], SETTLED if not settings else RecommendSettings(explore_share=0.0, **settings))
    house.take(*(event("play", name, user=f"v{n}") for n, name in enumerate(NAMES) for _ in range(n)))
    model = moved()

    def ask(**request: object) -> list[tuple[str, float]]:
        answer, _ = house.ask(model.predict, user_id="u", k=12, **request)
        return [(item.item_id, item.score) for item in answer.items]

    return house, ask


def test_gammas_of_zero_are_the_plain_score_bit_for_bit() -> None:
    house, ask = lists()
    seen: list[Batch] = []
    model = moved()

    def predict(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        seen.append(batch)
        return model.predict(batch, gamma_user, gamma_item)

    chosen = {"full_play": 1.0, "collect": 0.0, "share": 0.0, "skip": 0.0, "dislike": 0.0, "rank": 0.0}
    answer, _ = house.ask(predict, user_id="u", k=12, gamma_user=0.0, gamma_item=0.0, weights=chosen)
    plain = model.predict(seen[0]).probabilities[:, TASKS.index("full_play")]
    expected = {item: float(p) for item, p in zip(seen[0].fields[:, ITEM].tolist(), plain, strict=True)}
    assert {k(item.item_id): item.score for item in answer.items} == expected
    assert dict(ask(weights=chosen)) != {item.item_id: item.score for item in answer.items}  # the default takes something away


def test_gamma_of_one_takes_away_what_popularity_adds_and_gamma_of_the_user_what_the_user_does() -> None:
    """By the trainer's own parts: logits less a part, through the Platt line of each task, written out."""
    model, asked = moved(), batch(8, 7)
    asked.popularity *= 50
    plain = model.predict(asked)
    assert np.abs(plain.popularity).max() > 0.01 and np.abs(plain.user).max() > 0.01  # else this compares nothing
    for gamma_user, gamma_item in ((0.0, 1.0), (1.0, 0.0), (-1.0, 1.5), (0.25, 0.7)):
        got = model.predict(asked, gamma_user, gamma_item)
        assert (got.user.tobytes(), got.popularity.tobytes()) == (plain.user.tobytes(), plain.popularity.tobytes())
        for row in range(8):
            for task in range(len(TASKS)):
                user, popularity = float(plain.user[row, task]), float(plain.popularity[row, task])
                z = float(plain.logits[row, task]) - gamma_user * user - gamma_item * popularity
                p = 1 / (1 + math.exp(-(model.state.platt.slope[task] * z + model.state.platt.offset[task])))
                assert got.probabilities[row, task] == pytest.approx(p, abs=2e-6)


def test_a_request_goes_before_the_strategy_and_the_strategy_before_the_settings() -> None:
    _, ask = lists(gamma_item=0.25, tail_gamma_item=1.25)
    assert ask() == ask(strategy="ranked") == ask(gamma_item=0.25) == ask(gamma_item=0.25, strategy="tail")
    assert ask(strategy="tail") == ask(gamma_item=1.25) != ask()
    assert ask(rank_scale=0.5) != ask() == ask(rank_scale=2.0)
    assert ask(gamma_user=1.0) != ask() == ask(gamma_user=0.0)


def test_what_the_user_adds_is_the_same_for_a_whole_list() -> None:
    _, ask = lists()
    alone = {"full_play": 1.0, "collect": 0.0, "share": 0.0, "skip": 0.0, "dislike": 0.0, "rank": 0.0}
    assert [item for item, _ in ask(weights=alone, gamma_user=1.0)] == [item for item, _ in ask(weights=alone)]


def test_the_user_part_is_of_the_user_alone() -> None:
    model, asked = moved(), batch(6, 9)
    asked.fields[:, FIELDS.index("user")] = 1001
    asked.bags[:] = asked.bags[:1]
    assert np.ptp(model.predict(asked).user, axis=0).max() < 1e-6
