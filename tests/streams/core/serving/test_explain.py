"""An explanation is of the list that was served: its numbers, its weights, and what the attention made of the user."""
from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.attended import Attended, attended
from online_model.batch import Batch
from online_model.features import TASKS
from online_model.trainer import Prediction, Trainer
from streams.core.join.items import Item
from streams.core.join.keys import HOUR_MS
from streams.core.serving.explain import TOP_BEHAVIOURS, Explanation, RecentTraces, Trace, explained
from streams.core.serving.fusion import PARTS
from streams.core.serving.recommend import RecommendSettings, ServedSlate
from streams.core.serving.requests import GuestEvent
from tests.streams.core.serving.test_fusion import moved
from tests.streams.core.serving.test_recommend import START, House, by_name, event

NAMES = [f"i{n:02}" for n in range(20)]


def house() -> House:
    """Twenty songs of five artists; somebody who played eight of them and skipped one, two days ago."""
    made = House(
        [Item(item_id=name, domain="song", artist_id=f"a{n % 5}", categories=("c",)) for n, name in enumerate(NAMES)],
        RecommendSettings(explore_share=0.3),
    )
    acts = [event("play", NAMES[n], at=START - 48 * HOUR_MS + n * HOUR_MS, full=True) for n in range(8)]
    made.take(*acts, event("skip", NAMES[9], at=START - 30 * HOUR_MS), event("collect", NAMES[3], at=START - 29 * HOUR_MS))
    return made


def told(made: ServedSlate, house: House, model: Trainer | None = None, version: int | None = 7) -> Explanation:
    """Through the memory, as it is served."""
    recent = RecentTraces(10, 1 << 20)
    recent.put("r", made.trace)
    trace = recent.get("r")
    assert trace is not None
    return explained("r", trace, house.recommender.name, (lambda batch: attended(model.state, batch)) if model else None, version)


@given(
    st.dictionaries(st.sampled_from(PARTS), st.floats(-5, 5), max_size=6), st.floats(-1, 1.5), st.floats(-1, 1.5),
    st.sampled_from(["ranked", "tail", "popular"]), st.integers(1, 20),
)  # fmt: skip
def test_the_terms_of_every_item_sum_up_to_its_score(
    weights: dict[str, float], gamma_user: float, gamma_item: float, strategy: str, k: int
) -> None:
    made = HOUSE.made(
        MODEL.predict, user_id="u", domain="song", k=k, weights=weights, gamma_user=gamma_user, gamma_item=gamma_item, strategy=strategy
    )
    why = told(made, HOUSE, MODEL)
    assert len(why.items) == len(made.slate.items) == k
    for item, served in zip(why.items, made.slate.items, strict=True):
        shared = ("item_id", "position", "score", "source", "propensity")
        assert [getattr(item, name) for name in shared] == [getattr(served, name) for name in shared]
        assert item.probabilities == (served.probabilities and pytest.approx(served.probabilities, abs=1e-7))
        assert sum(term.adds for term in item.terms) == pytest.approx(item.score, abs=1e-6)
        assert all(term.adds == term.weight * term.value for term in item.terms)
    if strategy == "popular":
        assert (why.weights, why.gamma_item, why.attention_version, why.items[0].probabilities) == (None, None, None, None)
        assert [[t.part for t in item.terms] for item in why.items] == [["popularity"]] * k
    else:
        assert why.weights is not None and {part: why.weights[part] for part in weights} == weights
        assert (why.gamma_user, why.gamma_item) == (gamma_user, gamma_item)


