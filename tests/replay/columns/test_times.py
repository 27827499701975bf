"""A column of times has one reading, or its reading is demanded."""
from __future__ import annotations

import datetime

import pytest

from replay.columns.times import Form, demand, forms, reader

NOON = datetime.datetime(2024, 1, 31, 12, 30, tzinfo=datetime.UTC)
MS = 1_706_704_200_000  # date -u -d '2024-01-31 12:30' +%s
LATEST = 1_767_225_600_000  # 2026


@pytest.mark.parametrize(
    ("cell", "form", "zoned"),
    [
        (MS // 1000, "s", True),
        (str(MS), "ms", True),
        (MS * 1_000, "us", True),
        (MS * 1_000_000, "ns", True),
        (MS / 1000, "s", True),
        ("2024-01-31T12:30:00Z", "iso", True),
        ("2024-01-31 12:30:00 UTC", "iso", True),
        ("2024-01-31 12:30", "iso", False),
        ("31 Jan 2024, 12:30", "%d %b %Y, %H:%M", False),
        ("31.01.2024 12:30", "%d.%m.%Y %H:%M", False),
        ("31/01/2024 12:30", "%d/%m/%Y %H:%M", False),
        ("01/31/2024 12:30 PM", "%m/%d/%Y %I:%M %p", False),
        ("Wed Jan 31 12:30:00 +0000 2024", "%a %b %d %H:%M:%S %z %Y", True),
        (NOON, "iso", True),
        (NOON.replace(tzinfo=None), "iso", False),
    ],
)
def test_one_reading_is_found_and_read(cell: object, form: str, zoned: bool) -> None:
    assert forms([cell, None, ""], LATEST) == [Form(form, zoned)]
    assert reader(form, "" if zoned else "UTC")(cell) == MS


@pytest.mark.parametrize("cells", [["soon"], [7, 8], [None], ["1985-01-01T00:00Z"], ["2031-01-01T00:00Z"], ["song 4"]])
def test_what_is_no_time_of_this_age_has_no_reading(cells: list[object]) -> None:
    assert forms(cells, LATEST) == []


def test_day_and_month_that_may_be_exchanged_are_demanded() -> None:
    cells: list[object] = ["03/04/2024 10:00", "05/06/2024 10:00"]
    found = forms(cells, LATEST)
    assert [form.time for form in found] == ["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"]
    assert "can be read in several ways: pass --time '%d/%m/%Y %H:%M' or" in demand("at", cells, found)
    assert [form.time for form in forms([*cells, "31/01/2024 10:00"], LATEST)] == ["%d/%m/%Y %H:%M"]


def test_a_few_broken_clocks_hide_no_unit_and_half_of_another_unit_does() -> None:
    good: list[object] = [MS + n for n in range(97)]
    assert [form.time for form in forms([*good, 0, MS // 1000, MS * 1000], LATEST)] == ["ms"]
    assert forms([MS, MS // 1000], LATEST) == []


def test_a_zone_makes_local_times_moments_and_an_epoch_shifts_all() -> None:
    assert reader("iso", "Europe/Berlin")("2024-07-01T12:00") == reader("iso")("2024-07-01T12:00+02:00")
    assert reader("iso", "+05:30")("2024-07-01") == reader("iso")("2024-06-30T18:30Z")
    assert reader("s", epoch_ms=MS)("90") == MS + 90_000
    assert reader("iso")("2024-07-01T12:00") == "2024-07-01T12:00"
