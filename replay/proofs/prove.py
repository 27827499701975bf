"""The proofs of what is learned, by name: worlds whose truth is known, learned by the product's own learner."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from replay.proofs import cross_domain, debias, id_cross, late_labels, page_report, pages
from replay.proofs.claims import Proof

PROOFS = ("debias", "cross-domain", "id-cross", "late-labels", "pages")


def prove(name: str, seeds: Sequence[int], told: Callable[[int, int], None] = lambda done, _: None, report: Path | None = None) -> Proof:
    """One of PROOFS over these seeds. `told` hears how many worlds are done; `report`: a folder for the curves that `pages` has."""
    match name:
        case "debias":
            return _over(seeds, lambda seed: debias.figures(seed, debias.Sizes()), debias.judge, told)
        case "cross-domain":
            return _over(seeds, lambda seed: cross_domain.figures(seed, cross_domain.Sizes()), cross_domain.judge, told)
        case "id-cross":
            return _over(seeds, lambda seed: id_cross.figures(seed, id_cross.Sizes()), id_cross.judge, told)
        case "late-labels":
            return _over(seeds, lambda seed: late_labels.figures(seed, late_labels.Sizes()), late_labels.judge, told)
        case "pages":
            runs: list[pages.Run] = []

            def figures(seed: int) -> dict[str, float]:
                runs.append(pages.run(seed, pages.Sizes()))
                return pages.held(runs[-1])

            found = _over(seeds, figures, pages.judge, told)
            if report is not None:
                page_report.write(report, found, runs)
            return found
    raise ValueError(f"no proof {name!r}; there are {', '.join(PROOFS)}")


def _over(
    seeds: Sequence[int],
    figures: Callable[[int], dict[str, float]],
    judge: Callable[[Sequence[int], Sequence[dict[str, float]]], Proof],
    told: Callable[[int, int], None],
) -> Proof:
    each = []
    for seed in seeds:
        each.append(figures(seed))
        told(len(each), -1)
    return judge(seeds, each)
