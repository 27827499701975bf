"""Whether taking popularity's part away finds what listeners like (MODEL.md section 4, "Proof on a simulator").

A full play has logit bias + quality of the item + taste + slope * s, where s is the standardised log of the item's plays of late
(decayed by a day): conformity. What is played much is shown much, luck at birth and random pushes aside, so that popularity feeds
itself, and the item with the most plays is not the one most liked. A share of the exposures is explored, drawn alike from all items.
Popularity moves within items (pushes come and go, luck fades), by which its part can be told from quality.
Measured at the end, over users: the order of all items by the score, plain (gamma_item = 0) or with popularity's part taken away
(gamma_item = 1), against the true order by quality + taste; "oracle" is the plain score with the true conformity taken away.
Shapes: N items, U users, B exposures of a round.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from scipy.stats import rankdata

from online_model import forward, popularity_effect
from online_model.batch import Batch
from online_model.features import COUNTS, POPULARITY_HALF_LIVES_H, SCOPES, TASKS
from online_model.model_settings import ModelSettings
from online_model.popularity import RATE_HALF_LIFE_H
from online_model.trainer import Trainer
from replay.proofs.claims import Claim, Figures, claim
from replay.proofs.small_world import START_MS, Array, exposures, one_pass
from replay.simulator.reactions import sigmoid
from streams.core.join.keys import HOUR_MS

SLOPES = (0.0, 0.5, 1.0)
_FULL_PLAY, _SKIP = TASKS.index("full_play"), TASKS.index("skip")
_ITEM = SCOPES.index("item")
TOP = 20
_DAY = POPULARITY_HALF_LIVES_H.index(24.0)
UNUSED: dict[str, Any] = {"cin": False, "related": False, "id_cross": False, "cross_domain": False}  # slow, or of what this world lacks


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The world, in MODEL.md's size. (Where items are seen less often, luck that is in an item's rate is in its plays of the day too,
    and takes some of the slope: of 1, .85 with 40 000 events of 100 users and items.)"""

    events: int = 150_000
    users: int = 600
    items: int = 300
    round: int = 64  # exposures during which popularity stands still
    batch: int = 128  # examples that are learned at once
    days: float = 28.0
    explored: float = 0.3  # share of the exposures
    feedback: float = 0.5  # exposures go by exp(this * s)
    luck: float = 60.0  # plays a day at birth, exponential
    pushed: float = 0.1  # share of the items that are pushed at a time
    push: float = 3.0  # log of what a push multiplies exposures by
    push_h: float = 12.0  # that a push lasts, mean
    quality: float = 0.6  # standard deviation over items
    taste: float = 0.6  # standard deviation of taste over items, a user's
    factors: int = 2
    bias: float = -0.5


@dataclass(slots=True)
class Log:
    """Exposures in time order, and the truth."""

    user: Array  # int64 [n]
    item: Array  # int64 [n]
    shown_ms: Array  # int64 [n]
    born_ms: Array  # int64 [N]
    played: Array  # bool [n], in full; else it was skipped
    plays: Array  # float64 [n, 3] of the item, decayed, before the exposure
    counts: Array  # float64 [n, len(COUNTS)] of the item
    s: Array  # float64 [n] standardised log of the day's plays
    last_plays: Array  # [N, 3] of all items after the last exposure
    last_counts: Array  # [N, len(COUNTS)]
    last_s: Array  # [N]
    liking: Array  # [U, N] quality + taste


