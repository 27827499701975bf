"""One step of learning: a batch in, predictions made before it and one update out.

Shapes: B examples, W of them learned from (the others are compared within their lists, which asks nothing of tasks and linear path),
C columns (fields, then bags), A families, L behaviours, D embedding, P wide keys an example, N occurrences of ids in a batch, T tasks.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from online_model import id_cross, pairs, popularity_effect, trainer_state
from online_model.adam import Adam
from online_model.base_rates import BaseRates
from online_model.batch import Batch
from online_model.blend import Blend, Hearsay
from online_model.domains import Domains
from online_model.embedding import Admission, Occurrences, Table, occurrences, summed
from online_model.features import BAG_LIMIT, BAGS, COUNTS, FIELDS, SCOPES, TASKS
from online_model.gate_watch import LOOK_MS
from online_model.last_good import LastGood
from online_model.levels import Levels
from online_model.losses import log_loss, logit_gradient, pair_loss
from online_model.model_settings import ModelSettings
from online_model.numeric import ITEM_LIFTS, momentary, numbers, trust
from online_model.pairs import TierWeights
from online_model.platt import Platt
from online_model.popularity_effect import MOVED, PopularityEffect
from online_model.ranker import FAMILIES, Inputs, Ranker, Scores
from online_model.rows import Rows
from online_model.wide import NumberWeights, PairKeys, present

Array = np.ndarray

_COLUMNS = len(FIELDS) + len(BAGS) * BAG_LIMIT
_USER, _ITEM, _DOMAIN = (FIELDS.index(name) for name in ("user", "item", "domain"))
_LIKED_S = 7 * 86_400.0  # half-life of what a user liked in a domain
_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000
_NONE, _ZERO = np.zeros(0, np.int64), np.zeros(1, np.uint64)


@dataclass(slots=True)
class Prediction:
    """Before any learning from these examples."""

    logits: Array  # float32 [B, T], uncalibrated
    probabilities: Array  # float32 [B, T], calibrated
    rank: Array  # float32 [B], the rank head; its differences within a list count
    user: Array  # float32 [B, T], the part of the logits that the user adds whatever is shown
    popularity: Array  # float32 [B, T], the part that the items' momentary popularity adds, before it was taken away


@dataclass(slots=True)
class StepReport:
    """What was predicted, and what the update did."""

    logits: Array  # float32 [W, T]
    probabilities: Array  # float32 [W, T]
    loss: float  # calibrated log loss summed over tasks, mean over examples
    grad_norm: float  # of the batch's mean dense gradient before clipping
    skipped: str | None  # why nothing was learned
    touched: dict[str, Array]  # table -> keys (uint64) whose rows changed or went
    rolled_back: bool = False  # this skip was one too many: the last good state is back
    gates: tuple[Array, Array] | None = None  # once a minute: mean gates [T + 1, 1 + S] and their entropies [T + 1]


@dataclass(slots=True)
class _Found:
    """Keys of a batch in one table: where they occur, their rows (0 = none), and the values at each occurrence."""

    seen: Occurrences
    rows: Array
    values: Tensor  # [N, W]


@dataclass(slots=True)
class _Popular:
    """What is known of the popularity of a batch's items; no columns (P = 0) where the causal part is off."""

    raw: Array  # [W, P], inputs of the popularity effect
    now: Tensor  # [W, P], standardised
    moved: Tensor  # [W, P], by how much that differs from the item's level; 0 where there is no level yet
    kept: Tensor | None  # [B, T], what popularity has left in the items' own rates


@dataclass(slots=True)
class _Pass:
    """What one pass over a batch leaves for the update."""

    ids: _Found
    own: Array  # int64, the occurrences in `ids` of users' rows in domains that they have been to
    wide: _Found
    cross: _Found
    feed: _Found
    numbers: Tensor  # [W, M]
    popular: _Popular
    scores: Scores
    paths: Tensor  # [2, W, T], logits of the linear path and of the deep one
    added: Tensor  # [2, W, T], of which: what the user adds, what popularity adds
    place: Array  # int64 [W], of the candidates' domains


