"""Open Bandit, men, both ways: every figure that MODEL.md section 8 has of it, and the intervals of the command."""
from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bandit import bootstrap
from bandit import estimators as e
from bandit.reward_model import LoggedRewards, means
from bandit.verdict import diagnostics
from replay import logs
from replay.log_rows import LogError
from replay.off_policy import open_bandit_bts
from replay.off_policy.policies import target_policy, without_replacement
from replay.off_policy.rounds import Rounds, read
from replay.prequential import of_file
from streams.cli.main import segue
from streams.core.join.settings import PartitionSettings

# As in the table: agreed with obp 0.5.7 to 12 digits
FIGURES = {
    "men_random.csv.gz": (
        "open-bandit-bts", (0.984782225, 10.666070, 2474.2709),
        {"ips": 0.004540055783, "snips": 0.004610212965, "dm": 0.005009786306, "dr": 0.004634011898, "sndr": 0.004628205081,
         "switch 1": 0.005294412149, "switch 5": 0.004841238518, "dros 1": 0.005027037362, "dros 100": 0.004857092179,
         "clipped 5": 0.004282011428, "sub-gaussian .01": 0.004670766378},
    ),
    "men_bts.csv.gz": (
        "uniform", (0.943313626, 178.253119, 655.7098),
        {"ips": 0.003008626327, "snips": 0.003189423162, "dm": 0.005893729664, "dr": 0.003248662980, "sndr": 0.003089713468,
         "switch 1": 0.005592661310, "switch 5": 0.005686515946, "dros 1": 0.005636014384, "dros 100": 0.004786004089,
         "clipped 5": 0.003008626327, "sub-gaussian .01": 0.003682981774},
    ),
}  # fmt: skip


@functools.cache
def rounds(path: Path) -> Rounds:
    """Read once for all tests, which change nothing in it."""
    catalog = {item.item_id: item for item in logs.items([path], logs.Format.OPEN_BANDIT)}
    return read(of_file(logs.read([path], logs.Format.OPEN_BANDIT, logs.Columns())), PartitionSettings(), catalog, lambda *_: None)


