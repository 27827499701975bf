"""`segue evaluate`: what it answers, and each way in which it does not."""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from replay.off_policy import evaluate as module
from replay.off_policy import rounds, strategy_rounds
from replay.off_policy.estimation import unlearned
from replay.off_policy.ranker_model import RankerModel
from replay.simulator.open_loop import write_items, write_log
from replay.simulator.world import WorldSettings
from streams.cli import offline
from streams.cli.main import segue
from streams.core.serving.explore import arrange, conditional_propensities, propensities

T = 1_704_067_200_000
RATES = (0.2, 0.4, 0.6)  # of items a, b, c
CHANCES = (0.5, 0.3, 0.2)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(segue, arguments)


def table(path: Path, change: Callable[[list[dict[str, Any]]], None] = lambda rows: None, n: int = 2_000) -> str:
    """A log as CSV: items drawn with known chances, played to their end at known rates."""
    rng = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for at, arm in enumerate(rng.choice(3, size=n, p=CHANCES).tolist()):
        played = bool(rng.random() < RATES[arm])
        rows.append({
            "ts": 1_704_067_200_000 + 1000 * at, "user_id": f"u{at}", "item_id": "abc"[arm], "action": "impression",
            "also.play": int(played), "full": "true" if played else "", "propensity": CHANCES[arm],
        })  # fmt: skip
    change(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    path.write_text("\n".join([",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in rows)]) + "\n")
    return str(path)


def evaluated(log: str, *arguments: str, policy: str = "uniform") -> tuple[int, dict[str, Any]]:
    done = call("evaluate", log, "--format", "csv", "--policy", policy, "--q-hat", "cross-fitted", *arguments, "--json")
    assert done.exit_code in (0, 1), done.output
    return done.exit_code, json.loads(done.stdout)


def reasons(log: str, **rest: str) -> list[str]:
    code, found = evaluated(log, **rest)
    (family,) = found["families"]
    assert (code, found["answers"]) == (1, False)
    for each in family["estimates"]:
        assert (each["interval"] is None) == bool(each["reasons"]) or each["name"] == "replay"
        assert set(each["reasons"]) <= set(family["reasons"])
    return list(family["reasons"])


def test_names_of_the_command_line_are_those_that_there_are() -> None:
    assert offline.REWARDS == (*rounds.REWARDS, *strategy_rounds.REWARDS)
    assert (offline.Q_HATS, offline.LEVELS) == (module.Q_HATS, tuple(module.LEVELS))
    told = "".join(call("evaluate", "--help").output.split())  # lines break at hyphens
    assert all(name in told for name in module.NAMES)


@pytest.mark.parametrize("q_hat", ["cross-fitted", "out-of-time"])
def test_a_known_truth_is_covered_by_every_estimator_that_has_no_bias(tmp_path: Path, q_hat: str) -> None:
    code, found = evaluated(
        table(tmp_path / "log.csv", n=4_000), "--q-hat", q_hat, "--estimators", "ips,snips,dr,sndr,switch-dr:100,dros:1000000"
    )
    assert code == 0
    family = found["families"][0]
    assert family["diagnostics"]["mean_weight"] == pytest.approx(1.0, abs=0.05)
    for each in family["estimates"]:
        assert each["interval"]["low"] < 0.4 < each["interval"]["high"], each  # (0.2 + 0.4 + 0.6) / 3
        assert each["more"]["low"] > 0  # the log's own earns 0.34
    assert family["own"]["low"] < 0.34 < family["own"]["high"]


def test_always_one_arm(tmp_path: Path) -> None:
    code, found = evaluated(table(tmp_path / "log.csv"), policy="arm:c")
    assert code == 0
    each = {e["name"]: e for e in found["families"][0]["estimates"]}
    assert each["dr"]["interval"]["low"] < 0.6 < each["dr"]["interval"]["high"]
    assert each["replay"]["interval"] is None and "not drawn uniformly" in each["replay"]["note"]
    assert {name for name, e in each.items() if e["by_slope"]} == set(module.TUNED)


def test_one_propensity_of_a_millionth_carries_most_of_the_weight(tmp_path: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[17]["propensity"] = 1e-6

    said = reasons(table(tmp_path / "log.csv", change))
    assert any(each.startswith("one row carries 99.4% of all weight (w = 3.333e+05)") for each in said), said


def test_a_log_without_propensities(tmp_path: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            del row["propensity"]

    (said,) = reasons(table(tmp_path / "log.csv", change))
    assert said == (
        "no row has a propensity, and without one no other policy can be evaluated (`propensity` is missing in 2,000 rows, first in line 2)"
    )
    code, found = evaluated(table(tmp_path / "log.csv", change), "--estimators", "dm")
    (family,) = found["families"]
    assert code == 0 and family["own"]["low"] < 0.34 < family["own"]["high"]
    assert family["estimates"][0]["interval"]["value"] == pytest.approx(0.4, abs=0.03)  # its interval leaves out the error of q̂
    done = call("evaluate", table(tmp_path / "log.csv", change), "--format", "csv", "--policy", "uniform", "--q-hat", "cross-fitted")
    assert done.exit_code == 1 and "nan" not in done.stdout and "cannot answer (ips, snips, dr, sndr" in " ".join(done.stdout.split())


def test_nothing_is_learned_of_a_log_that_supports_no_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ranker would take minutes; the verdict and its words are those of a log that was learned from."""

    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            del row["propensity"]

    called: list[str] = []

    def predicted(self: RankerModel, *asked: Any) -> Any:
        called.append("learned")
        return unlearned(*asked)

    monkeypatch.setattr(RankerModel, "predicted", predicted)
    bare, whole = table(tmp_path / "bare.csv", change, n=200), table(tmp_path / "whole.csv", n=200)

    def asked(log: str, *arguments: str) -> Result:
        return call("evaluate", log, "--format", "csv", "--policy", "uniform", *arguments)

    refused = asked(bare, "--json")
    (family,), (by_means,) = json.loads(refused.stdout)["families"], evaluated(bare)[1]["families"]
    assert refused.exit_code == 1 and called == []
    assert family["reasons"] == by_means["reasons"]
    assert [each["reasons"] for each in family["estimates"]] == [each["reasons"] for each in by_means["estimates"]]
    assert "dm: not estimated" in " ".join(asked(bare).stdout.split()) and called == []
    asked(bare, "--estimators", "dm")
    asked(whole)
    assert called == ["learned", "learned"]

    lines = Path(whole).read_text().splitlines()
    Path(whole).write_text("\n".join([*lines, *(line.replace("impression", "glance") for line in lines[1:])]) + "\n")
    assert asked(whole, "--sort").exit_code == 0 and called == ["learned"] * 3  # half of it is rejected: not more
    Path(whole).write_text("\n".join([*lines[:-1], *(line.replace("impression", "glance") for line in lines[1:])]) + "\n")
    mostly = asked(whole, "--sort")
    assert mostly.exit_code == 1 and called == ["learned"] * 3
    assert "200 of 399 rows were rejected; the first in line 201: " in mostly.stderr and "glance" in mostly.stderr


def test_a_log_with_propensities_in_part(tmp_path: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows[::10]:
            del row["propensity"]

    (said,) = reasons(table(tmp_path / "log.csv", change))
    assert said.startswith("only 90.0% of rows have a propensity") and said.endswith("in 200 rows, first in line 2)")


@pytest.mark.parametrize(
    ("value", "what"), [(0, "0"), ("nan", "no number"), ("inf", "no number"), (1.5, "below 0 or above 1"), (-0.1, "below 0 or above 1")]
)
def test_a_value_that_is_no_propensity(tmp_path: Path, value: object, what: str) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[3]["propensity"] = rows[9]["propensity"] = value

    (said,) = reasons(table(tmp_path / "log.csv", change, n=500))
    assert said.startswith(f"no propensity: `propensity` is {what} (2 rows, first in line 5)")


@pytest.mark.parametrize("policy", ["uniform", "arm:c"])
def test_an_arm_that_was_never_explored(tmp_path: Path, policy: str) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[:] = [row for row in rows if row["item_id"] != "c"]

    items = tmp_path / "items.jsonl"
    items.write_text("".join(f'{{"item_id": "{item}"}}\n' for item in "abc"))
    log = table(tmp_path / "log.csv", change, n=500)
    done = call("evaluate", log, "--format", "csv", "--items", str(items), "--policy", policy, "--q-hat", "cross-fitted", "--json")
    assert done.exit_code == 1
    said = json.loads(done.stdout)["families"][0]["reasons"]
    assert f"{'33.3' if policy == 'uniform' else '100.0'}% of the policy's probability is on arms that the log never showed" in said


def test_bare_nan_in_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"ts": 1704067200000, "user_id": "u", "item_id": "i", "action": "impression", "propensity": NaN}\n')
    done = call("evaluate", str(path), "--format", "jsonl", "--policy", "uniform")
    assert done.exit_code == 1 and "`propensity` is no number (1 rows, first in line 1)" in " ".join(done.stdout.split())


def test_a_file_of_probabilities(tmp_path: Path) -> None:
    policy = tmp_path / "policy.csv"
    policy.write_text("item_id,probability\na,0.1\nb,0.2\nc,0.7\n")
    _, found = evaluated(table(tmp_path / "log.csv"), "--estimators", "ips,dr", policy=str(policy))
    for each in found["families"][0]["estimates"]:
        assert each["interval"]["low"] < 0.52 < each["interval"]["high"]
    policy.write_text("item_id,probability\na,0.1\nb,0.2\n")
    done = call("evaluate", table(tmp_path / "log.csv"), "--format", "csv", "--policy", str(policy))
    assert done.exit_code == 2 and "sum to 0.3000000" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--policy", "nobody"),
        *(("--policy", "uniform", "--estimators", name) for name in ("guess", "ips:3", "dros:x")),
        ("--policy", "uniform", "--reward", "play"),
    ],
)
def test_wrong_call_ends_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert call("evaluate", table(tmp_path / "log.csv", n=10), "--format", "csv", *arguments).exit_code == 2


def test_lists_of_the_simulator_are_evaluated_by_their_own_weights(tmp_path: Path) -> None:
    log, items = str(tmp_path / "events.jsonl"), str(tmp_path / "items.jsonl")
    world = WorldSettings()
    write_log(log, world, 5_000, 1)
    write_items(items, world, 1)
    rest = (log, "--format", "jsonl", "--items", items, "--policy", "uniform", "--q-hat", "out-of-time", "--json")
    done = call("evaluate", *rest, "--estimators", "ips,iips,rips,sips,cascade-dr")
    families = {family["of"]: family for family in json.loads(done.stdout)["families"]}
    for of in ("items", "slots"):  # the catalog says which items there were: a uniform draw of them has mean weight 1
        assert families[of]["diagnostics"]["mean_weight"] == pytest.approx(1.0, abs=0.03)
    rips, cascade = (e["interval"] for e in families["lists"]["estimates"] if e["name"] in ("rips", "cascade-dr"))
    (iips,) = families["slots"]["estimates"]
    for each in (rips, cascade):
        assert each["low"] < iips["interval"]["value"] < each["high"]
    assert families["lists"]["diagnostics"]["ess"] < families["slots"]["diagnostics"]["ess"] / 10


def own_lists(path: Path, lists: int, given: float = 1.0, items: int = 12, slots: int = 5, share: float = 0.6) -> str:
    """Lists as the service arranges them, a share with what is `given` above; item i is played to the end with chance i / items."""
    rng = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for n in range(lists):
        ranked = rng.permutation(items)[: slots + 2].tolist()
        explores = (rng.random(slots) < share).tolist()
        shown = arrange(ranked, rng.permutation(items)[: sum(explores)].tolist(), explores)
        ranks = [ranked.index(i) if i in ranked else None for i in shown]
        chances, above = propensities(ranks, items, share), conditional_propensities(ranks, items, share)
        ts, who = T + 60_000 * n, {"user_id": f"u{n % 50}", "request_id": f"r{n}"}
        row = [
            {"item_id": f"i{item}", "position": at, "propensity": p, "source": "explore" if explored else "popular"}
            | ({"propensity_given_above": q} if n % 10 < 10 * given else {})
            for at, (item, p, q, explored) in enumerate(zip(shown, chances, above, explores, strict=True))
        ]
        rows.append({"kind": "exposure", "event_id": f"x{n}", "ts": ts, "slots": row} | who)
        acts = [item for item in shown if rng.random() < item / items]
        rows += [{"action": "play", "full": True, "event_id": f"a{n}-{i}", "ts": ts + 1, "item_id": f"i{i}"} | who for i in acts]
    path.write_bytes(b"\n".join(msgspec.json.encode(row) for row in rows))
    return str(path)


@pytest.mark.parametrize(("q_hat", "lists"), [
    ("out-of-time", 1_500),
    pytest.param("cross-fitted", 4_000, marks=pytest.mark.prove, id="cross-fitted"),
    pytest.param("out-of-time", 4_000, marks=pytest.mark.prove), pytest.param("ranker", 300, marks=pytest.mark.prove, id="ranker"),
])  # fmt: skip
def test_lists_that_the_service_arranged_are_evaluated_item_by_item_slot_by_slot_and_whole(tmp_path: Path, q_hat: str, lists: int) -> None:
    """Each family by propensities of its kind: weights of a uniform order are 1 in the mean. By the ranker, which predicts each item for
    each slot, of fewer lists."""
    share, wider = (0.8, (300 / lists) ** 0.5) if q_hat == "ranker" else (0.6, (4_000 / lists) ** 0.5)
    log = own_lists(tmp_path / "own.jsonl", lists, share=share)
    rest = (log, "--format", "jsonl", "--policy", "uniform", "--q-hat", q_hat, "--json")
    done = call("evaluate", *rest, "--estimators", "ips,dr,iips,sips,rips,cascade-dr")
    assert done.exit_code == 0
    families = {family["of"]: family for family in json.loads(done.stdout)["families"]}
    for of, truth, slack in (("items", 5.5 / 12, 0.04), ("slots", 5 * 5.5 / 12, 0.04), ("lists", 5 * 5.5 / 12, 0.15)):
        assert families[of]["diagnostics"]["mean_weight"] == pytest.approx(1.0, abs=slack * wider)
        print(of, families[of]["diagnostics"]["mean_weight"])
        for each in families[of]["estimates"]:  # 18 intervals in all: one of them may miss, none by as much again
            low, high = each["interval"]["low"], each["interval"]["high"]
            print(f"{each['name']} {low:.3f} to {high:.3f}, {truth:.3f} is true")
            assert abs(truth - (low + high) / 2) < high - low, each["name"]
    said = call("validate", log, "--format", "jsonl").stdout
    assert "requests with their slots (iips, rips, sips, cascade-dr)" in " ".join(said.split())


@pytest.mark.parametrize(("given", "lists"), [
    (0.0, 1_500), pytest.param(0.0, 3_000, marks=pytest.mark.prove), pytest.param(0.5, 3_000, marks=pytest.mark.prove, id="0.5"),
])  # fmt: skip
def test_lists_without_what_is_given_above_are_evaluated_by_items_and_slots_and_refused_whole(
    tmp_path: Path, given: float, lists: int
) -> None:
    """A log of an earlier build, and one across the change."""
    log = own_lists(tmp_path / "own.jsonl", lists, given)
    rest = (log, "--format", "jsonl", "--policy", "uniform", "--q-hat", "out-of-time", "--json")
    done = call("evaluate", *rest, "--estimators", "ips,dr,iips,sips")
    assert done.exit_code == 1
    families = {family["of"]: family for family in json.loads(done.stdout)["families"]}
    for of, truth in (("items", 5.5 / 12), ("slots", 5 * 5.5 / 12)):
        assert families[of]["answers"] and families[of]["diagnostics"]["mean_weight"] == pytest.approx(
            1.0, abs=0.03 * (3_000 / lists) ** 0.5
        )
        for each in families[of]["estimates"]:
            print(f"{each['name']} {each['interval']['low']:.3f} to {each['interval']['high']:.3f}, {truth:.3f} is true")
            assert each["interval"]["low"] < truth < each["interval"]["high"], each["name"]
    assert not families["lists"]["answers"] and f"{given:.1%} of slots have `propensity_given_above`" in families["lists"]["reasons"][0]
    said = call("validate", log, "--format", "jsonl").stdout
    assert "lists: slot by slot (iips), not as a whole" in " ".join(said.split())


@pytest.mark.parametrize(("field", "value"), [
    ("propensity_given_above", 1.5), ("propensity_given_above", None), ("propensity_given_above", 0), ("module_propensity", 0)
])  # fmt: skip
def test_a_value_of_any_field_that_is_no_propensity_is_named(tmp_path: Path, field: str, value: object) -> None:
    path = tmp_path / "own.jsonl"
    own_lists(path, 300)
    rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    next(row for row in rows[90:] if row.get("slots"))["slots"][0] |= {"module_propensity": 0.5, field: value}
    path.write_bytes(b"\n".join(msgspec.json.encode(row) for row in rows))
    rest = ("--format", "jsonl", "--policy", "uniform", "--q-hat", "out-of-time", "--estimators", "ips,sips", "--json")
    done = call("evaluate", str(path), *rest)
    families = json.loads(done.stdout)["families"]
    assert done.exit_code == 1 and all(f"no propensity: `{field}` is " in family["reasons"][0] for family in families)


def test_validate_says_beforehand(tmp_path: Path) -> None:
    def without(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            del row["propensity"]

    good = call("validate", table(tmp_path / "log.csv"), "--format", "csv").stdout
    assert "evaluate: 100.0% of 2,000 shown items have a propensity, the least 0.2: weights reach 5" in good
    assert "no requests are named" in good
    bad = call("validate", table(tmp_path / "log.csv", without), "--format", "csv").stdout
    assert "evaluate: dm alone: none of 2,000 shown items has a propensity" in bad
