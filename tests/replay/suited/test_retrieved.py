"""Beside a share of the acts, what is drawn are candidates of Segue's own, of just before the act; nothing else of the log changes."""
from __future__ import annotations

from collections.abc import Iterable

import pytest

from replay.log_rows import DRAWN
from replay.negatives import Negatives
from replay.prequential import Numbered, even, of_file
from replay.suited import retrieved
from replay.suited.retrieved import Retrieved
from streams.core.join.catalog import Catalog
from streams.core.join.events import Event, Exposure
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.serving.recommend import RecommendSettings
from streams.core.state.tables import Tables
from tests.replay.test_negatives import plays, rows

FEW = RecommendSettings(popular_candidates=8, fresh_candidates=0, explore_candidates=0, own_candidates=3, co_listened_candidates=4)


def changed(numbered: Iterable[Numbered]) -> list[Numbered]:
    """The records as they are applied, and those before them."""
    partition, out = Partition(PartitionSettings(), Tables.over(), Catalog()), list[Numbered]()
    hooks = Retrieved(FEW, partition).following(even)
    for batch in hooks["batches"](iter(numbered)):
        assert len({arrived.record.ts for _, arrived in batch}) == 1
        out += batch
        hooks["after"](partition.apply([arrived for _, arrived in batch]))
    return out


def slots(numbered: Numbered) -> list[str]:
    record = numbered[1].record
    assert isinstance(record, Exposure) and record.strategy == DRAWN
    return [slot.item_id for slot in record.slots]


def test_beside_a_share_of_the_acts_stand_candidates_and_all_else_stays() -> None:
    before = list(of_file(Negatives(4).rows(rows(*plays(400)))))
    after = changed(before)
    assert changed(before) == after and len(after) == len(before)
    taken, other, full = set[str](), 0, 0
    for was, now in zip(before, after, strict=True):
        record = was[1].record
        if isinstance(record, Event):
            assert now == was
            taken.add(record.item_id)
            continue
        assert isinstance(record, Exposure) and len(slots(now)) == len(slots(was)) == len(set(slots(now)))
        act = next(a.record for _, a in before if isinstance(a.record, Event) and a.record.request_id == record.request_id)
        place = slots(was).index(act.item_id)
        assert slots(now)[place] == act.item_id and set(slots(now)) - {act.item_id} <= taken
        if slots(now) != slots(was):
            other += 1
            full += all(a != b for n, (a, b) in enumerate(zip(slots(was), slots(now), strict=True)) if n != place)
    exposures = sum(isinstance(a.record, Exposure) for _, a in before)
    assert other == pytest.approx(retrieved.SHARE * exposures, rel=0.2)
    assert full > 0.5 * other  # a candidate may be one of those that were drawn


def test_a_log_that_draws_nothing_is_known_by_its_beginning() -> None:
    log = rows(*plays(20))
    assert not retrieved.draws(of_file(log))
    assert retrieved.draws(of_file(Negatives(4).rows(log)))
