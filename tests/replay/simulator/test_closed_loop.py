from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from scipy import stats

from replay.proofs.claims import interval
from replay.simulator.closed_loop import ClosedLoop, Outcome, Recommend
from replay.simulator.crowd import LAST, Ask, AskPage, Crowd
from replay.simulator.world import DAY_MS, World, WorldSettings
from streams.core.join.decode import decode
from streams.core.join.events import Action, Context, Event, ExposedItem, Exposure
from streams.core.serving.recommend import ALL
from tests.replay.simulator.recommenders import Oracle, Popular, Recent, Uniform, loop_report


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


def served_by(kind: str, seed: int, sessions: int, settings: WorldSettings | None = None) -> Outcome:
    world = World(settings or WorldSettings(), seed)
    modest = Modest(world, seed)
    recommend: dict[str, Recommend] = {
        "oracle": Oracle(world),
        "popular": Popular(world),
        "uniform": Uniform(world, seed),
        "modest": modest,
    }
    return ClosedLoop(world, seed, recommend[kind], modest.observe if kind == "modest" else lambda batch: None).run(sessions)


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
    assert loops[0].outcome == loops[1].outcome
    assert loops[0].outcome.listener == loops[2].outcome.listener and len(loops[0].outcome.listener) == 300
    assert loops[0].outcome.utility != loops[2].outcome.utility


def test_records_arrive_in_time_order_before_the_request_that_follows_them_and_none_is_lost() -> None:
    world = World(WorldSettings(), 1)
    popular, log = Popular(world), []

    def recommend(user_id: str, ts: int, k: int, domain: str, context: Context) -> list[ExposedItem]:
        assert not log or log[-1].ts <= ts
        return popular(user_id, ts, k, domain, context)

    def observe(batch: list[Event | Exposure]) -> None:
        log.extend(batch)

    loop = ClosedLoop(world, 1, recommend, observe)
    outcome = loop.run(400)
    loop.finish()
    assert [record.ts for record in log] == sorted(record.ts for record in log)
    assert all(decode(msgspec.json.encode(record)) == [record] for record in log)
    assert len({record.event_id for record in log if isinstance(record, Event | Exposure)}) == len(log)
    exposures = [record for record in log if isinstance(record, Exposure)]
    acts = [action for record in log if isinstance(record, Event) for action in (record.action, *record.also)]
    report = loop_report(outcome)
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
    assert loop_report(short.run(40)).short_lists == 40
    nothing = ClosedLoop(world, 1, lambda user, ts, k, domain, context: (), lambda batch: None)
    report = loop_report(nothing.run(40))
    assert (report.short_lists, report.utility, report.distinct_items, report.collect_rate) == (40, 0.0, 0, 0.0)


def test_oracle_beats_popularity_beats_chance() -> None:
    seeds = range(5)
    mean = {kind: [float(np.mean(served_by(kind, seed, 1_200).utility)) for seed in seeds] for kind in ("oracle", "popular", "uniform")}
    assert interval(np.subtract(mean["popular"], mean["uniform"]).tolist()).low > 0.05
    assert interval(np.subtract(mean["oracle"], mean["popular"]).tolist()).low > 0.4


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


def test_interval_is_students() -> None:
    for n in (2, 5, 31):
        x = np.random.default_rng(n).normal(size=n)
        low, high = stats.t.interval(0.95, n - 1, x.mean(), stats.sem(x))
        mine = interval(x.tolist())
        assert (mine.value, mine.low, mine.high) == pytest.approx((x.mean(), low, high))
    with pytest.raises(ValueError, match="two figures"):
        interval([1.0])


def test_a_crowd_asks_as_listeners_do_and_reacts_to_what_the_answer_says() -> None:
    world = World(WorldSettings(slots=3, attention=1.0), 1)
    crowd, now = Crowd(world, 1, k=4, pace=200.0), world.settings.start_ms + 5_000
    ids = set()
    for n in range(50):
        body, session = crowd.ask(now)
        ask = msgspec.json.decode(body, type=Ask)
        assert ask == Ask(
            user_id=world.user_ids[session.listener],
            k=4,
            domain=world.settings.domains[session.domain].name,
            context=session.context,
        )
        known = [world.item_ids[i] for i in world.available(session.domain, now)[:3]]
        items = [{"item_id": item, "position": p, "score": 0.5} for p, item in enumerate(["of another world", *known])]
        acts = crowd.react(session, msgspec.json.encode({"request_id": f"r{n}", "items": items, "flags": []}), now)
        assert {act.position for act in acts} == {1, 2, 3}
        for act in acts:
            assert act.request_id == f"r{n}" and act.user_id == ask.user_id and act.ts > now
            assert act.item_id == items[act.position or 0]["item_id"]
            ids.add(act.event_id)
        firsts = [act for act in acts if act.action in (Action.PLAY, Action.SKIP)]
        assert max(act.ts for act in firsts) - now < 20_000  # inside the join window of `segue run`
    assert len(ids) > 150
    assert world.popularity(np.arange(400), now + 60_000).sum() > 0


