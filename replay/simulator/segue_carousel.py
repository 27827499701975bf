"""Segue as the one who fills a carousel: exposures, impressions and plays through its own partition, learner and recommender."""
from __future__ import annotations

import msgspec

from replay.simulator.carousel import DOMAIN, CarouselWorld, Visit
from replay.simulator.segue_loop import Segue, SegueSettings
from streams.core.join.events import Action, Event, Exposure
from streams.core.serving.recommend import RecommendSettings

SETTINGS = SegueSettings(recommend=RecommendSettings(no_repeat_window_ms=0))  # a carousel may show the same again


class SegueCarousel:
    """The listener's next slate is requested after what came of the last ones is learned."""

    def __init__(self, world: CarouselWorld, seed: int, settings: SegueSettings = SETTINGS) -> None:
        self.world, self.segue = world, Segue(world, seed, settings)
        self._exposure: Exposure | None = None

    def slate(self, number: int, ts: int, listener: int) -> list[int]:
        """As of now; its exposure is kept until the acts come."""
        exposure = self.segue.serve(self.world.user_ids[listener], ts, self.world.settings.places, DOMAIN, {}, seen=False)
        if exposure is None:
            raise ValueError("nothing was served, though the catalog has items enough")
        self._exposure = msgspec.structs.replace(exposure, event_id=f"x{number}")
        return [self.world.index[slot.item_id] for slot in exposure.slots]

    def learn(self, visit: Visit) -> None:
        """The exposure, an impression of each item that was looked at, a play of each that was streamed."""
        exposure = self._exposure
        if exposure is None:
            raise ValueError("learn what came of a slate, after it")
        looked, streamed = range(len(visit.streamed)), [n for n, streamed in enumerate(visit.streamed) if streamed]
        events = [self._event(visit, exposure.request_id, n, Action.IMPRESSION) for n in looked]
        events += [self._event(visit, exposure.request_id, n, Action.PLAY) for n in streamed]
        self.segue.observe([exposure, *events])

    def _event(self, visit: Visit, request_id: str, position: int, action: Action) -> Event:
        play = action is Action.PLAY
        return Event(
            ts=visit.ts + 1_000 * (position + 1 + len(visit.streamed) * play), user_id=self.world.user_ids[visit.listener],
            item_id=self.world.item_ids[visit.slate[position]], action=action, event_id=f"{action.value}{visit.number}-{position}",
            full=True if play else None, domain=DOMAIN, request_id=request_id, position=position,
        )  # fmt: skip
