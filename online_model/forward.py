"""One pass over a batch: rows looked up, inputs made, both paths scored. What it leaves is what an update needs.

Functions beside the trainer, whose tables and parameters they read; a pass changes nothing.
Shapes: B examples, W of them learned from (the others are compared within their lists, which asks nothing of tasks and linear path),
C columns (fields, then bags), P inputs of the popularity effect, L behaviours, S halves (see batch.py), D embedding, N occurrences of ids
in a batch (of towers: domains), T tasks.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from online_model import id_cross, liked, popularity_effect
from online_model.batch import Batch
from online_model.embedding import Occurrences
from online_model.features import BAG_LIMIT, BAGS, COUNTS, FIELDS, SCOPES, TASKS
from online_model.numeric import ITEM_LIFTS, numbers, trust
from online_model.ranker import FAMILIES, Inputs, Scores
from online_model.wide import present

if TYPE_CHECKING:
    from online_model.trainer import Trainer

Array = np.ndarray

COLUMNS = len(FIELDS) + len(BAGS) * BAG_LIMIT
_USER, _ITEM, _DOMAIN = (FIELDS.index(name) for name in ("user", "item", "domain"))
_DAY_S = 86_400.0
_NONE, _ZERO = np.zeros(0, np.int64), np.zeros(1, np.uint64)


@dataclass(slots=True)
class RowLookup:
    """Keys of a batch in one table: where they occur, their rows (0 = none), and the values at each occurrence."""

    seen: Occurrences
    rows: Array
    values: Tensor  # [N, W]


@dataclass(slots=True)
class Popular:
    """What is known of the popularity of a batch's items; no columns (P = 0) where the causal part is off."""

    raw: Array  # [W, P], inputs of the popularity effect
    now: Tensor  # [W, P], standardised
    moved: Tensor  # [W, P], by how much that differs from the item's level; 0 where there is no level yet
    kept: Tensor | None  # [B, T], what popularity has left in the items' own rates


@dataclass(slots=True)
class ForwardPass:
    """What one pass over a batch leaves for the update."""

    ids: RowLookup
    own: Array  # int64, the occurrences in `ids` of users' rows in domains that they have been to
    wide: RowLookup
    cross: RowLookup
    feed: RowLookup
    numbers: Tensor  # [W, M]
    popular: Popular
    scores: Scores
    paths: Tensor  # [2, W, T], logits of the linear path and of the deep one
    added: Tensor  # [2, W, T], of which: what the user adds, what popularity adds
    place: Array  # int64 [W], of the candidates' domains


def run(trainer: Trainer, batch: Batch, whole: int, learns: bool) -> ForwardPass:
    """`whole`: so many examples, the first, are asked for all that is predicted."""
    if trainer.device.type != "cpu":
        batch = batch.apart()  # elsewhere gradients of shared halves would be added up in any order
    n, s = len(batch), trainer.settings
    columns = np.concatenate([batch.fields, batch.bags.reshape(n, -1)], 1)
    if not trainer.ranks:
        return _linear(trainer, batch, columns[:whole], learns)
    place, target, first = trainer.domains.places(batch.domains), trainer.domains.places(batch.fields[:, _DOMAIN]), batch.first()
    flat = [columns.reshape(-1), batch.history.reshape(-1)]
    flat += [batch.related.reshape(-1)] if s.related else []
    users = batch.fields[first, _USER]
    own = trainer.domains.own_rows(users) if s.domain_rows else np.repeat(users[:, None], s.domain_places, 1)
    flat += [own.reshape(-1)] if s.cross_domain else []
    ids = trainer.find(trainer.ids, np.concatenate(flat), learns)
    wide = trainer.find(trainer.wide, present(trainer.pair_keys(columns[:whole])).reshape(-1) if s.wide else _ZERO, learns)
    cross = trainer.find(trainer.cross, batch.fields[:, _ITEM] if s.id_cross else _ZERO, learns)
    feed = trainer.find(trainer.feed, np.ascontiguousarray(batch.history[:, 0]).reshape(-1) if s.id_cross else _ZERO, learns)
    for found in (ids, cross, feed):
        found.values.requires_grad_()
    domain_visits = _domain_visits(place, batch.domain_exposures, s.domain_places)
    popular = _popular(trainer, batch, whole)
    x = _inputs(trainer, batch, whole, ids.values, cross.values, feed.values, domain_visits, target, first, popular.kept)
    scores = trainer.ranker(x)
    numbers = x.numbers[:whole]
    with torch.no_grad():
        linear = trainer.number_weights(numbers)
        if s.wide and whole:
            linear += wide.values.view(whole, -1, len(TASKS)).sum(1)
        user = scores.user if scores.user is not None else torch.zeros_like(linear)
        added = torch.stack([user, trainer.effect(popular.now) if s.causal else torch.zeros_like(linear)])
        paths = torch.stack([linear, scores.deep]) + (trainer.base_logits() + added.sum(0))
        paths.clamp_(-s.logit_clip, s.logit_clip)
    somewhere = domain_visits[..., 1] > 0
    somewhere[batch.owner if batch.owner is not None else np.arange(n) % len(domain_visits), target] = True
    own_rows = len(ids.seen.inverse) - somewhere.size + np.flatnonzero(somewhere) if s.cross_domain else _NONE
    return ForwardPass(ids, own_rows, wide, cross, feed, numbers, popular, scores, paths, added, target[:whole])


