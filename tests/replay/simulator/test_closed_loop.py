"""The closed loop: the same listeners whoever serves, every record in its time, and recommenders in the order of what they know."""
from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from replay.proofs.claims import interval
from replay.simulator.closed_loop import ClosedLoop, PendingRecords, Recommend
from replay.simulator.world import DAY_MS, World, WorldSettings
from streams.core.join.decode import decode
from streams.core.join.events import Action, Context, Event, ExposedItem, Exposure
from tests.replay.simulator.recommenders import Oracle, Popular, Recent, Uniform, loop_report

PUT = ((5, "a"), (5, "b"), (2, "c"), (9, "d"))  # ms after the start


class Modest:
    """The least that learning can be: running rates of the item, of user x category and of user x artist, a little exploration."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.recent, self.rng = world, Recent(), np.random.default_rng(seed)
        self.good: dict[tuple[object, ...], float] = {}
        self.seen: dict[tuple[object, ...], float] = {}

    def keys(self, user_id: str, item: int) -> tuple[tuple[object, ...], ...]:
        return (), (item,), (user_id, self.world.category(item)), (user_id, "artist", int(self.world.item_artist[item]))

    def observe(self, batch: Sequence[Event | Exposure]) -> None:
        for record in batch:
            if isinstance(record, Event):
                done = {record.action, *record.also}
                gain = (Action.PLAY in done) + (Action.COLLECT in done) - (Action.DISLIKE in done)
                for key in self.keys(record.user_id, self.world.index[record.item_id]):
                    self.good[key] = self.good.get(key, 0.0) + gain
                    self.seen[key] = self.seen.get(key, 0.0) + bool(done & {Action.PLAY, Action.SKIP})

    def __call__(self, user_id: str, ts: int, k: int, domain: str, context: Context) -> list[ExposedItem]:
        items = self.world.available(self.world.domain[domain], ts)
        mean = (self.good.get((), 0.0) + 1) / (self.seen.get((), 0.0) + 2)
        score = np.array(
            [sum((self.good.get(key, 0.0) + 5 * mean) / (self.seen.get(key, 0.0) + 5) for key in self.keys(user_id, i)[1:]) for i in items]
        )
        score[self.rng.random(len(items)) < 0.1 * k / len(items)] += 10
        return [
            ExposedItem(item_id=self.world.item_ids[i], position=n) for n, i in enumerate(self.recent.pick(user_id, ts, items, score, k))
        ]


def served_by(kind: str, seed: int, sessions: int, settings: WorldSettings | None = None) -> ClosedLoop:
    world = World(settings or WorldSettings(), seed)
    modest = Modest(world, seed)
    recommend: dict[str, Recommend] = {
        "oracle": Oracle(world),
        "popular": Popular(world),
        "uniform": Uniform(world, seed),
        "modest": modest,
    }
    loop = ClosedLoop(world, seed, recommend[kind], modest.observe if kind == "modest" else lambda batch: None)
    loop.run(sessions)
    return loop


def test_same_seed_same_records_and_the_same_listeners_whoever_serves() -> None:
    logs: list[list[Event | Exposure]] = []
    loops = []
    for kind in (Popular, Popular, Oracle):
        world, log = World(WorldSettings(), 1), []
        loop = ClosedLoop(world, 1, kind(world), log.extend)
        loop.run(150)
        loop.run(150)
        loop.finish()
        logs.append(log)
        loops.append(loop)
    assert logs[0] == logs[1] != logs[2]
    assert loops[0].visits == loops[1].visits
    listeners, others = ([visit.listener for visit in loop.visits] for loop in loops[1:])
    assert listeners == others and len(listeners) == 300
    assert [visit.utility for visit in loops[0].visits] != [visit.utility for visit in loops[2].visits]


def test_records_arrive_in_time_order_before_the_request_that_follows_them_and_none_is_lost() -> None:
    world = World(WorldSettings(), 1)
    popular, log = Popular(world), []

    def recommend(user_id: str, ts: int, k: int, domain: str, context: Context) -> list[ExposedItem]:
        assert not log or log[-1].ts <= ts
        return popular(user_id, ts, k, domain, context)

    def observe(batch: list[Event | Exposure]) -> None:
        log.extend(batch)

    loop = ClosedLoop(world, 1, recommend, observe)
    loop.run(400)
    loop.finish()
    assert [record.ts for record in log] == sorted(record.ts for record in log)
    assert all(decode(msgspec.json.encode(record)) == [record] for record in log)
    assert len({record.event_id for record in log if isinstance(record, Event | Exposure)}) == len(log)
    exposures = [record for record in log if isinstance(record, Exposure)]
    acts = [action for record in log if isinstance(record, Event) for action in (record.action, *record.also)]
    report = loop_report(loop)
    assert len(exposures) == report.sessions == 400
    shown = sum(len(record.slots) for record in exposures)
    assert report.collect_rate == acts.count(Action.COLLECT) / shown
    assert report.dislikes_per_1000_plays == 1_000 * acts.count(Action.DISLIKE) / acts.count(Action.PLAY)
    assert report.distinct_items == len({slot.item_id for record in exposures for slot in record.slots})
    categories: dict[str, set[str]] = {}
    for record in exposures:
        categories.setdefault(record.user_id, set()).update(world.category(world.index[slot.item_id]) for slot in record.slots)
    assert report.categories_per_user == pytest.approx(np.mean([len(c) for c in categories.values()]))
    assert report.utility == pytest.approx(np.mean(report.utility_quarters))  # 400 sessions: quarters of equal size


def test_short_and_empty_lists_are_counted() -> None:
    world = World(WorldSettings(), 1)
    popular = Popular(world)
    short = ClosedLoop(world, 1, lambda user, ts, k, domain, context: popular(user, ts, 3, domain, context), lambda batch: None)
    short.run(40)
    assert loop_report(short).short_lists == 40
    nothing = ClosedLoop(world, 1, lambda user, ts, k, domain, context: (), lambda batch: None)
    nothing.run(40)
    report = loop_report(nothing)
    assert (report.short_lists, report.utility, report.distinct_items, report.collect_rate) == (40, 0.0, 0, 0.0)


@pytest.mark.prove
def test_oracle_beats_popularity_beats_chance() -> None:
    seeds = range(5)
    mean = {kind: [loop_report(served_by(kind, seed, 1_200)).utility for seed in seeds] for kind in ("oracle", "popular", "uniform")}
    assert interval(np.subtract(mean["popular"], mean["uniform"]).tolist()).low > 0.05
    assert interval(np.subtract(mean["oracle"], mean["popular"]).tolist()).low > 0.4


@pytest.mark.prove
def test_a_modest_learner_gains_over_popularity_and_over_its_own_beginning() -> None:
    """The world can be learned within a few thousand sessions: what the live system is later asked to show."""
    settings = WorldSettings(listeners=200, items=300)
    gain, rise = [], []
    for seed in range(3):
        learner, popular = (loop_report(served_by(kind, seed, 2_400, settings)) for kind in ("modest", "popular"))
        gain.append(learner.utility - popular.utility)
        rise.append(learner.utility_quarters[-1] - learner.utility_quarters[0])
    assert interval(gain).low > 0.05
    assert interval(rise).low > 0.0


def test_listeners_who_know_what_they_were_shown_get_something_else_until_nothing_else_is_left() -> None:
    recent, items, score = Recent(window_ms=DAY_MS), np.array([4, 5, 6, 7]), np.array([0.1, 0.4, 0.3, 0.2])
    assert recent.pick("u", 1, items, score, 2) == [5, 6]
    assert recent.pick("u", 2, items, score, 3) == [7, 4, 5]  # then the one shown longest ago, best first
    assert recent.pick("other", 2, items, score, 2) == [5, 6]
    assert recent.pick("u", 2 + DAY_MS, items, score, 2) == [5, 6]


def test_records_come_when_they_are_due_ties_as_they_were_put_and_move_the_world_then() -> None:
    world = World(WorldSettings(), 1)
    start, pending = world.settings.start_ms, PendingRecords(world)
    plays = [Event(ts=start + at, user_id="u00001", item_id=world.item_ids[3], action=Action.PLAY, event_id=name) for at, name in PUT]
    for play in plays:
        pending.put(play)
    assert [play.event_id for play in pending.due(start + 5)] == ["c", "a", "b"]  # 2, 5, 5; 9 is still to come
    assert world.popularity(np.array([3]), start + 5)[0] == pytest.approx(3.0, abs=1e-6)
    assert [play.event_id for play in pending.due(start + 9)] == ["d"] and not list(pending.due(start + 10))
