"""Golden samples of about twenty invented rows each, and what the core makes of them."""
from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from replay import logs
from replay.log_rows import Columns
from replay.off_policy.log_pass import apply_records
from replay.prequential import Omissions, of_file
from streams.core.join.events import Event, Exposure
from streams.core.join.settings import PartitionSettings

SAMPLES = Path(__file__).parent / "samples"


class Read(NamedTuple):
    """What the core made of a sample."""

    events: list[Event]  # admitted, in the order in which they came
    exposures: list[Exposure]
    rejected: Counter[str]
    left_out: Counter[str]

    @property
    def counts(self) -> tuple[int, int, int, int, int, int]:
        """Events, users, items, rejected, first and last time."""
        times, of = [event.ts for event in self.events], self.events
        return len(of), len({e.user_id for e in of}), len({e.item_id for e in of}), self.rejected.total(), min(times), max(times)

    def actions(self) -> Counter[str]:
        """How often each action, those of `also` included."""
        return Counter(str(action) for event in self.events for action in (event.action, *event.also))


def read(form: str, *paths: Path) -> Read:
    """Read a log as `segue replay` does."""
    found, omissions = Read([], [], Counter(), Counter()), Omissions()
    records = of_file(logs.read(paths, logs.Format(form), Columns()), omissions=omissions)
    for _, arrived, effects in apply_records(records, PartitionSettings(), []):
        found.rejected.update(str(dead.reason) for dead in effects.dead)
        if not effects.dead:
            if isinstance(arrived.record, Event):
                found.events.append(arrived.record)
            elif isinstance(arrived.record, Exposure):
                found.exposures.append(arrived.record)
    found.left_out.update(omissions.of("left out"))
    times = [event.ts for event in found.events]
    assert times == sorted(times)
    return found
