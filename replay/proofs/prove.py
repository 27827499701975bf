"""The proofs of what is learned, by name: worlds whose truth is known, learned by the product's own learner."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from replay.proofs import cross_domain, debias, first_feedback, id_cross, late_labels, page_report, pages, vectors
from replay.proofs.claims import Proof, figures_by_name, proof

PROOFS = ("debias", "cross-domain", "first-feedback", "id-cross", "late-labels", "pages", "vectors")
Progress = Callable[[int, int], None]  # worlds done, and -1: worlds have no time in common


def prove(name: str, seeds: Sequence[int], progress: Progress = lambda done, _: None, report: Path | None = None) -> Proof:
    """One of PROOFS over these seeds. `report`: a folder for the curves that `pages` has. Raises ValueError at another name."""
    runs: list[pages.Run] = []

    def page_figures(seed: int) -> dict[str, float]:
        runs.append(pages.run(seed, pages.Sizes()))
        return pages.figures(runs[-1])

    figures: Callable[[int], dict[str, float]]
    match name:
        case "debias":
            figures, claims = lambda seed: debias.figures(seed, debias.Sizes()), debias.claims
        case "cross-domain":
            figures, claims = lambda seed: cross_domain.figures(seed, cross_domain.Sizes()), cross_domain.claims
        case "first-feedback":
            figures, claims = lambda seed: first_feedback.figures(seed, first_feedback.Sizes()), first_feedback.claims
        case "id-cross":
            figures, claims = lambda seed: id_cross.figures(seed, id_cross.Sizes()), id_cross.claims
        case "late-labels":
            figures, claims = lambda seed: late_labels.figures(seed, late_labels.Sizes()), late_labels.claims
        case "pages":
            figures, claims = page_figures, pages.claims
        case "vectors":
            figures, claims = lambda seed: vectors.figures(seed, vectors.Sizes()), vectors.claims
        case _:
            raise ValueError(f"no proof {name!r}; there are {', '.join(PROOFS)}")
    by_seed = []
    for done, seed in enumerate(seeds, 1):
        by_seed.append(figures(seed))
        progress(done, -1)
    found = proof(name, seeds, claims(figures_by_name(by_seed)))
    if report is not None and runs:
        page_report.write(report, found, runs)
    return found
