"""`segue evaluate` at the level of strategies: what it answers of a log with choices, and each way in which it does not."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from replay import logs
from replay.off_policy import strategy_rounds
from replay.off_policy.strategy_rounds import StrategyRounds
from replay.prequential import of_file
from streams.cli.main import segue
from streams.core.join.settings import PartitionSettings
from tests.replay.off_policy.strategy_log import ARMS, CHANCES, FULL, RATES, REVENUE, records, written

Rows = list[dict[str, Any]]
MANY, FEW = 2_000, 400


def call(*arguments: str) -> Result:
    return CliRunner().invoke(segue, arguments)


def evaluated(log: str, policy: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = call("evaluate", log, "--format", "jsonl", "--policy", policy, *arguments, "--json")
    assert done.exit_code in (0, 1), done.output
    return done.exit_code, json.loads(done.stdout)


def refused(log: str, policy: str = "strategy:tail") -> list[str]:
    code, found = evaluated(log, policy)
    (family,) = found["families"]
    assert (code, found["answers"]) == (1, False)
    assert all((each["interval"] is None) == bool(each["reasons"]) or each["name"] == "replay" for each in family["estimates"])
    return list(family["reasons"])


def taken(path: Path, n: int = FEW) -> StrategyRounds:
    rows = logs.read([Path(written(path, n=n))], logs.Format.JSONL, logs.Columns())
    return strategy_rounds.read(of_file(rows), PartitionSettings(), {}, None, lambda *_: None)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("log") / "events.jsonl", n=MANY)


def test_rounds_are_what_the_partition_says_was_earned(tmp_path: Path) -> None:
    found, wanted = taken(tmp_path / "log.jsonl"), records(FEW)
    assert found.arms == list(ARMS) and (found.unseen, found.unjoined, found.bad) == (0, 0, {})
    assert [found.arms[k] for k in found.arm] == [row["strategy"] for row in wanted[::2]]
    assert found.position.tolist() == [row["choice"]["segment"] for row in wanted[::2]]
    assert found.propensities.tolist() == [row["choice"]["chances"] for row in wanted[::2]]
    assert found.experience.tolist() == [FULL * row.get("full", False) for row in wanted[1::2]]
    assert found.revenue.tolist() == [REVENUE[k] for k in found.arm]  # the cascade: only the first item was looked at
    assert found.propensity.tolist() == [CHANCES[g, k] for g, k in zip(found.position, found.arm, strict=True)]


@pytest.mark.parametrize(
    ("policy", "chance"),
    [("strategy:explore", [[0, 0, 1]] * 2), ("uniform", [[1 / 3] * 3] * 2), ("logged", CHANCES)],
)
def test_every_estimator_without_bias_covers_what_is_true(log: str, policy: str, chance: object) -> None:
    code, found = evaluated(log, policy, "--of", "strategies", "--estimators", "ips,snips,dr,sndr")
    truth = FULL * float((np.array(chance) * RATES).sum(1).mean())
    assert code == 0 and (found["surface"], found["reward"], found["rows"]) == ("page", "experience", MANY)
    for each in found["families"][0]["estimates"]:
        assert each["interval"]["low"] < truth < each["interval"]["high"], each
    assert found["families"][0]["diagnostics"]["mean_weight"] == pytest.approx(1.0, abs=0.1)


def test_the_logged_chances_earn_what_the_log_earned(log: str) -> None:
    _, found = evaluated(log, "logged", "--estimators", "ips,snips")
    (family,) = found["families"]
    assert family["diagnostics"]["ess"] == pytest.approx(MANY)
    for each in family["estimates"]:
        assert each["interval"] == family["own"]
        assert each["more"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_revenue_and_its_cross_fitted_model(log: str) -> None:
    _, found = evaluated(log, "strategy:explore", "--reward", "revenue", "--q-hat", "cross-fitted", "--estimators", "dm,snips")
    dm, snips = (each["interval"] for each in found["families"][0]["estimates"])
    assert snips["value"] == pytest.approx(0.4)
    assert dm["value"] == pytest.approx(0.4, abs=0.02)  # drawn to the other arms by 100 rounds


def test_a_strategy_that_was_never_drawn(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        rows[:] = [row for row in rows if row.get("strategy") != "explore"]

    path = written(tmp_path / "log.jsonl", change, n=FEW)
    assert "100.0% of the policy's probability is on arms that the log never showed" in refused(path, "strategy:explore")
    assert "100.0% of the policy's probability is on arms that the log never showed" in refused(path, "strategy:unheard-of")


def test_lists_without_a_choice_are_no_rounds(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        for row in rows:
            row.pop("choice", None)

    (said,) = refused(written(tmp_path / "log.jsonl", change, n=FEW))
    assert said == "no exposure says how its strategy was drawn (`choice`): 400 lists name a strategy, but not its propensity"


def test_lists_of_which_nothing_is_known_are_left_out(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        rows[:] = [row for row in rows if "slots" in row or row.get("full")]

    path = written(tmp_path / "log.jsonl", change, n=FEW)
    plays = sum(bool(row.get("full")) for row in records(FEW))
    _, found = evaluated(path, "logged")
    assert (found["rows"], found["unseen"]) == (plays, FEW - plays)

    def nothing(rows: Rows) -> None:
        rows[:] = rows[::2]

    (said,) = refused(written(tmp_path / "none.jsonl", nothing, n=FEW))
    assert said.startswith("none of 400 lists was on a screen as far as is known")


def test_a_propensity_of_a_millionth_carries_most_of_the_weight(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        at = next(n for n, row in enumerate(rows) if row.get("strategy") == "tail")
        rows[at]["choice"]["chances"] = [0.5, 1e-6, 0.5 - 1e-6]

    said = refused(written(tmp_path / "log.jsonl", change, n=FEW))
    assert any(each.startswith("one row carries 100.0% of all weight (w = 1e+06)") for each in said), said


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("chances", [0.5, 0.3, 0.1], "propensities that don't sum to 1"),
        ("chances", [0.5, 0.5], "arms that are not one to a propensity"),
        ("chances", [0.5, 1.5, -1.0], "a propensity that is none"),
        ("arms", ["x", "y", "z"], "a strategy that is not among its arms"),
    ],
)
def test_a_choice_that_can_not_be_one(tmp_path: Path, key: str, value: object, what: str) -> None:
    def change(rows: Rows) -> None:
        rows[4]["choice"][key] = rows[8]["choice"][key] = value

    (said,) = refused(written(tmp_path / "log.jsonl", change, n=FEW))
    assert said.startswith(f"`choice` can't be how a strategy was drawn: {what} (2 rows, first in line 5)")


def test_a_strategy_that_had_no_propensity(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        rows[4]["choice"]["chances"] = [float(arm != rows[4]["strategy"]) / 2 for arm in ARMS]

    (said,) = refused(written(tmp_path / "log.jsonl", change, n=FEW))
    assert "a strategy of propensity 0 (1 rows, first in line 5)" in said


def test_two_surfaces_are_told_apart(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        for row in rows[: FEW // 2]:
            if "choice" in row:
                row["choice"]["surface"] = "list"

    path = written(tmp_path / "log.jsonl", change, n=FEW)
    done = call("evaluate", path, "--format", "jsonl", "--policy", "logged")
    assert done.exit_code == 2 and "the log has draws of pages and lists; pass --surface page" in " ".join(done.stderr.split())
    assert evaluated(path, "logged", "--surface", "list")[1]["rows"] == FEW // 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--policy", "logged", "--q-hat", "ranker"), "it predicts what an item earns"),
        (("--policy", "logged", "--estimators", "rips"), "of lists of items"),
        (("--policy", "logged", "--reward", "collect"), "expected one of experience, revenue"),
        (("--policy", "uniform", "--reward", "revenue"), "expected one of full_play"),
        (("--policy", "posteriors:nowhere"), "no checkpoint there"),
        (("--policy", "strategies.csv", "--of", "strategies"), "no such file, nor strategy:NAME"),
    ],
)
def test_wrong_call_ends_with_2_and_says_why(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = call("evaluate", written(tmp_path / "log.jsonl", n=5), "--format", "jsonl", *arguments)
    assert done.exit_code == 2 and said in " ".join(done.stderr.split()), done.stderr


def test_items_of_pages_are_evaluated_by_their_own_propensities(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        for row in rows[::2]:
            for slot in row["slots"]:
                slot["propensity"] = 1 / (9 - slot["position"])  # of nine items, each given those above

    path = written(tmp_path / "log.jsonl", change, n=2_000)
    _, found = evaluated(path, "uniform", "--q-hat", "cross-fitted", "--estimators", "ips,iips")
    assert [family["of"] for family in found["families"]] == ["items", "slots"] and found["rows"] == 6_000
    assert found["families"][0]["diagnostics"]["mean_weight"] == pytest.approx(1)


def test_report_and_table_speak_of_pages(log: str, tmp_path: Path) -> None:
    done = call("evaluate", log, "--format", "jsonl", "--policy", "strategy:tail", "--report", str(tmp_path), "--estimators", "dr")
    assert done.exit_code == 0 and "2,000 pages, 3 strategies" in " ".join(done.stdout.split())
    page = (tmp_path / "index.html").read_text()
    assert "experience of what a strategy made" in page and "<b>2,000</b>pages" in page


def test_validate_says_beforehand(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        rows[:] = [row for at, row in enumerate(rows) if at % 8 != 1 and row.get("strategy") != "explore"]

    said = call("validate", written(tmp_path / "log.jsonl", change, n=FEW), "--format", "jsonl").stdout
    kept = [row for row in records(FEW)[::2] if row["strategy"] != "explore"]
    assert "evaluate: strategies: " in said and "propensities sum to 1, the least 0.2; weights reach 3.333" in said
    assert "strategies of a page that were never drawn: explore" in said
    assert f"of {len(kept)} pages were on no screen" in said


def test_lists_whose_request_named_the_strategy_are_left_out_and_counted(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        for row in rows[0:400:4]:  # each second page of the first 200
            del row["choice"]

    path = written(tmp_path / "log.jsonl", change, n=1_000)
    _, found = evaluated(path, "logged", "--q-hat", "cross-fitted")
    assert (found["rows"], found["named"], found["unseen"]) == (900, 100, 0)
    done = call("evaluate", path, "--format", "jsonl", "--policy", "logged", "--q-hat", "cross-fitted")
    assert "of 100 the request named the strategy" in " ".join(done.stdout.split())
    said = " ".join(call("validate", path, "--format", "jsonl").stdout.split())
    assert "of 100 lists the request named the strategy" in said


def test_validate_of_a_log_without_choices(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        for row in rows:
            row.pop("choice", None)

    bare = call("validate", written(tmp_path / "log.jsonl", change, n=5), "--format", "jsonl").stdout
    assert "strategies: no: no exposure says how its strategy was drawn" in bare
