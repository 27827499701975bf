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
from online_model.features import EMBEDDING, FIELDS, TASKS, Example
from online_model.trainer import Prediction
from streams.core.join.catalog import Catalog
from streams.core.join.decode import decode
from streams.core.join.events import Action, Event, Exposure
from streams.core.join.items import Item
from streams.core.join.keys import HOUR_MS, key
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.explain import explained
from streams.core.serving.fusion import RequestError
from streams.core.serving.model_view import ModelView, Predict
from streams.core.serving.recommend import Preset, Recommender, RecommendSettings, ServedSlate, Slate, SlateRequest
from streams.core.serving.requests import GuestEvent
from streams.core.shaping.boosts import Boosts
from streams.core.shaping.item_filter import CategoryFilter, ItemFilter
from streams.core.state.rows import UserState
from streams.core.state.tables import Tables
from tests import frequencies

START = 1_700_000_000_000
ITEM = FIELDS.index("item")
SETTLED = RecommendSettings(explore_share=0.0)  # nothing left to chance


def k(item_id: str) -> int:
    return key("item", item_id)


class House:
    """A partition, a catalog with its indexes, and a recommender over them."""

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
    unknown=st.sampled_from(["refuse", "allow"]),
    seed=st.integers(0, 99),
)
def test_a_list_holds_all_it_may_hold_up_to_k_and_nothing_else(
    items: list[Item], deleted: set[str], done: list[tuple[str, str, int]], excluded: list[str], offered: list[str] | None,
    domain: str | None, k_wanted: int, share: float, with_model: bool, strategy: str | None, unknown: str, seed: int,
) -> None:  # fmt: skip
    house = House(items, RecommendSettings(explore_share=share, popular_candidates=2, fresh_candidates=2, explore_candidates=1))
    for name in deleted:
        house.catalog.delete(name)
        house.catalog_index.delete(k(name))
    house.take(*(event(action, name, at=START + (hours - 12) * HOUR_MS) for name, action, hours in sorted(done, key=lambda d: d[2])))
    answer, exposure = house.ask(
        judged(lambda item: item % 1000 / 1000) if with_model else None,
        user_id="u", k=k_wanted, domain=domain, candidates=None if offered is None else tuple(offered), exclude=tuple(excluded),
        seed=seed, strategy=strategy, unknown=unknown,
    )  # fmt: skip

    known = {item.item_id: item for item in items if item.item_id not in deleted}
    repeated = {name for name, _, hours in done if hours > 6}

    def allowed(name: str) -> bool:
        item = known.get(name)
        now = (
            (unknown == "allow" or not (items or deleted))
            if item is None
            else (not item.hidden and (item.published_ts or START) <= START and (item.expires_ts is None or item.expires_ts > START))
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


@frequencies.draws(1_000, 6_000)
@pytest.mark.parametrize("offered", [None, tuple("abcdef")])
def test_propensities_are_the_frequencies_of_many_requests(offered: tuple[str, ...] | None, n: int) -> None:
    """Popular, fresh and random candidates are all six here, so that the ranking itself is no matter of chance."""
    house = House([Item(item_id=name) for name in "abcdef"], RecommendSettings(explore_share=0.4))
    slots = 3
    seen, said = np.zeros((6, slots)), np.zeros((6, slots))
    for seed in range(n):
        for item in house.ask(by_name("abcdef"), seed=seed, k=slots, candidates=offered)[0].items:
            place = "abcdef".index(item.item_id), item.position
            seen[place] += 1
            assert said[place] in (0.0, item.propensity)
            said[place] = item.propensity
    assert said.sum(axis=0) == pytest.approx(np.ones(slots))
    for slot in range(slots):
        assert frequencies.chi_squared(seen[:, slot], said[:, slot] * n) > 0.001


@pytest.mark.parametrize(("n", "outcomes"), [(800, 12), pytest.param(4_000, 51, marks=pytest.mark.prove)])
def test_chances_given_the_slots_above_make_up_the_frequencies_of_whole_lists(n: int, outcomes: int) -> None:
    house = House([Item(item_id=name) for name in "abcdef"], RecommendSettings(explore_share=0.4))
    seen: dict[str, int] = {}
    chance: dict[str, float] = {}
    for seed in range(n):
        exposure = house.ask(by_name("abcdef"), user_id="u", seed=seed, k=3)[1]
        assert exposure is not None
        shown = "".join(slot.item_id for slot in exposure.slots)
        seen[shown] = seen.get(shown, 0) + 1
        chance[shown] = math.prod(slot.conditional_propensity or 0.0 for slot in exposure.slots)
    assert frequencies.p_value(seen, chance, outcomes) > 0.001


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


def test_what_is_not_in_the_catalog_is_served_where_it_is_named_and_allowed_unless_it_was_deleted() -> None:
    house = House([Item(item_id="a"), Item(item_id="gone")])
    house.catalog_index.delete(k("gone"))
    house.catalog.delete("gone")
    named: dict[str, object] = {"candidates": ("a", "gone", "stranger"), "k": 3}
    answer, _ = house.ask(by_name(["a"]), **named)
    assert ([item.item_id for item in answer.items], answer.flags) == (["a"], ["guest", "short", "unknown_candidates"])
    assert house.ask(by_name(["a"]), candidates=("a",), k=1)[0].flags == ["guest"]
    assert house.ask(by_name(["a"]), **named | {"domain": "opera"})[0].flags[-1] == "unknown_domain"
    allowed, _ = house.ask(by_name(["stranger", "a"]), unknown="allow", **named)
    assert ([item.item_id for item in allowed.items], allowed.flags) == (["stranger", "a"], ["guest", "short"])
    assert house.ids(by_name(["a"])) == ["a"] == house.ids(by_name(["a"]), unknown="allow")
    without = House()
    for name in ("b", "c"):
        without.catalog_index.add_uncatalogued(name)
        without.take(event("play", name, user="v"))
    assert sorted(without.ids(None, user_id="u", domain="song")) == ["b", "c"]
    assert without.ids(by_name(["stranger", "b"]), candidates=("b", "stranger")) == ["stranger", "b"]
    assert without.ids(by_name("cb"), user_id="u") == ["c", "b"]


def test_published_later_is_shown_later() -> None:
    house = House([Item(item_id="a", published_ts=START + 10)])
    assert house.ids(by_name("a"), candidates=("a",)) == [] == house.ids(by_name("a"))
    assert house.ids(by_name("a"), ts=START + 10) == ["a"]


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
        with pytest.raises(msgspec.ValidationError, match=rf"at `\$.{next(iter(wrong))}`"):
            msgspec.convert(wrong, RecommendSettings)
    with pytest.raises(msgspec.ValidationError, match=r"Expected `float` >= -1000000.0 - at `\$.weights.skip`"):
        msgspec.convert({"weights": {"skip": float("-inf")}}, RecommendSettings)


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


@frequencies.draws(800, 4_000)
def test_propensities_of_a_preset_are_those_of_its_own_share(n: int) -> None:
    house, slots = House([Item(item_id=name) for name in "abcd"], PRESETS), 2
    seen, chances = np.zeros((4, slots)), np.zeros((4, slots))
    for seed in range(n):
        for item in house.ask(by_name("abcd"), seed=seed, k=slots, strategy="wild", candidates=tuple("abcd"))[0].items:
            place = "abcd".index(item.item_id), item.position
            seen[place] += 1
            chances[place] = item.propensity
    assert chances[0, 0] == pytest.approx(0.5 / 4 + 0.5 * (0.5 + 0.5 * 3 / 4))  # of the best, first: no slot below draws it
    assert chances.sum(axis=0) == pytest.approx(np.ones(slots))
    for slot in range(slots):
        assert frequencies.chi_squared(seen[:, slot], chances[:, slot] * n) > 0.001


@frequencies.draws(500, 2_000)
def test_auto_is_one_of_the_chosen_by_the_chances_that_are_logged(n: int) -> None:
    house = House([Item(item_id=f"n{at}") for at in range(6)], PRESETS)
    chooses, seen = strategy_bandit(PRESETS), dict.fromkeys(PRESETS.chosen, 0)
    score = judged(lambda item: item % 97 / 97)
    for seed in range(n):
        asked = SlateRequest(user_id="u", strategy="auto", k=3)
        answer, exposure, trace = house.recommender.recommend(
            asked, "r", None, house.partition.item_counts, ModelView(predict=score, bandit=chooses, version=7), START, seed
        )
        seen[answer.strategy] += 1
        assert exposure is not None and exposure.arm_draw is not None and trace.choice == exposure.arm_draw
        assert (exposure.arm_draw.surface, exposure.arm_draw.arms, exposure.strategy) == ("list", PRESETS.chosen, answer.strategy)
        assert sum(exposure.arm_draw.propensities) == pytest.approx(1.0, abs=1e-9) and exposure.arm_draw.activity == 0.0
        if seed < 40:
            named, _, _ = house.made(score, user_id="u", strategy=answer.strategy, k=3, seed=seed)
            assert named == answer  # the choice takes nothing of the chance that the list is made with
    assert frequencies.chi_squared(list(seen.values()), [n / 4] * 4) > 0.001  # nothing earned yet: all alike
    with pytest.raises(RequestError, match=r"\$.strategy: nothing here chooses; name one of ranked, calm, wild, plain"):
        house.made(score, strategy="auto")
    assert house.made(score, user_id="u", strategy="wild").exposure.arm_draw is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"presets": {"auto": {}}}, "presets.auto: a name of"),
        ({"presets": {"a b": {}}}, "presets.a b: a name of"),
        ({"presets": {f"p{n}": {} for n in range(9)}}, "at most 8 presets"),
        ({"presets": {"p": {"weights": {"likes": 1.0}}}}, r"presets.p: \$.weights.likes: no such weight"),
        ({"presets": {"p": {"gamma_user": 2.0}}}, r"<= 1.5 - at `\$.presets\[...\].gamma_user`"),
        ({"presets": {"p": {"gamma_item": 2.0}}}, r"<= 1.5 - at `\$.presets\[...\].gamma_item`"),
        ({"presets": {"p": {"explore_share": float("nan")}}}, r">= 0.0 - at `\$.presets\[...\].explore_share`"),
        ({"chosen": ("ranked", "p")}, "chosen must name 2 to 12 different strategies of ranked, tail, explore, popular, got ranked, p"),
        ({"chosen": ("ranked",)}, "chosen must name"),
        ({"chosen": ("ranked", "ranked")}, "chosen must name"),
        ({"explore_share_more": 1.5}, r"at `\$.explore_share_more`"),
    ],
)
def test_presets_and_what_is_chosen_among_are_checked(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(wrong, RecommendSettings)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), min_size=1, max_size=12), st.integers(1, 5), st.sampled_from("xyz"),
    st.sampled_from([(), ("a",)]), st.lists(st.integers(0, 11), max_size=4), st.integers(0, 50),
)  # fmt: skip
def test_an_exploring_slot_draws_from_exactly_what_matches_and_may_be_shown(
    songs: list[tuple[str, str]], wanted: int, category: str, without: tuple[str, ...], had: list[int], seed: int
) -> None:
    items = [Item(item_id=f"i{n}", artist_id=artist, categories=(kind,)) for n, (artist, kind) in enumerate(songs)]
    house = House(items, RecommendSettings(explore_share=1.0, popular_candidates=1, fresh_candidates=1, explore_candidates=0))
    house.take(*(event("play", f"i{n}") for n in had))
    request = {"k": wanted, "filter": ItemFilter(categories=CategoryFilter(any=(category,))), "exclude_artists": without}
    slate, _ = house.ask(user_id="u", seed=seed, **request)
    may = {i.item_id for n, i in enumerate(items) if i.categories == (category,) and i.artist_id not in without and n not in had}
    listed = [item.item_id for item in slate.items]
    assert len(listed) == len(set(listed)) == min(wanted, len(may)) and set(listed) <= may
    assert [item.propensity for item in slate.items] == pytest.approx([1 / max(1, len(may))] * len(listed))
    assert ("no_match" in slate.flags) == (not may) and ("short" in slate.flags) == (len(may) < wanted)
    given, _ = house.ask(user_id="u", seed=seed, candidates=tuple(i.item_id for i in items), **request)
    assert {item.item_id for item in given.items} <= may and len(given.items) == len(listed)


