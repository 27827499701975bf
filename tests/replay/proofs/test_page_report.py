"""The page about pages: curves are means over worlds, weighed by pages; every claim and every strategy is on it."""
from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from replay.proofs import pages
from replay.proofs.claims import Proof, figures_by_name, proof
from replay.proofs.page_report import averaged, write
from replay.proofs.pages import Run
from replay.simulator.page_curves import Curve, Visit, by_strategy, curves, figures

CATEGORY = np.array([0, 0, 1, 1, 2, 2])


def visits(seed: int, n: int = 300) -> list[Visit]:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        items = rng.choice(6, 3, replace=False).tolist()
        strategy = ("blend-0", "tail")[int(rng.integers(2))]
        out.append(
            Visit(
                listener=int(rng.integers(20)),
                strategy=strategy,
                propensities={"blend-0": 0.5, "tail": 0.5},
                experience=float(rng.random()),
                revenue=float(rng.random()),
                plays=3,
                dislikes=int(rng.integers(2)),
                likely_plays=2.5,
                likely_dislikes=0.4,
                items=items,
                liked=items[:2],
                exposures=4,
            )  # fmt: skip
        )
    return out


def held(by_seed: list[dict[str, float]]) -> Proof:
    return proof("pages", range(1, 1 + len(by_seed)), pages.claims(figures_by_name(by_seed)))


def made(seed: int) -> Run:
    fixed, chosen = visits(seed), visits(seed + 100)
    return Run(
        seed=seed, floor=0.5, fixed=figures(fixed, CATEGORY), chosen=figures(chosen, CATEGORY),
        by_strategy=by_strategy(chosen, CATEGORY), fixed_curves=curves(fixed, CATEGORY), chosen_curves=curves(chosen, CATEGORY),
        regret_visits=[0, 150], regret_curve=[0.2, 0.1], best="tail", worth={"blend-0": 0.3, "tail": 0.5}, policy_worth=0.45,
        uniform_worth=0.4,
    )  # fmt: skip


def test_the_page_has_all_claims_strategies_and_pictures_inside(tmp_path: Path) -> None:
    runs = [made(seed) for seed in (1, 2, 3)]
    found = held([pages.figures(run) for run in runs])
    page = write(tmp_path / "made", found, runs).read_text(encoding="utf-8")
    for claim in found.claims:
        assert claim.claim.replace("'", "&#x27;") in page
    assert page.count("data:image/png;base64,") == 8  # shares, six measures, regret
    assert 'src="http' not in page and "<td>tail</td>" in page and "<td>blend-0</td>" in page
    document = msgspec.json.decode((tmp_path / "made" / "result.json").read_bytes())
    assert msgspec.convert(document["runs"], list[Run]) == runs


def test_a_curve_is_the_mean_over_worlds_weighed_by_pages_and_leaves_out_what_is_noise() -> None:
    few = figures(visits(1, 300)[:5], CATEGORY)
    many, more = figures(visits(1, 30), CATEGORY), figures(visits(2, 90), CATEGORY)
    each = [[Curve(name="a", share=[1, 1], figures=[many, few])], [Curve(name="a", share=[1, 1], figures=[more, few])]]
    found = averaged(each, "a", "experience")
    assert found[0] == pytest.approx((30 * many.experience + 90 * more.experience) / 120)
    assert np.isnan(found[1])  # ten pages over both worlds
    assert len(averaged(each, "b", "experience")) == 0


def test_claims_are_held_against_the_fixed_page_of_the_same_world() -> None:
    better = {
        "categories fixed": 4.0, "categories chosen": 5.0, "liked categories fixed": 3.0,
        "liked categories chosen": 3.0, "distinct fixed": 100, "distinct chosen": 130, "overlap fixed": 0.4,
        "overlap chosen": 0.3, "dislikes fixed": 10.0, "dislikes chosen": 9.0, "likely dislikes fixed": 10.0,
        "likely dislikes chosen": 9.5, "revenue chosen": 0.099, "floor": 0.1, "experience fixed": 0.5, "experience chosen": 0.6,
        "looked fixed": 8.0, "looked chosen": 8.0, "regret": 0.01, "uniform regret": 0.02, "share of pages: tail": 1.0,
    }  # fmt: skip
    assert held([better, better]).passed
    for name, value in (
        ("categories chosen", 4.3), ("distinct chosen", 109), ("overlap chosen", 0.41), ("dislikes chosen", 10.1),
        ("likely dislikes chosen", 10.1), ("revenue chosen", 0.0979),
    ):  # fmt: skip
        worse = better | {name: value}
        found = held([worse, worse])
        assert not found.passed
        assert sum(not claim.passed for claim in found.claims) == 1
