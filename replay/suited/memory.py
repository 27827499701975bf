"""How long a replay remembers: half-lives of rates and the expiry of rows that suit how seldom items come again in a log.

Live, rates halve in a week and rows that are not used for two weeks go: right where an item is taken many times a day. In a log of
ratings over years most of what is known of an item would be forgotten before it comes again. So a rate's half-life is the mean time
between two acts on an item, two months at most, and a row stays for three such times, 400 days at most. On 22,627 reviews of 13 years
AUC and NE are .840 and .730 so (.762 and .831 as live; .824 and .756 with half-lives of a year; .832 and .743 with rows that stay for
two months). On plays of a year, half-lives of ten such times cost NE.
"""
from __future__ import annotations

from collections.abc import Iterable
from itertools import islice, pairwise
from typing import NamedTuple

from msgspec.structs import replace

from online_model.decay import DAY_MS, HOUR_MS
from replay.options import CoreSettings
from replay.prequential import Numbered
from streams.core.join.events import Action, Event

LOOKED_AT = 5_000  # acts at the beginning of a log, which stand for all of it
LONGEST_H = 1_440.0  # two months: tastes change
STAYS, LONGEST_D = 3, 400.0  # times between two acts on an item that a row stays without use; days at most


class Memory(NamedTuple):
    """What is remembered for how long."""

    half_life_h: float  # `partition.rate_half_life_h`
    expire_d: float  # `model.expire_d`


def of(span_ms: int, items: int, acts: int) -> Memory:
    """What suits so many acts within a span of event time, on so many different items.

    >>> of(100 * DAY_MS, items=50, acts=1_000)  # two acts on an item lie 5 days apart
    Memory(half_life_h=120.0, expire_d=15.0)
    """
    gap_ms = span_ms * items / acts if acts else 0.0
    return Memory(min(LONGEST_H, gap_ms / HOUR_MS), min(LONGEST_D, STAYS * gap_ms / DAY_MS))


def _of_log(records: Iterable[Numbered]) -> Memory:
    """By its beginning."""
    events = (arrived.record for _, arrived in records if isinstance(arrived.record, Event))
    acts = list(islice((event for event in events if event.action is not Action.IMPRESSION or event.also), LOOKED_AT))
    gaps = sorted(after - ts for ts, after in pairwise(sorted(event.ts for event in acts)))
    usual = gaps[: len(gaps) - max(1, len(gaps) // 100)] or gaps  # a pause of the log is none of its items
    span_ms = round(sum(usual) / len(usual) * len(gaps)) if usual else 0
    return of(span_ms, len({event.item_id for event in acts}), len(acts))


def suited(settings: CoreSettings, records: Iterable[Numbered]) -> CoreSettings:
    """The settings with a memory that suits a log, by its records from the beginning: nothing is forgotten sooner than they say."""
    memory = _of_log(records)
    if memory.half_life_h <= settings.partition.rate_half_life_h:
        return settings
    partition = replace(settings.partition, rate_half_life_h=memory.half_life_h)
    return replace(settings, partition=partition, model=replace(settings.model, expire_d=max(settings.model.expire_d, memory.expire_d)))


def note(live: CoreSettings, used: CoreSettings) -> list[str]:
    """What of the memory is not as it is live, for people."""
    hours, days = used.partition.rate_half_life_h, used.model.expire_d
    if hours == live.partition.rate_half_life_h:
        return []
    return [
        f"Rates halve in {hours:,.0f} h and rows stay {days:,.0f} d without use, as suits how seldom items come again in this log; live it "
        f"would be {live.partition.rate_half_life_h:,.0f} h and {live.model.expire_d:,.0f} d (--as-live), unless "
        f"partition.rate_half_life_h={hours:.0f} and model.expire_d={days:.0f} are set there, too."
    ]
