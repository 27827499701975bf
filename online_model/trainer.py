"""One step of learning: a batch in, predictions made before it and one update out.

All of it runs eagerly. Compiled (torch.compile of 2.15, on a slow core with other work beside it) the ranker had not finished its first
step of 256 rows after nine minutes, shapes fixed, where an eager pass there and back took 55 ms; batches differ in shape as well.

Shapes: B examples, W of them learned from (the others are compared within their lists), T tasks.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from online_model import forward, id_cross, pairs, popularity_effect, trainer_state
from online_model.adam import Adam
from online_model.base_rates import BaseRates
from online_model.batch import Batch
from online_model.blend import Blend, CrossDomainBlend
from online_model.domains import Domains
from online_model.embedding import Admission, Table, occurrences, summed
from online_model.features import FIELDS, TASKS
from online_model.forward import COLUMNS, ForwardPass, RowLookup
from online_model.gate_watch import LOOK_MS
from online_model.last_good import LastGood
from online_model.levels import Levels
from online_model.losses import log_loss, logit_gradient, pair_loss
from online_model.model_settings import ModelSettings
from online_model.numeric import momentary
from online_model.pairs import TierWeights
from online_model.platt import Platt
from online_model.popularity_effect import MOVED, PopularityEffect
from online_model.ranker import Ranker
from online_model.rows import Rows
from online_model.wide import NumberWeights, PairKeys

Array = np.ndarray

_ITEM, _DOMAIN = (FIELDS.index(name) for name in ("item", "domain"))
_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000
_NONE = np.zeros(0, np.int64)


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
        self.tier_weights = TierWeights(s.pair_exponent)
        self.waiting = Admission(Rows(s.id_capacity, expire, floor))
        self.number_weights = NumberWeights(s.number_lifts, s.number_rate, s.number_start, self.device)
        if s.causal:  # else the linear path would take over what popularity adds
            moved = torch.tensor([t in MOVED for t in TASKS])
            self.number_weights.mask = (1 - momentary()[:, None] * moved).to(self.device)
        self.lasting = (1 - momentary()).to(self.device) if s.causal else None
        self.blend = Blend(len(TASKS))
        self.hearsay = CrossDomainBlend(s.domain_places, len(TASKS))
        self.platt = Platt(len(TASKS))
        self.base = BaseRates()
        self.skipped = 0
        self.swept_ms = 0
        self.looked_ms = 0  # at the gates
        self.lr_multiplier = 1.0  # of the rates of rows and of the dense part; set by whoever asks for steps, no part of the state
        self.pair_keys = PairKeys()
        self.ranks = s.deep or s.causal or s.pairs > 0  # else nobody asks the ranker
        self.last_good = LastGood(trainer_state.dense_arrays(self))

    def predict(self, batch: Batch, gamma_user: float = 0.0, gamma_item: float = 0.0) -> Prediction:
        """Score a batch; changes nothing. The gammas are shares of the user's and of popularity's part to be taken away.

        Popularity's part is replaced by its mean over what is exposed, which is 0 (MODEL.md section 4).
        """
        with torch.inference_mode():
            run = forward.run(self, batch, len(batch), learns=False)
            z = forward.with_heard(self, run, forward.blended(self, run)).numpy(force=True)
            user, popularity = run.added.numpy(force=True)
            rank = run.scores.rank.numpy(force=True)
        if gamma_user or gamma_item:
            z = z - gamma_user * user.astype(np.float64) - gamma_item * popularity.astype(np.float64)
        return Prediction(z.astype(np.float32), self._probabilities(z), rank, user, popularity)

    def step(self, batch: Batch, now_ms: int) -> StepReport:
        """Predict, then learn from the batch once."""
        self.dense.rate = self.lr_multiplier * self.settings.dense_rate
        n = batch.learned
        run = forward.run(self, batch, n, learns=True)
        labels, sign = self.to(batch.labels[:n]), self.to(batch.sign[:n])
        importance_weight = self.to((batch.is_example[:n] / batch.weight[:n])[:, None])
        better, worse = pairs.pairs(batch.tier, batch.lists, self.settings.seed) if self.settings.pairs else (_NONE, _NONE)
        with torch.no_grad():
            alone = forward.blended(self, run)
            whole = forward.with_heard(self, run, alone)
            linear, deep = logit_gradient(run.paths, labels, sign, importance_weight)
            common = logit_gradient(whole.float(), labels, sign, importance_weight)
        outputs, gradients = [run.scores.deep], [deep]
        if run.scores.user is not None:
            with torch.no_grad():
                by_itself = logit_gradient(run.scores.user + self.base_logits(), labels, sign, importance_weight)
            outputs.append(run.scores.user)
            gradients.append(common + self.settings.user_effect_alone * by_itself)
        if run.scores.heard is not None:  # learns what the rest leaves over, whatever its share
            with torch.no_grad():
                outputs.append(run.scores.heard)
                gradients.append(logit_gradient(alone.float() + run.scores.heard, labels, sign, importance_weight))
        if len(better):
            omega = self.tier_weights(batch.tier[better], batch.tier[worse])
            ordered = pair_loss(run.scores.rank, self.to(better), self.to(worse), self.to(omega))
            outputs.append(ordered)
            gradients.append(torch.full_like(ordered, self.settings.pairs * (len(batch) - n)))
        if self.ranker.domains is not None and self.settings.map_penalty and self.domains.n > 1:
            penalty = self.ranker.domains.penalty(self.domains.n)
            outputs.append(penalty)
            gradients.append(torch.full_like(penalty, self.settings.map_penalty * len(batch)))
        leaves = [run.ids.values, run.cross.values, run.feed.values]
        if self.ranks:
            rows, cross, feed, *dense = _pulled(outputs, gradients, [*leaves, *self._parameters])
        else:
            rows, cross, feed, *dense = (torch.zeros_like(leaf) for leaf in [*leaves, self.flat[:0]])
        with torch.no_grad():
            gradient = torch.cat([g.reshape(-1) for g in dense], out=self._gradient if self.ranks else None)
            checks = torch.stack([gradient.norm(), rows.sum(), cross.sum(), feed.sum(), linear.sum()])
            heard = [run.scores.heard] if run.scores.heard is not None else []
            [norm, *sums], z, paths, *said = _fetched(checks, whole, run.paths, *heard)
            logits, probabilities = z.astype(np.float32), self._probabilities(z)
            if not (np.isfinite([norm, *sums]).all() and np.isfinite(z).all()):
                self.skipped += 1
                back = self.last_good.give_up()
                touched = trainer_state.roll_back(self) if back else {}
                return StepReport(logits, probabilities, float("nan"), float(norm), "non-finite gradient", touched, back)
            touched = self._learn_ids(batch, run, rows, now_ms) if self.ranks else {}
            if self.settings.id_cross and self.ranks:
                touched |= self._learn_cross(run, cross, feed, now_ms)
            touched["wide"] = self._learn_wide(run, linear, now_ms)
            if self.settings.causal:
                self.effect.learn(run.popular.moved, common)
                exposed = np.flatnonzero(batch.is_example[:n])
                raw, each = run.popular.raw[exposed], 1 / batch.weight[exposed]
                self.effect.see(raw, now_ms, each)
                touched["levels"] = self.levels.see(batch.fields[exposed, _ITEM], raw, each, now_ms)
            if self.ranks:
                self.dense.take(gradient, len(batch))
            gone = self._sweep(now_ms)  # after the batch's own rows were used: their numbers must hold until here
        self.domains.learn(batch.fields[:, _DOMAIN])
        self.tier_weights.add(batch.tier[better], batch.tier[worse], now_ms)
        loss = self._calibrate(batch, run.place, z, paths, said, now_ms)
        touched = {name: np.concatenate([keys, gone[name]]) for name, keys in touched.items()}
        if self.last_good.due():
            self.last_good.keep(trainer_state.dense_arrays(self))
        return StepReport(logits, probabilities, loss, float(norm) / len(batch), None, touched, gates=self._look(run, now_ms))

    def rehearse(self, batch: Batch) -> None:
        """Move the dense part by examples that were learned before; rows overfit at second sight, so they and all else stay."""
        if not self.ranks:
            return
        run = forward.run(self, batch, len(batch), learns=True)
        importance_weight = self.to((batch.is_example / batch.weight)[:, None])
        with torch.no_grad():
            _, deep = logit_gradient(run.paths, self.to(batch.labels), self.to(batch.sign), importance_weight)
        parts = _pulled([run.scores.deep], [deep], self._parameters)
        with torch.no_grad():
            gradient = torch.cat([g.reshape(-1) for g in parts], out=self._gradient)
            if np.isfinite(gradient.norm().item()):
                self.dense.take(gradient, len(batch))

    def forget(self, keys: Array) -> dict[str, Array]:
        """Drop the rows of erased ids (pairs with them are only known by their mixed keys: they expire)."""
        self.waiting.rows.remove(keys)
        self.ids.rows.remove(keys)
        self.wide.rows.remove(keys)
        own = np.unique(self.domains.own_rows(keys))
        self.ids.rows.remove(own)
        for table in (self.levels.table, self.cross, self.feed):
            table.rows.remove(keys)
        return {"ids": np.concatenate([keys, own]), "wide": keys, "levels": keys, "cross": keys, "feed": keys}

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

    def find(self, table: Table, flat: Array, learns: bool) -> RowLookup:
        """Where keys [N] stand in a table, and their rows."""
        seen = occurrences(flat, stable=learns)
        rows = table.rows.find(seen.keys)
        return RowLookup(seen, rows, table.read(seen.keys, rows).index_select(0, self.to(seen.inverse)))

    def base_logits(self) -> Tensor:
        """[T], on the device."""
        return self.to(self.base.logits().astype(np.float32))

    def _learn_ids(self, batch: Batch, run: ForwardPass, gradient: Tensor, now_ms: int) -> dict[str, Array]:
        s, keys = self.settings, run.ids.seen.keys
        inverse = run.ids.seen.inverse[: len(batch) * COLUMNS].reshape(len(batch), COLUMNS)
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
        lost = self.ids.learn(
            keys, run.ids.rows, admitted, summed(gradient, run.ids.seen), now_ms, self.lr_multiplier * s.row_rate, half_life_ms
        )
        return {"ids": np.concatenate([keys[admitted | (run.ids.rows != 0)], lost])}

    def _learn_cross(self, run: ForwardPass, cross: Tensor, feed: Tensor, now_ms: int) -> dict[str, Array]:
        """Items have rows here as soon as they have one among the ids."""
        out, s = {}, self.settings
        for name, table, found, gradient in (("cross", self.cross, run.cross, cross), ("feed", self.feed, run.feed, feed)):
            keys = found.seen.keys
            admitted = (self.ids.rows.find(keys) != 0) & (keys != 0)
            each = summed(gradient.reshape(len(found.seen.inverse), -1), found.seen)
            lost = table.learn(keys, found.rows, admitted, each, now_ms, self.lr_multiplier * s.cross_rate, s.square_half_life_d * _DAY_MS)
            out[name] = np.concatenate([keys[admitted | (found.rows != 0)], lost])
        return out

    def _learn_wide(self, run: ForwardPass, dz: Tensor, now_ms: int) -> Array:
        s, found = self.settings, run.wide
        keys = found.seen.keys
        idle_ms = max(0, now_ms - self.base.at_ms) if self.base.at_ms else 0
        self.number_weights.learn(run.numbers, dz, 2.0 ** (-idle_ms / (s.square_half_life_d * _DAY_MS)))
        if not s.wide or not len(dz):
            return keys[:0]
        each = dz[:, None].expand(-1, len(found.seen.inverse) // len(dz), -1).reshape(-1, len(TASKS))
        half_life_ms = s.square_half_life_d * _DAY_MS
        lost = self.wide.learn(
            keys, found.rows, keys != 0, summed(each, found.seen), now_ms, self.lr_multiplier * s.wide_rate, half_life_ms
        )
        return np.concatenate([keys[keys != 0], lost])

    def _look(self, run: ForwardPass, now_ms: int) -> tuple[Array, Array] | None:
        if now_ms < self.looked_ms + LOOK_MS or not (self.ranks and self.settings.gates):
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

    def _calibrate(self, batch: Batch, place: Array, z: Array, paths: Array, heard: Sequence[Array], now_ms: int) -> float:
        n = len(z)
        labels, sign, is_example = batch.labels[:n], batch.sign[:n], batch.is_example[:n]
        importance_weight = (is_example.astype(np.float64) / batch.weight[:n])[:, None]
        calibrated = self._calibrated(z)
        loss = float((log_loss(calibrated, labels) * importance_weight).sum() / max(1.0, importance_weight.sum()))
        gradient = (_sigmoid(calibrated) - labels) * importance_weight - sign
        if self.settings.platt:
            self.platt.step(z, self.base.logits(), gradient, importance_weight)
        left = (_sigmoid(z) - labels) * importance_weight - sign
        linear, deep = paths
        self.blend.step(linear, deep, left)
        for other in heard:
            self.hearsay.step(other, place, left)
        self.base.add(float(importance_weight.sum()), (labels * importance_weight + sign).sum(0), now_ms)
        return loss

    def _calibrated(self, z: Array) -> Array:
        return self.platt(z) if self.settings.platt else z

    def _probabilities(self, z: Array) -> Array:
        return _sigmoid(self._calibrated(z)).astype(np.float32)

    def to(self, array: Array) -> Tensor:
        """On the device."""
        return torch.from_numpy(array).to(self.device, non_blocking=True)


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def _fetched(*parts: Tensor) -> list[Array]:
    """On the host, float64, in one copy: all that a step waits for its device for."""
    flat = torch.cat([part.detach().double().reshape(-1) for part in parts]).numpy(force=True)
    ends = np.cumsum([part.numel() for part in parts])
    return [values.reshape(part.shape) for values, part in zip(np.split(flat, ends[:-1]), parts, strict=True)]


def _pulled(outputs: Sequence[Tensor], gradients: Sequence[Tensor], leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of the outputs, carried back to the leaves; zeros where none arrives.

    As the gradient of one number, their dot products: given gradients, torch compares shapes by sympy, which takes .6 s to import.
    """
    dots = [torch.dot(output.reshape(-1), gradient.reshape(-1)) for output, gradient in zip(outputs, gradients, strict=True)]
    return torch.autograd.grad(torch.stack(dots).sum(), leaves, allow_unused=True, materialize_grads=True)
