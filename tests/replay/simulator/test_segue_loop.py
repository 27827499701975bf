"""Segue in the closed loop: listeners are better served the longer it learns, and better than by popularity alone."""
from __future__ import annotations

import numpy as np
import pytest

from online_model.model_settings import ModelSettings
from replay.proofs.claims import interval
from replay.simulator.closed_loop import ClosedLoop
from replay.simulator.segue_loop import Segue, SegueSettings
from replay.simulator.world import World, WorldSettings
from streams.core.join.events import Event, Exposure
from streams.core.join.keys import HOUR_MS
from streams.core.serving.recommend import RecommendSettings
from tests.replay.simulator.recommenders import LoopReport, Popular, loop_report

SMALL = WorldSettings(listeners=150, items=300)


def served(loop: ClosedLoop, sessions: int) -> LoopReport:
    loop.run(sessions)
    return loop_report(loop)


def served_by_segue(settings: WorldSettings, seed: int, sessions: int) -> LoopReport:
    world = World(settings, seed)
    segue = Segue(world, seed)
    return served(ClosedLoop(world, seed, segue, segue.observe), sessions)


def served_by_popularity(settings: WorldSettings, seed: int, sessions: int) -> LoopReport:
    world = World(settings, seed)
    return served(ClosedLoop(world, seed, Popular(world), lambda batch: None), sessions)


@pytest.mark.prove
def test_closed_loop_gains_over_popularity_and_over_its_own_beginning() -> None:
    """The acceptance line: 5 seeds of the default world, 3,000 sessions each, whose listeners meet both recommenders."""
    gain, late, rise = [], [], []
    for seed in range(5):
        segue, popular = served_by_segue(WorldSettings(), seed, 3_000), served_by_popularity(WorldSettings(), seed, 3_000)
        gain.append(segue.utility - popular.utility)
        late.append(segue.utility_quarters[-1] - popular.utility_quarters[-1])
        rise.append(segue.utility_quarters[-1] - segue.utility_quarters[0])
        for name, report in (("Segue", segue), ("popularity", popular)):
            quarters = " ".join(f"{u:.3f}" for u in report.utility_quarters)
            print(
                f"seed {seed}, {name}: mean utility {report.utility:.3f}, by quarter {quarters}; collect rate {report.collect_rate:.4f}, "
                f"dislikes per 1,000 plays {report.dislikes_per_1000_plays:.1f}"
            )
    found = {
        "Segue over popularity, whole run": interval(gain),
        "Segue over popularity, last quarter": interval(late),
        "Segue, last quarter over first": interval(rise),
    }
    for what, i in found.items():
        print(f"{what}: {i.value:+.3f} [{i.low:+.3f}, {i.high:+.3f}] (95 %, paired over 5 seeds)")
    assert all(i.low > 0.0 for i in found.values())


def test_all_that_happens_is_learned_from_and_nothing_is_shown_twice_within_the_window() -> None:
    world = World(SMALL, 3)
    segue = Segue(world, 3)
    log: list[Event | Exposure] = []

    def observe(records: list[Event | Exposure]) -> None:
        log.extend(records)
        segue.observe(records)

    loop = ClosedLoop(world, 3, segue, observe)
    loop.run(80)
    before = segue.learner.version
    loop.finish()
    assert 50 < before < segue.learner.version  # about a step a session, before the session that follows
    counted = segue.partition.progress.counted
    shown = [slot for record in log if isinstance(record, Exposure) for slot in record.slots]
    assert counted["events"] == sum(isinstance(record, Event) for record in log)
    assert counted["impressions"] == len(shown) == sum(len(visit.items) for visit in loop.visits)
    assert "unjoined" not in counted and "implied_impressions" not in counted
    assert not {name for name in counted if name.startswith("rejected")}
    past: dict[tuple[str, str], int] = {}
    for record in log:
        if isinstance(record, Exposure):
            for slot in record.slots:
                key = record.user_id, slot.item_id
                assert record.ts - past.get(key, -1 << 60) >= 6 * HOUR_MS
                past[key] = record.ts
    assert {slot.source for slot in shown} == {"co-listened", "vectors", "popular", "fresh", "explore"}
    assert all(slot.propensity is not None and 0 < slot.propensity <= 1 for slot in shown)


def test_same_seed_same_lists_and_same_learner() -> None:
    runs = []
    for seed in (5, 5, 6):
        world = World(SMALL, 5)
        segue = Segue(world, seed, SegueSettings(model=ModelSettings(deep=False), recommend=RecommendSettings(explore_share=0.2)))
        visits = ClosedLoop(world, 5, segue, segue.observe).run(25)
        runs.append(([visit.utility for visit in visits], segue.learner.digest()))
    assert runs[0] == runs[1] != runs[2]
    assert np.isfinite(runs[0][0]).all()
