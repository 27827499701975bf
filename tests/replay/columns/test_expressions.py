"""A field computed from columns is what SQL says, whatever the cells are stored as; nothing looks beyond its row."""
from __future__ import annotations

import pytest

from replay.columns.expressions import Expressions
from replay.log_files import LogError

ROWS: list[dict[str, object]] = [
    {"rating": "8", "ratio": "0.5", "length": "1001", "type": "movie", "skipped": "true", "a": "12", "b": "34", "x.y": 2},
    {"rating": "3.5", "ratio": "2", "length": "10", "type": "ad", "skipped": "no", "a": "", "b": "5", "x.y": None},
]


@pytest.mark.parametrize(
    ("field", "text", "values"),
    [
        ("also.collect", "rating >= 8", [True, False]),
        ("also.skip", "rating == 8", [True, False]),
        ("played_ms", "ratio*length", [500.5, 20.0]),
        ("played_ms", "a + b", [46.0, None]),
        ("item_id", "a || ' - ' || b", ["12 - 34", None]),
        ("item_id", "COALESCE(NULLIF(a, '12'), b)", ["34", "5"]),
        ("action", "CASE WHEN type = 'ad' THEN 'impression' ELSE 'play' END", ["play", "impression"]),
        ("also.skip", "NOT skipped", [False, True]),
        ("also.share", "type = 'movie' AND rating >= 8", [True, False]),
        ("context.x", "x.y * 2", [4.0, None]),
        ("also.share", "type IN ('ad', 'x') OR rating BETWEEN 9 AND 10", [False, True]),
    ],
)
def test_an_expression_is_what_sql_says(field: str, text: str, values: list[object]) -> None:
    assert [row[field] for row in Expressions({field: text}).of(ROWS)] == values


def test_a_cell_of_the_wrong_kind_stands_for_itself() -> None:
    assert Expressions({"played_ms": "a * 1000"}).of([{"a": "soon"}, {"a": "2"}]) == [{"played_ms": "soon"}, {"played_ms": 2000.0}]


def test_a_column_is_of_one_kind_in_every_batch() -> None:
    each = Expressions({"context.x": "a / 2"})
    assert [each.of([{"a": cell}])[0]["context.x"] for cell in ("3", "3.0", 3, 3.0)] == [1.5] * 4


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rating >=", "neither a column nor an SQL expression"),
        ("SUM(rating)", "it is not about one row"),
        ("SUM(rating) OVER (PARTITION BY a)", "a window or a query looks at other rows"),
        ("7", "it is not about one row (a constant is --const)"),
        ("__import__('os')", "neither a column nor an SQL expression"),
        ("(SELECT 1)", "a window or a query looks at other rows"),
    ],
)
def test_what_is_no_expression_of_a_row_is_refused_with_option_and_text(text: str, problem: str) -> None:
    with pytest.raises(LogError) as refused:
        Expressions({"played_ms": text})
    assert str(refused.value).startswith(f"--map played_ms={text}: ") and problem in str(refused.value)


def test_a_column_that_is_not_there_is_refused_by_name_with_those_that_are() -> None:
    with pytest.raises(LogError, match=r"log: --map played_ms=ratio\*lenght: no column lenght; it has ratio, length"):
        Expressions({"played_ms": "ratio*lenght"}).check(["ratio", "length"], "log")
