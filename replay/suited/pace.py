"""How long a step of the learner waits in a replay: a span of event time that suits the log.

Live, an act waits 200 ms at most. In a log whose acts are further apart each would be a step of its own, and most of a replay would be
the fixed cost of steps. A span in which the log has some dozens of records gives steps of the size that traffic gives; a step's size is
bounded as it is live. On KuaiRand's standard log AUC of full plays, skips and collects is within .0002 of that in steps of a minute, which
is within .0004 of that in a step an act.
"""
from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from msgspec.structs import replace

from online_model.decay import DAY_MS
from replay.prequential import Numbered
from streams.core.join.events import Rejected
from streams.core.learning.learn import LearnerSettings

LOOKED_AT = 5_000  # records at the beginning of a log, whose pace stands for all of it
STEP_RECORDS = 32  # that a span has on average; a 128th of a log that is shorter than all of those, since small steps teach more


def suited(settings: LearnerSettings, records: Iterable[Numbered]) -> LearnerSettings:
    """The settings with a span that suits a log, given from its beginning: no shorter than live, a day at most.

    >>> from streams.core.join.events import Event
    >>> from streams.core.join.records import Arrived
    >>> acts = [Event(ts=60_000 * n, user_id="u", item_id="i", action="play") for n in range(5)]
    >>> suited(LearnerSettings(), [(n, Arrived(n, 0, act.ts, act, "")) for n, act in enumerate(acts)]).micro_batch_span_ms
    60000
    """
    times = [arrived.arrival_ms for _, arrived in islice(records, LOOKED_AT) if not isinstance(arrived.record, Rejected)]
    if len(times) < 2:
        return settings
    span_ms = max(1, min(STEP_RECORDS, len(times) // 128)) * (max(times) - min(times)) // (len(times) - 1)
    return replace(settings, micro_batch_span_ms=max(settings.micro_batch_span_ms, min(span_ms, DAY_MS)))