def world(seed: int, sizes: Sizes, slope: float) -> Log:
    """Popularity that feeds itself, moved by pushes."""
    rng = np.random.default_rng(seed)
    n, many = sizes.events, sizes.items
    taste = rng.normal(size=(sizes.users, sizes.factors)) @ rng.normal(size=(sizes.factors, many)) / sizes.factors**0.5
    liking = rng.normal(0, sizes.quality, many) + sizes.taste * taste
    hours = sizes.days * 24 / (n / sizes.round)  # of a round
    plays = rng.exponential(sizes.luck, many)[:, None] * (np.array(POPULARITY_HALF_LIVES_H) / 24)
    counts = np.zeros((many, len(COUNTS)))
    pushed_h = np.zeros(many)  # how long each will be pushed
    ruler = Trainer(ModelSettings(**UNUSED)).state.effect  # the truth is told by the product's own measure of popularity
    user = rng.integers(sizes.users, size=n)
    item, luck = np.zeros(n, np.int64), rng.random(n)
    shown_ms = START_MS + (np.arange(n) * (hours / sizes.round * HOUR_MS)).astype(np.int64)
    out = Log(
        user, item, shown_ms, START_MS - rng.integers(240, size=many) * HOUR_MS, np.zeros(n, bool), np.zeros((n, 3)),
        np.zeros((n, len(COUNTS))), np.zeros(n), plays, counts, np.zeros(many), liking,
    )  # fmt: skip
    ruler.see(_inputs(plays), START_MS - 1)
    for start in range(0, n, sizes.round):
        at = slice(start, min(n, start + sizes.round))
        new = (pushed_h <= 0) & (rng.random(many) < sizes.pushed * hours / sizes.push_h)
        pushed_h = np.where(new, rng.exponential(sizes.push_h, many), pushed_h - hours)
        s = ruler.standardised(_inputs(plays))[:, _DAY].astype(np.float64)
        weight = np.exp(sizes.feedback * s + sizes.push * (pushed_h > 0))
        share = sizes.explored / many + (1 - sizes.explored) * weight / weight.sum()
        item[at] = i = rng.choice(many, size=len(user[at]), p=share)
        out.plays[at], out.counts[at], out.s[at] = plays[i], counts[i], s[i]
        out.played[at] = luck[at] < sigmoid(sizes.bias + liking[user[at], i] + slope * s[i])
        ruler.see(_inputs(plays[i]), int(out.shown_ms[at][-1]))
        plays *= 2.0 ** (-hours / np.array(POPULARITY_HALF_LIVES_H))
        counts *= 2.0 ** (-hours / RATE_HALF_LIFE_H)
        np.add.at(plays, i, out.played[at][:, None].astype(np.float64))
        np.add.at(counts, i, np.concatenate([np.ones((len(i), 1)), _labels(out.played[at])], 1))
    out.last_s = ruler.standardised(_inputs(plays))[:, _DAY].astype(np.float64)
    return out


def _inputs(plays: Array) -> Array:
    """Plays [n, 3] as the popularity effect reads them, of which only the day's is used here."""
    batch = exposures(np.full(len(plays), START_MS))
    batch.popularity = plays.astype(np.float32)
    return popularity_effect.inputs(batch)


def _labels(played: Array) -> Array:
    out = np.zeros((len(played), len(TASKS)), np.float32)
    out[:, _FULL_PLAY], out[:, _SKIP] = played, ~played
    return out


def figures(seed: int, sizes: Sizes) -> dict[str, float]:
    """Of each slope: the learned one; order, gain and tail share, plain and with popularity's part taken away."""
    out: dict[str, float] = {}
    for slope in SLOPES:
        log = world(seed, sizes, slope)
        trainer = learn(log, ModelSettings(seed=seed, **UNUSED), sizes)
        found = {"slope": learned_slope(trainer, log)} | order_figures(trainer, log)
        if slope == SLOPES[-1]:
            oracle = learn(log, ModelSettings(seed=seed, effect_rate=0.0, **UNUSED), sizes, slope)
            found["oracle"] = order_figures(oracle, log)["spearman taken"]
        out |= {f"{slope:g} {name}": value for name, value in found.items()}
    return out


def learn(log: Log, settings: ModelSettings, sizes: Sizes, known: float | None = None) -> Trainer:
    """One pass. `known`: the slope is given, and not learned."""
    trainer = Trainer(settings)
    if known is not None:
        trainer.state.effect.weights[_DAY, _FULL_PLAY], trainer.state.effect.weights[_DAY, _SKIP] = known, -known
    for _ in one_pass(trainer, len(log.user), sizes.batch, lambda rows: _examples(log, rows)):
        pass
    return trainer


def _examples(log: Log, rows: Array) -> Batch:
    batch = _batch(log, log.shown_ms[rows], log.user[rows], log.item[rows], log.plays[rows], log.counts[rows])
    batch.labels[:] = _labels(log.played[rows])
    return batch


