"""The proofs of the model's blocks by name: worlds whose truth is known, learned by the product's own learner."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from replay import prove_cross_domain, prove_debias, prove_id_cross, prove_late_labels
from replay.claims import Proof

PROOFS = ("debias", "cross-domain", "id-cross", "late-labels")


def prove(name: str, seeds: Sequence[int], told: Callable[[int, int], None] = lambda done, _: None) -> Proof:
    """One of PROOFS over these seeds. `told` hears how many worlds are done."""
    match name:
        case "debias":
            return _over(seeds, lambda seed: prove_debias.figures(seed, prove_debias.Sizes()), prove_debias.judge, told)
        case "cross-domain":
            return _over(seeds, lambda seed: prove_cross_domain.figures(seed, prove_cross_domain.Sizes()), prove_cross_domain.judge, told)
        case "id-cross":
            return _over(seeds, lambda seed: prove_id_cross.figures(seed, prove_id_cross.Sizes()), prove_id_cross.judge, told)
        case "late-labels":
            return _over(seeds, lambda seed: prove_late_labels.figures(seed, prove_late_labels.Sizes()), prove_late_labels.judge, told)
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
