"""One forward pass over a batch: rows looked up, inputs made, both paths scored. It changes nothing, and keeps what an update needs.

Shapes: B examples, W of them scored for all tasks (the others are compared within their slates, which needs the rank head alone),
C columns (fields, then bags), P inputs of the popularity effect, L behaviours, S halves (see batch.py), D embedding, N occurrences of ids
in a batch (of towers: domains), M numbers, T tasks.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from online_model import id_cross, liked, popularity_effect
from online_model.batch import Batch
from online_model.embedding import RowLookup
from online_model.features import BAG_LIMIT, BAGS, COUNTS, FIELDS, SCOPES, TASKS
from online_model.model_settings import LOGIT_CLIP
from online_model.model_state import ModelState
from online_model.numeric import ITEM_LIFTS, numbers, trust
from online_model.ranker import FAMILIES, Inputs, Scores
from online_model.wide import present

Array = np.ndarray

COLUMNS = len(FIELDS) + len(BAGS) * BAG_LIMIT
_USER, _ITEM, _DOMAIN = (FIELDS.index(name) for name in ("user", "item", "domain"))
_DAY_S = 86_400.0
_NONE, _ZERO = np.zeros(0, np.int64), np.zeros(1, np.uint64)


@dataclass(slots=True)
class Lookups:
    """Keys of a batch in each table that steps learn by gradient."""

    ids: RowLookup
    wide: RowLookup
    cross: RowLookup
    feed: RowLookup


@dataclass(slots=True)
class ItemPopularity:
    """Inputs of the popularity effect for a batch; no columns (P = 0) where the causal part is off."""

    raw: Array  # [W, P]
    now: Tensor  # [W, P], standardised
    moved: Tensor  # [W, P], how much that differs from the item's level; 0 where there is no level yet
    kept: Tensor | None  # [B, T], what popularity has left in the items' own rates


@dataclass(slots=True)
class ForwardPass:
    """What one pass over a batch leaves for the update."""

    lookups: Lookups
    own: Array  # int64, the occurrences among the ids of users' rows in domains that they have been to
    numbers: Tensor  # [W, M]
    popularity: ItemPopularity
    scores: Scores
    paths: Tensor  # [2, W, T], logits of the linear path and of the deep one
    added: Tensor  # [2, W, T], of which: what the user adds, what popularity adds
    place: Array  # int64 [W], of the candidates' domains


def forward(state: ModelState, batch: Batch, whole: int, learns: bool) -> ForwardPass:
    """Score the first `whole` examples for all tasks, the others by the rank head alone."""
    if state.device.type != "cpu":
        batch = batch.apart()  # elsewhere gradients of shared halves would be added up in any order
    n, s = len(batch), state.settings
    columns = np.concatenate([batch.fields, batch.bags.reshape(n, -1)], 1)
    if not state.uses_ranker:
        return _linear(state, batch, columns[:whole], learns)
    target = state.domains.places(batch.fields[:, _DOMAIN])
    lookups = Lookups(
        ids=state.find(state.ids, _id_keys(state, batch, columns), learns),
        wide=_wide(state, columns[:whole], learns),
        cross=state.find(state.cross, batch.fields[:, _ITEM] if s.id_cross else _ZERO, learns),
        feed=state.find(state.feed, np.ascontiguousarray(batch.history[:, 0]).reshape(-1) if s.id_cross else _ZERO, learns),
    )
    for lookup in (lookups.ids, lookups.cross, lookups.feed):
        lookup.values.requires_grad_()
    domain_visits = _domain_visits(state.domains.places(batch.domains), batch.domain_exposures, s.domain_places)
    popularity = _popularity(state, batch, whole)
    x = _inputs(state, batch, whole, lookups, domain_visits, target, popularity.kept)
    scores = state.ranker(x)
    figures = x.numbers[:whole]
    with torch.no_grad():
        linear = _linear_logits(state, figures, lookups.wide)
        user = scores.user if scores.user is not None else torch.zeros_like(linear)
        added = torch.stack([user, state.effect(popularity.now) if s.causal else torch.zeros_like(linear)])
        paths = torch.stack([linear, scores.deep]) + (state.base_logits() + added.sum(0))
        paths.clamp_(-LOGIT_CLIP, LOGIT_CLIP)
    own = _NONE
    if s.cross_domain:
        visited = domain_visits[..., 1] > 0
        visited[batch.owner if batch.owner is not None else np.arange(n) % len(domain_visits), target] = True
        own = len(lookups.ids.seen.inverse) - visited.size + np.flatnonzero(visited)
    return ForwardPass(lookups, own, figures, popularity, scores, paths, added, target[:whole])


def blended(state: ModelState, run: ForwardPass) -> Tensor:
    """Logits [W, T] of both paths together, float64."""
    linear, deep = run.paths
    return state.blend(linear, deep) if state.settings.deep else linear.double()


def with_other_domains(state: ModelState, run: ForwardPass, z: Tensor) -> Tensor:
    """Logits [W, T] with what the user did in other domains, by the share that it has earned."""
    return z if run.scores.transfer is None else state.cross_domain_blend(z, run.scores.transfer.detach(), run.place)


def _id_keys(state: ModelState, batch: Batch, columns: Array) -> Array:
    """Keys of all rows of ids that a batch reads [N], in the order in which `_inputs` splits them."""
    s = state.settings
    keys = [columns.reshape(-1), batch.history.reshape(-1)]
    if s.related:
        keys.append(batch.related.reshape(-1))
    if s.cross_domain:
        users = batch.fields[batch.first(), _USER]
        own = state.domains.own_rows(users) if s.domain_rows else np.repeat(users[:, None], s.domain_places, 1)
        keys.append(own.reshape(-1))
    return np.concatenate(keys)


def _wide(state: ModelState, columns: Array, learns: bool) -> RowLookup:
    """Rows of the linear path: every id of the columns [W, C], and pairs of them."""
    keys = present(state.pair_keys(columns)).reshape(-1) if state.settings.wide else _ZERO
    return state.find(state.wide, keys, learns)


def _linear_logits(state: ModelState, figures: Tensor, wide: RowLookup) -> Tensor:
    """Numbers [W, M] and rows of the linear path -> its logits [W, T]."""
    linear = state.number_weights(figures)
    if state.settings.wide and len(figures):
        linear += wide.values.view(len(figures), -1, len(TASKS)).sum(1)
    return linear


def _linear(state: ModelState, batch: Batch, columns: Array, learns: bool) -> ForwardPass:
    """The pass without the ranker: the deep path repeats the linear one, and ranks are 0."""
    n, s = len(columns), state.settings
    ids, cross, feed = (state.find(table, _ZERO, learns) for table in (state.ids, state.cross, state.feed))
    lookups = Lookups(ids, _wide(state, columns, learns), cross, feed)
    figures = state.to(numbers(batch, state.base.rates(), s.count_strength)[:n])
    with torch.no_grad():
        linear = _linear_logits(state, figures, lookups.wide)
        paths = (linear + state.base_logits()).clamp_(-LOGIT_CLIP, LOGIT_CLIP).expand(2, -1, -1)
    scores = Scores(linear, linear.new_zeros(len(batch)), None, None, linear)
    return ForwardPass(lookups, _NONE, figures, _popularity(state, batch, n), scores, paths, torch.zeros_like(paths), _NONE)


def _popularity(state: ModelState, batch: Batch, whole: int) -> ItemPopularity:
    if not state.settings.causal:
        none = np.zeros((whole, 0), np.float32)
        return ItemPopularity(none, state.to(none), state.to(none), None)
    raw = popularity_effect.inputs(batch)[:whole]
    levels, known = state.levels(batch.fields[:, _ITEM])
    now, level = state.effect.standardised(raw), state.effect.standardised(levels) * known
    share = trust(batch.counts[:, SCOPES.index("item"), [COUNTS.index("exposures")]], state.settings.count_strength)
    kept = state.effect(state.to(level)) * state.to(share)
    return ItemPopularity(raw, state.to(now), state.to((now - level[:whole]) * known[:whole]), kept)


def _inputs(
    state: ModelState, batch: Batch, whole: int, lookups: Lookups, domain_visits: Array, target: Array, kept: Tensor | None
) -> Inputs:  # fmt: skip
    """Rows at all occurrences and the batch's numbers, as the blocks want them."""
    s, n, (shared, _, length) = state.settings, len(batch), batch.history.shape
    rows = lookups.ids.values
    dim, related, places = rows.shape[1], batch.related.shape[1] if s.related else 0, s.domain_places
    sizes = [n * COLUMNS, shared * FAMILIES * length, n * related, len(domain_visits) * places * s.cross_domain]
    columns, history, near, own = rows.split(sizes)
    columns, history = columns.view(n, COLUMNS, dim), history.view(shared, FAMILIES, length, dim)
    there = batch.history != 0
    figures = state.to(numbers(batch, state.base.rates(), s.count_strength))
    if kept is not None:
        figures[:, ITEM_LIFTS] -= kept
    return Inputs(
        fields=columns[:, : len(FIELDS)],
        bags=columns[:, len(FIELDS) :].view(n, len(BAGS), BAG_LIMIT, -1),
        bag_sizes=state.to(np.maximum((batch.bags != 0).sum(2, keepdims=True), 1).astype(np.float32)),
        history=history.transpose(0, 1),
        action=state.to(batch.action.transpose(1, 0, 2).astype(np.int64)),
        age_s=state.to(np.ascontiguousarray(batch.age_s.transpose(1, 0, 2))),
        there=state.to(np.ascontiguousarray(there.transpose(1, 0, 2))),
        numbers=figures,
        lasting=figures * state.lasting if state.lasting is not None else figures,
        related=near.view(1, n, related, dim),
        related_action=state.to(batch.related_action[None].astype(np.int64)),
        related_age_s=state.to(batch.related_age_s[None]),
        related_there=state.to(batch.related[None] != 0),
        cross=lookups.cross.values,
        feed=lookups.feed.values.view(-1, length if s.id_cross else 1, id_cross.FEED),
        own=own.view(len(domain_visits), -1, dim),
        liked=_liked(state, batch, history[:, 0].detach(), there[:, 0]) if s.cross_domain else own,
        domain_visits=state.to(domain_visits),
        target=state.to(target),
        owner=state.to(batch.owner) if batch.owner is not None else None,
        first=state.to(batch.first()) if batch.owner is not None else None,
        whole=whole,
    )


def _liked(state: ModelState, batch: Batch, rows: Tensor, there: Array) -> Tensor:
    """Decayed mean of the rows [S, L, D] of what was liked, by domain [S, N, D]."""
    s, place = state.settings, state.domains.places(batch.where[:, 0])
    each = liked.shares(place, batch.age_s[:, 0], there, s.domain_places, s.liked_half_life_d * _DAY_S)
    return torch.matmul(state.to(each), rows)


def _domain_visits(place: Array, exposures: Array, places: int) -> Array:
    """Places [S, M] and decayed exposures [S, M] of a user's domains -> [S, N, 2]: log count, and 1 where there is one."""
    out = np.zeros((len(place), places, 2), np.float32)
    np.add.at(out[..., 0], (np.arange(len(place))[:, None], place), exposures)
    out[..., 1] = out[..., 0] > 0
    out[..., 0] = np.log1p(np.maximum(out[..., 0], 0)) / 4
    return out
