"""What the cross-domain towers are for: a taste known from busy domains helps in those where a user has hardly been (MODEL.md section 5).

Three domains have 88, 10 and 2 % of the exposures. A user's taste in a domain is a rotation of one common taste, plus noise; items of a
domain have their own factors; a full play has logit sharpness * taste . item. Both learners are the product's, towers included, and see
the same exposures; but "apart" never hears where else a user has been, so that every domain's towers stand alone: r_d' = 0, single-domain.
(A row of the user shared by all domains, which the other blocks read, is in both.)
In a second world tastes in the domains are independent: there is nothing to carry over, and nothing must change.
Judged are all users with all items, by the true chances of a full play, so that no luck of labels is in the figures.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from online_model.batch import Batch
from online_model.features import TASKS
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from replay.proofs.claims import Line, Proof, line, proof
from replay.proofs.small_world import START_MS, auc, column, exposures, keys, sigmoid

Array = np.ndarray

DOMAINS = ("dense", "middle", "sparse")
SHARES = (0.88, 0.10, 0.02)
WORLDS = ("related", "independent")
FORMS = ("apart", "crossed")
GROUPS = (*DOMAINS, "new")
_FULL_PLAY = TASKS.index("full_play")
EVERY_MS = 5_000
MOMENTS = 3  # of judging, spread over the second half of the log
UNUSED: dict[str, Any] = {"cin": False, "related": False, "id_cross": False}  # slow, or reading histories, of which there are none here


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The worlds, in MODEL.md's size. (Of 40 000 events of 150 users the sparse domain has 800, too few
    for maps and towers: a lift of .014 [.005, .022] over ten seeds.)"""

    events: int = 150_000
    users: int = 300
    newcomers: int = 30  # of the users, who are never in the sparse domain: what is known of them there is what others heard
    items: int = 40  # a domain
    categories: int = 8  # a domain; items share the factors of theirs
    variety: float = 0.3  # of an item's own factors beside its category's
    factors: int = 4  # of taste
    noise: float = 0.3  # of a domain's own taste beside the rotated common one, where related
    sharpness: float = 2.5
    batch: int = 128


@dataclass(slots=True)
class Log:
    """Exposures in time order, and the truth."""

    user: Array  # int64 [n]
    domain: Array  # int64 [n]
    item: Array  # int64 [n], 0 .. items - 1 within the domain
    liked: Array  # bool [n]
    domain_visits: Array  # float32 [n, 3] exposures of the user in each domain before
    category: Array  # int64 [items], within the domain
    chance: Array  # [3, users, items] of a full play


def world(seed: int, sizes: Sizes, related: bool) -> Log:
    """A log of exposures drawn alike from all users and items, but for the newcomers, who are the last of the users."""
    rng = np.random.default_rng(seed)
    n, k = sizes.events, sizes.factors
    common = rng.normal(size=(sizes.users, k))
    taste = rng.normal(size=(len(DOMAINS), sizes.users, k))
    rotations = np.linalg.qr(rng.normal(size=(len(DOMAINS), k, k)))[0]
    if related:
        taste = (common @ rotations + sizes.noise * taste) / (1 + sizes.noise**2) ** 0.5
    category = np.arange(sizes.items) % sizes.categories
    factors = rng.normal(size=(len(DOMAINS), sizes.categories, k))[:, category]
    factors += sizes.variety * rng.normal(size=factors.shape)
    factors /= (k * (1 + sizes.variety**2)) ** 0.5
    chance = sigmoid(sizes.sharpness * np.matmul(taste, factors.transpose(0, 2, 1)))
    user, item = rng.integers(sizes.users, size=n), rng.integers(sizes.items, size=n)
    domain = rng.choice(len(DOMAINS), size=n, p=SHARES)
    user = np.where(domain == DOMAINS.index("sparse"), rng.integers(sizes.users - sizes.newcomers, size=n), user)
    liked = rng.random(n) < chance[domain, user, item]
    order = np.argsort(user, kind="stable")
    there = (domain[order, None] == np.arange(len(DOMAINS))).astype(np.float32)
    before = np.cumsum(there, 0) - there
    domain_visits = np.empty_like(before)
    domain_visits[order] = before - before[np.searchsorted(user[order], user[order])]
    return Log(user, domain, item, liked, domain_visits, category, chance)


