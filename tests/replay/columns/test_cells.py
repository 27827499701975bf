"""One id whatever a table stored it as; an id that a float has merged is refused."""
from __future__ import annotations

import datetime
import decimal

import pytest

from replay.columns.cells import EXACT, id_text, is_empty, number
from replay.log_files import LogError


@pytest.mark.parametrize("cell", [17, 17.0, "17", "17.0", " 17 ", "17.", decimal.Decimal("17.00"), b"17"])
def test_a_whole_number_is_one_id_in_every_form(cell: object) -> None:
    assert id_text(cell, "uid") == "17"


@pytest.mark.parametrize("cell", [float(EXACT), "9007199254740993.0", "1.2e+18"])
def test_an_id_that_a_float_has_merged_is_refused_by_the_name_of_its_column(cell: object) -> None:
    with pytest.raises(LogError, match=r"column uid holds \d+ as a float: from 2\^53 on, floats merge different ids"):
        id_text(cell, "uid")


def test_ids_that_are_no_floats_stay_what_they_are() -> None:
    for text in ("007", "12e45", "1.2.3", "v1.0b", str(EXACT + 1)):
        assert id_text(text, "uid") == text
    assert id_text(EXACT + 1, "uid") == "9007199254740993"
    assert [id_text(text, "uid") for text in ("", " ", r"\N", "NaN", "NULL")] == [None] * 5
    assert id_text(17.5, "uid") == 17.5  # the core rejects it


def test_empty_cells_and_numbers_of_other_types() -> None:
    assert [is_empty(cell) for cell in (None, "", float("nan"), 0, False, "0")] == [True, True, True, False, False, False]
    assert number(datetime.timedelta(seconds=1.5), whole=True) == 1_500 and number(decimal.Decimal("2.0"), whole=True) == 2
