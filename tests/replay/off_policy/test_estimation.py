"""Each estimator has a verdict of its own: refused by what it rests on, and no other."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from replay.log_rows import LogRow
from replay.off_policy.estimation import Estimate, Settings
from replay.off_policy.evaluate import evaluate
from replay.off_policy.rounds import Rounds, reach, read
from replay.prequential import of_file
from streams.core.join.settings import PartitionSettings
from tests.replay.off_policy.test_evaluate import T, call, evaluated, own_lists, table

Row = dict[str, Any]


def rounds(change: dict[int, float | None], n: int = 3_000) -> Rounds:
    """Items a and b, shown alike and clicked at .2 and .4; `change`: row -> another propensity."""
    rng = np.random.default_rng(1)
    rows = []
    for at, arm in enumerate(rng.integers(2, size=n).tolist()):
        clicked = rng.random() < (0.2, 0.4)[arm]
        record: Row = {
            "event_id": f"e{at}", "ts": T + at, "user_id": f"u{at}", "item_id": "ab"[arm], "action": "impression",
            "also": ["play"] * clicked, "full": True, "propensity": change.get(at, 0.5),
        }  # fmt: skip
        rows.append(LogRow(at + 1, msgspec.json.encode({k: v for k, v in record.items() if v is not None}), None))
    return read(of_file(rows), PartitionSettings(), {}, lambda *_: None)


def estimates(found: Rounds, *names: str) -> dict[str, Estimate]:
    settings = Settings(policy="uniform", estimators=names, q_hat="cross-fitted")
    (family,) = evaluate(found, settings).families
    return {each.name: each for each in family.estimates}


@pytest.mark.parametrize("propensity", [1e-9, 1e-300, 5e-324])
def test_one_tiny_propensity_refuses_only_what_its_weight_decides(propensity: float) -> None:
    """Without a warning of numpy: warnings are errors here."""
    found = estimates(
        rounds({17: propensity}), "ips", "snips", "dr", "sndr", "clipped:10", "switch-dr:5", "dm", "dros:10", "sub-gaussian:0.1"
    )
    for name in ("ips", "snips", "dr", "sndr"):
        assert found[name].interval is None and found[name].reasons[0].startswith("one row carries 100.0% of all weight"), name
        assert all(len(reason) < 160 for reason in found[name].reasons)
    for name in ("clipped", "switch-dr", "dm", "dros", "sub-gaussian"):
        interval = found[name].interval
        assert interval is not None and abs(interval.value - 0.3) < 0.03 and not found[name].reasons, name
    assert found["clipped"].note.startswith("1 rows with a weight above 10 are cut there; the mean weight is 1.00")
    assert found["switch-dr"].note == "1 rows with a weight above 5 rest on q̂ alone"
    assert found["dm"].note == "the interval leaves out the error of q̂"


def test_a_propensity_above_1_by_rounding_is_1_and_counted() -> None:
    found = rounds({3: 1.0000001, 8: 1.000001})
    assert (found.rounded, found.bad, found.rejected) == (2, {}, 0)
    assert found.propensity[[3, 8]].tolist() == [1.0, 1.0]
    assert estimates(found, "ips")["ips"].interval is not None
    assert rounds({3: 1.000002}).bad == {"`propensity` is below 0 or above 1": (1, 4)}


def test_without_propensities_the_model_and_the_logs_own_mean_answer() -> None:
    found = rounds(dict.fromkeys(range(3_000)))
    (family,) = evaluate(found, Settings(policy="arm:b", estimators=("ips", "dm"), q_hat="cross-fitted")).families
    ips, dm = family.estimates
    assert ips.interval is None and ips.reasons[0].endswith("(`propensity` is missing in 3,000 rows, first in line 1)")
    assert dm.interval is not None and dm.interval.value == pytest.approx(0.4, abs=0.04)
    assert family.own.low < 0.3 < family.own.high and not family.answers


def test_rows_without_a_propensity_count_for_the_logs_own_mean_and_the_model_alone() -> None:
    whole, part = rounds({}), rounds(dict.fromkeys(range(0, 3_000, 40)))
    own = [evaluate(each, Settings(policy="uniform", estimators=("ips",), q_hat="cross-fitted")).families[0].own for each in (whole, part)]
    assert own[0] == own[1]
    used = np.isfinite(part.propensity)
    value = estimates(part, "ips")["ips"].interval
    assert value is not None and value.value == pytest.approx(part.reward("full_play")[used].mean())


def test_an_arm_that_the_log_never_showed_refuses_the_model_too() -> None:
    (family,) = evaluate(rounds({}), Settings(policy="arm:z", estimators=("dm", "clipped:10"), q_hat="cross-fitted")).families
    assert [each.interval for each in family.estimates] == [None, None]
    assert all("100.0% of the policy's probability is on arms" in each.reasons[0] for each in family.estimates)


@pytest.mark.parametrize("propensity", [1e-300, 5e-324])
def test_a_tiny_propensity_gives_no_figure_of_hundreds_of_digits(tmp_path: Path, propensity: float) -> None:
    def change(rows: list[Row]) -> None:
        rows[17]["propensity"] = propensity

    log = table(tmp_path / "log.csv", change, n=1_000)
    for done in (
        call("evaluate", log, "--format", "csv", "--policy", "uniform", "--q-hat", "cross-fitted", "--report", str(tmp_path / "r")),
        call("validate", log, "--format", "csv"),
    ):
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert not re.search(r"\d{20}", done.stdout.replace(",", "")), done.stdout
    assert reach(propensity) in call("validate", log, "--format", "csv").stdout
    assert "The log answers in part." in (tmp_path / "r" / "index.html").read_text()


@pytest.mark.parametrize("propensity", [1e-9, 1e-300, 5e-324])
def test_a_tiny_propensity_in_a_list_refuses_lists_and_slots(tmp_path: Path, propensity: float) -> None:
    path = tmp_path / "own.jsonl"
    own_lists(path, 300)
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    for slot in next(row for row in lines[90:] if row.get("slots"))["slots"]:
        slot |= {"propensity": propensity, "propensity_given_above": propensity}
    path.write_bytes(b"\n".join(msgspec.json.encode(row) for row in lines))
    rest = (
        "--format",
        "jsonl",
        "--policy",
        "uniform",
        "--q-hat",
        "out-of-time",
        "--estimators",
        "dm,ips,iips,sips,rips,cascade-dr",
        "--json",
    )
    done = call("evaluate", str(path), *rest)
    assert isinstance(done.exception, SystemExit) and done.exit_code == 1, done.exception
    families = {family["of"]: family for family in msgspec.json.decode(done.stdout)["families"]}
    assert [each["interval"] is None for each in families["items"]["estimates"]] == [False, True]
    for of in ("slots", "lists"):
        assert families[of]["own"]["value"] > 0 and all(each["reasons"] for each in families[of]["estimates"])


def test_a_log_whose_propensities_are_whole_has_the_same_figures_for_each_choice_of_estimators(tmp_path: Path) -> None:
    log = table(tmp_path / "log.csv", n=1_000)
    alone = evaluated(log, "--estimators", "ips")[1]["families"][0]["estimates"][0]
    among = evaluated(log, "--estimators", "dm,ips,clipped:2")[1]["families"][0]["estimates"][1]
    assert alone == among
