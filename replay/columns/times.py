"""A cell as ms UTC, and by which forms the cells of a column are times at all.

A form is a unit of a number (`s`, `ms`, `us`, `ns`), `iso` (ISO 8601), or a pattern of strptime (`%d %b %Y, %H:%M`).
"""
from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from replay.columns.cells import is_empty, number
from streams.core.join.events import EARLIEST_TS

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
US = datetime.timedelta(microseconds=1)
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}  # a second holds so many
PATTERNS = (  # as exports write times; where day and month may be exchanged, both readings stand here
    "%d %b %Y, %H:%M", "%d %b %Y %H:%M", "%d %b %Y %H:%M:%S", "%b %d, %Y %I:%M %p", "%b %d, %Y, %I:%M:%S %p",
    "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p",
    "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d",
    "%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %Z", "%a %b %d %H:%M:%S %z %Y", "%Y%m%d%H%M%S",
)  # fmt: skip
FITS = 0.95  # of the cells: a log may hold a few broken clocks

Reader = Callable[[object], object]  # cell -> ms UTC, or the cell as it is


class Form(NamedTuple):
    """How the cells of a column are times."""

    time: str  # unit, iso or pattern
    zoned: bool  # they name their zone (a number always does: it counts from 1970, UTC)


def known(time: str) -> bool:
    """Is it a form of times?

    >>> known("ms"), known("%Y-%m-%d %H:%M"), known("h")
    (True, True, False)
    """
    return time in UNITS or time == "iso" or "%" in time


def zone_of(name: str) -> datetime.tzinfo | None:
    """The zone of a name (`Europe/Berlin`, `UTC`) or an offset (`+02:00`); None for no name. Raises ValueError for an unknown one."""
    if name in ("", "UTC", "Z"):
        return datetime.UTC if name else None
    if name[0] in "+-":
        return datetime.datetime.fromisoformat(f"2000-01-01T00:00{name}").tzinfo
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"zone {name!r}: expected a name such as Europe/Berlin or UTC, or an offset such as +02:00") from None


def reader(time: str, zone: str = "", epoch_ms: int = 0) -> Reader:
    """How a cell becomes ms UTC: `zone` is that of times which name none, `epoch_ms` the moment at which the log's time 0 was.

    A time without a zone stays as it is where none is given: it may be any of 26 hours.

    >>> reader("s")("1704067200"), reader("iso")("2024-01-01T01:00+01:00"), reader("iso")("2024-01-01")
    (1704067200000, 1704067200000, '2024-01-01')
    """
    local = zone_of(zone)

    def ms(cell: object) -> object:
        if time == "ms" and isinstance(cell, str) and cell.isdecimal():
            return int(cell) + epoch_ms
        try:
            found = _moment(cell, time, local)
        except (ValueError, OverflowError):
            return cell
        return found + epoch_ms if isinstance(found, int) else cell

    return ms


def forms(cells: Iterable[object], latest_ms: int) -> list[Form]:
    """Every form by which (nearly) all cells lie between 1990 and `latest_ms`, cells without a zone taken as UTC."""
    there = [cell for cell in cells if not is_empty(cell)]
    found = [form for form in (*UNITS, "iso", *PATTERNS) if _fits(there, form, latest_ms)] if there else []
    return [Form(form, form in UNITS or _fits(there, form, latest_ms, zone="")) for form in found]


def demand(column: str, cells: Sequence[object], found: Sequence[Form]) -> str:
    """What to say where the cells of a column are not times in exactly one way."""
    example = next((str(cell) for cell in cells if not is_empty(cell)), "nothing")[:40]
    if len(found) > 1:
        either = " or ".join(f"--time {form.time!r}" for form in found)
        return f"column {column} holds times such as {example!r}, which can be read in several ways: pass {either}"
    if found:
        return f"column {column} holds times without a zone, such as {example!r}: name it with --zone UTC, or --zone Europe/Berlin, say"
    return (
        f"column {column} holds {example!r}: by no unit and no known form is that between 1990 and a year from now; pass --time "
        "ms, s, us, ns, iso or a pattern such as '%d.%m.%Y %H:%M', and, where the log counts from a moment of its own, "
        "--epoch 2000-01-01T00:00Z, say"
    )


def _fits(cells: Sequence[object], form: str, latest_ms: int, zone: str = "UTC") -> bool:
    read, misses = reader(form, zone), 0
    for cell in cells:
        ms = read(cell)
        if not (isinstance(ms, int) and EARLIEST_TS <= ms <= latest_ms and _of_form(cell, form)):
            misses += 1
            if misses > (1 - FITS) * len(cells):
                return False
    return True


def _of_form(cell: object, form: str) -> bool:
    """A number is no text of a date, and a moment (of Parquet) is of no form but iso."""
    if isinstance(cell, datetime.date):
        return form == "iso"
    is_number = isinstance(number(cell, whole=False), int | float)
    return is_number if form in UNITS else not is_number or len(str(cell)) in (8, 14)


def _moment(cell: object, time: str, local: datetime.tzinfo | None) -> object:
    if isinstance(cell, datetime.datetime):
        return _ms(cell, local)
    if isinstance(cell, datetime.date):
        return _ms(datetime.datetime(cell.year, cell.month, cell.day), local)  # noqa: DTZ001 - `_ms` gives it its zone
    if time in UNITS:
        value = number(cell, whole=time != "s")
        if not isinstance(value, int | float) or isinstance(value, bool):
            return cell
        return _in_ms(value, time)
    text = str(cell).strip()
    if time != "iso":
        return _ms(datetime.datetime.strptime(text, time), local or _named(text))  # noqa: DTZ007 - `_ms` gives it its zone
    if text.endswith((" UTC", " GMT")):
        text = text[:-4] + "+00:00"
    return _ms(datetime.datetime.fromisoformat(text), local)


def _named(text: str) -> datetime.tzinfo | None:
    return datetime.UTC if text.endswith(("UTC", "GMT")) else None


def _in_ms(value: int | float, unit: str) -> int:
    match unit:
        case "s":
            return round(value * 1000)
        case "us":
            return int(value) // 1000
        case "ns":
            return int(value) // 1_000_000
        case _:
            return int(value) if float(value).is_integer() else _not_whole(value)


def _not_whole(value: float) -> int:
    raise ValueError(f"{value} is no whole number of ms")


def _ms(moment: datetime.datetime, local: datetime.tzinfo | None) -> object:
    if moment.tzinfo is None:
        if local is None:
            return moment
        moment = moment.replace(tzinfo=local)
    return (moment - EPOCH) // US // 1000
