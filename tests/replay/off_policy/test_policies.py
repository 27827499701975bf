"""Chances of a policy, against loops and by hand."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from replay.log_rows import LogError
from replay.off_policy.policies import TargetPolicy, expected_reward, target_policy, without_replacement
from replay.off_policy.rounds import Rounds
from streams.core.join.items import Item
from tests.replay.off_policy.test_rounds import T, act, exposure, taken


def lists() -> Rounds:
    return taken(
        exposure(T, "r", ("a", 0.5), ("b", 0.25), ("c", 0.5)),
        exposure(T + 1, "s", ("c", 0.5), ("a", 0.25)),
        act(T + 2, "b", "impression", propensity=0.5, user_id="v"),
    )


def test_uniform_draws_from_what_is_left_of_a_list() -> None:
    found = without_replacement(target_policy("uniform", lists()), lists())
    assert found.probability == pytest.approx([1 / 3, 1 / 2, 1, 1 / 3, 1 / 2, 1 / 3])


def test_a_page_is_drawn_module_after_module() -> None:
    page = exposure(T, "r", ("a", 0.5), ("b", 0.25), ("c", 0.5), ("d", 0.5))
    for slot, (module, position) in zip(page["slots"], [("m", 0), ("m", 1), ("n", 0), ("n", 1)], strict=True):
        slot |= {"module": module, "position": position}
    log = taken(page, exposure(T + 1, "s", ("d", 0.5), ("a", 0.5)))
    assert (log.module.tolist(), log.order.tolist()) == ([0, 0, 1, 1, 0, 0], [0, 1, 2, 3, 4, 5])
    assert without_replacement(target_policy("uniform", log), log).probability == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1, 1 / 4, 1 / 3])


def test_uniform_knows_domains_and_what_was_there() -> None:
    catalog = {
        "a": Item(item_id="a", domain="song"), "b": Item(item_id="b", domain="song", published_ts=T + 5),
        "c": Item(item_id="c", domain="song", expires_ts=T + 9), "v": Item(item_id="v", domain="video"),
    }  # fmt: skip
    shown = [act(T + at, "a", "impression", propensity=0.5, domain="song", user_id=f"u{at}") for at in (0, 5, 9)]
    log = taken(*shown, act(T + 9, "v", "impression", propensity=0.5, domain="video"), catalog=catalog)
    assert without_replacement(target_policy("uniform", log), log).probability == pytest.approx([1 / 2, 1 / 3, 1 / 2, 1])


def test_chance_and_expectation_down_a_list_are_those_of_a_loop() -> None:
    log, rng = lists(), np.random.default_rng(4)
    table = rng.dirichlet(np.ones(3), size=2)
    policy = TargetPolicy(table, np.array([0, 1, 1, 1, 0, 0]))
    q, group = rng.random((2, 3)), np.array([0, 0, 1, 1, 0, 1])
    found = without_replacement(policy, log)
    values = expected_reward(policy, found, log, q, group)
    above: dict[int, list[int]] = {}
    for n, (arm, request) in enumerate(zip(log.arm.tolist(), log.request.tolist(), strict=True)):
        p = table[policy.context[n]].copy()
        p[above.setdefault(request, [])] = 0.0
        p /= p.sum()
        assert found.probability[n] == pytest.approx(p[arm])
        assert values[n] == pytest.approx(p @ q[group[n]])
        above[request].append(arm)


def test_always_one_arm_can_not_fill_a_second_slot() -> None:
    log = lists()
    assert without_replacement(target_policy("arm:a", log), log).probability.tolist() == [1, 0, 0, 0, 1, 0]
    assert target_policy("arm:a", log).deterministic and not target_policy("uniform", log).deterministic


def test_file_by_request_and_position(tmp_path: Path) -> None:
    log, path = lists(), tmp_path / "policy.jsonl"
    rows = [("r", 0, "a", 0.2), ("r", 0, "d", 0.8), ("r", 1, "b", 1.0), ("r", 2, "c", 1.0), ("s", 0, "c", 1.0), ("s", 1, "a", 1.0)]
    text = [f'{{"request_id": "{r}", "position": {p}, "item_id": "{i}", "probability": {x}}}' for r, p, i, x in rows]
    path.write_text("\n".join(text))
    with pytest.raises(LogError, match="no probabilities of request  at position 0, which the log has"):
        target_policy(str(path), log)  # the single impression
    log = taken(exposure(T, "r", ("a", 0.5), ("b", 0.25), ("c", 0.5)), exposure(T + 1, "s", ("c", 0.5), ("a", 0.25)))
    assert without_replacement(target_policy(str(path), log), log).probability == pytest.approx([0.2, 1, 1, 1, 1])
    assert log.arms[-1] == "d"


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_file_by_module(tmp_path: Path, suffix: str) -> None:
    """Module m draws from a and b, module n from c alone; position 0 of either is the same position."""
    page = exposure(T, "r", ("a", 0.5), ("b", 0.25), ("c", 0.5))
    for slot, (module, position) in zip(page["slots"], [("m", 0), ("m", 1), ("n", 0)], strict=True):
        slot |= {"module": module, "position": position}
    log, path = taken(page, act(T + 1, "b", "impression", propensity=0.5, module="m", user_id="v")), tmp_path / f"policy.{suffix}"
    rows = [("m", "a", 0.75), ("m", "b", 0.25), ("n", "c", 1.0)]
    if suffix == "csv":
        path.write_text("item_id,module,probability\n" + "".join(f"{item},{module},{p}\n" for module, item, p in rows))
    else:
        path.write_text("".join(f'{{"item_id": "{item}", "module": "{module}", "probability": {p}}}\n' for module, item, p in rows))
    assert log.modules == ["m", "m", "n", "m"]
    assert without_replacement(target_policy(str(path), log), log).probability == pytest.approx([0.75, 1, 1, 0.25])
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(LogError, match="no probabilities of module n, which the log has"):
        target_policy(str(path), log)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("item_id,probability\na,x\n", "policy.csv:2: Expected `float`"),
        ("item_id,chance\na,1\n", "policy.csv:2: Object contains unknown field `chance`"),
        ("item_id\na\n", "missing required field `probability`"),
        ("item_id,probability\na,1.5\n", "policy.csv:2: Expected `float` <= 1.000001"),
        ("item_id,probability,shelf\na,1,m\n", "policy.csv:2: Object contains unknown field `shelf`"),
        ("item_id,module,probability\na,m,1\n", "no probabilities of no module, which the log has"),
        ("item_id,probability\na,nan\n", "policy.csv:2: Expected `float` >= 0.0"),
        ("item_id,position,probability\na,0,1\n", "no probabilities at position 1, which the log has"),
    ],
)
def test_a_file_that_says_something_else_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "policy.csv"
    path.write_text(text)
    with pytest.raises(LogError) as error:
        target_policy(str(path), lists())
    assert complaint in str(error.value)
