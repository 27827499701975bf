"""What an event changes in a user's state and in popularity: bounds, and a collect that is taken back."""
from __future__ import annotations

from online_model import history
from online_model.features import COUNTS
from online_model.popularity import EXPOSURE, POPULAR, Increment
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.features_view import FeatureView, UserMoment
from streams.core.join.items import Item
from streams.core.join.labels import COLLECT, interpret
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.join.state_update import EXPOSED_ROW, Interaction, StateUpdate
from streams.core.state.rows import UserState
from streams.core.state.tables import Tables
from tests.streams.core.join.test_partition import START, arrived, event


def test_a_users_state_is_bounded_and_the_least_recently_changed_gives_way() -> None:
    limits = PartitionSettings(domain_limit=3, category_limit=3, history_limit=8, shown_limit=4)
    catalog = Catalog()
    for n in range(9):
        catalog.put(Item(item_id=f"i{n}", categories=(f"c{n}",)))
    partition = Partition(limits, Tables.over(), catalog)
    order = [0, 1, 2, 3, 1, 1, 1, 4, 5]
    partition.apply(arrived([event(n, "play", f"i{k}", domain=f"d{k}") for n, k in enumerate(order)]))
    state = partition.user(keys.key("user", "u"))
    assert state is not None
    newest = [1, 4, 5]
    assert list(state.by_domain) == list(state.histories) == [keys.key("domain", f"d{k}") for k in newest]
    assert list(state.by_category) == [keys.key("category", f"c{k}") for k in newest]
    assert [len(positive) // history.ROW for positive, _ in state.histories.values()] == [2, 1, 1]  # of one item a quarter
    shown = [item for item, _ in EXPOSED_ROW.iter_unpack(state.exposed)]
    assert shown == [keys.key("item", f"i{k}") for k in (2, 3, 4, 5)]  # i1 was shown once


def test_a_collect_that_is_taken_back_leaves_no_behaviour_and_no_count() -> None:
    settings, tables, state = PartitionSettings(), Tables.over(), UserState()
    view = FeatureView(settings)
    moment = UserMoment(view, 1, state, START)
    update = StateUpdate(settings, view, tables.items)
    at = Interaction(state, 7, None, 3, START)
    update.seen(at, moment.exposure(7, None, 3, 0, None, lambda item, ts: (0.0,) * 9))
    update.feedback(at, interpret(event(0, "collect"), settings), (COLLECT, 0), None)
    positive, _ = state.histories[3]
    assert history.newest(positive) == (7, START)
    update.feedback(at, interpret(event(0, "uncollect"), settings), (0, 0), None)  # no slate knows it: the history does
    assert state.histories[3] == (b"", b"")
    counts = dict(zip(COUNTS, view.scopes.read(state.counts, START), strict=True))
    assert counts == dict.fromkeys(COUNTS, 0.0) | {COUNTS[0]: 1.0}  # the exposure alone
    collect = COLLECT << 1
    assert update.increments == [
        Increment(7, START, EXPOSURE), Increment(7, START, collect | POPULAR), Increment(7, START, collect, -1),
    ]  # fmt: skip


def test_all_categories_of_an_item_count_whichever_comes_first() -> None:
    of: dict[str, list[bytes]] = {}
    for categories in (("b", "c"), ("c", "b"), ("c", "b", "c")):
        catalog = Catalog()
        catalog.put(Item(item_id="i", artist_id="a", categories=categories))
        partition = Partition(PartitionSettings(), Tables.over(), catalog)
        partition.apply(arrived([event(0, "impression"), event(0, "collect")]))
        state = partition.user(keys.key("user", "u"))
        assert state is not None
        for name in "bc":
            category = keys.key("category", name)
            counts = dict(zip(COUNTS, partition.view.scopes.read(state.by_category[category], START), strict=True))
            assert (counts[COUNTS[0]], counts["collect"]) == (1.0, 1.0)
            of.setdefault(name, []).append(state.related[category])
        assert set(state.by_category) == {keys.key("category", name) for name in "bc"}
    assert len({row for rows in of.values() for row in rows}) == 1  # the same behaviour, in both, each time
