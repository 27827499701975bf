"""Findings in a terminal and on a page."""
from __future__ import annotations

import io
import re

from rich.console import Console

from bandit.bootstrap import Interval
from replay.evidence.findings import sections, tables
from replay.evidence.side_by_side import frozen_name, gamma_name
from replay.evidence.tables import Evidence, Finding, Question, Row
from tests.replay.evidence.test_tables import LEARNING, SMALL, log, run


def test_a_terminal_of_80_columns_shows_every_interval_whole() -> None:
    wide = Interval(-0.1234, -0.2345, 0.0987)
    row = Row(
        name="no cross_domain", part="item under 1 d", task="skip", n=9_999, positives=1_234_567, auc=0.5, ne=1.5, copc=1.0, gauc=0.5,
        auc_more=wide, ne_more=wide, gauc_more=wide, top=0.5, top_more=wide, rate=12_345.0,
    )  # fmt: skip
    out = io.StringIO()
    found = Finding(kind="gamma", title="t", rows=[row], notes=[])
    Console(file=out, width=80).print(*tables([found]), sep="\n")
    assert "…" not in out.getvalue() and out.getvalue().count("-234.5") == out.getvalue().count("+98.7") == 4


def test_one_user_alone_has_figures_without_intervals() -> None:
    one = [row._replace(raw=re.sub(rb'"user_id":"u[0-9]+"', b'"user_id":"u1"', row.raw)) for row in log(a_list=26)]
    evidence = Evidence(Question(gammas=(0.0, 1.0), resamples=5), SMALL, LEARNING, "cpu")
    (_, section), *_ = sections(evidence.findings(run(evidence, one)))
    told = section.partition("</h3>")[2]
    assert "positives</small>" in told and "nan" not in told and "[" not in told


def test_table_names_every_figure_once() -> None:
    evidence = Evidence(Question(gammas=(0.0, 1.0), resamples=5), SMALL, LEARNING, "cpu")
    found = evidence.findings(run(evidence, log(a_list=26)))
    (title, section), *_ = sections(found)
    assert title == "Popularity's part taken away" and section.count("<h3>") == 2  # full_play and skip have positives enough
    assert len([table for table in tables(found) if not isinstance(table, str)]) == 2
    assert frozen_name("x") != gamma_name("x", 0.5)
