"""Segue makes pages in the closed loop: what listeners do with them is learned, and what strategies earned decides who makes the next."""
from __future__ import annotations

import numpy as np
import pytest

from bandit.arms import EXPERIENCE
from bandit.settings import BanditSettings
from online_model.model_settings import ModelSettings
from replay.simulator.page_loop import PageLoop, PageRunSettings, SeguePages
from replay.simulator.page_reactions import of_slots, path
from replay.simulator.segue_loop import SegueSettings
from replay.simulator.world import World, WorldSettings
from streams.core.join.events import Action, Event, Exposure
from streams.core.join.keys import HOUR_MS

SMALL = WorldSettings(listeners=60, items=200)
PLAIN = PageRunSettings(segue=SegueSettings(model=ModelSettings(deep=False)))
Log = list[Event | Exposure]


def run(settings: PageRunSettings, seed: int, sessions: int, back: bool = False) -> tuple[PageLoop, SeguePages, Log]:
    world = World(SMALL, 5)
    segue = SeguePages(world, seed, settings)
    log: Log = []

    def observe(records: Log) -> None:
        log.extend(records)
        segue.segue.observe(records)

    loop = PageLoop(world, 5, segue, observe, 7 if back else 0)
    loop.run(sessions)
    return loop, segue, log


def test_what_is_looked_at_is_learned_and_earns_a_reward_when_its_window_has_closed() -> None:
    loop, segue, log = run(PLAIN, 5, 40)
    loop.finish()
    visits, exposures = loop.visits, [record for record in log if isinstance(record, Exposure)]
    end = segue.segue.partition.progress.watermark_ms
    segue.segue.until(end + HOUR_MS)
    counted = segue.segue.learner.counted
    assert len(visits) == len(exposures) == counted["rewards"] == counted["rewards_learned"] == 40
    assert not {"rewards_unseen", "rewards_unknown_strategy"} & counted.keys()
    assert not {name for name in segue.segue.partition.progress.counted if name.startswith("rejected") or name == "unjoined"}
    for visit, exposure in zip(visits, exposures, strict=True):
        assert exposure.arm_draw is not None and exposure.strategy == visit.strategy
        assert sum(visit.propensities.values()) == pytest.approx(1, abs=1e-9)
        assert set(visit.propensities) == set(segue.strategies) and visit.propensities[visit.strategy] >= 0.02 / 7 - 1e-12
        page = of_slots(loop.world, exposure)
        assert visit.items == [place.item for place in path(page)][: len(visit.items)]
        assert visit.revenue == pytest.approx(loop.world.monetization[visit.items].sum())
    acts = [record for record in log if isinstance(record, Event)]
    assert sum(v.plays for v in visits) == sum(Action.PLAY in (act.action, *act.also) for act in acts)
    assert sum(act.action is Action.IMPRESSION for act in acts) == 40
    won = segue.strategy_bandit.policies["page"].arms.won[EXPERIENCE].sum()
    early = sum(v.experience for v in visits)  # of all acts; the reward counts those until the window closes
    assert 0.9 * early < won < 1.1 * early


def test_linear_arms_learn_of_what_the_ranker_knew_of_each_visitor() -> None:
    loop, segue, log = run(PageRunSettings(bandit=BanditSettings(arms="linear")), 5, 26)
    loop.finish()
    segue.segue.until(segue.segue.partition.progress.watermark_ms + HOUR_MS)
    told = [record.arm_draw.vector for record in log if isinstance(record, Exposure) and record.arm_draw is not None]
    known = [vector for vector in told if vector]  # the first come before anything is learned
    assert len(told) == 26 and 10 < len(known) < 26 and len(set(known)) == len(known)
    assert np.linalg.norm(known, axis=1) == pytest.approx(np.ones(len(known)), abs=1e-3)
    linear = segue.strategy_bandit.policies["page"].linear
    assert linear is not None
    diagonal, kept = np.einsum("kdd->d", linear.gram), (1 - 1 / 20_000) ** 26
    assert kept * len(known) <= diagonal[0] <= len(known)  # everybody's part
    assert diagonal[1:13].sum() == pytest.approx(diagonal[0]) == pytest.approx(diagonal[13:].sum(), rel=1e-3)  # segments', users'
    again = run(PageRunSettings(bandit=BanditSettings(arms="linear")), 5, 26)[0]
    assert [v.propensities for v in again.visits] == [v.propensities for v in loop.visits]


def test_same_seed_same_pages_and_looking_back_changes_nothing() -> None:
    def told(loop: PageLoop) -> list[tuple[str, list[int], dict[str, float]]]:
        return [(v.strategy, v.items, v.propensities) for v in loop.visits]

    (one, a, _), (two, b, _), (other, _, _) = run(PLAIN, 5, 15), run(PLAIN, 5, 15, back=True), run(PLAIN, 6, 15)
    assert told(one) == told(two) != told(other)
    assert a.segue.learner.digest() == b.segue.learner.digest()
    assert [h.visit for h in two.hindsight] == list(range(0, 15, 7))
    for back in two.hindsight:
        assert set(back.worth) == set(a.strategies) == set(back.propensities)
        assert all(0 <= worth <= 1 for worth in back.worth.values())


def test_a_pinned_strategy_makes_every_page_and_earns_nothing() -> None:
    loop, segue, log = run(PageRunSettings(segue=PLAIN.segue, strategy="fixed", modules=3, per_module=4), 5, 30)
    assert {v.strategy for v in loop.visits} == {"fixed"}
    assert all(v.propensities == {} for v in loop.visits)
    assert max(v.exposures for v in loop.visits) == 12  # fewer where the domain has no more
    modules = {slot.module for record in log if isinstance(record, Exposure) for slot in record.slots}
    assert modules == {"popular", "new", "for-you"}
    assert "rewards" not in segue.segue.learner.counted
    assert np.isfinite([v.experience for v in loop.visits]).all()
