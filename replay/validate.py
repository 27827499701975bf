"""What is wrong with a log, line by line: the core's own verdicts, in words by which a person can mend the file."""
from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from replay.off_policy import strategy_rounds
from replay.off_policy.evaluate import prospects
from replay.off_policy.log_pass import LogObserver, apply_records
from replay.off_policy.rounds import RoundReader
from replay.prequential import Numbered
from streams.core.join.events import Action, Reason, Rejected
from streams.core.join.items import Item
from streams.core.join.settings import PartitionSettings

FOUND_LIMIT = 80  # characters of a found value
_AT = re.compile(r"(?P<what>.*) - at `(?P<path>\$[^`]*)`$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
WANTED = {"ts": "int (ms UTC)", "action": "one of " + ", ".join(action.value for action in Action)}


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
    bad, worded, n = Counter[str](), list[str](), 0
    for n, complaint in enumerate(complaints(arrivals, settings, [reader, strategies]), 1):
        if n % 1000 == 0:
            update(n, -1)
        if complaint is not None:
            bad[complaint.reason] += 1
            if bad[complaint.reason] <= most:
                worded.append(f"{name}:{complaint.line}: {complaint.message}")
    supported = [*prospects(reader.rounds()), *strategy_rounds.prospects(strategies)]
    return Verdict(rows=n, good=n - bad.total(), bad=dict(bad), complaints=worded, evaluate=supported)


def message(reason: Reason, detail: str, raw: bytes) -> str:
    """Where, what was expected, what was found, what to do.

    >>> message(Reason.WRONG_TYPE, "Expected `int`, got `str` - at `$.ts`", b'{"ts": "2024-01-01T00:00Z"}')
    '$.ts: expected int (ms UTC), got "2024-01-01T00:00Z"; convert it or pass --time iso'
    """
    match = _AT.match(detail)
    path, what = (match["path"], match["what"]) if match else ("$", detail)
    if missing := _MISSING.match(what):
        return f"{path}.{missing[1]}: missing; add it, or pass --map {missing[1]}=COLUMN"
    if match is None:
        return f"{reason}: {detail}"
    name, looks_like = path.rpartition(".")[2], ""
    found = _found(raw, path)
    if reason is Reason.WRONG_TYPE:
        what = f"expected {WANTED.get(name, what.partition(', got')[0].removeprefix('Expected ').replace('`', ''))}"
    elif reason is Reason.UNKNOWN_ACTION:
        what = f"expected {WANTED['action']}"
    else:
        what, _, looks_like = (what[:1].lower() + what[1:].replace("`", "")).partition("; ")
    hint = f"{looks_like}; convert it or pass --time" if looks_like else _hint(name, reason, found)
    return f"{path}: {what}, got {_quoted(found)}" + (f"; {hint}" if hint else "")


def _hint(name: str, reason: Reason, found: Any) -> str:
    if name == "ts" and isinstance(found, str):
        moment = _moment(found)
        if moment is None:
            return "neither ms since 1970, UTC, nor an ISO 8601 time"
        if moment.tzinfo is None:
            return f"it names no zone; write {moment.isoformat()}Z, or +02:00, say, and pass --time iso"
        return "convert it or pass --time iso"
    if name == "ts" and isinstance(found, float):
        return "convert it or pass --time s"
    if reason is Reason.MALFORMED:
        return "save it as UTF-8"
    if reason is Reason.UNKNOWN_ACTION and isinstance(found, str):
        return f"pass --action {found}=play, say"
    return ""


def _moment(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        return None


def _found(raw: bytes, path: str) -> Any:
    """The value at a path of the record, or the raw text where it is not JSON any more."""
    try:
        text = raw.decode("utf-8", "surrogateescape")
        value = msgspec.json.decode("".join([f"\\\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in text]))
        for name, index in _STEP.findall(path):
            value = value[int(index)] if index else value[name]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return raw.decode("utf-8", "replace")
    return value


def _quoted(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= FOUND_LIMIT else text[:FOUND_LIMIT] + "…"
