"""An evaluation as a page and as lines of a terminal."""
from __future__ import annotations

import json
from pathlib import Path

from bandit.bootstrap import Interval
from bandit.verdict import Diagnostics
from replay.off_policy.estimation import Estimate, Family
from replay.off_policy.evaluate import Evaluation
from replay.off_policy.evaluation_page import summary
from tests.replay.off_policy.test_evaluate import evaluated, table


def test_summary_says_what_was_evaluated_and_why_there_is_no_figure() -> None:
    figure = Interval(0.25, 0.125, 0.5)
    family = Family(
        of="items", answers=False, reasons=["too few"], own=figure, weights=[],
        diagnostics=Diagnostics(
            n=3, mean_weight=1.0, ess=2.0, max_weight=4.0, top_share=0.5, coverage=0.9, unseen=0.1, join_rate=1.0
        ),
        estimates=[
            Estimate(name="dm", interval=figure, more=None, note="rough"),
            *(Estimate(name=name, interval=None, more=None, reasons=["too few"]) for name in ("ips", "dr")),
        ],
    )  # fmt: skip
    found = Evaluation(
        policy="uniform", surface=None, reward="collect", q_hat="cross-fitted", rows=3, unseen=0, named=0, requests=2, arms=5, rejected=1,
        acts=7, unjoined=2, late=1, rounded=4, answers=False, families=[family],
    )  # fmt: skip
    lines = [line for line in summary(found) if isinstance(line, str)]
    assert lines == [
        "uniform: collect of 3 shown items in 2 requests, 5 arms; 7 acts, 2 of them unjoined, 1 late; 1 records rejected; "
        "4 propensities above 1 by rounding",
        "",
        "dm: rough",
        "n 3, Σw/n 1.0000, ESS 2.0, max w 4, top-1 share 50.00%, propensity coverage 90.0%, on arms never shown 10.00%, join rate 100.0%",
        "cannot answer (ips, dr): too few",
    ]


def test_report_has_figures_and_pictures_and_a_refusal_its_reason(tmp_path: Path) -> None:
    log, folder = table(tmp_path / "log.csv"), tmp_path / "report"
    _, found = evaluated(log, "--report", str(folder))
    page = (folder / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 1 and "The log answers." in page and "sub-gaussian" in page
    assert json.loads((folder / "result.json").read_text())["result"] == found
    evaluated(log, "--report", str(folder), policy="arm:z")
    page = (folder / "index.html").read_text()
    assert "The log cannot answer." in page and "100.0% of the policy&#x27;s probability is on arms" in page and "<img" not in page
