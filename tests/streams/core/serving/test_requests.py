"""What a request is served from: activity by hand, what is blocked, guests as users who did the same, the user vector."""
from __future__ import annotations

import msgspec
import numpy as np
import pytest

from bandit.settings import BanditSettings
from online_model.batch import Batch
from online_model.history import FULL_PLAY
from online_model.trainer import Prediction
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event
from streams.core.join.items import Item
from streams.core.join.keys import HOUR_MS
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.model_view import ModelView
from streams.core.serving.recommend import RecommendSettings, SlateRequest
from streams.core.serving.requests import GuestEvent, activity_and_domain, applied
from streams.core.state.digest import digest
from streams.core.state.rows import UserState
from streams.core.state.tables import Tables
from tests.streams.core.serving.test_recommend import ITEM, PRESETS, START, House, by_name, event, judged, k, strategy_bandit

WEEK = 168 * HOUR_MS


def k_user(user_id: str) -> int:
    return keys.key("user", user_id)


def of(*acts: tuple[int, str, str | None]) -> Partition:
    """(Hour, action, domain) of one user, each with another item."""
    partition = Partition(PartitionSettings(), Tables.over(), Catalog())
    records = [
        Event(ts=START + hour * HOUR_MS, user_id="u", item_id=f"i{n}", action=Action(action), domain=domain, full=True)
        for n, (hour, action, domain) in enumerate(acts)
    ]
    partition.apply([Arrived(n, 0, r.ts, r, f"{n}") for n, r in enumerate(records)])
    return partition


def activity(partition: Partition, ts: int) -> tuple[float, int]:
    user = partition.user(keys.key("user", "u"))
    assert user is not None
    return activity_and_domain(user, partition.view, ts)


def test_acts_count_and_fade_and_what_was_only_shown_does_not() -> None:
    assert activity_and_domain(UserState(), of().view, START) == (0.0, 0)
    partition = of((0, "play", "song"), (0, "collect", "song"), (0, "impression", "song"), (0, "skip", "video"))
    assert activity(partition, START) == (pytest.approx(3.0), keys.key("domain", "song"))
    assert activity(partition, START + WEEK)[0] == pytest.approx(1.5)  # a half-life


def test_the_domain_is_where_most_acts_are_now() -> None:
    song, video = keys.key("domain", "song"), keys.key("domain", "video")
    acts = [(0, "play", "song")] * 3 + [(0, "impression", "video")] * 9 + [(168, "skip", "video")] * 2
    assert activity(of(*acts[:12]), START)[1] == song
    assert activity(of(*acts), START + WEEK)[1] == video  # 2 of today, 3 of a week ago count 1.5
    assert activity(of((0, "impression", "song"), (0, "impression", "video"), (0, "impression", "video")), START)[1] == video
    assert activity(of((0, "skip", "video"), (0, "skip", "song")), START)[1] == song  # as many: the one changed last
    assert activity(of((0, "skip", None)), START)[1] == 0  # of an item whose domain nobody knows


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
        assert exposure is not None and exposure.arm_draw is not None
        return exposure.arm_draw.vector

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


def test_more_shown_or_played_within_the_window_than_is_remembered_is_flagged_until_the_window_has_passed() -> None:
    names = [f"i{n}" for n in range(140)]
    house = House([Item(item_id=name) for name in names])
    for n, name in enumerate(names[:99]):
        house.take(event("impression", name, at=START + n))
    assert house.ask(user_id="u", k=1, ts=START + 100)[0].flags == ["cold"]
    house.take(event("impression", "i99", at=START + 99))  # 100 are remembered: the next would be forgotten
    assert house.ask(user_id="u", k=1, ts=START + 100)[0].flags == ["cold", "repeats"]
    assert house.ask(user_id="v", k=1, ts=START + 100)[0].flags == ["cold"]
    # a record may come late by an hour: until then, what was forgotten may be within the window
    assert house.ask(user_id="u", k=1, ts=START + 7 * HOUR_MS - 1)[0].flags == ["cold", "repeats"]
    assert house.ask(user_id="u", k=1, ts=START + 7 * HOUR_MS)[0].flags == ["cold"]
    anew = House([Item(item_id=name) for name in names], RecommendSettings(explore_share=0.0, no_repeat_window_ms=0))
    for name in names:
        anew.take(event("impression", name))
    assert anew.ask(user_id="u", k=1)[0].flags == ["cold"]  # nothing is promised


def test_plays_beyond_the_history_are_flagged_too_though_little_was_shown() -> None:
    house = House([Item(item_id=f"i{n}") for n in range(60)])
    for n in range(50):
        assert house.ask(user_id="u", k=1, ts=START + n)[0].flags == ["cold"]
        house.take(event("play", f"i{n}", at=START + n, request_id=f"unheard-of-{n}"))
    assert house.ask(user_id="u", k=1, ts=START + 6 * HOUR_MS - 1)[0].flags == ["cold", "repeats"]
    assert house.ask(user_id="u", k=1, ts=START + 6 * HOUR_MS)[0].flags == ["cold"]


def test_an_empty_list_repeats_nothing_and_a_guests_is_whole() -> None:
    house = House([Item(item_id="i0")])
    for n in range(120):
        house.take(event("impression", f"i{n}", at=START + n))
    assert house.ask(user_id="u", k=1, ts=START + 200)[0].flags == ["cold", "repeats"]  # i0 was forgotten
    house.take(event("impression", "i0", at=START + 200))
    assert house.ask(user_id="u", k=1, ts=START + 201)[0].flags == ["cold", "short"]
    plays = tuple(GuestEvent(item_id=f"g{n}", ts=START) for n in range(50))
    assert house.ask(plays=plays, k=1, ts=START + 1)[0].flags == ["cold", "guest"]


def test_records_on_their_way_make_the_state_that_they_will_make_and_change_nothing_else() -> None:
    house = House([Item(item_id=name, domain="song", artist_id=f"artist-{name}", categories=("c",)) for name in "abcd"])
    house.take(event("play", "a", full=True, domain="song"))
    asked = house.made(by_name("abcd"), user_id="u", k=2, ts=START + 1)
    assert asked.exposure is not None
    records = [
        asked.exposure,
        event("play", "b", at=START + 2, full=True, request_id="r"),
        event("skip", "c", at=START + 3, request_id="r"),
    ]
    before = digest({name: table.rows() for name, table in house.partition.tables.named().items()})
    state = house.user("u")
    assert state is not None
    copied = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=UserState)
    arrived = [Arrived(0, n, record.ts, record, f"x{n}") for n, record in enumerate(records)]
    ahead = applied(k_user("u"), copied, arrived, PartitionSettings(), house.catalog, house.partition.progress.watermark_ms)
    assert digest({name: table.rows() for name, table in house.partition.tables.named().items()}) == before
    house.take(*records)
    assert ahead is not None and msgspec.msgpack.encode(ahead) == msgspec.msgpack.encode(house.user("u"))


def test_a_record_on_its_way_that_will_be_refused_counts_for_nothing() -> None:
    late, future = event("play", "a", at=START - 2 * HOUR_MS), event("play", "b", at=START + HOUR_MS)
    arrived = [Arrived(0, n, START, record, f"x{n}") for n, record in enumerate((late, future))]
    assert applied(k_user("u"), None, arrived, PartitionSettings(), Catalog(), watermark_ms=START) is None
