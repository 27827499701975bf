"""How often slates had the next item: in a terminal and on a page."""
from __future__ import annotations

import msgspec
from rich.table import Table

from bandit.bootstrap import Interval
from replay.evidence.next_page import section, table
from replay.evidence.next_play import ORDERS, SEGUE, NextFound, Order, Span

FIGURE, LESS = Interval(0.4, 0.25, 0.5), Interval(0.125, -0.25, 0.375)
FOUND = NextFound(
    k=5, every=1, plays=12, questions=10, users=3, sources={"popular": 3, "<fresh>": 1}, question_ms=1.25, notes=["nobody saw it"],
    orders=[Order(name=name, hit=FIGURE, mrr=FIGURE, hit_less=None if name == SEGUE else LESS) for name in ORDERS],
    spans=[Span(from_ms=0, to_ms=1_000, questions=10, hits=dict.fromkeys(ORDERS, 0.4))],
)  # fmt: skip


def test_terminal_has_a_row_of_each_order_with_what_segue_has_more_below() -> None:
    _, grid, _, sources, note = table(FOUND)
    assert isinstance(grid, Table) and [column.header for column in grid.columns] == ["", "hit@5", "MRR@5"]
    names, hits, mrrs = (list(column.cells) for column in grid.columns)
    assert names == list(ORDERS)
    assert hits == ["0.4000 [0.2500, 0.5000]\n"] + 3 * ["0.4000 [0.2500, 0.5000]\n+0.1250 [-0.2500, +0.3750]"]
    assert mrrs == 4 * ["0.4000 [0.2500, 0.5000]\n"]
    assert sources == "Where Segue's hits came from: popular 3, <fresh> 1. 1.2 ms a list." and note == "note: nobody saw it"


def test_page_has_the_same_figures_and_a_picture() -> None:
    title, html = section(FOUND)
    assert title == "What was played next" and "10 questions of 3 users, of 12 plays after another" in html
    assert html.count("0.4000 [0.2500, 0.5000]") == 8 and html.count("+0.1250 [-0.2500, +0.3750]") == 3
    assert html.count("data:image/png;base64,") == 1 and html.endswith("<p class=small>nobody saw it</p>")


def test_without_questions_there_are_only_the_notes() -> None:
    nothing = msgspec.structs.replace(FOUND, orders=[])
    assert list(table(nothing)) == ["note: nobody saw it"]
    assert section(nothing) == ("What was played next", "<p class=small>nobody saw it</p>")