def figures(seed: int, sizes: Sizes) -> dict[str, float]:
    """AUC by world, learner and domain ("new": of users who have not been in the sparse one), mean over the moments of judging."""
    out: dict[str, float] = {}
    for name in WORLDS:
        log = world(seed, sizes, name == "related")
        for form in FORMS:
            found = learn(log, ModelSettings(seed=seed, **UNUSED), sizes, form)
            out |= {f"{name} {form} {group}": value for group, value in zip(GROUPS, found.mean(0).tolist(), strict=True)}
    return out


def learn(log: Log, settings: ModelSettings, sizes: Sizes, form: str) -> Array:
    """AUC [moments, groups]."""
    trainer = Trainer(settings)
    judging = set(np.linspace(0, len(log.user), 2 * MOMENTS + 1).astype(int)[MOMENTS + 1 :] // sizes.batch)
    out = []
    for number, start in enumerate(range(0, len(log.user), sizes.batch), 1):
        at = np.arange(start, min(len(log.user), start + sizes.batch))
        batch = _batch(log, log.user[at], log.domain[at], log.item[at], log.domain_visits[at], START_MS + EVERY_MS * at, form)
        batch.labels[:, _FULL_PLAY] = log.liked[at]
        trainer.step(batch, int(batch.shown_ms[-1]))
        if number in judging:
            out.append(_judged(trainer, log, at[-1] + 1, form))
    return np.array(out)


def _judged(trainer: Trainer, log: Log, n: int, form: str) -> list[float]:
    """AUC by group after n exposures: all users with all items, by true chances."""
    users, items = log.chance.shape[1:]
    domain_visits = np.zeros((users, len(DOMAINS)), np.float32)
    np.add.at(domain_visits, (log.user[:n], log.domain[:n]), 1)
    user, item = (part.ravel() for part in np.indices((users, items)))
    out = []
    for d in range(len(DOMAINS)):
        batch = _batch(log, user, np.full(user.shape, d), item, domain_visits[user], np.full(user.shape, START_MS + EVERY_MS * n), form)
        scores = trainer.predict(batch).logits[:, _FULL_PLAY]
        out.append(auc(scores, log.chance[d].ravel()))
    new = domain_visits[user, -1] == 0
    return [*out, auc(scores[new], log.chance[-1].ravel()[new])]


def _batch(log: Log, user: Array, domain: Array, item: Array, domain_visits: Array, shown_ms: Array, form: str) -> Batch:
    names, many = keys("domain", np.arange(len(DOMAINS))), len(DOMAINS)
    batch = exposures(shown_ms)
    batch.fields[:, column("user")] = keys("user", user)
    batch.fields[:, column("item")] = keys("item", domain * log.chance.shape[2] + item)
    batch.fields[:, column("category")] = keys("category", domain * log.chance.shape[2] + log.category[item])
    batch.fields[:, column("domain")] = names[domain]
    known = domain_visits if form == "crossed" else domain_visits * (domain[:, None] == np.arange(many))
    batch.domains[:, :many], batch.domain_exposures[:, :many] = np.where(known > 0, names, np.uint64(0)), known
    return batch


def judge(seeds: Sequence[int], each: Sequence[dict[str, float]]) -> Proof:
    """Hold the lifts against MODEL.md's bounds; they are paired, seed by seed."""
    lines: list[Line] = []
    for name in WORLDS:
        for domain in GROUPS:
            for form in FORMS:
                lines.append(line(f"AUC, {name} tastes, {domain}, {form}", [f[f"{name} {form} {domain}"] for f in each]))
    lift = {(name, d): [f[f"{name} crossed {d}"] - f[f"{name} apart {d}"] for f in each] for name in WORLDS for d in GROUPS}
    lines += [
        line("lift in the sparse domain", lift["related", "sparse"], 0.02, above=0),
        line("lift for users who are new in the sparse domain", lift["related", "new"], 0.02, above=0),
        line("lift in the dense domain", lift["related", "dense"], -0.002),
        line("lift in the middle domain", lift["related", "middle"]),
        line("lift in the sparse domain, independent tastes", lift["independent", "sparse"], -0.005, 0.005),
        line("lift in the dense domain, independent tastes", lift["independent", "dense"], -0.005, 0.005),
    ]
    return proof("cross-domain", seeds, lines)
