"""Segue fills a carousel through its own partition, learner and recommender."""
from __future__ import annotations

import pytest
from msgspec.structs import replace

from online_model.model_settings import ModelSettings, linear
from replay.simulator.carousel import CarouselSettings, CarouselWorld, CascadeThompson, Visit, run, tenths
from replay.simulator.segue_carousel import SETTINGS, SegueCarousel
from streams.core.join.events import Tick

SMALL = CarouselSettings(items=60, places=5, seen_at_once=2)
BY_BELIEF = replace(
    SETTINGS, model=linear(ModelSettings(beliefs=True)), recommend=replace(SETTINGS.recommend, explore_share=1.0, explore_by="belief")
)  # fmt: skip


class Watched(SegueCarousel):
    def __init__(self, world: CarouselWorld, seed: int) -> None:
        super().__init__(world, seed, BY_BELIEF)
        self.visits = list[Visit]()

    def learn(self, visit: Visit) -> None:
        self.visits.append(visit)
        super().learn(visit)


def test_just_what_was_looked_at_becomes_examples() -> None:
    world = CarouselWorld(SMALL, 1)
    segue = Watched(world, 1)
    run(world, segue, 12, 1)
    segue.segue.observe([Tick(ts=SMALL.start_ms + 10 * 3_600_000)])
    assert segue.segue.learner.counted["examples"] == sum(len(visit.streamed) for visit in segue.visits)
    assert all(len(set(visit.slate)) == SMALL.places for visit in segue.visits)


def test_the_same_seed_gives_the_same_slates() -> None:
    world = CarouselWorld(SMALL, 2)
    once, again = run(world, SegueCarousel(world, 2), 6, 2), run(world, SegueCarousel(world, 2), 6, 2)
    assert once.tolist() == again.tolist()


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(1, 6))
def test_exploring_by_belief_has_less_regret_than_thompson_sampling_of_one_belief_for_all_and_of_one_a_listener(seed: int) -> None:
    """The light configuration, 8,000 slates; the issue's line has 20,000. Seeds 1 and 2: 1,472 and 1,238, against 1,867 and 2,300."""
    world, slates = CarouselWorld(CarouselSettings(), seed), 8_000
    regret = {"belief": run(world, SegueCarousel(world, seed, BY_BELIEF), slates, seed)}
    for per_listener in (False, True):
        regret[f"thompson {per_listener}"] = run(world, CascadeThompson(world.settings, seed, per_listener), slates, seed)
    for name, of in regret.items():
        print(f"seed {seed}, {name}: {of.sum():,.0f}, by tenth {' '.join(f'{tenth:.0f}' for tenth in tenths(of))}")
    assert regret["belief"].sum() < min(regret["thompson False"].sum(), regret["thompson True"].sum())