def _batch(log: Log, shown_ms: Array, user: Array, item: Array, plays: Array, counts: Array) -> Batch:
    batch = exposures(shown_ms, user=user, item=item)
    batch.popularity[:], batch.counts[:, _ITEM] = plays, counts
    batch.item_age_s[:] = (shown_ms - log.born_ms[item]) / 1000
    return batch


def learned_slope(trainer: Trainer, log: Log) -> float:
    """What the popularity effect adds to a full play for one standard deviation of popularity: regression over the last exposures."""
    rows = np.arange(3 * len(log.user) // 4, len(log.user))
    added, s = trainer.predict(_examples(log, rows)).popularity[:, _FULL_PLAY], log.s[rows]
    return float(np.cov(added, s)[0, 1] / s.var(ddof=1))


def order_figures(trainer: Trainer, log: Log) -> dict[str, float]:
    """All users with all items, as things stand after the last exposure."""
    users, many = log.liking.shape
    user, item = (part.ravel() for part in np.indices((users, many)))
    batch = _batch(log, np.full(user.shape, log.shown_ms[-1] + 1), user, item, log.last_plays[item], log.last_counts[item])
    tail = np.argsort(np.argsort(-log.last_plays[:, -1])) >= many // 5  # outside the 20 % most played in the week
    out = {}
    run = forward.forward(trainer.state, batch, len(batch), learns=False)
    without = forward.with_other_domains(trainer.state, run, forward.blended(trainer.state, run)).numpy(force=True).astype(np.float32)
    for name, logits in (
        ("without", without),  # put together as if nothing could be taken away
        ("plain", trainer.predict(batch, gamma_item=0.0).logits),
        ("taken", trainer.predict(batch, gamma_item=1.0).logits),
    ):
        scores = logits[:, _FULL_PLAY].reshape(users, many)
        out[f"spearman {name}"] = float(
            np.mean([np.corrcoef(rankdata(a), rankdata(b))[0, 1] for a, b in zip(scores, log.liking, strict=True)])
        )
        top = np.argsort(-scores, 1, kind="stable")[:, :TOP]
        out[f"ndcg {name}"] = ndcg(sigmoid(log.liking), top)
        out[f"tail {name}"] = float(tail[top].mean())
    return out


def ndcg(gain: Array, top: Array) -> float:
    """Gains [U, N] of the items that were put first [U, K], over the best that could be."""
    discount = 1 / np.log2(np.arange(top.shape[1]) + 2)
    best = -np.sort(-gain, 1)[:, : top.shape[1]]
    return float(((np.take_along_axis(gain, top, 1) * discount).sum(1) / (best * discount).sum(1)).mean())


def claims(found: Figures) -> list[Claim]:
    """MODEL.md's five claims, (a) to (e)."""
    conforming, none = f"{SLOPES[-1]:g}", f"{SLOPES[0]:g}"
    spearman, ndcg, tail = (
        {form: found[f"{conforming} {measure} {form}"] for form in ("without", "plain", "taken")}
        for measure in ("spearman", "ndcg", "tail")
    )
    oracle = found[f"{conforming} oracle"]
    return [
        *(claim(f"(a) slope learned where the true one is {s:g}", found[f"{s:g} slope"], s - 0.15, s + 0.15) for s in SLOPES),
        claim("Spearman with true liking: plain", spearman["plain"]),
        claim("Spearman with true liking: popularity taken away", spearman["taken"]),
        claim("Spearman with true liking: conformity known", oracle),
        claim("(b) taken away over oracle", spearman["taken"] / oracle, 0.97),
        claim("(b) taken away - plain", spearman["taken"] - spearman["plain"], 0.04, low_above=0),
        claim("NDCG@20: taken away - plain", ndcg["taken"] - ndcg["plain"]),
        claim("(c) tail share: taken away - plain", tail["taken"] - tail["plain"], low_above=0),
        claim("(d) no conformity: Spearman, taken away - plain", found[f"{none} spearman taken"] - found[f"{none} spearman plain"], -0.01),
        claim("(e) NDCG@20 with gamma_item = 0 - without", ndcg["plain"] - ndcg["without"], -1e-6, 1e-6),
    ]
