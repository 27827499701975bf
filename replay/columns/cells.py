"""One cell as an id, a number, a truth or text, whatever the table stored it as; what can't be converted stays as it is."""
from __future__ import annotations

import datetime
import decimal
import re

from replay.log_files import LogError

EXACT = 2**53  # from here on a float stands for several integers
EMPTY = frozenset({"", r"\N", "NaN", "nan", "NULL", "null"})  # how tables write that an id is not there
TRUE, FALSE = frozenset({"1", "true", "t", "yes", "y"}), frozenset({"0", "false", "f", "no", "n", ""})
MS = datetime.timedelta(milliseconds=1)
_WAS_FLOAT = re.compile(r"-?\d+\.0*|-?\d+(\.\d*)?[eE]\+\d+")


def is_empty(cell: object) -> bool:
    """Is nothing in it?"""
    return cell is None or cell == "" or cell != cell  # NaN


def id_text(cell: object, column: str) -> object:
    """An id as text: a number that is whole is its decimal text, `17.0` and 17 alike, as it would be live.

    Raises LogError at a whole number that went through a float and is too large for one: several ids have become it.

    >>> id_text(17.0, "uid"), id_text("17.0", "uid"), id_text(" ab ", "uid"), id_text(17.5, "uid")
    ('17', '17', 'ab', 17.5)
    """
    if isinstance(cell, str):
        text = cell.strip()
        if text.isalnum() or not _WAS_FLOAT.fullmatch(text):
            return None if text in EMPTY else text
        cell = float(text)
    if isinstance(cell, decimal.Decimal):
        return str(int(cell)) if cell == cell.to_integral_value() else str(cell)
    if isinstance(cell, float) and cell.is_integer():
        if abs(cell) >= EXACT:
            raise LogError(
                f"column {column} holds {cell:.0f} as a float: from 2^53 on, floats merge different ids; "
                "export the column as integers or as text"
            )
        return str(int(cell))
    return cell if isinstance(cell, bool | float | dict | list) else text_of(cell)


def text_of(cell: object) -> str:
    """Any cell as text; bytes that are not UTF-8 as lone surrogates."""
    return cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else str(cell)


def number(cell: object, whole: bool) -> object:
    """An int where `whole` (12.0 is 12), else an int or float; the cell as it is if it is neither."""
    if isinstance(cell, datetime.timedelta):
        return cell // MS
    if isinstance(cell, decimal.Decimal):
        cell = float(cell)
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return cell
    try:
        return int(cell) if not isinstance(cell, float) else int(cell) if cell.is_integer() and whole else cell
    except ValueError:
        pass
    try:
        value = float(cell)
    except ValueError:
        return cell
    return int(value) if whole and value.is_integer() else value


def truth(cell: object) -> bool | None:
    """Yes or no, as tables write them; None for anything else.

    >>> truth("Yes"), truth(0.0), truth("maybe")
    (True, False, None)
    """
    if isinstance(cell, bool):
        return cell
    text = str(cell).strip().lower().removesuffix(".0")
    return True if text in TRUE else False if text in FALSE else None


def context_value(cell: object) -> object:
    """A number where the source has one; text else (a CSV cell is text: "7" may be a code as well as a count)."""
    if isinstance(cell, bool):
        return int(cell)
    if isinstance(cell, decimal.Decimal):
        return float(cell)
    return cell if isinstance(cell, int | float | str) else text_of(cell)
