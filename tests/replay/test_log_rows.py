"""Ids of rows, and which columns change nothing."""
from __future__ import annotations

import pytest

from replay.log_rows import Columns, line_id


def test_equal_lines_have_one_id_and_it_is_xxh3s() -> None:
    assert line_id(b"") == "99aa06d3014798d86001c324468d497f"  # XXH3's published value of the empty input, 128 bits
    assert line_id(b"a") == line_id(b"a") != line_id(b"b")


def test_columns_that_change_nothing_are_plain_and_an_unknown_unit_or_zone_is_refused() -> None:
    assert Columns().plain and not Columns(time="s").plain and not Columns(fields={"ts": "at"}).plain
    with pytest.raises(ValueError, match="time unit 'h': expected ms, s, us, ns, iso or a pattern"):
        Columns(time="h")
    with pytest.raises(ValueError, match="zone 'Mars/Base': expected a name such as Europe/Berlin"):
        Columns(zone="Mars/Base")
