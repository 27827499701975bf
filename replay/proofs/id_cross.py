"""What ID-Cross is for: who plays what after what, where neither tells anything alone (MODEL.md section 2, "Test with meaning").

A table over (item just heard, candidate) says whether a candidate is played in full, like an exclusive or: half of the heard items go
with one half of the candidates, the other half with the other. Every heard item and every candidate is liked exactly half of the time,
so that there are no main effects, and users are all strangers. One learner has every block of the product; one lacks ID-Cross;
one has attention to behaviours alone.
"""
from __future__ import annotations

import msgspec
import numpy as np

from online_model.batch import Batch
from online_model.features import TASKS
from online_model.history import FULL_PLAY
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from replay.proofs.claims import Claim, Figures, claim
from replay.proofs.small_world import START_MS, Array, auc, exposures, keys, one_pass

_FULL_PLAY = TASKS.index("full_play")
_EVERY_MS = 1000


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The world."""

    events: int = 8_000
    items: int = 40  # each is now what was heard, now the candidate: rows of ID-Cross wait for an event of the item's own
    batch: int = 128
    measured: float = 0.25  # the last share of the exposures


def forms(seed: int) -> dict[str, ModelSettings]:
    """The settings that are compared."""
    return {
        "on": ModelSettings(seed=seed),
        "off": ModelSettings(seed=seed, id_cross=False),
        "attention": ModelSettings(seed=seed, id_cross=False, cin=False, related=False, cross_domain=False, causal=False),
    }


def figures(seed: int, sizes: Sizes) -> dict[str, float]:
    """AUC of each form over the last exposures, predicted before they were learned."""
    rng = np.random.default_rng(seed)
    n = sizes.events
    as_heard, as_candidate = (rng.permutation(np.arange(sizes.items) % 2) for _ in range(2))
    heard, candidate = rng.integers(sizes.items, size=(2, n))
    liked = as_heard[heard] != as_candidate[candidate]
    first = int(n * (1 - sizes.measured))

    def examples(rows: Array) -> Batch:
        batch = exposures(START_MS + _EVERY_MS * rows, item=candidate[rows])
        batch.history[:, 0, 0] = keys("item", heard[rows])
        batch.action[:, 0, 0], batch.age_s[:, 0, 0] = FULL_PLAY, 60
        batch.labels[:, _FULL_PLAY] = liked[rows]
        return batch

    out = {}
    for form, settings in forms(seed).items():
        scores = np.concatenate([step.logits[:, _FULL_PLAY] for _, step in one_pass(Trainer(settings), n, sizes.batch, examples)])
        out[form] = auc(scores[first:], liked[first:])
    return out


def claims(found: Figures) -> list[Claim]:
    """ID-Cross orders well what attention alone orders clearly worse."""
    return [
        claim("AUC, every block", found["on"], 0.9),
        claim("AUC, without ID-Cross", found["off"]),
        claim("AUC, attention alone", found["attention"]),
        claim("AUC, every block over attention alone", found["on"] - found["attention"], 0.1, low_above=0),
    ]
