"""Segue fills a carousel through its own partition, learner and recommender."""
from __future__ import annotations

from replay.simulator.carousel import CarouselSettings, CarouselWorld, Visit, run
from replay.simulator.segue_carousel import SegueCarousel
from streams.core.join.events import Tick

SMALL = CarouselSettings(items=60, places=5, seen_at_once=2)


class Watched(SegueCarousel):
    def __init__(self, world: CarouselWorld, seed: int) -> None:
        super().__init__(world, seed)
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