def test_a_narrow_filter_gives_as_many_as_there_are_behind_hundreds_that_are_more_popular() -> None:
    items = [Item(item_id=f"i{n}", published_ts=START - n, features={"mood": "blue" if n >= 1_200 else "red"}) for n in range(1_206)]
    house = House(items)
    for n in range(700):
        house.catalog_index.seed(k(f"i{n}"), 1_000.0 - n, START)
    house.catalog_index.seed(k("i1203"), 1.0, START)
    blue = house.ids(user_id="u", k=8, filter=ItemFilter(features={"mood": "blue"}))
    assert sorted(blue) == [f"i{n}" for n in range(1_200, 1_206)]


def test_boosts_pins_and_rules_of_artists_order_a_list_as_they_say_and_explanations_add_up() -> None:
    names = ["a", "b", "c", "d", "e"]
    house = House([Item(item_id=name, artist_id="x" if name in "abc" else name, categories=(name,)) for name in names])
    best = by_name(names)  # full plays of 1, 1/2, 1/3 … at 0.5 each
    assert house.ids(best, user_id="u", k=5, boosts=Boosts(artists={"d": 0.2}, items={"a": -1.0})) == ["d", "b", "c", "e", "a"]
    assert house.ids(best, user_id="u", k=5, pins={"e": 0, "d": 3}) == ["e", "a", "b", "d", "c"]
    assert house.ids(best, user_id="u", k=5, spacing=2) == ["a", "d", "b", "e", "c"]
    capped, exposure = house.ask(best, user_id="u", k=5, per_artist=1, pins={"c": 2})
    assert [item.item_id for item in capped.items] == ["d", "e", "c"] and "short" in capped.flags
    assert [(item.propensity, item.source) for item in capped.items][2] == (1.0, "pinned") and exposure is not None
    missed, _ = house.ask(best, user_id="u", k=3, pins={"gone": 0, "e": 1}, exclude=("e",))
    assert [item.item_id for item in missed.items] == ["a", "b", "c"] and "pin_missed" in missed.flags
    for pins, said in (({"a": 3}, "pinned to 3"), ({"a": 1, "b": 1}, "both pinned to 1")):
        with pytest.raises(RequestError, match=said):
            house.ask(best, user_id="u", k=3, pins=pins)
    told = explained("r", house.made(best, user_id="u", k=5, boosts=Boosts(items={"e": 9.0})).trace, house.recommender.name)
    assert told.items[0].item_id == "e" and told.items[0].terms[-1].part == "boost"
    assert sum(term.adds for term in told.items[0].terms) == pytest.approx(told.items[0].score)