def test_parts_are_those_that_the_model_gave() -> None:
    seen: list[tuple[Batch, Prediction]] = []

    def predict(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        seen.append((batch, MODEL.predict(batch, gamma_user, gamma_item)))
        return seen[-1][1]

    why = told(HOUSE.made(predict, user_id="u", domain="song"), HOUSE, MODEL)
    (batch, said), = seen  # fmt: skip
    at = {HOUSE.recommender.name(key): n for n, key in enumerate(batch.fields[:, 1].tolist())}
    assert np.ptp(said.popularity) > 0 and np.ptp(said.rank) > 0
    for item in why.items:
        row = at[item.item_id]
        assert item.user == dict(zip(TASKS, said.user[row].tolist(), strict=True))
        assert item.popularity == dict(zip(TASKS, said.popularity[row].tolist(), strict=True))
        assert item.rank == float(said.rank[row])
        rank = item.terms[-1]
        assert (rank.part, rank.weight) == ("rank", 0.5) and rank.value == pytest.approx(np.tanh(item.rank / 2.0), abs=1e-12)


def test_behaviours_are_those_that_weighed_most_by_the_model_of_now() -> None:
    made = HOUSE.made(MODEL.predict, user_id="u", domain="song")
    asked: list[tuple[Batch, Attended]] = []

    def attend(batch: Batch) -> Attended:
        asked.append((batch, attended(MODEL.state, batch)))
        return asked[-1][1]

    why = explained("r", made.trace, HOUSE.recommender.name, attend, 7)
    batch, weights = asked[0]
    assert (why.attention_version, why.model_changed) == (7, False)
    for n, item in enumerate(why.items):
        positive, negative, related = item.attention
        assert [a.over for a in item.attention] == ["positive", "negative", "same artist or category"]
        by_hand = sorted(zip((-weights.history[n, 0, 1:]).tolist(), range(9), batch.history[0, 0].tolist(), strict=True))[:TOP_BEHAVIOURS]
        assert [b.item_id for b in positive.behaviours] == [HOUSE.recommender.name(key) for _, _, key in by_hand]
        assert [b.weight for b in positive.behaviours] == [-weight for weight, _, _ in by_hand]
        assert positive.abstained + sum(b.weight for b in positive.behaviours) < 1 and len(positive.behaviours) == TOP_BEHAVIOURS  # of nine
        (skipped,) = negative.behaviours
        assert (skipped.item_id, skipped.action, skipped.age_s) == ("i09", "skip", 30 * 3600.0)
        assert negative.abstained + skipped.weight == pytest.approx(1.0, abs=1e-6)
        assert len(related.behaviours) == TOP_BEHAVIOURS  # all are of the category
    collected = [b for item in why.items for b in item.attention[0].behaviours if b.action == "collect"]
    assert {(b.item_id, b.age_s) for b in collected} <= {("i03", 29 * 3600.0)}
    later = explained("r", made.trace, HOUSE.recommender.name, attend, 9)
    assert (later.model_version, later.attention_version, later.model_changed) == (7, 9, True)
    nobody = explained("r", made.trace, HOUSE.recommender.name, None, None)
    assert [item.attention for item in nobody.items] == [[]] * 10 and (nobody.attention_version, nobody.model_changed) == (None, False)


def test_what_the_user_does_next_changes_no_explanation_and_a_deleted_item_has_no_name() -> None:
    own = house()
    made = own.made(MODEL.predict, user_id="u", domain="song")
    before = told(made, own, MODEL)
    own.take(*(event("skip", name, at=START + 5) for name in NAMES))
    assert told(made, own, MODEL) == before
    own.catalog.delete("i09")
    assert {item.attention[1].behaviours[0].item_id for item in told(made, own, MODEL).items} == {None}


def test_a_guests_list_is_explained_without_what_the_guest_did() -> None:
    plays = (GuestEvent(item_id="i00", full=True), GuestEvent(item_id="i01", full=True))
    made = HOUSE.made(MODEL.predict, plays=plays, domain="song")
    why = told(made, HOUSE, MODEL)
    assert [item.attention for item in why.items] == [[]] * 10 and why.user_id is None and why.attention_version is None
    assert all(sum(t.adds for t in item.terms) == pytest.approx(item.score, abs=1e-6) for item in why.items)
    for act in plays:
        assert HOUSE.catalog.put(Item(item_id=act.item_id)).key.to_bytes(8, "little") not in msgspec.msgpack.encode(made.trace)


def test_a_cold_list_is_explained_by_popularity() -> None:
    own = House([Item(item_id=name) for name in "ab"])
    own.take(event("play", "b", user="v"), event("play", "b", user="w"))
    why = told(own.made(by_name("ab"), user_id="u", version=0), own, None, None)
    assert [(i.item_id, [(t.part, t.weight, t.value, t.adds) for t in i.terms]) for i in why.items] == [
        ("b", [("popularity", 1.0, 2.0, 2.0)]), ("a", [("popularity", 1.0, 0.0, 0.0)]),
    ]  # fmt: skip
    assert why.flags == ["cold", "short"] and told(own.made(None, user_id="u", exclude=("a", "b")), own).items == []


@given(
    st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(0, 3_000)), max_size=40), st.integers(0, 5), st.integers(0, 8_000),
)  # fmt: skip
def test_the_last_ones_are_remembered_within_both_bounds(lists: list[tuple[str, int]], requests: int, most: int) -> None:
    """Against a list that is gone through from its end."""
    recent = RecentTraces(requests, most)
    for n, (request_id, size) in enumerate(lists):
        recent.put(request_id, trace(n, size))
    assert len(recent) <= requests and recent.bytes <= most
    kept: dict[str, int] = {}
    for n, (request_id, size) in enumerate(lists):
        kept.pop(request_id, None)
        if requests and cost(n, size) <= most:
            kept[request_id] = n
            while len(kept) > requests or sum(cost(m, lists[m][1]) for m in kept.values()) > most:
                del kept[next(iter(kept))]
    assert recent.bytes == sum(cost(n, lists[n][1]) for n in kept.values())
    for request_id in "abcdefg":
        found = recent.get(request_id)
        assert found == (trace(kept[request_id], lists[kept[request_id]][1]) if request_id in kept else None)


def trace(n: int, size: int) -> Trace:
    return Trace(n, "u", "ranked", [], 1, ["x" * size], [], [], [], None)


def cost(n: int, size: int) -> int:
    return len(msgspec.msgpack.encode(trace(n, size))) + 300


def test_a_list_of_ten_takes_what_the_setting_says() -> None:
    """Ten items, fifty behaviours of each family and twenty related ones an item: the most that is kept of a user."""
    made = HOUSE.made(MODEL.predict, user_id="u", domain="song")
    model: Any = made.trace.model
    part = msgspec.structs.replace(model.part, positive=b"x" * 25 * 50, negative=b"x" * 25 * 50)
    exposures = [msgspec.structs.replace(exposure, related=b"x" * 25 * 20) for exposure in model.exposures]
    full = msgspec.structs.replace(made.trace, model=msgspec.structs.replace(model, part=part, exposures=exposures))
    recent = RecentTraces(1, 1 << 20)
    recent.put("r", full)
    assert 8_000 < recent.bytes < 16_000


HOUSE, MODEL = house(), moved()


def test_items_of_a_list_say_which_module_they_were_asked_for() -> None:
    for module in (None, "daily"):
        why = told(HOUSE.made(MODEL.predict, user_id="u", k=3, module=module), HOUSE)
        assert [(item.module, item.position) for item in why.items] == [(module, n) for n in range(3)] and why.choice is None
