"""What is wrong with a log, line by line: the core's own verdicts, in words by which a person can mend the file."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from replay.inspect.profile import Profile, Profiler
from replay.off_policy import strategy_rounds
from replay.off_policy.evaluate import prospects
from replay.off_policy.log_pass import LogObserver, apply_records
from replay.off_policy.rounds import RoundReader
from replay.prequential import Numbered
from replay.wording import message
from streams.core.join.events import Rejected
from streams.core.join.items import Item
from streams.core.join.settings import PartitionSettings


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """One record that can't be used."""

    line: int
    reason: str
    message: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a log, and what other policies it can be evaluated for."""

    rows: int
    good: int
    bad: dict[str, int]  # reason -> records
    complaints: list[str]  # NAME:LINE: what is wrong there
    profile: Profile  # what is in the log
    evaluate: list[str]  # what `segue evaluate` can estimate from it, and what it can't


def complaints(
    arrivals: Iterable[Numbered], settings: PartitionSettings, observers: Sequence[LogObserver] = ()
) -> Iterator[Complaint | None]:
    """A verdict a record, in order: None where it is good. Late, future and duplicate records are rejected as in replay.

    `observers` see the same pass of the log.
    """
    for line, arrived, effects in apply_records(arrivals, settings, observers):
        record = arrived.record
        if isinstance(record, Rejected):
            yield Complaint(line=line, reason=record.reason, message=message(record.reason, record.detail, record.raw))
        elif effects.dead:
            dead = effects.dead[0]
            yield Complaint(line=line, reason=dead.reason, message=message(dead.reason, dead.detail, arrived.raw))
        else:
            yield None


def validate(
    name: str, arrivals: Iterable[Numbered], items: Iterable[Item], settings: PartitionSettings, most: int,
    update: Callable[[int, int], None],
) -> Verdict:  # fmt: skip
    """Every record of a log, checked in one pass; at most `most` complaints a reason are worded. `update`: (records so far, -1)."""
    strategies = strategy_rounds.StrategyReader(settings)
    reader = RoundReader(settings, {item.item_id: item for item in items})
    bad, worded, n, profiler = Counter[str](), list[str](), 0, Profiler(settings)
    for n, complaint in enumerate(complaints(profiler.of(iter(arrivals)), settings, [reader, strategies]), 1):
        if n % 1000 == 0:
            update(n, -1)
        if complaint is not None:
            bad[complaint.reason] += 1
            if bad[complaint.reason] <= most:
                worded.append(f"{name}:{complaint.line}: {complaint.message}")
    supported = [*prospects(reader.rounds()), *strategy_rounds.prospects(strategies)]
    return Verdict(rows=n, good=n - bad.total(), bad=dict(bad), complaints=worded, profile=profiler.profile(), evaluate=supported)
