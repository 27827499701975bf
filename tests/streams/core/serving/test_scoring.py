"""Scores are the weighted sum, of what the join will see; popularity orders while there is no model."""
from __future__ import annotations

import math

import numpy as np
import pytest

from online_model.batch import Batch
from online_model.features import FIELDS, TASKS
from online_model.history import BEHAVIOUR
from online_model.trainer import Prediction
from streams.core.join.items import Item
from streams.core.join.keys import HOUR_MS, key
from streams.core.serving.fusion import Fusion, Weights, values
from streams.core.serving.recommend import RecommendSettings
from streams.core.serving.requests import GuestEvent
from streams.core.serving.scoring import CAUTION, ModelScores, ScoredCandidates
from tests.streams.core.serving.test_recommend import ITEM, NAMES, START, House, by_name, event, judged, k, said


def test_the_order_is_the_sum_of_weights_times_probabilities_which_a_request_may_change() -> None:
    house = House([Item(item_id=name) for name in "abc"])
    chances = {  # full_play, collect, share, skip, dislike
        "a": (0.50, 0.00, 0.00, 0.10, 0.000),
        "b": (0.30, 0.10, 0.00, 0.10, 0.000),
        "c": (0.70, 0.10, 0.01, 0.20, 0.125),
    }

    def score(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        return said(np.array([chances[{k(n): n for n in chances}[item]] for item in batch.fields[:, ITEM].tolist()], np.float32))

    answer, exposure = house.ask(score, user_id="u")
    # by hand: b .15 + .2 - .05, a .25 - .05, c .35 + .2 + .02 - .1 - .5
    assert [(item.item_id, round(item.score, 6)) for item in answer.items] == [("b", 0.3), ("a", 0.2), ("c", -0.03)]
    assert answer.items[0].probabilities == pytest.approx(dict(zip(TASKS, chances["b"], strict=True)))
    assert answer.strategy == "ranked" and answer.flags == ["short"] and answer.model_version == 7
    assert house.ids(score, weights={"dislike": 0.0}) == ["c", "b", "a"]
    heavy = House([Item(item_id=name) for name in "abc"], RecommendSettings(explore_share=0.0, weights=Weights(collect=0.0)))
    assert heavy.ids(score) == ["a", "b", "c"]
    assert exposure is not None and [s.score for s in exposure.slots] == [item.score for item in answer.items]


def test_cold_lists_are_popular_then_new_and_say_so() -> None:
    items = [Item(item_id=name, published_ts=START - n * HOUR_MS) for n, name in enumerate(("new", "old", "liked", "loved"))]
    house = House(items)
    answer, exposure = house.ask(None, version=None)
    assert [item.item_id for item in answer.items] == ["new", "old", "liked", "loved"]  # with zero events
    assert answer.flags == ["cold", "guest", "short"] and answer.model_version is None and exposure is None
    house.take(*(event("play", name, user=user) for name, user in (("loved", "v"), ("loved", "w"), ("liked", "v"))))
    answer, exposure = house.ask(None, user_id="u", k=4)
    assert [(item.item_id, item.source) for item in answer.items] == [
        ("loved", "popular"), ("liked", "popular"), ("new", "fresh"), ("old", "fresh"),
    ]  # fmt: skip
    assert [item.score for item in answer.items] == [2.0, 1.0, 0.0, 0.0] and answer.flags == ["cold"]
    assert all(item.probabilities is None for item in answer.items)
    assert exposure is not None and exposure.slots[0].popularity == (2.0, 2.0, 2.0)
    untaught = house.ask(by_name(["old", "new", "liked", "loved"]), k=4, version=0)[0]  # a model that has learned nothing
    assert [item.item_id for item in untaught.items] == ["loved", "liked", "new", "old"] and untaught.flags == ["cold", "guest"]


def test_the_model_sees_what_the_join_will_see() -> None:
    """The features that a list was scored by are those of the example that comes of it, the place in the list aside."""
    house = House([Item(item_id=name, domain="song", artist_id="x", categories=("c",), published_ts=START - 99) for name in "abc"])
    context = {"device": "phone", "user.band": "b1"}
    house.take(
        event("play", "a", at=START - 9 * HOUR_MS, full=True, domain="song"), event("skip", "c", at=START - 8 * HOUR_MS),
        event("collect", "b", user="v", at=START - HOUR_MS),
    )  # fmt: skip
    seen: list[Batch] = []

    def score(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        seen.append(batch)
        return said(np.tile(np.float32([0.1] * len(TASKS)), (len(batch), 1)))

    _, exposure = house.ask(score, user_id="u", domain="song", context=context, module="daily")
    assert exposure is not None
    plays = (event("play", slot.item_id, at=START + 5, request_id="r") for slot in exposure.slots)
    made = {example.features.fields[8:16]: example.features for example in house.take(exposure, *plays)}
    batch = seen[0]
    assert len(made) == len(batch) == 3
    for row in range(3):
        learned = made[batch.fields[row, ITEM].tobytes()]
        fields = np.frombuffer(learned.fields, "<u8")
        at = FIELDS.index("position")
        assert np.array_equal(np.delete(batch.fields[row], at), np.delete(fields, at))
        assert batch.fields[row, at] == key("position", "0")  # serving: the first place (MODEL.md section 2)
        assert batch.counts[row].tobytes() == learned.counts and batch.popularity[row].tobytes() == learned.popularity
        assert batch.item_age_s[row] == learned.age_s and batch.shown_ms[row] == learned.shown_ms
        assert batch.followed[row] == np.float32(learned.followed)
        assert batch.artist_feedback[row].tobytes() == learned.artist_feedback
        assert batch.play_times[row].tobytes() == learned.play_times
        assert batch.bags[row, 0, 0] == np.frombuffer(learned.context, "<u8")[0]
        assert batch.history[0, 0, 0] == k("a") and batch.history[0, 1, 0] == k("c")  # shared by all rows
        assert len(learned.positive) == len(learned.negative) == BEHAVIOUR.itemsize  # one behaviour each


def test_slots_say_what_an_exposure_of_theirs_is_worth() -> None:
    house = House([Item(item_id="a", monetization=0.25), Item(item_id="b")])
    _, exposure = house.ask(by_name("abx"), user_id="u", candidates=tuple("abx"), unknown="allow")
    assert exposure is not None and [s.monetization for s in exposure.slots] == [0.25, 0.0, None]  # None: no catalog knows it


def test_ties_have_one_order_by_key_the_same_for_everybody() -> None:
    house = House([Item(item_id=name) for name in NAMES])
    by_key = sorted(NAMES, key=k)
    for user in ("u", "v", None):
        assert house.ids(judged(lambda item: 0.25), user_id=user, k=len(NAMES)) == by_key
        assert house.ids(judged(lambda item: 0.25), user_id=user, k=len(NAMES), candidates=tuple(NAMES[::-1])) == by_key


def test_orders_of_users_with_behaviours_are_watched_and_only_those_that_a_model_made() -> None:
    house = House([Item(item_id=name) for name in NAMES] + [Item(item_id=f"more{n}") for n in range(9)])
    for n in range(60):
        house.take(event("play", NAMES[0], user=f"u{n}", full=True))
    watch = house.recommender.scorer.order_watch
    for n in range(60):
        house.ids(judged(lambda item: item % 97 / 97), user_id=f"nobody{n}", k=5)
        house.ids(judged(lambda item: item % 97 / 97), k=5, plays=(GuestEvent(item_id=f"more{n % 9}"),))
        house.ids(None, user_id=f"u{n}", k=5)
        house.ids(judged(lambda item: item % 97 / 97), user_id=f"u{n}", k=5, strategy="popular")
    assert watch.agreement is None
    for n in range(60):
        house.ids(judged(lambda item: item % 97 / 97), user_id=f"u{n}", k=5)
    assert watch.same_for_all
    for n in range(60):
        house.ids(judged(lambda item, n=n: (item * (n + 1)) % 97 / 97), user_id=f"u{n}", k=5)  # type: ignore[misc]
    assert not watch.same_for_all


def test_what_is_believed_of_a_score_is_its_mean_boosts_included_and_how_far_one_deviation_up_moves_it() -> None:
    """By hand: full play has p .2, a mean of .3 more log-odds and a variance of .25; skip is certain; the rank head stands still."""
    p, rank = np.zeros((1, len(TASKS)), np.float32), np.array([1.0], np.float32)
    p[0, [TASKS.index("full_play"), TASKS.index("skip")]] = 0.2, 0.5
    belief = np.zeros((1, 2, len(TASKS)), np.float32)
    belief[0, :, TASKS.index("full_play")] = 0.3, 0.25
    prediction = Prediction(p, p, rank, p, p, belief)
    model = ModelScores({7: 0}, prediction, values(prediction, 2.0), None, [])  # type: ignore[arg-type]
    fusion = Fusion((0.5, 0.0, 0.0, -0.5, 0.0, 2.0), 2.0, 0.0, 0.0)
    found = ScoredCandidates([7], {7: 0.0}, model, {7: 0.125}).beliefs([7], fusion)
    assert found is not None
    z = math.log(0.2 / 0.8) + 0.3 - CAUTION * 0.25
    mean, above = 1 / (1 + math.exp(-z)), 1 / (1 + math.exp(-z - 0.5))
    assert found[0].tolist() == pytest.approx([0.5 * mean - 0.25 + 2 * math.tanh(0.5) + 0.125])
    assert found[1].tolist() == pytest.approx([0.5 * (above - mean)])
    assert ScoredCandidates([7], {7: 0.0}).beliefs([7], fusion) is None
