"""How long a replay remembers: half-lives of rates and the expiry of rows that suit how seldom items come again in a log.

Live, rates halve in a week and rows that are not used for two weeks go: right where an item is taken many times a day. In a log of
ratings over years most of what is known of an item would be forgotten before it comes again. So a rate's half-life is the mean time
between two acts on an item, a year at most, and a row stays three times as long, 400 days at most. (Longer ones cost NE on 30Music.)
"""
from __future__ import annotations

from collections.abc import Iterable
from itertools import islice, pairwise

from msgspec.structs import replace

from online_model.decay import DAY_MS, HOUR_MS
from replay.options import CoreSettings
from replay.prequential import Numbered
from streams.core.join.events import Action, Event

LOOKED_AT = 5_000  # acts at the beginning of a log, which stand for all of it
LONGEST_H = 8_760.0  # a year: tastes change
STAYS, LONGEST_D = 3, 400.0  # half-lives that a row stays without use; days at most


def half_life_h(span_ms: int, items: int, acts: int) -> float:
    """Of rates, by the acts of a span of event time and the different items that they are on; 0 where there are none.

    >>> half_life_h(100 * DAY_MS, items=50, acts=1_000)  # two acts on an item lie 5 days apart
    120.0
    """
    return min(LONGEST_H, span_ms / HOUR_MS * items / acts) if acts else 0.0


def expire_d(half_life_h: float) -> float:
    """Days without use after which a row goes.

    >>> expire_d(240.0)
    30.0
    """
    return min(LONGEST_D, STAYS * half_life_h * HOUR_MS / DAY_MS)


def _half_life_of(records: Iterable[Numbered]) -> float:
    """By the beginning of a log."""
    acts = (a for _, a in records if isinstance(a.record, Event) and (a.record.action is not Action.IMPRESSION or a.record.also))
    looked_at = [(arrived.record.ts, arrived.record.item_id) for arrived in islice(acts, LOOKED_AT) if isinstance(arrived.record, Event)]
    times = sorted(ts for ts, _ in looked_at)
    if len(times) < 2:
        return 0.0
    gaps = sorted(after - ts for ts, after in pairwise(times))
    usual = gaps[: len(gaps) - max(1, len(gaps) // 100)] or gaps  # a pause of the log is none of its items
    return half_life_h(round(sum(usual) / len(usual) * len(gaps)), len({item for _, item in looked_at}), len(times))


def suited(settings: CoreSettings, records: Iterable[Numbered]) -> CoreSettings:
    """The settings with a memory that suits a log: nothing is forgotten sooner than they say."""
    suits_h = _half_life_of(records)
    if suits_h <= settings.partition.rate_half_life_h:
        return settings
    partition = replace(settings.partition, rate_half_life_h=suits_h)
    return replace(settings, partition=partition, model=replace(settings.model, expire_d=max(settings.model.expire_d, expire_d(suits_h))))


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
