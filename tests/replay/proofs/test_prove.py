"""A proof by its name: every seed is a world of its own, figures become claims, and only `pages` has a report."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from replay.proofs import cross_domain, debias, first_feedback, id_cross, late_labels, page_report, pages, prove
from replay.proofs.claims import Claim, Figures, Proof, claim

MODULES = {
    "debias": debias,
    "cross-domain": cross_domain,
    "first-feedback": first_feedback,
    "id-cross": id_cross,
    "late-labels": late_labels,
}


def claims(found: Figures) -> list[Claim]:
    return [claim("figure", found["figure"], least=2.0)]


@pytest.mark.parametrize("name", MODULES)
def test_a_proof_measures_a_world_a_seed_and_holds_the_figures_against_its_claims(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[object] = []

    def figures(seed: int, size: object) -> dict[str, float]:
        sizes.append(size)
        return {"figure": float(seed)}

    module, calls = MODULES[name], []
    monkeypatch.setattr(module, "figures", figures)
    monkeypatch.setattr(module, "claims", claims)
    found = prove.prove(name, [3, 1], lambda *call: calls.append(call))
    assert (found.name, found.seeds, found.passed, found.claims[0].values) == (name, [3, 1], True, [3.0, 1.0])
    assert calls == [(1, -1), (2, -1)] and sizes == [module.Sizes(), module.Sizes()]
    assert not prove.prove(name, [1, 2]).passed


def test_pages_write_the_runs_that_their_claims_are_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[Path, Proof, Sequence[object]]] = []
    monkeypatch.setattr(pages, "run", lambda seed, sizes: seed)
    monkeypatch.setattr(pages, "figures", lambda run: {"figure": 10.0 * run})
    monkeypatch.setattr(pages, "claims", claims)
    monkeypatch.setattr(page_report, "write", lambda *given: written.append(given))
    found = prove.prove("pages", range(1, 3), report=tmp_path)
    assert written == [(tmp_path, found, [1, 2])] and found.claims[0].values == [10.0, 20.0]
    prove.prove("pages", range(1, 3))
    assert len(written) == 1


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    there_are = "debias, cross-domain, first-feedback, id-cross, late-labels, pages"
    with pytest.raises(ValueError, match=f"no proof 'everything'; there are {there_are}"):
        prove.prove("everything", [1, 2])
