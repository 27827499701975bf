"""What is in a log: rows, users, items, actions, label rates, times, repeats, disorder, play ratios; and what can be learned of it."""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import msgspec
import numpy as np
import xxhash

from online_model.features import TASKS
from replay.log_rows import LogRow
from replay.prequential import Numbered
from replay.suited import memory
from replay.wording import message
from streams.core.join.events import Event, Exposure, Reason, Rejected
from streams.core.join.labels import interpret
from streams.core.join.settings import PartitionSettings

BINS = 10  # of the play ratio, the last for all from 1 on
MOST_PAIRS = 2_000_000  # users and items of which repeats are counted: from then on no new ones, so that memory is bounded
_EMPTY_ID = re.compile(r"missing required field `(user|item)_id`|got `null` - at `\$\.(user|item)_id`")
BARS = " ▁▂▃▄▅▆▇█"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over the rows that were read."""

    rows: int
    events: int
    rejected: dict[str, int]  # reason -> rows
    first_rejected: str  # the first of them: its line, what is wrong, what to do
    left_out: int
    users: int
    items: int
    actions: dict[str, int]  # an event counts in each of its actions
    labels: dict[str, float]  # task -> share of different events that set it
    lists: int  # exposures of several items
    exposures: int  # these, and impressions
    first_ms: int
    last_ms: int
    doubles: int  # events whose id was there before
    repeats: int  # events of a user with an item that this user had before
    disordered: int  # events that are older than one before them
    empty_ids: int  # rows without a user or an item
    durations: int  # plays of which both durations are known
    play_ratios: list[int]  # plays by played / duration, in tenths
    with_full: int  # plays of which the log says whether they were full
    requests: int
    propensities: int


class Profiler:
    """Counts what goes by."""

    def __init__(self, settings: PartitionSettings) -> None:
        self._settings = settings
        self._rejected, self._actions, self._labels = Counter[str](), Counter[str](), Counter[int]()
        self._users, self._items, self._pairs, self._ids = set[int](), set[int](), set[int](), set[int]()
        self._ratios = [0] * (BINS + 1)
        self._n = Counter[str]()
        self._first_ms = self._last_ms = -1
        self._first_rejected = ""

    def of(self, arrivals: Iterator[Numbered]) -> Iterator[Numbered]:
        """The records as they are, counted."""
        for line, arrived in arrivals:
            record = arrived.record
            self._n["rows"] += 1
            if isinstance(record, Rejected):
                self._reject(line, record)
            elif isinstance(record, Event):
                self._event(record)
            elif isinstance(record, Exposure):
                self._n.update(lists=1, exposures=1)
                self._seen(record.ts, record.user_id, record.event_id)
            yield line, arrived

    def leave_out(self, row: LogRow) -> None:
        """Count a row that makes no event."""
        self._n["rows"] += 1
        self._n["left_out"] += 1

    def profile(self) -> Profile:
        """What was counted."""
        n, events = self._n, self._n["events"]
        different = max(1, events - n["doubles"])
        return Profile(
            rows=n["rows"], events=events, rejected=dict(self._rejected), first_rejected=self._first_rejected, left_out=n["left_out"],
            users=len(self._users), items=len(self._items), actions=dict(self._actions.most_common()),
            labels={task: self._labels[t] / different for t, task in enumerate(TASKS)}, lists=n["lists"], exposures=n["exposures"],
            first_ms=self._first_ms, last_ms=self._last_ms, doubles=n["doubles"], repeats=n["repeats"], disordered=n["disordered"],
            empty_ids=n["empty_ids"], durations=n["durations"], play_ratios=self._ratios, with_full=n["with_full"],
            requests=n["requests"], propensities=n["propensities"],
        )  # fmt: skip

    def _reject(self, line: int, record: Rejected) -> None:
        self._rejected[record.reason] += 1
        self._n["empty_ids"] += record.reason is Reason.WRONG_TYPE and bool(_EMPTY_ID.search(record.detail))
        if not self._first_rejected:
            self._first_rejected = f"line {line}: {message(record.reason, record.detail, record.raw)}"

    def _event(self, event: Event) -> None:
        n, actions = self._n, {event.action, *event.also}
        n["events"] += 1
        if self._seen(event.ts, event.user_id, event.event_id):
            return
        self._actions.update(action.value for action in actions)
        mask = interpret(event, self._settings).mask
        self._labels.update(t for t in range(len(TASKS)) if mask >> t & 1)
        item = xxhash.xxh3_64_intdigest(event.item_id.encode("utf-8", "surrogatepass"))
        pair = xxhash.xxh3_64_intdigest(f"{event.user_id}\n{event.item_id}".encode("utf-8", "surrogatepass"))
        self._items.add(item)
        n["repeats"] += pair in self._pairs
        if len(self._pairs) < MOST_PAIRS:
            self._pairs.add(pair)
        n["exposures"] += "impression" in actions
        n["with_full"] += event.full is not None
        n["requests"] += event.request_id is not None
        n["propensities"] += event.propensity is not None
        if event.played_ms is not None and event.duration_ms:
            n["durations"] += 1
            self._ratios[min(BINS, event.played_ms * BINS // event.duration_ms)] += 1

    def _seen(self, ts: int, user_id: str, event_id: str | None) -> bool:
        """Count time and user; was this id there before?"""
        self._users.add(xxhash.xxh3_64_intdigest(user_id.encode("utf-8", "surrogatepass")))
        self._n["disordered"] += ts < self._last_ms
        self._first_ms = ts if self._first_ms < 0 else min(self._first_ms, ts)
        self._last_ms = max(self._last_ms, ts)
        if event_id is None:
            return False
        key = xxhash.xxh3_64_intdigest(event_id.encode("utf-8", "surrogatepass"))
        double = key in self._ids
        self._n["doubles"] += double
        if len(self._ids) < MOST_PAIRS:
            self._ids.add(key)
        return double


def lines(profile: Profile) -> Iterator[str]:
    """The profile for people."""
    p, many = profile, max(profile.events, 1)
    others = {"lists": p.lists, "left out": p.left_out}
    yield f"{p.rows:,} rows: {p.events:,} events" + "".join(f", {n:,} {what}" for what, n in others.items() if n)
    if p.rejected:
        yield "rejected: " + ", ".join(f"{reason} {n:,}" for reason, n in p.rejected.items()) + f"; the first in {p.first_rejected}"
    if not p.events and not p.exposures:
        return
    yield f"{p.users:,} users, {p.items:,} items, {_when(p.first_ms)} to {_when(p.last_ms)} UTC ({_span(p.last_ms - p.first_ms)})"
    yield "actions: " + ", ".join(f"{action} {n:,}" for action, n in p.actions.items())
    yield "labels: " + ", ".join(f"{task} {share:.1%}" for task, share in p.labels.items())
    odd = {"doubles": p.doubles, "out of order": p.disordered, "empty ids": p.empty_ids}
    yield f"repeats of a user's item: {p.repeats / many:.1%}; " + "; ".join(f"{what}: {n:,}" for what, n in odd.items())
    if p.durations:
        most = max(p.play_ratios)
        bars = "".join(BARS[-(-n * (len(BARS) - 1) // most)] for n in p.play_ratios)
        yield f"play ratio, 0 to 1 in tenths and beyond: {bars}  ({p.durations:,} plays with both durations)"


def prospects(profile: Profile, rating: bool) -> Iterator[str]:
    """What the log can answer, and what it can't."""
    p = profile
    if p.exposures:
        yield "can: how well each label is told from exposures (AUC, GAUC, NE, calibration)"
    else:
        yield "can: --next, how often a list made just before a play holds what was played, against the most played and against successors"
        yield "can: how well what was taken is told from drawn items that were there and were not (--negatives)"
        yield "can't: rates and calibration among exposures: what was shown and left alone is not in it"
    for task, share in p.labels.items():
        if not p.exposures and (share or (task == "full_play" and p.actions.get("play"))):
            continue  # told from what is drawn; a play that says nothing of its length counts as a full one
        if not 0 < share < 1:
            why = {"full_play": "no play has both durations or says `full`"}.get(task, "no row says it")
            yield f"can't: {task}: {why if not share else 'every row says it, so nothing is told apart'}"
    suits = memory.of(p.last_ms - p.first_ms, p.items, p.events)
    if suits.half_life_h > PartitionSettings().rate_half_life_h:
        yield (
            f"memory: items come again so seldom that rates should halve in {suits.half_life_h:,.0f} h: replay does so; live, set "
            f"partition.rate_half_life_h={suits.half_life_h:.0f} and model.expire_d={suits.expire_d:.0f}"
        )
    if rating:
        yield "can: collect and dislike, as the ratings say them (change the thresholds of --label as you like)"
    if not p.requests:
        yield "can't: what compares items of one list: there is no request id"
    if not p.propensities:
        yield "can't: what another policy would have earned (`segue evaluate`): there are no propensities"


def _when(ms: int) -> str:
    return str(np.datetime64(ms, "ms").astype("datetime64[m]")).replace("T", " ")


def _span(ms: int) -> str:
    return f"{ms / 86_400_000:,.1f} days" if ms >= 86_400_000 else f"{ms / 3_600_000:,.1f} hours"