def evaluate(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(segue, ["evaluate", str(path), "--format", "open-bandit", *arguments, "--json"])


def test_production_chances_of_the_table() -> None:
    found = open_bandit_bts.marginals("men")
    assert found[:, 13] == pytest.approx([0.286605, 0.313708, 0.208709], abs=1e-6)
    assert found[:, 23] == pytest.approx([0.153754, 0.162048, 0.154609], abs=1e-6)
    assert found.min() == pytest.approx(0.00029977, abs=1e-8)
    assert found.sum(1) == pytest.approx([1, 1, 1], abs=1e-9)


def test_an_item_of_two_campaigns_has_one_prior_in_men_and_all() -> None:
    """All of men's items are among those of `all`, in the same order and with the same counts; women's were counted anew."""
    counts = {name: list(zip(*prior, strict=True)) for name, prior in open_bandit_bts.PRIORS.items()}
    assert {name: len(each) for name, each in counts.items()} == {"all": 80, "men": 34, "women": 46}
    left = iter(counts["all"])
    assert all(each in left for each in counts["men"])
    for name in counts:
        assert open_bandit_bts.marginals(name).sum(1) == pytest.approx([1, 1, 1], abs=1e-9)


@pytest.mark.parametrize("name", open_bandit_bts.PRIORS)
def test_priors_are_those_of_the_campaign_whose_items_the_log_has(name: str) -> None:
    items = [str(n) for n in range(len(open_bandit_bts.PRIORS[name].alpha))]
    assert open_bandit_bts.campaign("", items) == open_bandit_bts.campaign(name, items[5:]) == name
    others = [other for other in open_bandit_bts.PRIORS if other != name]
    for other in others:
        with pytest.raises(LogError, match=f"have {len(items)} items, those of {name}; the campaigns have"):
            open_bandit_bts.campaign(other, items)


@pytest.mark.parametrize(("named", "items", "said"), [
    ("", ["0", "1"], r"the log and its catalog have 2 items; .*men \(0 to 33\).*; put item_context.csv beside it, or name its campaign"),
    ("", ["a"], "the log and its catalog have 1 items"),
    ("men", ["0", "34"], r"open-bandit-bts:men: the log .*; the campaigns have"),
    ("children", ["0"], r"no such campaign; there are all \(0 to 79\)"),
])  # fmt: skip
def test_items_of_no_campaign_are_refused_with_the_way_out(named: str, items: list[str], said: str) -> None:
    with pytest.raises(LogError, match=said):
        open_bandit_bts.campaign(named, items)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.real_log
def test_figures_of_the_table(data_dir: Path, name: str) -> None:
    policy, (mean, most, ess), wanted = FIGURES[name]
    log = rounds(data_dir / "open-bandit" / name)
    c = target_policy(policy, log)
    w, r = without_replacement(c, log).probability / log.propensity, log.reward("full_play")
    found = diagnostics(w, 1.0, 0.0, 1.0)
    assert (found.mean_weight, found.max_weight) == pytest.approx((mean, most), rel=1e-6)
    assert found.ess == pytest.approx(ess, abs=1e-4)
    model = means(LoggedRewards(log.arm, np.zeros(len(r), int), r, len(log.arms)))[0]  # of all rows: an oracle, not a practice
    q, q_policy = model[log.arm], (c.table @ model)[c.context]
    ratios = {
        "ips": e.ips(w, r), "snips": e.snips(w, r), "dm": e.dm(q_policy), "dr": e.dr(w, r, q, q_policy), "sndr": e.sndr(w, r, q, q_policy),
        "switch 1": e.dr(e.switched(w, 1.0), r, q, q_policy), "switch 5": e.dr(e.switched(w, 5.0), r, q, q_policy),
        "dros 1": e.dr(e.shrunk(w, 1.0), r, q, q_policy), "dros 100": e.dr(e.shrunk(w, 100.0), r, q, q_policy),
        "clipped 5": e.ips(e.clipped(w, 5.0), r), "sub-gaussian .01": e.dr(e.sub_gaussian(w, 0.01), r, q, q_policy),
    }  # fmt: skip
    assert {each: e.value(ratio) for each, ratio in ratios.items()} == pytest.approx(wanted, abs=1e-9)


PERCENTILES = {"men_random.csv.gz": [(0.0025, 0.0071), (0.0025, 0.0072)], "men_bts.csv.gz": [(0.0017, 0.0046), (0.0018, 0.0049)]}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.real_log
def test_resamples_have_the_percentiles_of_the_table(data_dir: Path, name: str) -> None:
    policy, log = FIGURES[name][0], rounds(data_dir / "open-bandit" / name)
    w, r = without_replacement(target_policy(policy, log), log).probability / log.propensity, log.reward("full_play")
    found = np.percentile(bootstrap.estimates([e.ips(w, r), e.snips(w, r)], log.request)[1:], (2.5, 97.5), 0)
    assert found.T == pytest.approx(np.array(PERCENTILES[name]), abs=2.5e-4)  # ±2e-4 between seeds


@pytest.mark.real_log
def test_random_to_bts_is_answered_and_the_intervals_cover_both_truths(data_dir: Path) -> None:
    done = evaluate(data_dir / "open-bandit" / "men_random.csv.gz", "--policy", "open-bandit-bts", "--q-hat", "cross-fitted")
    assert done.exit_code == 0, done.output
    (family,) = json.loads(done.stdout)["families"]
    found = {each["name"]: each["interval"] for each in family["estimates"] if each["interval"]}
    for name in ("ips", "snips", "dr", "sndr"):
        print(f"{name:6} {found[name]['value']:.6f} [{found[name]['low']:.5f}, {found[name]['high']:.5f}]")
        assert found[name]["low"] < 0.0067 and 0.0069 < found[name]["high"]
    assert found["ips"]["value"] == pytest.approx(0.004540055783, abs=1e-9)
    assert found["snips"]["value"] == pytest.approx(0.004610212965, abs=1e-9)


@pytest.mark.real_log
def test_bts_to_uniform_is_answered(data_dir: Path) -> None:
    done = evaluate(data_dir / "open-bandit" / "men_bts.csv.gz", "--policy", "uniform", "--q-hat", "out-of-time")
    assert done.exit_code == 0, done.output
    (family,) = json.loads(done.stdout)["families"]
    found = {each["name"]: each["interval"] for each in family["estimates"] if each["interval"]}
    for name, value in (("ips", 0.003008626327), ("snips", 0.003189423162)):
        print(f"{name:6} {found[name]['value']:.6f} [{found[name]['low']:.5f}, {found[name]['high']:.5f}]")
        assert found[name]["value"] == pytest.approx(value, abs=1e-9)
        assert found[name]["low"] < 0.0046 and 0.0051 < found[name]["high"]  # plain percentiles end at .0046 and .0049


@pytest.mark.prove
@pytest.mark.real_log
def test_replay_of_one_item_everywhere(data_dir: Path) -> None:
    done = evaluate(data_dir / "open-bandit" / "men_random.csv.gz", "--policy", "arm:13", "--estimators", "replay")
    (estimate,) = json.loads(done.stdout)["families"][0]["estimates"]
    print(f"men, logged uniformly: item 13 everywhere earns {estimate['interval']['value']:.6f}, 1 of 273 rows")
    assert estimate["interval"]["value"] == pytest.approx(1 / 273, abs=1e-12)
    done = evaluate(data_dir / "open-bandit" / "men_bts.csv.gz", "--policy", "arm:13", "--estimators", "replay")
    (estimate,) = json.loads(done.stdout)["families"][0]["estimates"]
    assert estimate["interval"] is None and estimate["note"].startswith("the log was not drawn uniformly")


@pytest.mark.prove
@pytest.mark.real_log
@pytest.mark.parametrize(("name", "policy"), [("men_random.csv.gz", "open-bandit-bts"), ("men_bts.csv.gz", "uniform")])
def test_with_the_ranker_as_the_model_of_the_reward(data_dir: Path, name: str, policy: str) -> None:
    """The default: figures for the page of proofs; the intervals of what has no bias cover the other log's mean and the full data's."""
    done = evaluate(data_dir / "open-bandit" / name, "--policy", policy)
    assert done.exit_code == 0, done.output
    (family,) = json.loads(done.stdout)["families"]
    truths = (0.0069, 0.0067) if policy == "open-bandit-bts" else (0.0046, 0.0051)
    print(f"{name} -> {policy}; the other log {truths[0]}, full data {truths[1]}")
    found = {each["name"]: each["interval"] for each in family["estimates"] if each["interval"]}
    for each, interval in found.items():
        print(f"{each:13}{interval['value']:.6f} [{interval['low']:.5f}, {interval['high']:.5f}]")
    for each in ("ips", "snips", "dr", "sndr") if policy == "open-bandit-bts" else ():
        assert found[each]["low"] < min(truths) and max(truths) < found[each]["high"]
