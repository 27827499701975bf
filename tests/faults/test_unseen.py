"""Served is not seen: what never was on a screen is no negative, in examples, popularity, rates and rewards alike."""
from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from online_model.features import COUNTS, Closed, Example, Exposed, Reward
from online_model.popularity import EXPOSURE
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, ArmDraw, Event, ExposedItem, Exposure, Tick
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived, Effects
from streams.core.join.settings import PartitionSettings
from streams.core.serving.recommend import Slate, SlateRequest
from streams.core.state.rows import Progress
from streams.core.state.tables import Tables
from streams.http.service import Service
from streams.http.settings import ServiceSettings, ServingSettings
from tests.strategies import LOG_START

MINUTE = 60_000
DRAW = ArmDraw(surface="page", arms=("a", "b"), propensities=(0.5, 0.5), segment=0)


def served(page: int, seen: bool, items: int = 10) -> Exposure:
    """Ten items of a page, whose strategy was drawn."""
    slots = tuple(ExposedItem(item_id=f"i{n}", position=n, monetization=1.0) for n in range(items))
    return Exposure(
        ts=LOG_START + page, user_id="u", request_id=f"r{page}", slots=slots, strategy="a", arm_draw=DRAW, seen=seen, event_id=f"x{page}"
    )


def feedback(action: str, item: int, minute: float, page: int = 0) -> Event:
    return Event(ts=LOG_START + round(minute * MINUTE), user_id="u", item_id=f"i{item}", action=Action(action), request_id=f"r{page}")


def applied(*records: Any) -> tuple[Partition, Effects]:
    partition = Partition(PartitionSettings(), Tables.over(), Catalog())
    log = [*records, Tick(last=True)]
    return partition, partition.apply([Arrived(n, 0, r.ts or LOG_START, r, f"e{n}") for n, r in enumerate(log)])


def learned(effects: Effects) -> dict[int, int]:
    """Labels of the examples by the number of the item."""
    number = {keys.key("item", f"i{n}"): n for n in range(200)}
    made = [o.record for o in effects.examples if isinstance(o.record, Example)]
    return {number[int.from_bytes(r.features.fields[8:16], "little")]: r.labels for r in made}


def exposures_of(partition: Partition, item: int) -> float:
    """The item's decayed count of exposures."""
    return partition.item_counts(keys.key("item", f"i{item}"), LOG_START)[3 + COUNTS.index("exposures")]


def test_eleven_pages_that_nobody_saw_teach_nothing_and_as_seen_all_110_are_negatives() -> None:
    partition, effects = applied(*(served(page, seen=False) for page in range(11)))
    assert learned(effects) == {} and effects.popularity == []
    assert [exposures_of(partition, n) for n in range(10)] == [0.0] * 10
    predicted = {o.record.id for o in effects.examples if isinstance(o.record, Exposed)}
    closed = [o.record for o in effects.examples if isinstance(o.record, Closed)]
    assert len(predicted) == 110 == sum(len(c.unlearned) for c in closed) and not any(c.ids or c.sampled_out for c in closed)
    assert {i for c in closed for i in c.unlearned} == predicted  # so that no prediction stays
    assert partition.progress.counted == {"exposures": 11, "served": 110, "unseen": 110}
    rewards = [o.record for o in effects.examples if isinstance(o.record, Reward)]
    assert [(r.seen, r.revenue, r.experience) for r in rewards] == [(False, 0.0, 0.0)] * 11
    partition, effects = applied(*(served(page, seen=True) for page in range(11)))
    assert sum(isinstance(o.record, Example) for o in effects.examples) == 110 == len(effects.popularity)


def test_what_was_served_is_not_served_again_soon_though_nobody_saw_it() -> None:
    partition, _ = applied(served(0, seen=False))
    state = partition.user(keys.key("user", "u"))
    assert state is not None and len(state.exposed) == 10 * 16


# min   0 served 0 … 9      1 play 3: 0 1 2 3 seen      2 impression of 7: seen alone      10 closed: 0 1 2 7 negative, 4 5 6 8 9 nothing
def test_an_act_shows_what_lies_above_and_an_impression_only_itself() -> None:
    partition, effects = applied(served(0, seen=False), feedback("play", 3, 1), feedback("impression", 7, 2))
    assert learned(effects) == {3: 0, 0: 0, 1: 0, 2: 0, 7: 0}
    first = next(o.record for o in effects.examples if isinstance(o.record, Example))
    assert (first.ts, first.arrival_ms) == (LOG_START + MINUTE, LOG_START + MINUTE)  # the play's own, at once
    counted = [(i.item, i.ts - LOG_START) for i in effects.popularity if i.mask & EXPOSURE]
    at = {keys.key("item", f"i{n}"): n for n in range(10)}
    assert [(at[item], ts) for item, ts in counted] == [(0, MINUTE), (1, MINUTE), (2, MINUTE), (3, MINUTE), (7, 2 * MINUTE)]
    (closed,) = [o.record for o in effects.examples if isinstance(o.record, Closed)]
    assert (len(closed.ids), len(closed.unlearned)) == (5, 5)
    (reward,) = [o.record for o in effects.examples if isinstance(o.record, Reward)]
    assert (reward.seen, reward.revenue) == (True, 8.0)  # down to 7
    assert partition.progress.counted["impressions"] == 5 == partition.progress.counted["unseen"]


def test_what_is_seen_only_after_its_window_is_learned_then_once() -> None:
    late = feedback("collect", 1, 45)
    _, effects = applied(served(0, seen=False), feedback("impression", 9, 20), late, feedback("dislike", 1, 50))
    assert {n: labels for n, labels in learned(effects).items() if labels} == {1: 1 << (COUNTS.index("collect") - 1)}
    assert sorted(learned(effects)) == [0, 1, 9]
    closed = [o.record for o in effects.examples if isinstance(o.record, Closed)]
    assert [len(c.ids) for c in closed] == [0, 1, 2]  # the window's; the impression's; the collect's, with what lies above


@pytest.mark.parametrize(
    ("setting", "asked", "seen"), [(True, None, True), (False, None, False), (False, True, True), (True, False, False)]
)
def test_a_request_goes_before_the_setting(setting: bool, asked: bool | None, seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(ServingSettings(service=ServiceSettings(port=0, served_is_seen=setting)))
    monkeypatch.setattr(service, "_partition", lambda user_id: SimpleNamespace(number=0, core=SimpleNamespace(progress=Progress())))
    service._worker = SimpleNamespace(ingest=SimpleNamespace(catching_up=dict))  # type: ignore[assignment]
    got: list[SlateRequest] = []

    async def make(request: SlateRequest, *_: Any) -> Any:
        got.append(request)
        return (Slate(request_id="r", items=[], strategy="ranked", model_version=None, model_age_ms=0, flags=[]), None, None), None

    service._metrics = SimpleNamespace(observe=lambda served: None, repeated=SimpleNamespace(inc=bool))  # type: ignore[assignment]
    body = msgspec.json.encode({"user_id": "ada"} | ({} if asked is None else {"seen": asked}))
    asyncio.run(service._respond(body, SlateRequest, Slate, make))
    service._socket.close()
    assert [request.seen for request in got] == [seen]
