"""Labels that come after their example was made: what becomes of the level of predictions (MODEL.md section 7).

A world of collects: logit = bias + user + item. An exposure's collect comes after an exponential delay, with probability one half
after the join window; its example is then a negative, and the collect is a late positive. Three learners see the same records but
treat late positives differently: the product's reversal; dropped; sent once more as a positive beside the negative.
COPC = collects that happened over collects predicted. In theory 1, 2 and 1 + p/2 (predictions p/2 and p/(1 + p/2)).
"""
from __future__ import annotations

import msgspec
import numpy as np

from online_model.features import TASKS
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from replay.proofs.claims import Claim, Figures, claim
from replay.proofs.small_world import START_MS, Array, exposures
from replay.simulator.reactions import sigmoid

FORMS = ("reversal", "dropped", "repeated")
_COLLECT = TASKS.index("collect")
_WINDOW_S = 600.0  # the product's join window


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The world."""

    events: int = 40_000
    every_s: float = 2.0  # between exposures
    users: int = 500
    items: int = 200
    bias: float = -2.7  # makes p near .08
    spread: float = 0.5  # standard deviation of users' and of items' effects
    batch: int = 256
    warm: float = 0.25  # of the exposures, which are not measured


def figures(seed: int, sizes: Sizes) -> dict[str, float]:
    """One world, three learners: COPC of each, and the rate of collects."""
    rng = np.random.default_rng(seed)
    n = sizes.events
    user, item = rng.integers(sizes.users, size=n), rng.integers(sizes.items, size=n)
    effects = rng.normal(0, sizes.spread, sizes.users)[user] + rng.normal(0, sizes.spread, sizes.items)[item]
    collected = rng.random(n) < sigmoid(sizes.bias + effects)
    delay_s = rng.exponential(_WINDOW_S / np.log(2), n)
    shown_s = sizes.every_s * np.arange(n)
    early, late = collected & (delay_s <= _WINDOW_S), collected & (delay_s > _WINDOW_S)
    made_s = shown_s + np.where(early, delay_s, _WINDOW_S)  # at the first resolving act, or when the window closes
    out = {"rate": float(collected.mean())}
    for form in FORMS:
        again = np.zeros(0, np.int64) if form == "dropped" else np.flatnonzero(late)
        at = np.concatenate([np.arange(n), again])
        when_s = np.concatenate([made_s, (shown_s + delay_s)[again]])
        order = np.argsort(when_s, kind="stable")
        order = order[when_s[order] <= shown_s[-1]]  # what comes later had not come yet
        predicted = _learn(sizes, seed, form, (user[at], item[at], shown_s[at], early[at]), when_s, order, n)
        measured = ~np.isnan(predicted) & (np.arange(n) >= sizes.warm * n)
        out[form] = float(collected[measured].sum() / predicted[measured].sum())
    return out


def _learn(sizes: Sizes, seed: int, form: str, columns: tuple[Array, ...], when_s: Array, order: Array, n: int) -> Array:
    """Probability of a collect for each exposure [n] as its example was made; NaN where it was not. Records from n on are late ones."""
    trainer = Trainer(ModelSettings(seed=seed))
    predicted = np.full(n, np.nan)
    for start in range(0, len(order), sizes.batch):
        rows = order[start : start + sizes.batch]
        user, item, shown_s, early = (values[rows] for values in columns)
        batch = exposures(START_MS + (1000 * shown_s).astype(np.int64), user=user, item=item)
        example, again = rows < n, rows >= n
        batch.labels[:, _COLLECT] = early & example
        if form == "repeated":
            batch.labels[again, _COLLECT] = 1
        else:
            batch.sign[again, _COLLECT] = 1
            batch.is_example[again] = 0
        report = trainer.step(batch, START_MS + int(1000 * when_s[rows[-1]]))
        predicted[rows[example]] = report.probabilities[example, _COLLECT]
    return predicted


def claims(found: Figures) -> list[Claim]:
    """COPC of each learner as in theory."""
    out = [claim("share of exposures that are collected", found["rate"])]
    for form, theory, slack in zip(FORMS, (1.0, 2.0, 1 + float(found["rate"].mean()) / 2), (0.02, 0.1, 0.02), strict=True):
        text = f"COPC, late positives: {form} (in theory {theory:.3f})"
        out.append(claim(text, found[form], theory - slack, theory + slack))
    return out
