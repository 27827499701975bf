"""How often slates had the next item: in a terminal and on a page."""
from __future__ import annotations

import io

import msgspec
from rich.console import Console
from rich.table import Table

from bandit.bootstrap import Interval
from replay.evidence.next_found import POOL, Kind, NextFound, Order, SourceFound, Span
from replay.evidence.next_page import section, table
from replay.evidence.next_play import ORDERS, SEGUE

FIGURE, LESS = Interval(0.4, 0.25, 0.5), Interval(0.125, -0.25, 0.375)
FOUND = NextFound(
    k=5, every=1, plays=12, questions=10, users=3, question_ms=1.25, notes=["nobody saw it"],
    orders=[Order(name=name, hit=FIGURE, mrr=FIGURE, hit_less=None if name == SEGUE else LESS) for name in ORDERS],
    sources=[
        SourceFound(name=POOL, candidates=7.6, hits=4, recall={"20": FIGURE}, hit=FIGURE, mrr=FIGURE),
        SourceFound(name="<fresh>", candidates=2.4, hits=1, recall={"20": FIGURE}, hit=FIGURE, mrr=FIGURE, hit_less=LESS, mrr_less=LESS),
    ],
    kinds=[Kind(name="new", questions=6, recall=FIGURE, hit=FIGURE, mrr=FIGURE)],
    spans=[Span(from_ms=0, to_ms=1_000, questions=10, hits=dict.fromkeys(ORDERS, 0.4))],
)  # fmt: skip


def test_terminal_has_a_row_of_each_order_with_what_segue_has_more_below() -> None:
    _, grid, *_, note = table(FOUND)
    assert isinstance(grid, Table) and [column.header for column in grid.columns] == ["", "hit@5", "MRR@5"]
    names, hits, mrrs = (list(column.cells) for column in grid.columns)
    assert names == list(ORDERS)
    assert hits == ["0.4000 [0.2500, 0.5000]\n"] + 3 * ["0.4000 [0.2500, 0.5000]\n+0.1250 [-0.2500, +0.3750]"]
    assert mrrs == 4 * ["0.4000 [0.2500, 0.5000]\n"]
    assert note == "note: nobody saw it"


def test_sources_and_kinds_have_tables_that_fit_a_terminal() -> None:
    grids = [part for part in table(FOUND) if isinstance(part, Table)][1:]
    sources, kinds = ([list(column.cells) for column in grid.columns] for grid in grids)
    assert sources == [[POOL, "<fresh>"], ["8", "2"], ["0.400"] * 2, ["4", "1"], ["", "-0.125 [-0.375, +0.250]"], ["", "-0.125"]]
    assert kinds == [["new"], ["6"], *(["0.400\n[0.250, 0.500]"],) * 3]
    console = Console(width=80, file=io.StringIO())
    for grid in grids:
        console.print(grid)
    assert isinstance(console.file, io.StringIO) and "…" not in console.file.getvalue()
    assert "&lt;fresh&gt;" in section(FOUND)[1] and "-0.125 [-0.375, +0.250]" in section(FOUND)[1]


def test_page_has_the_same_figures_and_a_picture() -> None:
    title, html = section(FOUND)
    assert title == "What was played next" and "10 questions of 3 users, of 12 plays after another" in html
    assert html.count("0.4000 [0.2500, 0.5000]") == 8 and html.count("+0.1250 [-0.2500, +0.3750]") == 3
    assert html.count("data:image/png;base64,") == 1 and html.endswith("<p class=small>nobody saw it</p>")


def test_without_questions_there_are_only_the_notes() -> None:
    nothing = msgspec.structs.replace(FOUND, orders=[])
    assert list(table(nothing)) == ["note: nobody saw it"]
    assert section(nothing) == ("What was played next", "<p class=small>nobody saw it</p>")