def test_under_rules_a_place_below_chance_has_no_propensity_but_one_given_above_and_its_item_a_score() -> None:
    house = House(
        [Item(item_id=f"i{n}", artist_id=f"a{n % 6}") for n in range(30)], RecommendSettings(explore_share=1.0, popular_candidates=1)
    )
    slate, exposure = house.ask(judged(lambda item: item % 7 / 7), user_id="u", k=4, per_artist=1)
    assert [item.propensity for item in slate.items] == [1 / 30, None, None, None] and "no_propensity" in slate.flags
    assert exposure is not None and all(item.probabilities for item in slate.items)
    # of 30 songs by six artists, five each
    assert [slot.conditional_propensity for slot in exposure.slots] == pytest.approx([1 / 30, 1 / 25, 1 / 20, 1 / 15])
    assert [slot.propensity for slot in exposure.slots] == [1 / 30, None, None, None]
    (again,) = decode(msgspec.json.encode(exposure))
    assert again == exposure


def test_of_the_versions_of_a_song_one_is_in_a_list_and_to_have_had_one_is_to_have_had_all() -> None:
    live, remix = Item(item_id="live", variant_of="a", categories=("live",)), Item(item_id="remix", variant_of="a", artist_id="dj")
    house = House([live, Item(item_id="a"), remix, Item(item_id="b")], RecommendSettings(explore_share=1.0))
    for seed in range(8):
        slate, _ = house.ask(user_id="u", k=4, seed=seed)
        assert {item.item_id for item in slate.items} == {"a", "b"} and "short" in slate.flags
        assert [item.propensity for item in slate.items] == [1 / 2] * 2  # of two songs
    assert house.ids(user_id="u", k=4, candidates=("remix", "live", "b"), exclude_artists=("dj",)) in (["live", "b"], ["b", "live"])
    assert house.ids(user_id="u", k=4, filter=ItemFilter(categories=CategoryFilter(any=("live",)))) == ["live"]
    assert sorted(house.ids(user_id="u", k=4, pins={"remix": 0})) == ["b", "remix"]
    assert house.ids(user_id="u", k=2, exclude=("live",)) == ["b"]
    house.catalog.delete("a")
    house.catalog_index.delete(k("a"))
    versions = min(("live", "remix"), key=k)
    assert sorted(house.ids(user_id="u", k=4)) == sorted(["b", versions])
    house.take(event("play", "a"))  # what is no longer in the catalog
    assert house.ids(user_id="u", k=4) == ["b"]
    house.catalog_index.put(house.catalog.put(Item(item_id="live", categories=("live",))), START)  # a song of its own now
    assert sorted(house.ids(user_id="u", k=4)) == ["b", "live"]