def test_a_crowd_tells_how_varied_the_last_pages_of_each_strategy_were() -> None:
    """Against a loop over what was looked at: five slots of each page, since all go on."""
    world = World(WorldSettings(slots=5, attention=1.0), 1)
    crowd, now = Crowd(world, 1, pace=200.0), world.settings.start_ms + 5_000
    told: dict[str, list[tuple[int, list[int], list[Event]]]] = {"tail": [], "fixed": []}
    for n in range(2 * LAST + 40):
        _, session = crowd.ask_page(now)
        strategy = "tail" if n % 4 else "fixed"
        at = np.random.default_rng(n).permutation(world.available(session.domain, now))[:5].tolist()
        modules = [{"name": "m", "items": [{"item_id": world.item_ids[i]} for i in at]}]
        acts = crowd.react_page(session, msgspec.json.encode({"request_id": f"r{n}", "strategy": strategy, "modules": modules}), now)
        told[strategy].append((session.listener, at, acts))
    assert crowd.variety().keys() == {"page"} and list(crowd.variety()["page"]) == [ALL, "fixed", "tail"]
    for strategy, pages in told.items():
        found, last = crowd.variety()["page"][strategy], pages[-LAST:]
        by_user: dict[int, set[int]] = {}
        for listener, at, _ in last:
            by_user.setdefault(listener, set()).update(at)
        kinds = [len({(world.item_domain[i], world.item_category[i]) for i in items}) for items in by_user.values()]
        pairs = [len(a & b) / len(a | b) for a, b in itertools.combinations(by_user.values(), 2)]
        done = [{act.action, *act.also} for _, _, acts in last for act in acts]
        plays, dislikes = (sum(action in each for each in done) for action in (Action.PLAY, Action.DISLIKE))
        assert found.shown == len(last) == min(len(pages), LAST)
        assert found.categories_per_user == pytest.approx(np.mean(kinds)) and found.overlap == pytest.approx(np.mean(pairs))
        assert found.distinct_items == len(set().union(*by_user.values()))
        assert found.dislikes_per_1000_plays == pytest.approx(1_000 * dislikes / plays)


def test_a_crowd_asks_for_pages_and_reacts_to_what_it_knows_of_them() -> None:
    world = World(WorldSettings(slots=5, attention=1.0), 1)
    crowd, now = Crowd(world, 1, pace=200.0), world.settings.start_ms + 5_000
    ids = set()
    for n in range(50):
        body, session = crowd.ask_page(now)
        ask = msgspec.json.decode(body, type=AskPage)
        assert (ask.user_id, ask.context) == (world.user_ids[session.listener], session.context)
        assert ask.domain == world.settings.domains[session.domain].name
        known = [world.item_ids[i] for i in world.available(session.domain, now)[:7]]
        rows = {"popular": ["of another world", *known[:4]], "category:a": known[4:]}
        modules = [{"name": name, "items": [{"item_id": i, "position": p} for p, i in enumerate(items)]} for name, items in rows.items()]
        acts = crowd.react_page(session, msgspec.json.encode({"request_id": f"r{n}", "modules": modules, "flags": []}), now)
        # three known items of the first module, then two of the second: five slots are looked at
        looked = {("popular", 1), ("popular", 2), ("popular", 3), ("category:a", 0), ("category:a", 1)}
        assert {(act.module, act.position) for act in acts} == looked
        (impression,) = (act for act in acts if act.action is Action.IMPRESSION)
        assert (impression.module, impression.position) == ("category:a", 1)
        for act in acts:
            assert act.request_id == f"r{n}" and act.user_id == ask.user_id and act.ts > now
            assert act.item_id == rows[act.module or ""][act.position or 0]
            ids.add(act.event_id)
        assert max(act.ts for act in acts if act.action in (Action.PLAY, Action.SKIP)) - now < 20_000  # inside `segue run`'s join window
    assert len(ids) > 250
    assert world.popularity(np.arange(400), now + 60_000).sum() > 0