def _linear(trainer: Trainer, batch: Batch, columns: Array, learns: bool) -> ForwardPass:
    """Without the ranker: as if it said what the linear path says, and of ranks nothing."""
    n, s = len(columns), trainer.settings
    ids, cross, feed = (trainer.find(table, _ZERO, learns) for table in (trainer.ids, trainer.cross, trainer.feed))
    wide = trainer.find(trainer.wide, present(trainer.pair_keys(columns)).reshape(-1) if s.wide else _ZERO, learns)
    figures = trainer.to(numbers(batch, trainer.base.rates(), s.count_strength)[:n])
    with torch.no_grad():
        linear = trainer.number_weights(figures)
        if s.wide and n:
            linear += wide.values.view(n, -1, len(TASKS)).sum(1)
        paths = (linear + trainer.base_logits()).clamp_(-s.logit_clip, s.logit_clip).expand(2, -1, -1)
    scores = Scores(linear, linear.new_zeros(len(batch)), None, None, linear)
    return ForwardPass(ids, _NONE, wide, cross, feed, figures, _popular(trainer, batch, n), scores, paths, torch.zeros_like(paths), _NONE)


def _popular(trainer: Trainer, batch: Batch, whole: int) -> Popular:
    if not trainer.settings.causal:
        none = np.zeros((whole, 0), np.float32)
        return Popular(none, trainer.to(none), trainer.to(none), None)
    raw = popularity_effect.inputs(batch)[:whole]
    levels, known = trainer.levels(batch.fields[:, _ITEM])
    now, level = trainer.effect.standardised(raw), trainer.effect.standardised(levels) * known
    share = trust(batch.counts[:, SCOPES.index("item"), [COUNTS.index("exposures")]], trainer.settings.count_strength)
    kept = trainer.effect(trainer.to(level)) * trainer.to(share)
    return Popular(raw, trainer.to(now), trainer.to((now - level[:whole]) * known[:whole]), kept)


def blended(trainer: Trainer, run: ForwardPass) -> Tensor:
    """Logits [W, T] of both paths together, float64."""
    linear, deep = run.paths
    return trainer.blend(linear, deep) if trainer.settings.deep else linear.double()


def with_heard(trainer: Trainer, run: ForwardPass, z: Tensor) -> Tensor:
    """Logits [W, T] with what other domains say of the user, by the share that it has earned."""
    return z if run.scores.heard is None else trainer.hearsay(z, run.scores.heard.detach(), run.place)


def _inputs(
    trainer: Trainer, batch: Batch, whole: int, rows: Tensor, cross: Tensor, feed: Tensor, domain_visits: Array, target: Array,
    first: Array, kept: Tensor | None,
) -> Inputs:  # fmt: skip
    """Rows at all occurrences [N, D] and the batch's numbers, as the blocks want them."""
    n, (shared, _, length), dim = len(batch), batch.history.shape, rows.shape[1]
    related, places = batch.related.shape[1] if trainer.settings.related else 0, trainer.settings.domain_places
    sizes = [n * COLUMNS, shared * FAMILIES * length, n * related, len(domain_visits) * places * trainer.settings.cross_domain]
    columns, history, near, own = rows.split(sizes)
    columns, history = columns.view(n, COLUMNS, dim), history.view(shared, FAMILIES, length, dim)
    there = batch.history != 0
    figures = trainer.to(numbers(batch, trainer.base.rates(), trainer.settings.count_strength))
    if kept is not None:
        figures[:, ITEM_LIFTS] -= kept
    return Inputs(
        fields=columns[:, : len(FIELDS)],
        bags=columns[:, len(FIELDS) :].view(n, len(BAGS), BAG_LIMIT, -1),
        bag_sizes=trainer.to(np.maximum((batch.bags != 0).sum(2, keepdims=True), 1).astype(np.float32)),
        history=history.transpose(0, 1),
        action=trainer.to(batch.action.transpose(1, 0, 2).astype(np.int64)),
        age_s=trainer.to(np.ascontiguousarray(batch.age_s.transpose(1, 0, 2))),
        there=trainer.to(np.ascontiguousarray(there.transpose(1, 0, 2))),
        numbers=figures,
        lasting=figures * trainer.lasting if trainer.lasting is not None else figures,
        related=near.view(1, n, related, dim),
        related_action=trainer.to(batch.related_action[None].astype(np.int64)),
        related_age_s=trainer.to(batch.related_age_s[None]),
        related_there=trainer.to(batch.related[None] != 0),
        cross=cross,
        feed=feed.view(-1, length if trainer.settings.id_cross else 1, id_cross.FEED),
        own=own.view(len(domain_visits), -1, dim),
        liked=_liked(trainer, batch, history[:, 0].detach(), there[:, 0]) if trainer.settings.cross_domain else own,
        domain_visits=trainer.to(domain_visits),
        target=trainer.to(target),
        owner=trainer.to(batch.owner) if batch.owner is not None else None,
        first=trainer.to(first) if batch.owner is not None else None,
        whole=whole,
    )


def _liked(trainer: Trainer, batch: Batch, rows: Tensor, there: Array) -> Tensor:
    """Decayed mean of the rows [S, L, D] of what was liked, by domain [S, N, D]."""
    s, place = trainer.settings, trainer.domains.places(batch.where[:, 0])
    each = liked.shares(place, batch.age_s[:, 0], there, s.domain_places, s.liked_half_life_d * _DAY_S)
    return torch.matmul(trainer.to(each), rows)


def _domain_visits(place: Array, exposures: Array, places: int) -> Array:
    """Places [S, M] and decayed exposures [S, M] of a user's domains -> [S, N, 2]: log count, and 1 where there is one."""
    out = np.zeros((len(place), places, 2), np.float32)
    np.add.at(out[..., 0], (np.arange(len(place))[:, None], place), exposures)
    out[..., 1] = out[..., 0] > 0
    out[..., 0] = np.log1p(np.maximum(out[..., 0], 0)) / 4
    return out
