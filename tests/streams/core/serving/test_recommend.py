"""What a list promises: nothing in it that must not be, the order by the weights, exact chances, no trace of guests."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bandit.settings import BanditSettings
from online_model.batch import Batch
from online_model.features import FIELDS, TASKS, Example
from online_model.history import FULL_PLAY, rows
from online_model.trainer import Prediction
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event, Exposure
from streams.core.join.items import Item
from streams.core.join.keys import HOUR_MS, key
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.join.state import Tables, UserState, digest
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.fusion import RequestError, Weights
from streams.core.serving.model_view import ModelView, Predict
from streams.core.serving.recommend import Preset, Recommender, RecommendSettings, ServedSlate, Slate, SlateRequest
from streams.core.serving.requests import GuestEvent
from tests import frequencies

START = 1_700_000_000_000
ITEM = FIELDS.index("item")
SETTLED = RecommendSettings(explore_share=0.0)  # nothing left to chance


def k(item_id: str) -> int:
    return key("item", item_id)


class House:
    """A partition, a catalog with its shelves, and a recommender over them."""

    def __init__(self, items: Iterable[Item] = (), settings: RecommendSettings = SETTLED) -> None:
        self.catalog, self.catalog_index = Catalog(), CatalogIndex()
        for item in items:
            self.catalog_index.put(self.catalog.put(item), START)
        self.partition = Partition(PartitionSettings(), Tables.over(), self.catalog)
        self.recommender = Recommender(settings, PartitionSettings(), self.catalog, self.catalog_index)
        self.offset = 0

    def take(self, *records: Event | Exposure) -> list[Example]:
        out = []
        for record in records:
            effects = self.partition.apply([Arrived(self.offset, 0, record.ts, record, f"id{self.offset}")])
            for increment in effects.popularity:
                self.catalog_index.add(increment)
            self.offset += 1
            out += [o.record for o in effects.examples if isinstance(o.record, Example)]
        return out

    def user(self, user_id: str | None) -> UserState | None:
        return self.partition.user(key("user", user_id)) if user_id else None

    def made(
        self, predict: Predict | None = None, ts: int = START, seed: int = 1, request_id: str = "r", version: int | None = 7,
        **request: object,
    ) -> ServedSlate:  # fmt: skip
        asked, model = SlateRequest(**request), ModelView(predict=predict, version=version)  # type: ignore[arg-type]
        return self.recommender.recommend(asked, request_id, self.user(asked.user_id), self.partition.item_counts, model, ts, seed)

    def ask(self, predict: Predict | None = None, **given: object) -> tuple[Slate, Exposure | None]:
        made = self.made(predict, **given)  # type: ignore[arg-type]
        return made.slate, made.exposure

    def ids(self, predict: Predict | None = None, **request: object) -> list[str]:
        return [item.item_id for item in self.ask(predict, **request)[0].items]


def judged(worth: Callable[[int], float]) -> Predict:
    """Probability of a full play by item, nothing else ever happens."""

    def predict(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        out = np.zeros((len(batch), len(TASKS)), np.float32)
        out[:, TASKS.index("full_play")] = [worth(item) for item in batch.fields[:, ITEM].tolist()]
        return said(out)

    return predict


def said(probabilities: np.ndarray) -> Prediction:
    """These probabilities, and nothing of the other parts."""
    nothing = np.zeros_like(probabilities)
    return Prediction(nothing, probabilities, nothing[:, 0], nothing, nothing)


def by_name(names: Sequence[str]) -> Predict:
    """The first is the best."""
    place = {k(name): n for n, name in enumerate(names)}
    return judged(lambda item: 1.0 / (1 + place[item]))


def event(action: str, item: str, user: str = "u", at: int = START, **more: object) -> Event:
    return Event(ts=at, user_id=user, item_id=item, action=Action(action), **more)  # type: ignore[arg-type]


NAMES = [f"i{n}" for n in range(12)]
item_records = st.builds(
    Item,
    item_id=st.sampled_from(NAMES),
    domain=st.sampled_from([None, "song", "video"]),
    published_ts=st.none() | st.integers(START - 3, START + 3),
    expires_ts=st.none() | st.integers(START - 3, START + 3),
    hidden=st.booleans(),
)
acts = st.tuples(st.sampled_from(NAMES), st.sampled_from(["play", "skip", "dislike", "impression"]), st.integers(0, 12))


@given(
    items=st.lists(item_records, max_size=12),
    deleted=st.sets(st.sampled_from(NAMES), max_size=3),
    done=st.lists(acts, max_size=6),
    excluded=st.lists(st.sampled_from(NAMES), max_size=3),
    offered=st.none() | st.lists(st.sampled_from([*NAMES, "x", "y"]), max_size=12),
    domain=st.none() | st.sampled_from(["song", "video", "radio"]),
    k_wanted=st.integers(1, 15),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    with_model=st.booleans(),
    strategy=st.sampled_from([None, "popular"]),
    seed=st.integers(0, 99),
)
def test_a_list_holds_all_it_may_hold_up_to_k_and_nothing_else(
    items: list[Item], deleted: set[str], done: list[tuple[str, str, int]], excluded: list[str], offered: list[str] | None,
    domain: str | None, k_wanted: int, share: float, with_model: bool, strategy: str | None, seed: int,
) -> None:  # fmt: skip
    house = House(items, RecommendSettings(explore_share=share, popular_candidates=2, fresh_candidates=2, explore_candidates=1))
    for name in deleted:
        house.catalog.delete(name)
        house.catalog_index.delete(k(name))
    house.take(*(event(action, name, at=START + (hours - 12) * HOUR_MS) for name, action, hours in sorted(done, key=lambda d: d[2])))
    answer, exposure = house.ask(
        judged(lambda item: item % 1000 / 1000) if with_model else None,
        user_id="u", k=k_wanted, domain=domain, candidates=None if offered is None else tuple(offered), exclude=tuple(excluded),
        seed=seed, strategy=strategy,
    )  # fmt: skip

    known = {item.item_id: item for item in items if item.item_id not in deleted}
    repeated = {name for name, _, hours in done if hours > 6}

    def allowed(name: str) -> bool:
        item = known.get(name)
        now = item is None or (
            not item.hidden and (item.published_ts or START) <= START and (item.expires_ts is None or item.expires_ts > START)
        )
        return now and name not in deleted and name not in excluded and name not in repeated

    if offered is None:
        may = {name for name, item in known.items() if allowed(name) and domain in (None, item.domain)}
    else:
        may = {name for name in offered if allowed(name)}
    listed = [item.item_id for item in answer.items]
    assert len(set(listed)) == len(listed) == min(k_wanted, len(may)) and set(listed) <= may
    assert [item.position for item in answer.items] == list(range(len(listed)))
    assert ("short" in answer.flags) == (len(listed) < k_wanted)
    assert all(0 < item.propensity <= 1 for item in answer.items)
    assert (exposure is None) == (not listed)


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


@given(st.permutations(NAMES), st.integers(0, 30), st.sampled_from([None, "popular"]))
def test_given_candidates_in_another_order_are_the_same_list(order: list[str], seed: int, strategy: str | None) -> None:
    def house() -> House:
        out = House([Item(item_id=name) for name in NAMES[:8]], RecommendSettings(explore_share=0.3))
        out.take(*(event("play", name, user="other") for name in NAMES[:3]))
        return out

    equal = judged(lambda item: 0.5)  # ties too
    for score in (judged(lambda item: item % 97 / 97), equal):
        one = house().ask(score, user_id="u", candidates=tuple(NAMES), k=5, seed=seed, strategy=strategy)
        assert house().ask(score, user_id="u", candidates=tuple(order), k=5, seed=seed, strategy=strategy) == one


def test_same_inputs_same_answer_another_request_or_seed_another_draw() -> None:
    house = House([Item(item_id=f"n{n}") for n in range(300)], RecommendSettings(explore_share=0.5))
    score = judged(lambda item: item % 97 / 97)
    one = house.ask(score, user_id="u")
    assert house.ask(score, user_id="u") == one
    assert house.ask(score, user_id="u", request_id="s")[0].items != one[0].items
    assert house.ask(score, user_id="u", seed=2)[0].items != one[0].items


@pytest.mark.parametrize("offered", [None, tuple("abcdef")])
def test_propensities_are_the_frequencies_of_many_requests(offered: tuple[str, ...] | None) -> None:
    """Popular, fresh and random candidates are all six here, so that the ranking itself is no matter of chance."""
    house = House([Item(item_id=name) for name in "abcdef"], RecommendSettings(explore_share=0.4))
    slots, n = 3, 6_000
    seen, said = np.zeros((6, slots)), np.zeros((6, slots))
    for seed in range(n):
        for item in house.ask(by_name("abcdef"), seed=seed, k=slots, candidates=offered)[0].items:
            place = "abcdef".index(item.item_id), item.position
            seen[place] += 1
            assert said[place] in (0.0, item.propensity)
            said[place] = item.propensity
    assert said.sum(axis=0) == pytest.approx(np.ones(slots))
    for slot in range(slots):
        assert stats.chisquare(seen[:, slot], said[:, slot] * n).pvalue > 0.001


def test_chances_given_the_slots_above_make_up_the_frequencies_of_whole_lists() -> None:
    house = House([Item(item_id=name) for name in "abcdef"], RecommendSettings(explore_share=0.4))
    seen: dict[str, int] = {}
    chance: dict[str, float] = {}
    n = 4_000
    for seed in range(n):
        exposure = house.ask(by_name("abcdef"), user_id="u", seed=seed, k=3)[1]
        assert exposure is not None
        shown = "".join(slot.item_id for slot in exposure.slots)
        seen[shown] = seen.get(shown, 0) + 1
        chance[shown] = math.prod(slot.propensity_given_above or 0.0 for slot in exposure.slots)
    assert frequencies.p_value(seen, chance, 51) > 0.001


def test_explored_slots_say_so_and_reach_what_the_ranking_does_not() -> None:
    settings = RecommendSettings(explore_share=0.5, popular_candidates=5, fresh_candidates=5, explore_candidates=0)
    house = House([Item(item_id=f"n{n:03}", published_ts=START - n) for n in range(200)], settings)
    score = judged(lambda item: item % 97 / 97)
    items = [item for seed in range(40) for item in house.ask(score, user_id="u", k=4, seed=seed)[0].items]
    far = [item for item in items if int(item.item_id[1:]) >= 10]
    assert far and {item.source for item in far} == {"explore"}
    assert {item.propensity for item in far} == {0.5 / 200}
    assert {item.source for item in items if item.source != "explore"} == {"fresh"}
    assert all(item.probabilities is not None for item in far)  # their exposures are scored as any other


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


def test_popularity_alone_is_a_strategy_without_chance() -> None:
    house = House([Item(item_id=name) for name in "abc"], RecommendSettings(explore_share=0.9))
    house.take(event("play", "b", user="v"), event("collect", "c", user="v"), event("play", "c", user="w"))
    answer, exposure = house.ask(by_name("abc"), user_id="u", k=2, strategy="popular")
    assert [(item.item_id, item.propensity) for item in answer.items] == [("c", 1.0), ("b", 1.0)]
    assert answer.flags == [] and exposure is not None and exposure.strategy == answer.strategy == "popular"
    assert house.ids(by_name("abc"), k=2, strategy="popular", candidates=("a", "b")) == ["b", "a"]


def test_domains_keep_apart_but_given_candidates_are_taken_as_they_are() -> None:
    house = House([Item(item_id="s", domain="song"), Item(item_id="v", domain="video"), Item(item_id="n")])
    score = by_name("svn")
    assert house.ids(score, domain="song") == ["s"] and house.ids(score, domain="radio") == []
    assert house.ids(score) == ["s", "v", "n"]
    assert house.ids(score, domain="song", candidates=("v", "s")) == ["s", "v"]


def test_what_is_not_in_the_catalog_is_served_where_it_is_named_unless_it_was_deleted() -> None:
    house = House([Item(item_id="a"), Item(item_id="gone")])
    house.catalog_index.delete(k("gone"))
    house.catalog.delete("gone")
    assert house.ids(by_name(["stranger", "a"]), candidates=("a", "gone", "stranger")) == ["stranger", "a"]
    assert house.ids(by_name(["a"])) == ["a"]
    without = House()
    for name in ("b", "c"):
        without.catalog_index.add_uncatalogued(name)
        without.take(event("play", name, user="v"))
    assert sorted(without.ids(None, user_id="u", domain="song")) == ["b", "c"]
    assert without.ids(by_name("cb"), user_id="u") == ["c", "b"]


def test_published_later_is_shown_later() -> None:
    house = House([Item(item_id="a", published_ts=START + 10)])
    assert house.ids(by_name("a"), candidates=("a",)) == [] == house.ids(by_name("a"))
    assert house.ids(by_name("a"), ts=START + 10) == ["a"]


def test_shown_and_played_items_come_back_after_the_window() -> None:
    house = House([Item(item_id=name) for name in "abc"])
    answer, exposure = house.ask(by_name("abc"), user_id="u", k=1)
    assert exposure is not None
    house.take(exposure, event("play", "b", at=START + 1, full=True))
    assert house.ids(by_name("abc"), user_id="u", ts=START + 2) == ["c"]
    assert house.ids(by_name("abc"), user_id="w", ts=START + 2) == ["a", "b", "c"]
    assert house.ids(by_name("abc"), user_id="u", ts=START + 6 * HOUR_MS) == ["a", "c"]
    assert house.ids(by_name("abc"), user_id="u", ts=START + 6 * HOUR_MS + 1) == ["a", "b", "c"]
    short = House([Item(item_id=name) for name in "abc"], RecommendSettings(explore_share=0.0, no_repeat_window_ms=0))
    short.take(event("play", "b"))
    assert short.ids(by_name("abc"), user_id="u") == ["a", "b", "c"]


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
        assert batch.bags[row, 0, 0] == np.frombuffer(learned.context, "<u8")[0]
        assert batch.history[0, 0, 0] == k("a") and batch.history[0, 1, 0] == k("c")  # shared by all rows
        assert len(rows(learned.positive)) == len(rows(learned.negative)) == 1


def test_a_guests_plays_count_and_leave_no_trace() -> None:
    house = House([Item(item_id=name, domain="song", categories=("c",)) for name in "abcd"])
    house.take(event("play", "a", user="v", full=True), event("skip", "b", user="v"))
    before = digest({name: table.rows() for name, table in house.partition.tables.named().items()})
    seen: list[Batch] = []

    def score(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        seen.append(batch)
        return by_name("abcd")(batch, gamma_user, gamma_item)

    later = START + 7 * HOUR_MS  # what v did is no repetition any more
    plays = (GuestEvent(item_id="a", ts=START, full=True), GuestEvent(item_id="b", action=Action.SKIP, ts=START))
    answer, exposure = house.ask(score, plays=plays, ts=later)
    house.ask(score, user_id="v", ts=later)
    guest, user = seen
    assert [item.item_id for item in answer.items] == ["a", "b", "c", "d"] and answer.flags == ["guest", "short"]
    assert exposure is None
    assert digest({name: table.rows() for name, table in house.partition.tables.named().items()}) == before
    assert guest.fields[:, 0].tolist() == [0] * 4  # nobody
    assert np.array_equal(guest.history, user.history) and np.array_equal(guest.age_s, user.age_s)
    assert np.array_equal(guest.counts, user.counts) and guest.counts[0, 0, 0] > 0  # as of a user who did the same
    assert guest.action[0, 0, 0] == FULL_PLAY
    assert house.ids(score, plays=(GuestEvent(item_id="c"), GuestEvent(item_id="d", ts=later + HOUR_MS)), ts=later) == ["a", "b"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (SlateRequest(k=0), r"\$.k: must be in \[1, 100\], got 0"),
        (SlateRequest(k=101), r"\$.k: must be in \[1, 100\], got 101"),
        (SlateRequest(candidates=tuple(f"{n}" for n in range(501))), r"\$.candidates: at most 500, got 501"),
        (SlateRequest(weights={"likes": 1.0}), r"\$.weights.likes: no such weight; one of full_play, collect, share, skip, dislike, rank"),
        (SlateRequest(weights={"skip": float("inf")}), r"\$.weights.skip: must be in \[-1e\+06, 1e\+06\], got inf"),
        (SlateRequest(weights={"rank": float("nan")}), r"\$.weights.rank: must be in \[-1e\+06, 1e\+06\], got nan"),
        (SlateRequest(gamma_item=1.6), r"\$.gamma_item: must be in \[-1, 1.5\], got 1.6"),
        (SlateRequest(gamma_user=-1.1), r"\$.gamma_user: must be in \[-1, 1.5\], got -1.1"),
        (SlateRequest(rank_scale=0.0), r"\$.rank_scale: must be in \[0.001, 1,000\], got 0"),
        (SlateRequest(strategy="best"), r"\$.strategy: no such strategy 'best'; one of ranked, tail, explore, popular, auto"),
        (SlateRequest(user_id="u", plays=(GuestEvent(item_id="a"),)), r"\$.plays: only of a guest"),
    ],
)
def test_a_request_that_cannot_be_served_names_the_field(request_: SlateRequest, message: str) -> None:
    house = House([Item(item_id="a")])
    with pytest.raises(RequestError, match=message) as error:
        house.recommender.recommend(request_, "r", None, house.partition.item_counts, ModelView(), START, 1)
    assert f"$.{error.value.field}:" in message.replace("\\", "")


def test_the_exposure_is_what_was_answered() -> None:
    house = House([Item(item_id=name) for name in "ab"])
    answer, exposure, _ = house.recommender.recommend(
        SlateRequest(user_id="u", domain=None, context={"d": 1}, module="m"), "r9", None, house.partition.item_counts,
        ModelView(predict=by_name("ab"), version=3, age_ms=40, stale=True), START, 1,
    )  # fmt: skip
    assert answer.flags == ["short", "stale"] and (answer.model_version, answer.model_age_ms) == (3, 40)
    assert exposure is not None
    assert (exposure.ts, exposure.user_id, exposure.request_id, exposure.strategy) == (START, "u", "r9", "ranked")
    assert (exposure.model_version, exposure.model_age_ms, exposure.context) == (3, 40, {"d": 1})
    told = [(s.item_id, s.position, s.score, s.propensity, s.source, s.module) for s in exposure.slots]
    assert told == [(i.item_id, i.position, i.score, i.propensity, i.source, "m") for i in answer.items]
    assert msgspec.json.decode(msgspec.json.encode(exposure), type=Exposure) == exposure


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in (
        {"explore_share": 1.5}, {"max_k": 201}, {"max_candidates": 0}, {"no_repeat_window_ms": -1}, {"fresh_candidates": -1},
        {"gamma_item": 1.6}, {"gamma_user": -1.1}, {"tail_gamma_item": float("nan")}, {"rank_scale": 0.0},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RecommendSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weights.skip must be in"):
        RecommendSettings(weights=Weights(skip=float("-inf")))


# --- strategies

PRESETS = RecommendSettings(
    explore_share=0.1,
    presets={
        "calm": Preset(weights={"dislike": -40.0}, gamma_user=0.3, gamma_item=0.2), "wild": Preset(explore_share=0.5),
        "plain": Preset(explore_share=0.0),
    },
    chosen=("ranked", "calm", "wild", "plain"),
)  # fmt: skip


def strategy_bandit(settings: RecommendSettings) -> StrategyBandit:
    return StrategyBandit({"list": settings.chosen}, BanditSettings())


def test_each_strategy_asks_the_model_and_chance_in_its_own_way() -> None:
    """A preset is a strategy by its name; what a request asks for itself comes first."""
    house, asked = House([Item(item_id=f"n{n}") for n in range(30)], PRESETS), list[tuple[float, float]]()

    def score(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        asked.append((gamma_user, gamma_item))
        return said(np.full((len(batch), len(TASKS)), 0.25, np.float32))

    scores, explored = {}, {}
    for strategy in ("ranked", "tail", "explore", "calm", "wild", "plain"):
        lists = [house.ask(score, strategy=strategy, k=20, seed=seed)[0].items for seed in range(40)]
        scores[strategy] = lists[0][0].score
        explored[strategy] = sum(item.source == "explore" for items in lists for item in items)
    assert asked[::40] == [(0.0, 0.7), (0.0, 1.0), (0.0, 0.7), (0.3, 0.2), (0.0, 0.7), (0.0, 0.7)]
    # by hand: .25 x (.5 + 2 + 2 - .5 - 4) = 0, and with -40 in place of -4: -9
    assert scores == pytest.approx({"ranked": 0.0, "tail": 0.0, "explore": 0.0, "calm": -9.0, "wild": 0.0, "plain": 0.0})
    # 800 slots each; all 30 are candidates, none is drawn for lack of another: shares .1, .1, .2, .1, .5, 0 (binomial, p > .001)
    for strategy, share in {"ranked": 0.1, "tail": 0.1, "explore": 0.2, "calm": 0.1, "wild": 0.5}.items():
        assert stats.binomtest(explored[strategy], 800, share).pvalue > 0.001
    assert explored["plain"] == 0
    assert house.ask(score, strategy="calm", weights={"dislike": 0.0})[0].items[0].score == pytest.approx(1.0)
    house.ask(score, strategy="calm", gamma_item=0.9)
    assert asked[-1] == (0.3, 0.9)
    house.ask(score, strategy="calm", gamma_user=0.1)
    assert asked[-1] == (0.1, 0.2)


def test_propensities_of_a_preset_are_those_of_its_own_share() -> None:
    house, slots, n = House([Item(item_id=name) for name in "abcd"], PRESETS), 2, 4_000
    seen, chances = np.zeros((4, slots)), np.zeros((4, slots))
    for seed in range(n):
        for item in house.ask(by_name("abcd"), seed=seed, k=slots, strategy="wild", candidates=tuple("abcd"))[0].items:
            place = "abcd".index(item.item_id), item.position
            seen[place] += 1
            chances[place] = item.propensity
    assert chances[0, 0] == pytest.approx(0.5 / 4 + 0.5 * (0.5 + 0.5 * 3 / 4))  # of the best, first: no slot below draws it
    assert chances.sum(axis=0) == pytest.approx(np.ones(slots))
    for slot in range(slots):
        assert stats.chisquare(seen[:, slot], chances[:, slot] * n).pvalue > 0.001


def test_auto_is_one_of_the_chosen_by_the_chances_that_are_logged() -> None:
    house, n = House([Item(item_id=f"n{n}") for n in range(6)], PRESETS), 2_000
    chooses, seen = strategy_bandit(PRESETS), dict.fromkeys(PRESETS.chosen, 0)
    score = judged(lambda item: item % 97 / 97)
    for seed in range(n):
        asked = SlateRequest(user_id="u", strategy="auto", k=3)
        answer, exposure, trace = house.recommender.recommend(
            asked, "r", None, house.partition.item_counts, ModelView(predict=score, bandit=chooses, version=7), START, seed
        )
        seen[answer.strategy] += 1
        assert exposure is not None and exposure.choice is not None and trace.choice == exposure.choice
        assert (exposure.choice.surface, exposure.choice.arms, exposure.strategy) == ("list", PRESETS.chosen, answer.strategy)
        assert sum(exposure.choice.chances) == pytest.approx(1.0, abs=1e-9) and exposure.choice.activity == 0.0
        if seed < 100:
            named, _, _ = house.made(score, user_id="u", strategy=answer.strategy, k=3, seed=seed)
            assert named == answer  # the choice takes nothing of the chance that the list is made with
    assert stats.chisquare(list(seen.values()), [n / 4] * 4).pvalue > 0.001  # nothing earned yet: all alike
    with pytest.raises(RequestError, match=r"\$.strategy: nothing here chooses; name one of ranked, calm, wild, plain"):
        house.made(score, strategy="auto")
    assert house.made(score, user_id="u", strategy="wild").exposure.choice is None  # type: ignore[union-attr]


def test_linear_arms_are_told_what_the_ranker_knows_of_who_asks_once_it_knows_something() -> None:
    house, batches = House([Item(item_id=f"n{n}", domain="song") for n in range(9)], PRESETS), list[Batch]()
    asked = SlateRequest(user_id="u", strategy="auto")
    chooses = StrategyBandit({"list": PRESETS.chosen}, BanditSettings(arms="linear"))
    house.take(event("play", "n1", full=True))

    def look(batch: Batch) -> np.ndarray:
        batches.append(batch)
        return np.full((len(batch), 32), 0.176776695)

    def vector(version: int, chooses: StrategyBandit = chooses) -> tuple[float, ...]:
        score, later = judged(lambda item: item % 97 / 97), START + 9 * HOUR_MS
        model = ModelView(predict=score, user_vector=look, bandit=chooses, version=version)
        _, exposure, _ = house.recommender.recommend(asked, "r", house.user("u"), house.partition.item_counts, model, later, 1)
        assert exposure is not None and exposure.choice is not None
        return exposure.choice.vector

    assert vector(0) == () == vector(7, strategy_bandit(PRESETS)) and not batches  # it has learned nothing; it is not looked at
    assert vector(7) == (0.1768,) * 32
    (batch,) = batches
    assert len(batch) == 1 and batch.fields[0, ITEM] == 0  # before any item,
    assert k("n1") in batch.history[0, 0]  # but with what the user did
    assert batch.counts[0, 0].sum() > 0 == batch.counts[0, 1].sum()


def test_a_guest_is_chosen_for_as_somebody_who_did_the_same_and_leaves_nothing() -> None:
    house, later = House([Item(item_id=f"n{n}", domain="song") for n in range(9)], PRESETS), START + 9 * HOUR_MS
    house.take(event("play", "n1", full=True))
    recommend, counts = house.recommender.recommend, house.partition.item_counts
    model = ModelView(predict=judged(lambda item: item % 97 / 97), bandit=strategy_bandit(PRESETS), version=7)
    of_user = recommend(SlateRequest(user_id="u", strategy="auto"), "r", house.user("u"), counts, model, later, 1)
    plays = (GuestEvent(item_id="n1", ts=START, full=True),)
    of_guest = recommend(SlateRequest(plays=plays, strategy="auto"), "r", None, counts, model, later, 1)
    assert of_guest.slate.items == of_user.slate.items and of_guest.exposure is None
    assert of_guest.trace.choice == of_user.trace.choice is not None and of_guest.trace.choice.activity > 0


def test_slots_say_what_an_exposure_of_theirs_is_worth() -> None:
    house = House([Item(item_id="a", monetization=0.25), Item(item_id="b")])
    _, exposure = house.ask(by_name("abx"), user_id="u", candidates=tuple("abx"))
    assert exposure is not None and [s.monetization for s in exposure.slots] == [0.25, 0.0, None]  # None: no catalog knows it


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"presets": {"auto": Preset()}}, "presets.auto: a name of"),
        ({"presets": {"a b": Preset()}}, "presets.a b: a name of"),
        ({"presets": {f"p{n}": Preset() for n in range(9)}}, "at most 8 presets"),
        ({"presets": {"p": Preset(weights={"likes": 1.0})}}, r"presets.p: \$.weights.likes: no such weight"),
        ({"presets": {"p": Preset(gamma_user=2.0)}}, r"presets.p: \$.gamma_user: must be in"),
        ({"presets": {"p": Preset(gamma_item=2.0)}}, r"presets.p: \$.gamma_item: must be in"),
        ({"presets": {"p": Preset(explore_share=float("nan"))}}, r"presets.p: \$.explore_share: must be in"),
        ({"chosen": ("ranked", "p")}, "chosen must name 2 to 12 different strategies of ranked, tail, explore, popular, got ranked, p"),
        ({"chosen": ("ranked",)}, "chosen must name"),
        ({"chosen": ("ranked", "ranked")}, "chosen must name"),
        ({"explore_share_more": 1.5}, "explore_share_more must be in"),
    ],
)
def test_presets_and_what_is_chosen_among_are_checked(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RecommendSettings(**wrong)  # type: ignore[arg-type]