class Directions:
    """Vectors of two numbers and a constant: what each item's row is, and the same user's vector for everybody."""

    changes = 0

    def __init__(self, rows: dict[str, tuple[float, float, float]], user: tuple[float, float]) -> None:
        self.known, self.user = {k(name): row for name, row in rows.items()}, user

    def query(self, batch: Batch) -> np.ndarray:
        return np.array([[*self.user, 1.0]] * len(batch), np.float32)

    def rows(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = [self.known.get(key, (0.0, 0.0, 0.0)) for key in keys.tolist()]
        return np.array(found, np.float32), np.array([key in self.known for key in keys.tolist()])

    def embedding_map(self) -> np.ndarray:
        return np.zeros((EMBEDDING, 3), np.float32)

    def changed_since(self, changes: int) -> np.ndarray | None:
        return np.zeros(0, np.uint64) if changes == self.changes else None


def test_candidates_by_vectors_come_from_the_whole_catalog_and_never_what_was_deleted_or_is_filtered() -> None:
    items = [Item(item_id=f"i{n}", domain="song", categories=("a" if n % 2 else "b",)) for n in range(400)]
    settings = msgspec.structs.replace(SETTLED, popular_candidates=4, vector_candidates=4, fresh_candidates=0, explore_candidates=0)
    made = House(items, settings)
    rows = {f"i{n}": (n / 400, 0.0, 0.0) for n in range(400)}
    model = ModelView(predict=judged(lambda _: 0.5), version=3, vectors=Directions(rows, (1.0, 0.0)))

    def sources(**request: object) -> dict[str, str]:
        asked = SlateRequest(user_id="u", k=4, **request)  # type: ignore[arg-type]
        slate = made.recommender.recommend(asked, "r", None, made.partition.item_counts, model, START, 1).slate
        return {item.item_id: item.source for item in slate.items}

    assert sources() == dict.fromkeys(["i399", "i398", "i397", "i396"], "vectors")
    assert sources(filter=ItemFilter(categories=CategoryFilter(any=("b",)))) == dict.fromkeys(["i398", "i396", "i394", "i392"], "vectors")
    for gone in ("i399", "i398"):
        made.catalog.delete(gone)
        made.catalog_index.delete(k(gone))
    assert sources(exclude=("i397",)) == dict.fromkeys(["i396", "i395", "i394", "i393"], "vectors")
    assert "vectors" not in {item.source for item in made.ask(judged(lambda _: 0.5), user_id="u", k=4)[0].items}  # a model without any


def test_a_radio_goes_where_its_seeds_point() -> None:
    rows = {"a": (1.0, 0.0, 9.0), "b": (0.9, 0.1, 0.0), "c": (0.0, 1.0, 5.0), "d": (0.5, 0.5, 0.0)}
    settings = msgspec.structs.replace(SETTLED, popular_candidates=2, vector_candidates=2, fresh_candidates=0, explore_candidates=0)
    made = House([Item(item_id=name) for name in rows], settings)
    model = ModelView(predict=judged(lambda _: 0.5), version=3, vectors=Directions(rows, (0.0, 1.0)))
    asked = SlateRequest(user_id="u", k=2, seed_items=("a",))
    slate = made.recommender.recommend(asked, "r", None, made.partition.item_counts, model, START, 1).slate
    assert {item.item_id: item.source for item in slate.items} == {"b": "vectors", "d": "vectors"}


def test_sources_that_a_request_names_bring_the_pool_in_their_shares_and_no_other_does() -> None:
    items = [Item(item_id=f"i{n}", artist_id=f"a{n % 40}", categories=(f"c{n % 8}",)) for n in range(400)]
    made = House(items, msgspec.structs.replace(SETTLED, popular_candidates=60, fresh_candidates=30, explore_candidates=10))
    made.catalog_index.seed(k("i5"), 9.0, START)
    made.take(
        *[
            Event(ts=START + n, user_id="u", item_id=item, action=Action.PLAY, full=True, event_id=item)
            for n, item in enumerate(["i3", "i7"])
        ]
    )

    def pool(**sources: float) -> dict[str, list[str]]:
        request = SlateRequest(user_id="u", k=1, sources={name.replace("_", "-"): share for name, share in sources.items()})
        found = made.recommender.candidates(request, "r", made.user("u"), made.partition.item_counts, START + 9 * HOUR_MS, 1)
        out: dict[str, list[str]] = {}
        for item, source in found.items():
            out.setdefault(source, []).append(made.recommender.scorer.named(item))
        return out

    of_artists = pool(same_artist=0.18, explore=0.82)
    assert {name: len(keys) for name, keys in of_artists.items()} == {"same-artist": 18, "explore": 82}
    artists = [int(item[1:]) % 40 for item in of_artists["same-artist"]]
    assert artists == [7, 3] * 9  # the last one first, in turn
    assert pool(same_category=1)["same-category"] == ["i7", "i3"]  # the only popular ones of their categories
    assert {name: len(keys) for name, keys in pool(own=1, fresh=1).items()} == {"own": 2, "fresh": 98}
    assert {name: len(keys) for name, keys in pool(popular=0.5, explore=0.5).items()} == {"popular": 3, "explore": 50}
    with pytest.raises(RequestError, match="at least one share"):
        made.ask(user_id="u", k=1, sources={"own": 0.0})


def test_propensities_stay_exact_whatever_sources_a_request_names() -> None:
    made = House([Item(item_id=f"i{n}") for n in range(6)], RecommendSettings(explore_share=0.5, popular_candidates=2, fresh_candidates=2))
    counts, expected, n = dict[str, int](), dict[str, float](), 1500
    for seed in range(n):
        slate = made.ask(judged(lambda key: key % 97 / 97), user_id="u", k=1, sources={"fresh": 1.0}, seed=seed, request_id=f"r{seed}")[0]
        item = slate.items[0]
        counts[item.item_id] = counts.get(item.item_id, 0) + 1
        assert item.propensity is not None and expected.setdefault(item.item_id, item.propensity) == item.propensity
    assert sum(expected.values()) == pytest.approx(1.0)
    _, p = stats.chisquare([counts[i] for i in expected], [n * share for share in expected.values()])
    assert p > 1e-4