class Trainer:
    """Parameters, optimizer and tables, on one device."""

    def __init__(self, settings: ModelSettings, device: str = "cpu") -> None:
        self.settings = s = settings
        self.device = torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(s.seed)
            self.ranker = Ranker(s)
        self.ranker.to(self.device)
        self._parameters = list(self.ranker.parameters())
        self.flat = torch.cat([p.detach().reshape(-1) for p in self._parameters]).to(self.device)
        at = 0
        for parameter in self._parameters:  # views of one buffer, so that Adam is one operation
            parameter.data = self.flat[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
        self._gradient = torch.empty_like(self.flat)  # of a step: fresh memory would cost more than what is done with it
        self.dense = Adam(self.flat, s.dense_rate, s.dense_betas, s.dense_batch, s.clip_norm)
        expire, floor = int(s.expire_d * _DAY_MS), int(s.floor_h * _HOUR_MS)
        self.ids = Table(
            Rows(s.id_capacity, expire, floor),
            s.embedding_dim,
            spread=s.row_spread,
            start=s.row_start,
            per_element=False,
            seed=s.seed,
            device=self.device,
        )
        self.wide = Table(
            Rows(s.wide_capacity, expire, floor),
            len(TASKS),
            spread=0.0,
            start=s.wide_start,
            per_element=True,  # the rare tasks' gradients would vanish under a square shared with the frequent ones
            seed=s.seed,
            device=self.device,
        )
        self.cross, self.feed = (
            Table(
                Rows(s.id_capacity, expire, floor), width, spread=spread, start=s.row_start, per_element=False, seed=s.seed,
                device=self.device, unborn=False,
            )
            for width, spread in ((id_cross.WIDTH, id_cross.SPREAD), (id_cross.FEED, id_cross.FEED**-0.5))
        )  # fmt: skip
        self.domains = Domains(s.domain_places)
        self.effect = PopularityEffect(s.effect_rate, s.effect_start, self.device)
        self.levels = Levels(Rows(s.id_capacity, expire, floor), len(popularity_effect.INPUTS))
        self.tier_weights = TierWeights()
        self.waiting = Admission(Rows(s.id_capacity, expire, floor))
        self.number_weights = NumberWeights(s.number_lifts, s.number_rate, s.number_start, self.device)
        if s.causal:  # else the linear path would take over what popularity adds
            moved = torch.tensor([t in MOVED for t in TASKS])
            self.number_weights.mask = (1 - momentary()[:, None] * moved).to(self.device)
        self._lasting = (1 - momentary()).to(self.device) if s.causal else None
        self.blend = Blend(len(TASKS))
        self.hearsay = Hearsay(s.domain_places, len(TASKS))
        self.platt = Platt(len(TASKS))
        self.base = BaseRates()
        self.skipped = 0
        self.swept_ms = 0
        self.looked_ms = 0  # at the gates
        self.haste = 1.0  # times the rates of rows and of the dense part; whoever asks for steps sets it, it is no part of the state
        self._pair_keys = PairKeys()
        self._ranks = s.deep or s.causal or s.pairs > 0  # else nobody asks the ranker
        self.last_good = LastGood(trainer_state.dense_arrays(self))

    def predict(self, batch: Batch, gamma_user: float = 0.0, gamma_item: float = 0.0) -> Prediction:
        """Score a batch; changes nothing. The gammas are shares of the user's and of popularity's part to be taken away.

        Popularity's part is replaced by its mean over what is exposed, which is 0 (MODEL.md section 4).
        """
        with torch.inference_mode():
            run = self._run(batch, len(batch), learns=False)
            z = self._with_heard(run, self._blended(run))
            user, popularity = run.added.numpy(force=True)
            rank = run.scores.rank.numpy(force=True)
        if gamma_user or gamma_item:
            z = z - gamma_user * user.astype(np.float64) - gamma_item * popularity.astype(np.float64)
        return Prediction(z.astype(np.float32), self._probabilities(z), rank, user, popularity)

    def step(self, batch: Batch, now_ms: int) -> StepReport:
        """Predict, then learn from the batch once."""
        self.dense.rate = self.haste * self.settings.dense_rate
        n = batch.learned
        run = self._run(batch, n, learns=True)
        alone = self._blended(run)
        z = self._with_heard(run, alone)
        logits, probabilities = z.astype(np.float32), self._probabilities(z)
        labels, sign = self._to(batch.labels[:n]), self._to(batch.sign[:n])
        stands_for = self._to((batch.is_example[:n] / batch.weight[:n])[:, None])
        better, worse = pairs.pairs(batch.tier, batch.lists, self.settings.seed) if self.settings.pairs else (_NONE, _NONE)
        with torch.no_grad():
            linear, deep = logit_gradient(run.paths, labels, sign, stands_for)
            common = logit_gradient(self._to(z.astype(np.float32)), labels, sign, stands_for)
        outputs, gradients = [run.scores.deep], [deep]
        if run.scores.user is not None:
            with torch.no_grad():
                by_itself = logit_gradient(run.scores.user + self._base(), labels, sign, stands_for)
            outputs.append(run.scores.user)
            gradients.append(common + self.settings.user_effect_alone * by_itself)
        if run.scores.heard is not None:  # learns what the rest leaves over, whatever its share
            with torch.no_grad():
                outputs.append(run.scores.heard)
                gradients.append(logit_gradient(self._to(alone.astype(np.float32)) + run.scores.heard, labels, sign, stands_for))
        if len(better):
            omega = self.tier_weights(batch.tier[better], batch.tier[worse])
            ordered = pair_loss(run.scores.rank, self._to(better), self._to(worse), self._to(omega))
            outputs.append(ordered)
            gradients.append(torch.full_like(ordered, self.settings.pairs * (len(batch) - n)))
        if self.ranker.domains is not None and self.settings.map_penalty and self.domains.n > 1:
            penalty = self.ranker.domains.penalty(self.domains.n)
            outputs.append(penalty)
            gradients.append(torch.full_like(penalty, self.settings.map_penalty * len(batch)))
        leaves = [run.ids.values, run.cross.values, run.feed.values]
        if self._ranks:
            rows, cross, feed, *dense = torch.autograd.grad(
                outputs, [*leaves, *self._parameters], gradients, allow_unused=True, materialize_grads=True
            )
        else:
            rows, cross, feed, *dense = (torch.zeros_like(leaf) for leaf in [*leaves, self.flat[:0]])
        with torch.no_grad():
            gradient = torch.cat([g.reshape(-1) for g in dense], out=self._gradient if self._ranks else None)
            norm, *sums = torch.stack([gradient.norm(), rows.sum(), cross.sum(), feed.sum(), linear.sum()]).tolist()
            if not (np.isfinite([norm, *sums]).all() and np.isfinite(z).all()):
                self.skipped += 1
                back = self.last_good.give_up()
                touched = trainer_state.roll_back(self) if back else {}
                return StepReport(logits, probabilities, float("nan"), norm, "non-finite gradient", touched, back)
            touched = self._learn_ids(batch, run, rows, now_ms) if self._ranks else {}
            if self.settings.id_cross and self._ranks:
                touched |= self._learn_cross(run, cross, feed, now_ms)
            touched["wide"] = self._learn_wide(run, linear, now_ms)
            if self.settings.causal:
                self.effect.learn(run.popular.moved, common)
                exposed = np.flatnonzero(batch.is_example[:n])
                raw, each = run.popular.raw[exposed], 1 / batch.weight[exposed]
                self.effect.see(raw, now_ms, each)
                touched["levels"] = self.levels.see(batch.fields[exposed, _ITEM], raw, each, now_ms)
            if self._ranks:
                self.dense.take(gradient, len(batch))
            gone = self._sweep(now_ms)  # after the batch's own rows were used: their numbers must hold until here
        self.domains.learn(batch.fields[:, _DOMAIN])
        self.tier_weights.add(batch.tier[better], batch.tier[worse], now_ms)
        loss = self._calibrate(batch, run, z, now_ms)
        touched = {name: np.concatenate([keys, gone[name]]) for name, keys in touched.items()}
        if self.last_good.due():
            self.last_good.keep(trainer_state.dense_arrays(self))
        return StepReport(logits, probabilities, loss, norm / len(batch), None, touched, gates=self._look(run, now_ms))

    def rehearse(self, batch: Batch) -> None:
        """Move the dense part by examples that were learned before; rows overfit at second sight, so they and all else stay."""
        if not self._ranks:
            return
        run = self._run(batch, len(batch), learns=True)
        stands_for = self._to((batch.is_example / batch.weight)[:, None])
        with torch.no_grad():
            _, deep = logit_gradient(run.paths, self._to(batch.labels), self._to(batch.sign), stands_for)
        parts = torch.autograd.grad([run.scores.deep], self._parameters, [deep], allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            gradient = torch.cat([g.reshape(-1) for g in parts], out=self._gradient)
            if np.isfinite(gradient.norm().item()):
                self.dense.take(gradient, len(batch))

    def forget(self, keys: Array) -> dict[str, Array]:
        """Drop the rows of erased ids (pairs with them are only known by their mixed keys: they expire)."""
        self.waiting.rows.remove(keys)
        self.ids.rows.remove(keys)
        self.wide.rows.remove(keys)
        self.levels.table.rows.remove(keys)
        return {"ids": keys, "wide": keys, "levels": keys}

    def delta(self, touched: dict[str, Array], dense: bool) -> bytes:
        """Rows of the touched keys as they stand now, tombstones for those that went, and the dense part if wanted."""
        return trainer_state.delta(self, touched, dense)

    def apply_delta(self, data: bytes) -> None:
        """Follow a trainer by its delta: predictions become its predictions, optimizer state does not follow."""
        trainer_state.apply_delta(self, data)

    def arrays(self) -> dict[str, Array]:
        """Every array of the state, for a checkpoint."""
        return trainer_state.arrays(self)

    def meta(self) -> dict[str, Any]:
        """The rest of the state, and the settings it belongs to."""
        return trainer_state.meta(self)

    def load(self, arrays: dict[str, Array], meta: dict[str, Any]) -> None:
        """The state that `arrays` and `meta` gave, of a trainer with the same settings."""
        trainer_state.load(self, arrays, meta)

    def digest(self) -> str:
        """Of the whole state, 32 hex digits."""
        return trainer_state.digest(self)

    def tables(self) -> dict[str, Table]:
        """By name."""
        return {"ids": self.ids, "wide": self.wide, "cross": self.cross, "feed": self.feed, "levels": self.levels.table}

    def _find(self, table: Table, flat: Array, learns: bool) -> _Found:
        seen = occurrences(flat, stable=learns)
        rows = table.rows.find(seen.keys)
        return _Found(seen, rows, table.read(seen.keys, rows).index_select(0, self._to(seen.inverse)))

    def _base(self) -> Tensor:
        return self._to(self.base.logits().astype(np.float32))

    def _run(self, batch: Batch, whole: int, learns: bool) -> _Pass:
        """`whole`: so many examples, the first, are asked for all that is predicted."""
        if self.device.type != "cpu":
            batch = batch.apart()  # elsewhere gradients of shared halves would be added up in any order
        n, s = len(batch), self.settings
        columns = np.concatenate([batch.fields, batch.bags.reshape(n, -1)], 1)
        if not self._ranks:
            return self._linear(batch, columns[:whole], learns)
        place, target, first = self.domains.places(batch.domains), self.domains.places(batch.fields[:, _DOMAIN]), batch.first()
        flat = [columns.reshape(-1), batch.history.reshape(-1)]
        flat += [batch.related.reshape(-1)] if s.related else []
        users = batch.fields[first, _USER]
        own = self.domains.own_rows(users) if s.domain_rows else np.repeat(users[:, None], s.domain_places, 1)
        flat += [own.reshape(-1)] if s.cross_domain else []
        ids = self._find(self.ids, np.concatenate(flat), learns)
        wide = self._find(self.wide, present(self._pair_keys(columns[:whole])).reshape(-1) if s.wide else _ZERO, learns)
        cross = self._find(self.cross, batch.fields[:, _ITEM] if s.id_cross else _ZERO, learns)
        feed = self._find(self.feed, np.ascontiguousarray(batch.history[:, 0]).reshape(-1) if s.id_cross else _ZERO, learns)
        for found in (ids, cross, feed):
            found.values.requires_grad_()
        been = _been(place, batch.domain_exposures, s.domain_places)
        popular = self._popular(batch, whole)
        x = self._inputs(batch, whole, ids.values, cross.values, feed.values, been, target, first, popular.kept)
        scores = self.ranker(x)
        numbers = x.numbers[:whole]
        with torch.no_grad():
            linear = self.number_weights(numbers)
            if s.wide and whole:
                linear += wide.values.view(whole, -1, len(TASKS)).sum(1)
            user = scores.user if scores.user is not None else torch.zeros_like(linear)
            added = torch.stack([user, self.effect(popular.now) if s.causal else torch.zeros_like(linear)])
            paths = torch.stack([linear, scores.deep]) + (self._base() + added.sum(0))
            paths.clamp_(-s.logit_clip, s.logit_clip)
        somewhere = been[..., 1] > 0
        somewhere[batch.owner if batch.owner is not None else np.arange(n) % len(been), target] = True
        own_rows = len(ids.seen.inverse) - somewhere.size + np.flatnonzero(somewhere) if s.cross_domain else _NONE
        return _Pass(ids, own_rows, wide, cross, feed, numbers, popular, scores, paths, added, target[:whole])

    def _linear(self, batch: Batch, columns: Array, learns: bool) -> _Pass:
        """Without the ranker: as if it said what the linear path says, and of ranks nothing."""
        n, s = len(columns), self.settings
        ids, cross, feed = (self._find(table, _ZERO, learns) for table in (self.ids, self.cross, self.feed))
        wide = self._find(self.wide, present(self._pair_keys(columns)).reshape(-1) if s.wide else _ZERO, learns)
        figures = self._to(numbers(batch, self.base.rates(), s.count_strength)[:n])
        with torch.no_grad():
            linear = self.number_weights(figures)
            if s.wide and n:
                linear += wide.values.view(n, -1, len(TASKS)).sum(1)
            paths = (linear + self._base()).clamp_(-s.logit_clip, s.logit_clip).expand(2, -1, -1)
        scores = Scores(linear, linear.new_zeros(len(batch)), None, None, linear)
        return _Pass(ids, _NONE, wide, cross, feed, figures, self._popular(batch, n), scores, paths, torch.zeros_like(paths), _NONE)

    def _popular(self, batch: Batch, whole: int) -> _Popular:
        if not self.settings.causal:
            none = np.zeros((whole, 0), np.float32)
            return _Popular(none, self._to(none), self._to(none), None)
        raw = popularity_effect.inputs(batch)[:whole]
        levels, known = self.levels(batch.fields[:, _ITEM])
        now, level = self.effect.standardised(raw), self.effect.standardised(levels) * known
        share = trust(batch.counts[:, SCOPES.index("item"), [COUNTS.index("exposures")]], self.settings.count_strength)
        kept = self.effect(self._to(level)) * self._to(share)
        return _Popular(raw, self._to(now), self._to((now - level[:whole]) * known[:whole]), kept)

    def _blended(self, run: _Pass) -> Array:
        linear, deep = run.paths.numpy(force=True)
        return self.blend(linear, deep) if self.settings.deep else linear.astype(np.float64)

    def _with_heard(self, run: _Pass, z: Array) -> Array:
        return z if run.scores.heard is None else self.hearsay(z, run.scores.heard.numpy(force=True), run.place)

    def _inputs(
        self, batch: Batch, whole: int, rows: Tensor, cross: Tensor, feed: Tensor, been: Array, target: Array, first: Array,
        kept: Tensor | None,
    ) -> Inputs:  # fmt: skip
        """Rows at all occurrences [N, D] and the batch's numbers, as the blocks want them."""
        n, (shared, _, length), dim = len(batch), batch.history.shape, rows.shape[1]
        related, places = batch.related.shape[1] if self.settings.related else 0, self.settings.domain_places
        sizes = [n * _COLUMNS, shared * FAMILIES * length, n * related, len(been) * places * self.settings.cross_domain]
        columns, history, near, own = rows.split(sizes)
        columns, history = columns.view(n, _COLUMNS, dim), history.view(shared, FAMILIES, length, dim)
        there = batch.history != 0
        figures = self._to(numbers(batch, self.base.rates(), self.settings.count_strength))
        if kept is not None:
            figures[:, ITEM_LIFTS] -= kept
        return Inputs(
            fields=columns[:, : len(FIELDS)],
            bags=columns[:, len(FIELDS) :].view(n, len(BAGS), BAG_LIMIT, -1),
            bag_sizes=self._to(np.maximum((batch.bags != 0).sum(2, keepdims=True), 1).astype(np.float32)),
            history=history.transpose(0, 1),
            action=self._to(batch.action.transpose(1, 0, 2).astype(np.int64)),
            age_s=self._to(np.ascontiguousarray(batch.age_s.transpose(1, 0, 2))),
            there=self._to(np.ascontiguousarray(there.transpose(1, 0, 2))),
            numbers=figures,
            lasting=figures * self._lasting if self._lasting is not None else figures,
            related=near.view(1, n, related, dim),
            related_action=self._to(batch.related_action[None].astype(np.int64)),
            related_age_s=self._to(batch.related_age_s[None]),
            related_there=self._to(batch.related[None] != 0),
            cross=cross,
            feed=feed.view(-1, length if self.settings.id_cross else 1, id_cross.FEED),
            own=own.view(len(been), -1, dim),
            liked=self._liked(batch, history[:, 0].detach(), there[:, 0]) if self.settings.cross_domain else own,
            been=self._to(been),
            target=self._to(target),
            owner=self._to(batch.owner) if batch.owner is not None else None,
            first=self._to(first) if batch.owner is not None else None,
            whole=whole,
        )

    def _liked(self, batch: Batch, rows: Tensor, there: Array) -> Tensor:
        """Decayed mean of the rows [S, L, D] of what was liked, by domain [S, N, D]."""
        weight = there * np.exp2(batch.age_s[:, 0] * (-1 / _LIKED_S))
        in_place = self.domains.places(batch.where[:, 0])[..., None] == np.arange(self.settings.domain_places)
        each = (weight[..., None] * in_place).astype(np.float32)  # [S, L, N]
        each /= np.maximum(each.sum(1, keepdims=True), 1e-6)
        return torch.matmul(self._to(np.ascontiguousarray(each.transpose(0, 2, 1))), rows)

    def _learn_ids(self, batch: Batch, run: _Pass, gradient: Tensor, now_ms: int) -> dict[str, Array]:
        s, keys = self.settings, run.ids.seen.keys
        inverse = run.ids.seen.inverse[: len(batch) * _COLUMNS].reshape(len(batch), _COLUMNS)
        admitted = np.zeros(len(keys), bool)
        admitted[inverse] = True  # what only stands in a history waits for an event of its own
        admitted[run.ids.seen.inverse[run.own]] = True
        n = len(run.numbers)
        items, events = np.unique(inverse[:n, _ITEM], return_counts=True)  # rows of lists were events before
        new = (run.ids.rows[items] == 0) & (keys[items] != 0)
        again = inverse[n:, _ITEM]
        admitted[again] = False
        if new.any():
            items, events = items[new], events[new]
            admitted[items] = self.waiting.ripe(keys[items], events, s.item_admission_events, now_ms)
        admitted &= keys != 0
        half_life_ms = s.square_half_life_d * _DAY_MS
        lost = self.ids.learn(keys, run.ids.rows, admitted, summed(gradient, run.ids.seen), now_ms, self.haste * s.row_rate, half_life_ms)
        return {"ids": np.concatenate([keys[admitted | (run.ids.rows != 0)], lost])}

    def _learn_cross(self, run: _Pass, cross: Tensor, feed: Tensor, now_ms: int) -> dict[str, Array]:
        """Items have rows here as soon as they have one among the ids."""
        out, s = {}, self.settings
        for name, table, found, gradient in (("cross", self.cross, run.cross, cross), ("feed", self.feed, run.feed, feed)):
            keys = found.seen.keys
            admitted = (self.ids.rows.find(keys) != 0) & (keys != 0)
            each = summed(gradient.reshape(len(found.seen.inverse), -1), found.seen)
            lost = table.learn(keys, found.rows, admitted, each, now_ms, self.haste * s.cross_rate, s.square_half_life_d * _DAY_MS)
            out[name] = np.concatenate([keys[admitted | (found.rows != 0)], lost])
        return out

    def _learn_wide(self, run: _Pass, dz: Tensor, now_ms: int) -> Array:
        s, found = self.settings, run.wide
        keys = found.seen.keys
        idle_ms = max(0, now_ms - self.base.at_ms) if self.base.at_ms else 0
        self.number_weights.learn(run.numbers, dz, 2.0 ** (-idle_ms / (s.square_half_life_d * _DAY_MS)))
        if not s.wide or not len(dz):
            return keys[:0]
        each = dz[:, None].expand(-1, len(found.seen.inverse) // len(dz), -1).reshape(-1, len(TASKS))
        half_life_ms = s.square_half_life_d * _DAY_MS
        lost = self.wide.learn(keys, found.rows, keys != 0, summed(each, found.seen), now_ms, self.haste * s.wide_rate, half_life_ms)
        return np.concatenate([keys[keys != 0], lost])

    def _look(self, run: _Pass, now_ms: int) -> tuple[Array, Array] | None:
        if now_ms < self.looked_ms + LOOK_MS or not self._ranks:
            return None
        self.looked_ms = now_ms
        use = self.ranker.tasks.use(run.scores.entering)
        return use.share.numpy(force=True), use.entropy.numpy(force=True)

    def _sweep(self, now_ms: int) -> dict[str, Array]:
        """Expire unused rows, once an hour of event time."""
        if now_ms < self.swept_ms + _HOUR_MS:
            return dict.fromkeys(self.tables(), np.zeros(0, np.uint64))
        self.swept_ms = now_ms
        self.waiting.rows.expire(now_ms)
        return {name: table.rows.expire(now_ms) for name, table in self.tables().items()}

    def _calibrate(self, batch: Batch, run: _Pass, z: Array, now_ms: int) -> float:
        n = len(z)
        labels, sign, is_example = batch.labels[:n], batch.sign[:n], batch.is_example[:n]
        stands_for = (is_example.astype(np.float64) / batch.weight[:n])[:, None]
        calibrated = self.platt(z)
        loss = float((log_loss(calibrated, labels) * stands_for).sum() / max(1.0, stands_for.sum()))
        gradient = (_sigmoid(calibrated) - labels) * stands_for - sign
        self.platt.step(z, self.base.logits(), gradient, stands_for)
        linear, deep = run.paths.numpy(force=True)
        left = (_sigmoid(z) - labels) * stands_for - sign
        self.blend.step(linear, deep, left)
        if run.scores.heard is not None:
            self.hearsay.step(run.scores.heard.numpy(force=True), run.place, left)
        self.base.add(float(stands_for.sum()), (labels * stands_for + sign).sum(0), now_ms)
        return loss

    def _probabilities(self, z: Array) -> Array:
        return _sigmoid(self.platt(z)).astype(np.float32)

    def _to(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def _been(place: Array, exposures: Array, places: int) -> Array:
    """Places [S, M] and decayed exposures [S, M] of a user's domains -> [S, N, 2]: log count, and 1 where there is one."""
    out = np.zeros((len(place), places, 2), np.float32)
    np.add.at(out[..., 0], (np.arange(len(place))[:, None], place), exposures)
    out[..., 1] = out[..., 0] > 0
    out[..., 0] = np.log1p(np.maximum(out[..., 0], 0)) / 4
    return out
