"""Features of a candidate: what the catalog, the context, item counts and co-listening put into them."""
from __future__ import annotations

import numpy as np
import pytest
from pytest import approx

from online_model import history
from online_model.features import COUNTS, NO_FEEDBACK, NO_PLAY_TIMES, PLAY_TIMES_S, Example
from online_model.history import COLLECT, DISLIKE
from online_model.popularity import of_item
from streams.core.join import co_listening, keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event
from streams.core.join.features_view import NEVER, FeatureView, ItemSignals, UserMoment
from streams.core.join.items import Item
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.state.rows import UserState
from streams.core.state.tables import ItemTables, Table, Tables
from tests.strategies import LOG_START
from tests.streams.core.join.test_join import applied, at, log_of


def test_what_the_catalog_knows_when_an_item_is_shown_is_in_its_features() -> None:
    catalog = Catalog()
    item = Item(item_id="i", artist_id="a", categories=("c", "d"), domain="song", published_ts=LOG_START - 5_000, features={"bpm": 90})
    catalog.put(item)
    _, effects = applied(log_of(at(0, "play", module="m", position=3)), catalog=catalog)
    catalog.delete("i")
    example = effects.examples[0].record
    assert isinstance(example, Example)
    hour = keys.hour_of_week(LOG_START // 3_600_000)
    wanted = [keys.key(f, v) for f, v in (("user", "u"), ("item", "i"), ("artist", "a"), ("category", "c"))]
    wanted += [hour, keys.key("domain", "song"), keys.key("module", "m"), keys.position(3)]
    assert memoryview(example.features.fields).cast("Q").tolist() == wanted
    assert example.features.age_s == 5.0
    assert example.features.item_features == keys.value("item", "bpm", 90)
    _, effects = applied(log_of(at(0, "play")), catalog=catalog)  # forgotten since: unknown again
    example = effects.examples[0].record
    assert isinstance(example, Example)
    assert memoryview(example.features.fields).cast("Q").tolist() == [wanted[0], wanted[1], 0, 0, hour, 0, 0, 0]
    assert example.features.age_s == -1.0


def test_context_and_the_users_attributes_are_two_bags() -> None:
    context: dict[str, str | int | float] = {"device": "phone", "user.age": 30, "user": "x", "hour": 7}
    for given_, device, user in ((context, ["device", "hour", "user"], ["user.age"]), ({"user.age": 30}, [], ["user.age"])):
        _, effects = applied(log_of(at(0, "play", context=given_)))
        example = effects.examples[0].record
        assert isinstance(example, Example)
        assert example.features.context == keys.bag("context", [(name, given_[name]) for name in device])
        assert example.features.user_attributes == keys.bag("user", [(name, given_[name]) for name in user])


def test_glance_is_item_counts() -> None:
    partition = Partition(
        PartitionSettings(), Tables.over(), Catalog(), 1, {n: ItemTables(Table(bytes, bytes), Table(bytes, bytes)) for n in (0, 1)}
    )
    item = keys.key("item", "i")
    decay = of_item()
    partition.foreign[0].popularity.put(item.to_bytes(8, "big"), decay.add(None, 500, (1.0,) * decay.columns))
    event = Event(ts=1_000, user_id="u", item_id="i", action=Action.PLAY)
    partition.apply([Arrived(0, 0, 1_000, event, "e")])
    at = 1_000 + 3_600_000
    # an hour on, at a half-life of one: a half of the play, and a little less of what came half a second before it
    assert partition.glance(item, at)[0] == 0.5 + 2.0 ** (-(at - 500) / 3_600_000)
    assert partition.glance(item, at) == partition.item_counts(item, at)


def test_the_co_listening_row_is_that_of_the_last_item_over_all_partitions() -> None:
    # item 7 was followed by 8 in this partition and by 9 in another one, at the same moment: a half of PRIOR + 2 each
    tables = {n: ItemTables(Table(bytes, bytes), Table(bytes, bytes)) for n in (0, 1)}
    for n, following in ((0, 8), (1, 9)):
        co_listening.follow(tables[n].co_listening, [7], following, LOG_START)
    signals = ItemSignals(of_item(), tables[0], 0, {1: tables[1]})
    partition, _ = applied(log_of(at(0, "play", full=True)))
    state = partition.user(keys.key("user", "u")) or NEVER
    assert signals.nearness(state, LOG_START).best() == []  # nothing is known of what is near "i"
    liked = UserState(histories={0: (state.liked[0].replace(keys.key("item", "i").to_bytes(8, "little"), (7).to_bytes(8, "little")), b"")})
    moment = UserMoment(FeatureView(PartitionSettings()), 1, liked, LOG_START, signals.nearness(liked, LOG_START))
    exposures = [moment.exposure(item, None, 0, 0, None, signals.counts) for item in (8, 9, 10)]
    assert [exposure.followed for exposure in exposures] == [exposure.near for exposure in exposures] == [0.25, 0.25, 0.0]
    later = signals.nearness(liked, LOG_START + co_listening.WITHIN_MS + 1)
    assert (later.next(8), later.near(8)) == (0.0, pytest.approx(0.25, rel=1e-3))  # 7 was taken too long ago to go on from it


def test_rates_and_behaviours_of_an_items_categories_are_of_all_of_them() -> None:
    catalog, own = Catalog(), keys.key("category", "c")
    for name, categories in (("i", ("b", "c")), ("j", ("c",)), ("k", ("d", "b"))):
        catalog.put(Item(item_id=name, categories=categories))
    acts = [at(0, "impression", "i"), at(1, "play", "i", full=True), at(2, "impression", "j"), at(3, "skip", "k")]
    partition, _ = applied(log_of(*acts), PartitionSettings(), catalog)
    state = partition.user(keys.key("user", "u"))
    assert state is not None
    now = LOG_START + 4 * 60_000
    moment = UserMoment(partition.view, 1, state, now)

    def of(*categories: str) -> tuple[list[float], list[int]]:
        """Impressions and full plays in the categories of a new item, and the items of related behaviours, newest first."""
        known = catalog.put(Item(item_id="new", categories=categories))
        exposure = moment.exposure(known.key, known, 0, 0, None, partition.item_counts)
        in_category = np.frombuffer(exposure.counts, "<f4")[2 * len(COUNTS) :]
        related = np.frombuffer(exposure.related, history.BEHAVIOUR)["item"][::-1].tolist()
        return [round(float(in_category[COUNTS.index(column)]), 2) for column in (COUNTS[0], "full_play")], related

    i, k = keys.key("item", "i"), keys.key("item", "k")
    assert of("c") == ([2.0, 1.0], [i]) and own in state.by_category
    assert of("b") == ([2.0, 1.0], [k, i])  # i and k
    assert of("d") == ([1.0, 0.0], [k])
    assert of("c", "d") == of("d", "c") == ([1.5, 0.5], [k, i])  # means; a behaviour once
    assert of("b", "c") == ([2.0, 1.0], [k, i])
    assert of() == ([0.0, 0.0], [])


def test_what_a_user_said_of_an_artist_is_in_the_features_of_that_artists_songs_alone() -> None:
    # minute     0           10080 = a week, the half-life of rates       10081
    # song "i"   dislike     collect                                      b, of the same artist, and c, of another, are seen
    catalog = Catalog()
    for item_id, artist in (("i", "x"), ("b", "x"), ("c", "y")):
        catalog.put(Item(item_id=item_id, artist_id=artist, categories=("rock",), domain="song"))
    log = log_of(at(0, "dislike"), at(10_080, "collect"), at(10_081, "play", item="b"), at(10_081, "play", item="c"))
    _, effects = applied(log, catalog=catalog)
    features = {o.record.features.fields[8:16]: o.record.features for o in effects.examples if isinstance(o.record, Example)}
    by_item = {name: features[keys.key("item", name).to_bytes(8, "little")].artist_feedback for name in "bc"}
    wanted = [0.0] * 6
    fade = 0.5 ** (1 / 10_080)
    wanted[DISLIKE - 1], wanted[COLLECT - 1] = 0.5 * fade, fade
    assert memoryview(by_item["b"]).cast("f").tolist() == approx(wanted, rel=1e-6)
    assert by_item["c"] == NO_FEEDBACK


def test_a_users_plays_by_length_are_those_before_the_exposure_decayed() -> None:
    # minute   0        1        2          3         4            10080 = a week     10081 .. 10083
    # u        4 s      skip 0   (unknown)  collect   uncollect    40 s               seen, seen late, no list
    # v                 600 s
    played = (
        ("play", 0, 4_000),
        ("skip", 1, 0),
        ("play", 2, None),
        ("collect", 3, 90_000),
        ("uncollect", 4, 9_000),
        ("play", 10_080, 40_000),
    )
    log = [at(minute, action, item="ij"[minute % 2], played_ms=ms) for action, minute, ms in played]
    other = at(1, "play", user="v", item="k", played_ms=600_000)
    _, effects = applied(log_of(*log[:2], other, *log[2:], at(10_081, "play", item="k", played_ms=1_000)))
    examples = [o.record.features for o in effects.examples if isinstance(o.record, Example)]
    of_u = [f for f in examples if f.fields[:8] == keys.key("user", "u").to_bytes(8, "little")]
    logs = np.log1p(np.array(PLAY_TIMES_S, float))
    assert [f.play_times for f in examples if f not in of_u] == [NO_PLAY_TIMES]  # its own play comes after
    for f in of_u:
        wanted = np.zeros(len(logs))
        for action, minute, ms in played:
            ts = LOG_START + minute * 60_000
            if action in ("play", "skip") and ms is not None and ts < f.shown_ms:
                half_lives = (f.shown_ms - ts) / (7 * 86_400_000)
                wanted += 0.5**half_lives * np.array([np.interp(np.log1p(ms / 1000), logs, one) for one in np.eye(len(logs))])
        assert np.frombuffer(f.play_times, "<f4").tolist() == approx(wanted, rel=1e-6)
    assert len(of_u) >= 4 and of_u[-1].play_times != NO_PLAY_TIMES
