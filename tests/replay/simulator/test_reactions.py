from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.simulator.reactions import Reaction, act_probabilities, event, react, realised, satisfaction
from replay.simulator.world import World, WorldSettings
from streams.core.join.decode import decode
from streams.core.join.events import Action

FLAT = WorldSettings(taste=0.0, quality=0.0, scene=0.0, mood=0.0, conformity=0.0, curiosity=1e-12, satiation=0.0, sessions_per_day=50.0)


@given(st.lists(st.floats(-12, 12), min_size=2, max_size=30))
def test_every_good_act_rises_and_every_bad_act_falls_with_utility(values: list[float]) -> None:
    p = act_probabilities(WorldSettings(), np.sort(np.array(values)))
    for good in (p.full, p.collect, p.share):
        assert (np.diff(good) >= 0).all() and (good >= 0).all() and (good <= 1).all()
    for bad in (p.skip, p.dislike):
        assert (np.diff(bad) <= 0).all() and (bad >= 0).all() and (bad <= 1).all()
    assert (np.diff(satisfaction(WorldSettings(), np.sort(np.array(values)))) >= -1e-12).all()


def test_chances_by_hand_at_utility_zero() -> None:
    # s(-.4) = .401312, s(-4.4) = .012128, s(0) = .5, s(-3) = .047426, s(-4.5) = .010987
    p = act_probabilities(WorldSettings(), np.zeros(1))
    assert [round(float(x[0]), 6) for x in p] == [0.299344, 0.014197, 0.006578, 0.401312, 0.004867]
    # .5 * .299344 + 2 * .014197 + 2 * .006578 - .5 * .401312 - 4 * .004867
    assert satisfaction(WorldSettings(), np.zeros(1))[0] == pytest.approx(-0.028903, abs=2e-6)


def test_acts_come_as_often_as_their_chances_say() -> None:
    world = World(FLAT, 1)
    n, seen = 12_000, 0
    count = dict.fromkeys(("skip", "dislike", "full", "collect", "share"), 0)
    for session in itertools.islice(world.sessions(1), n):
        acts = react(world, session, [0, 1, 2, 3], session.ts)
        seen += len({act.position for act in acts})
        for act in acts:
            done = (act.action, *act.also)
            count["full"] += act.full is True
            for action in (Action.SKIP, Action.DISLIKE, Action.COLLECT, Action.SHARE):
                count[action.value] += action in done
    truth = act_probabilities(FLAT, np.zeros(1))._asdict()
    for name, times in count.items():
        p = float(truth[name][0])
        assert times / seen == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / seen)), name
    assert seen / n == pytest.approx(sum(0.95**k for k in range(4)), abs=0.02)  # the next slot is looked at with chance .95


def test_acts_follow_the_list_in_time_order_and_say_what_was_played() -> None:
    world = World(WorldSettings(), 1)
    kinds = set()
    for session in itertools.islice(world.sessions(1), 3_000):
        items = world.available(session.domain, session.ts)[:10].tolist()
        acts = react(world, session, items, session.ts)
        assert acts and acts == react(world, session, items, session.ts)
        assert [act.ts for act in acts] == sorted(act.ts for act in acts) and acts[0].ts > session.ts
        seen = {act.position for act in acts if act.action in (Action.PLAY, Action.SKIP)}
        assert seen == set(range(len(seen)))  # from the top, without a gap
        played_at: dict[int, int] = {}
        for act in acts:
            record = event(world, session, act, "e", "r")
            assert decode(msgspec.json.encode(record)) == [record]
            assert record.item_id == world.item_ids[items[act.position]] and record.position == act.position
            kinds.add((act.action, *act.also))
            if act.action is Action.PLAY:
                ratio = (record.played_ms or 0) / record.duration_ms if record.duration_ms else None
                assert (ratio is None) == (record.full is not None)
                assert act.full == (record.full if ratio is None else ratio >= 0.9)
                played_at[act.position] = act.ts
            if act.action in (Action.COLLECT, Action.UNCOLLECT):
                assert act.ts > played_at[act.position]
    alone = {(action,) for action in (Action.PLAY, Action.SKIP, Action.DISLIKE, Action.COLLECT, Action.UNCOLLECT)}
    assert alone | {(Action.PLAY, Action.COLLECT), (Action.SKIP, Action.DISLIKE)} <= kinds


def test_collects_come_at_once_soon_and_past_the_join_window() -> None:
    world = World(FLAT, 1)
    late = at_once = 0
    waits = []
    for session in itertools.islice(world.sessions(1), 12_000):
        acts = react(world, session, list(range(10)), session.ts)
        plays = {act.position: act.ts for act in acts if act.action is Action.PLAY}
        at_once += sum(Action.COLLECT in act.also for act in acts)
        waits += [act.ts - plays[act.position] for act in acts if act.action is Action.COLLECT]
    late = sum(wait > 600_000 for wait in waits)
    collects = at_once + len(waits)
    spread = 4 * np.sqrt(0.25 / collects)
    assert at_once / collects == pytest.approx(0.5, abs=spread)
    # 10 % late, exponential with mean 6 h / pace = 36 min: e^(-10/36) of them after 10 min; of the 40 % with mean 18 s, none
    assert late / collects == pytest.approx(0.1 * np.exp(-10 / 36), abs=spread)


def test_listeners_look_no_further_than_their_slots_and_pace_only_moves_time() -> None:
    world = World(WorldSettings(slots=3, attention=1.0), 1)
    session = next(iter(world.sessions(1)))
    items = world.available(session.domain, session.ts)[:10].tolist()
    slow, fast = (react(world, session, items, session.ts, pace) for pace in (1.0, 100.0))
    assert {act.position for act in slow} == {0, 1, 2}
    assert sorted((a.position, a.action, a.played_ms) for a in slow) == sorted((a.position, a.action, a.played_ms) for a in fast)
    ends = [max(a.ts for a in acts if a.action in (Action.PLAY, Action.SKIP)) - session.ts for acts in (slow, fast)]
    assert ends[0] / ends[1] == pytest.approx(100, rel=0.05)
    assert react(world, session, [], session.ts) == []


def test_realised_satisfaction_by_hand() -> None:
    acts = [
        Reaction(1, 0, 5, Action.PLAY, (Action.COLLECT,), 100, full=True),  # .5 + 2
        Reaction(2, 1, 6, Action.PLAY, (), 50, full=False),  # 0
        Reaction(3, 2, 7, Action.SKIP, (Action.DISLIKE,), 5),  # -.5 - 4
        Reaction(4, 0, 5, Action.UNCOLLECT),  # -2
        Reaction(5, 1, 6, Action.SHARE),  # 2
    ]
    assert realised(acts) == -2.0
