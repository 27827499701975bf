"""Colours of the panel, and how it writes a number."""
from __future__ import annotations

NONE = "–"
GOOD, BAD, QUIET, LABEL, CURVE = "bold green", "bold red", "bright_black", "cyan", "blue"


def figure(value: float | None, form: str) -> str:
    """NONE where there is no value."""
    return NONE if value is None else format(value, form)
