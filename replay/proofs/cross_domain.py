"""What the cross-domain towers are for: a taste known from busy domains helps in those where a user has hardly been (MODEL.md section 5).

Three domains have 88, 10 and 2 % of the exposures. A user's taste in a domain is a rotation of one common taste, plus noise; items of a
domain have their own factors; a full play has logit sharpness * taste . item. Both learners are the product's, towers included, and see
the same exposures; but "apart" never hears where else a user has been, so that every domain's towers stand alone: r_d' = 0, single-domain.
(A row of the user shared by all domains, which the other blocks read, is in both.)
In a second world tastes in the domains are independent: there is nothing to carry over, and nothing must change.
Measured on all users with all items, by the true probabilities of a full play, so that no luck of labels is in the figures.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from online_model.batch import Batch
from online_model.features import TASKS
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from replay.proofs.claims import Claim, Figures, claim
from replay.proofs.small_world import START_MS, Array, auc, exposures, keys, one_pass
from replay.simulator.reactions import sigmoid

DOMAINS = ("dense", "middle", "sparse")
SHARES = (0.88, 0.10, 0.02)
WORLDS = ("related", "independent")
FORMS = ("apart", "crossed")
GROUPS = (*DOMAINS, "new")
_FULL_PLAY = TASKS.index("full_play")
EVERY_MS = 5_000
MOMENTS = 3  # of measuring, spread over the second half of the log
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
    probability: Array  # [3, users, items] of a full play


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
    probability = sigmoid(sizes.sharpness * np.matmul(taste, factors.transpose(0, 2, 1)))
    user, item = rng.integers(sizes.users, size=n), rng.integers(sizes.items, size=n)
    domain = rng.choice(len(DOMAINS), size=n, p=SHARES)
    user = np.where(domain == DOMAINS.index("sparse"), rng.integers(sizes.users - sizes.newcomers, size=n), user)
    liked = rng.random(n) < probability[domain, user, item]
    order = np.argsort(user, kind="stable")
    visits = (domain[order, None] == np.arange(len(DOMAINS))).astype(np.float32)
    before = np.cumsum(visits, 0) - visits
    domain_visits = np.empty_like(before)
    domain_visits[order] = before - before[np.searchsorted(user[order], user[order])]
    return Log(user, domain, item, liked, domain_visits, category, probability)


def figures(seed: int, sizes: Sizes) -> dict[str, float]:
    """AUC by world, learner and domain ("new": of users who have not been in the sparse one), mean over the MOMENTS."""
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
    moments = set(np.linspace(0, len(log.user), 2 * MOMENTS + 1).astype(int)[MOMENTS + 1 :] // sizes.batch)

    def examples(rows: Array) -> Batch:
        shown_ms = START_MS + EVERY_MS * rows
        batch = _batch(log, log.user[rows], log.domain[rows], log.item[rows], log.domain_visits[rows], shown_ms, form)
        batch.labels[:, _FULL_PLAY] = log.liked[rows]
        return batch

    steps = enumerate(one_pass(trainer, len(log.user), sizes.batch, examples), 1)
    return np.array([_auc_by_group(trainer, log, rows[-1] + 1, form) for number, (rows, _) in steps if number in moments])


def _auc_by_group(trainer: Trainer, log: Log, n: int, form: str) -> list[float]:
    """After n exposures: all users with all items, by true probabilities."""
    users, items = log.probability.shape[1:]
    domain_visits = np.zeros((users, len(DOMAINS)), np.float32)
    np.add.at(domain_visits, (log.user[:n], log.domain[:n]), 1)
    user, item = (part.ravel() for part in np.indices((users, items)))
    out = []
    for d in range(len(DOMAINS)):
        batch = _batch(log, user, np.full(user.shape, d), item, domain_visits[user], np.full(user.shape, START_MS + EVERY_MS * n), form)
        scores = trainer.predict(batch).logits[:, _FULL_PLAY]
        out.append(auc(scores, log.probability[d].ravel()))
    new = domain_visits[user, -1] == 0
    return [*out, auc(scores[new], log.probability[-1].ravel()[new])]


def _batch(log: Log, user: Array, domain: Array, item: Array, domain_visits: Array, shown_ms: Array, form: str) -> Batch:
    numbers, first = np.arange(len(DOMAINS)), domain * log.probability.shape[2]  # of the domain's items
    batch = exposures(shown_ms, user=user, item=first + item, category=first + log.category[item], domain=domain)
    known = domain_visits if form == "crossed" else domain_visits * (domain[:, None] == numbers)
    batch.domains[:, numbers] = np.where(known > 0, keys("domain", numbers), np.uint64(0))
    batch.domain_exposures[:, numbers] = known
    return batch


def claims(found: Figures) -> list[Claim]:
    """MODEL.md's bounds on the lifts, which are paired, seed by seed."""
    aucs = ((name, group, form) for name in WORLDS for group in GROUPS for form in FORMS)
    lift = {(name, group): found[f"{name} crossed {group}"] - found[f"{name} apart {group}"] for name in WORLDS for group in GROUPS}
    return [
        *(claim(f"AUC, {name} tastes, {group}, {form}", found[f"{name} {form} {group}"]) for name, group, form in aucs),
        claim("lift in the sparse domain", lift["related", "sparse"], 0.02, low_above=0),
        claim("lift for users who are new in the sparse domain", lift["related", "new"], 0.02, low_above=0),
        claim("lift in the dense domain", lift["related", "dense"], -0.002),
        claim("lift in the middle domain", lift["related", "middle"]),
        claim("lift in the sparse domain, independent tastes", lift["independent", "sparse"], -0.005, 0.005),
        claim("lift in the dense domain, independent tastes", lift["independent", "dense"], -0.005, 0.005),
    ]
