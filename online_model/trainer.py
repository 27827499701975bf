"""One step of learning: a batch in, predictions made before it and one update out.

All of it runs eagerly. Compiled (torch.compile of 2.15, on a slow core with other work beside it) the ranker had not finished its first
step of 256 rows after nine minutes, shapes fixed, where an eager pass there and back took 55 ms; batches differ in shape as well.

Shapes: B examples, W of them learned from (the others are compared within their slates), N occurrences of keys, P dense parameters,
T tasks.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from online_model import delta, pairs
from online_model.batch import Batch
from online_model.decay import DAY_MS, HOUR_MS, decay_factor
from online_model.embedding import RowLookup, Table, summed
from online_model.features import FIELDS, TASKS
from online_model.forward import COLUMNS, ForwardPass, blended, forward, with_other_domains
from online_model.gate_watch import LOOK_MS
from online_model.losses import log_loss, logit_gradient, pair_loss
from online_model.model_settings import SQUARE_HALF_LIFE_D, ModelSettings
from online_model.model_state import ModelState
from online_model.two_tower import Pulled

Array = np.ndarray

_ITEM, _DOMAIN = (FIELDS.index(name) for name in ("item", "domain"))
SQUARE_HALF_LIFE_MS = SQUARE_HALF_LIFE_D * DAY_MS
_NONE = np.zeros(0, np.int64)


@dataclass(slots=True)
class Prediction:
    """Before any learning from these examples."""

    logits: Array  # float32 [B, T], uncalibrated
    probabilities: Array  # float32 [B, T], calibrated
    rank: Array  # float32 [B], the rank head; its differences within a slate count
    user: Array  # float32 [B, T], the part of the logits that the user adds to every candidate
    popularity: Array  # float32 [B, T], the part that the items' momentary popularity adds, before it was taken away
    # float32 [B, 2, T], mean and variance of what the item's calibrated logits lack; [B, 0, T] where nothing is believed
    belief: Array = field(default_factory=lambda: _no_belief(0))


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
class _Targets:
    """What the rows of a batch are learned from, on the device."""

    labels: Tensor  # [W, T]
    sign: Tensor  # [W, T]
    importance_weight: Tensor  # [W, 1]

    def gradient(self, z: Tensor) -> Tensor:
        """Of the loss by logits [..., W, T]."""
        return logit_gradient(z, self.labels, self.sign, self.importance_weight)


@dataclass(slots=True)
class _Logits:
    """The logits of a pass put together, float64, and the gradients of the loss by logits of its parts."""

    own: Tensor  # [W, T], both paths blended
    whole: Tensor  # [W, T], with what other domains add: what is predicted
    by_linear: Tensor  # [W, T]
    by_deep: Tensor  # [W, T]
    by_whole: Tensor  # [W, T]


@dataclass(slots=True)
class _Gradients:
    """By what a step moves: rows at their occurrences, the dense parameters, logits of the linear path and of the whole."""

    ids: Tensor  # [N, D]
    cross: Tensor
    feed: Tensor
    dense: Tensor  # [P], summed over examples
    linear: Tensor  # [W, T]
    whole: Tensor  # [W, T]


_Objective = tuple[Tensor, Tensor]  # an output that the deep part learns by, and the gradient of the loss by it


class Trainer:
    """Steps that move a state. Everything a step depends on is in the state, but for `lr_multiplier`, which the caller sets."""

    def __init__(self, settings: ModelSettings, device: str = "cpu") -> None:
        self.settings = settings
        self.state = ModelState(settings, device)
        self.lr_multiplier = 1.0  # times the rates of rows and of the dense part
        self._gradient = torch.empty_like(self.state.flat)  # of a step: new memory would cost more than what is done with it

    def predict(self, batch: Batch, gamma_user: float = 0.0, gamma_item: float = 0.0) -> Prediction:
        """Score a batch; changes nothing. The gammas are shares of the user's and of popularity's part to be taken away.

        Popularity's part is replaced by its mean over what is exposed, which is 0 (MODEL.md section 4).
        """
        with torch.inference_mode():
            run = forward(self.state, batch, len(batch), learns=False)
            z = with_other_domains(self.state, run, blended(self.state, run)).numpy(force=True)
            user, popularity = run.added.numpy(force=True)
            rank = run.scores.rank.numpy(force=True)
        if gamma_user or gamma_item:
            z = z - gamma_user * user.astype(np.float64) - gamma_item * popularity.astype(np.float64)
        return Prediction(z.astype(np.float32), self._probabilities(z), rank, user, popularity, self._believed(batch))

    def step(self, batch: Batch, now_ms: int) -> StepReport:
        """Predict, then learn from the batch once. A gradient that is not finite is not learned from (MODEL.md section 7)."""
        state, s, n = self.state, self.settings, batch.learned
        state.dense.rate = self.lr_multiplier * s.dense_rate
        run = forward(state, batch, n, learns=True)
        target = self._targets(batch, n)
        better, worse = pairs.pairs(batch.tier, batch.slate, s.seed) if s.pairs else (_NONE, _NONE)
        z = self._logits(run, target)
        objectives = [*self._objectives(run, target, z), *self._rank_objectives(batch, run, better, worse)]
        gradients = self._gradients(run, objectives, z)
        pulled = state.towers.pull(batch) if state.towers is not None else None
        with torch.no_grad():
            moved = (gradients.ids, gradients.cross, gradients.feed, gradients.linear)
            checks = torch.stack([gradients.dense.norm(), *(part.sum() for part in moved), *([pulled.check] if pulled else [])])
            other_domains = [run.scores.transfer] if run.scores.transfer is not None else []
            [norm, *sums], whole, paths, *other = _fetched(checks, z.whole, run.paths, *other_domains)
            logits, probabilities = whole.astype(np.float32), self._probabilities(whole)
            if not (np.isfinite([norm, *sums]).all() and np.isfinite(whole).all()):
                state.skipped += 1
                back = state.last_good.give_up()
                touched = self._noted(state.roll_back() if back else {})
                return StepReport(logits, probabilities, float("nan"), float(norm), "non-finite gradient", touched, back)
            touched = self._noted(self._update(batch, run, gradients, pulled, whole, now_ms))
        state.domains.learn(batch.fields[:, _DOMAIN])
        state.tier_weights.add(batch.tier[better], batch.tier[worse], now_ms)
        loss = self._calibrate(batch, run.place, whole, [*paths, *other], now_ms)
        if state.last_good.due():
            state.last_good.keep(state.dense_arrays())
        return StepReport(
            logits, probabilities, loss, float(norm) / len(batch), None, touched, gates=self._look_at_gates(run, now_ms)
        )  # fmt: skip

    def rehearse(self, batch: Batch) -> None:
        """Move the dense part by examples that were learned before; rows overfit at second sight, so they and all else stay."""
        state = self.state
        if not state.uses_ranker:
            return
        run = forward(state, batch, len(batch), learns=True)
        with torch.no_grad():
            _, deep = self._targets(batch, len(batch)).gradient(run.paths)
        parts = _pulled([(run.scores.deep, deep)], state.parameters)
        with torch.no_grad():
            gradient = torch.cat([g.reshape(-1) for g in parts], out=self._gradient)
            if np.isfinite(gradient.norm().item()):
                state.dense.take(gradient, len(batch))

    def forget(self, keys: Array) -> dict[str, Array]:
        """Drop the rows of erased ids; the dropped keys by table."""
        return self._noted(self.state.forget(keys))

    def delta(self, touched: dict[str, Array], dense: bool) -> bytes:
        """Rows of the touched keys as they stand now, tombstones for those that went, and the dense part if wanted."""
        return delta.encoded(self.state, touched, dense)

    def apply_delta(self, data: bytes) -> None:
        """Follow another trainer by its delta."""
        delta.apply(self.state, data)

    def arrays(self) -> dict[str, Array]:
        """Every array of the state, for a checkpoint."""
        return self.state.arrays()

    def meta(self) -> dict[str, Any]:
        """The rest of the state, and the settings it belongs to."""
        return self.state.meta()

    def load(self, arrays: dict[str, Array], meta: dict[str, Any]) -> None:
        """Restore `arrays()` and `meta()`. Raises ValueError, naming them, where settings or constants differ from the saved ones."""
        self.state.load(arrays, meta)

    def digest(self) -> str:
        """Of the whole state, 32 hex digits."""
        return self.state.digest()

    def _targets(self, batch: Batch, n: int) -> _Targets:
        """Of the first n rows."""
        to = self.state.to
        return _Targets(to(batch.labels[:n]), to(batch.sign[:n]), to((batch.is_example[:n] / batch.sampling_rate[:n])[:, None]))

    def _logits(self, run: ForwardPass, target: _Targets) -> _Logits:
        with torch.no_grad():
            own = blended(self.state, run)
            whole = with_other_domains(self.state, run, own)
            by_linear, by_deep = target.gradient(run.paths)
            return _Logits(own, whole, by_linear, by_deep, target.gradient(whole.float()))

    def _objectives(self, run: ForwardPass, target: _Targets, z: _Logits) -> list[_Objective]:
        """Of the tasks: the deep path by its own loss, the user's effect, and what other domains add."""
        scores, out = run.scores, [(run.scores.deep, z.by_deep)]
        with torch.no_grad():
            if scores.user is not None:
                alone = target.gradient(scores.user + self.state.base_logits())
                out.append((scores.user, z.by_whole + self.settings.user_effect_alone * alone))
            if scores.transfer is not None:  # it learns what the rest leaves over, whatever its share
                out.append((scores.transfer, target.gradient(z.own.float() + scores.transfer)))
        return out

    def _rank_objectives(self, batch: Batch, run: ForwardPass, better: Array, worse: Array) -> list[_Objective]:
        """Of the rank head, and of the maps between domains."""
        state, s, out = self.state, self.settings, list[_Objective]()
        if len(better):
            omega = state.tier_weights(batch.tier[better], batch.tier[worse])
            loss = pair_loss(run.scores.rank, state.to(better), state.to(worse), state.to(omega))
            out.append((loss, torch.full_like(loss, s.pairs * (len(batch) - batch.learned))))
        if state.ranker.domains is not None and s.map_penalty and state.domains.n > 1:
            penalty = state.ranker.domains.penalty(state.domains.n)
            out.append((penalty, torch.full_like(penalty, s.map_penalty * len(batch))))
        return out

    def _gradients(self, run: ForwardPass, objectives: Sequence[_Objective], z: _Logits) -> _Gradients:
        state, lookups = self.state, run.lookups
        leaves = [lookups.ids.values, lookups.cross.values, lookups.feed.values]
        if state.uses_ranker:
            ids, cross, feed, *parts = _pulled(objectives, [*leaves, *state.parameters])
            dense = torch.cat([g.reshape(-1) for g in parts], out=self._gradient)
        else:
            ids, cross, feed = (torch.zeros_like(leaf) for leaf in leaves)
            dense = state.flat[:0]
        return _Gradients(ids, cross, feed, dense, z.by_linear, z.by_whole)

    def _update(
        self, batch: Batch, run: ForwardPass, gradients: _Gradients, pulled: Pulled | None, z: Array, now_ms: int
    ) -> dict[str, Array]:  # fmt: skip
        """Move rows, weights and levels; keys of the touched rows by table."""
        state, s = self.state, self.settings
        touched = {}
        if state.uses_ranker:
            touched["ids"] = self._learn_ids(batch, run, gradients.ids, now_ms)
            if s.id_cross:
                touched |= self._learn_cross(run, gradients.cross, gradients.feed, now_ms)
        touched["wide"] = self._learn_wide(run, gradients.linear, now_ms)
        if s.causal:
            state.effect.learn(run.popularity.moved, gradients.whole)
            exposed = np.flatnonzero(batch.is_example[: batch.learned])
            raw, importance_weight = run.popularity.raw[exposed], 1 / batch.sampling_rate[exposed]
            state.effect.see(raw, now_ms, importance_weight)
            touched["levels"] = state.levels.see(batch.fields[exposed, _ITEM], raw, importance_weight, now_ms)
        if state.uses_ranker:
            state.dense.take(gradients.dense, len(batch))
        if state.towers is not None and pulled is not None:
            touched |= state.towers.learn(pulled, lambda keys: state.ids.rows.find(keys) != 0, now_ms)
        if state.beliefs is not None:
            touched["beliefs"] = self._believe(batch, z, now_ms)
        if now_ms < state.swept_ms + HOUR_MS:
            return touched
        state.swept_ms = now_ms
        expired = state.expire(now_ms)  # after the batch's own rows were used: their numbers must hold until here
        return {name: np.concatenate([touched.get(name, keys[:0]), keys]) for name, keys in expired.items()}

    def _noted(self, touched: dict[str, Array]) -> dict[str, Array]:
        """Also for those who follow the vectors of items."""
        if self.state.towers is not None and len(touched.get("candidates", _NONE)):
            self.state.towers.note(touched["candidates"])
        return touched

    def _learn_ids(self, batch: Batch, run: ForwardPass, gradient: Tensor, now_ms: int) -> Array:
        state, s, lookup = self.state, self.settings, run.lookups.ids
        keys, n = lookup.seen.keys, len(run.numbers)
        inverse = lookup.seen.inverse[: len(batch) * COLUMNS].reshape(len(batch), COLUMNS)
        admitted = np.zeros(len(keys), bool)
        admitted[inverse] = True  # what only stands in a history waits for an event of its own
        admitted[lookup.seen.inverse[run.own]] = True
        items, events = np.unique(inverse[:n, _ITEM], return_counts=True)  # rows that are compared were events before
        new = (lookup.rows[items] == 0) & (keys[items] != 0)
        admitted[inverse[n:, _ITEM]] = False
        if new.any():
            items, events = items[new], events[new]
            admitted[items] = state.admission.ripe(keys[items], events, s.item_admission_events, now_ms)
        return self._learn_rows(state.ids, lookup, admitted & (keys != 0), gradient, now_ms, s.row_rate)

    def _learn_rows(self, table: Table, lookup: RowLookup, admitted: Array, gradient: Tensor, now_ms: int, rate: float) -> Array:
        """One step on rows by gradients [N, W] at their occurrences; keys that have a row or are `admitted` [U], and those that lost it."""
        keys, rate = lookup.seen.keys, self.lr_multiplier * rate
        lost = table.learn(keys, lookup.rows, admitted, summed(gradient, lookup.seen), now_ms, rate, SQUARE_HALF_LIFE_MS)
        return np.concatenate([keys[admitted | (lookup.rows != 0)], lost])

    def _learn_cross(self, run: ForwardPass, cross: Tensor, feed: Tensor, now_ms: int) -> dict[str, Array]:
        """Items have rows here as soon as they have one among the ids."""
        state, out = self.state, {}
        for name, table, lookup, gradient in (
            ("cross", state.cross, run.lookups.cross, cross), ("feed", state.feed, run.lookups.feed, feed),
        ):  # fmt: skip
            keys = lookup.seen.keys
            admitted = (state.ids.rows.find(keys) != 0) & (keys != 0)
            each = gradient.reshape(len(lookup.seen.inverse), -1)
            out[name] = self._learn_rows(table, lookup, admitted, each, now_ms, self.settings.cross_rate)
        return out

    def _learn_wide(self, run: ForwardPass, gradient: Tensor, now_ms: int) -> Array:
        """The linear path by the gradient [W, T] of its logits."""
        state, s, lookup = self.state, self.settings, run.lookups.wide
        keys = lookup.seen.keys
        idle_ms = now_ms - state.base.at_ms if state.base.at_ms else 0
        state.number_weights.learn(run.numbers, gradient, decay_factor(idle_ms, SQUARE_HALF_LIFE_MS))
        if not s.wide or not len(gradient):
            return keys[:0]
        each = gradient[:, None].expand(-1, len(lookup.seen.inverse) // len(gradient), -1).reshape(-1, len(TASKS))
        return self._learn_rows(state.wide, lookup, keys != 0, each, now_ms, s.wide_rate)

    def _look_at_gates(self, run: ForwardPass, now_ms: int) -> tuple[Array, Array] | None:
        state = self.state
        if now_ms < state.looked_ms + LOOK_MS or not (state.uses_ranker and self.settings.gates):
            return None
        state.looked_ms = now_ms
        use = state.ranker.tasks.use(run.scores.entering)
        return use.share.numpy(force=True), use.entropy.numpy(force=True)

    def _calibrate(self, batch: Batch, place: Array, z: Array, parts: Sequence[Array], now_ms: int) -> float:
        """Move the Platt line, the blends and the base rates; the loss. `parts` [W, T]: linear, deep, what other domains add."""
        state, n = self.state, len(z)
        labels, sign, is_example = batch.labels[:n], batch.sign[:n], batch.is_example[:n]
        importance_weight = (is_example.astype(np.float64) / batch.sampling_rate[:n])[:, None]
        calibrated = state.calibrated(z)
        loss = float((log_loss(calibrated, labels) * importance_weight).sum() / max(1.0, importance_weight.sum()))
        if self.settings.platt:
            gradient = (_sigmoid(calibrated) - labels) * importance_weight - sign
            state.platt.step(z, state.base.logits(), gradient, importance_weight)
        gradient = (_sigmoid(z) - labels) * importance_weight - sign
        linear, deep, *other_domains = parts
        state.blend.step(linear, deep, gradient)
        for other in other_domains:
            state.cross_domain_blend.step(other, place, gradient)
        state.base.add(float(importance_weight.sum()), (labels * importance_weight + sign).sum(0), now_ms)
        return loss

    def _believed(self, batch: Batch) -> Array:
        beliefs = self.state.beliefs
        return _no_belief(len(batch)) if beliefs is None else beliefs(batch.fields[:, _ITEM])

    def _believe(self, batch: Batch, z: Array, now_ms: int) -> Array:
        """Move what is believed of items by the logits [W, T] that were predicted; keys of the touched rows."""
        if self.state.beliefs is None:
            return np.zeros(0, np.uint64)
        n = len(z)
        weight = (batch.is_example[:n].astype(np.float64) / batch.sampling_rate[:n])[:, None]
        return self.state.beliefs.learn(
            batch.fields[:n, _ITEM], self.state.calibrated(z), batch.labels[:n], weight, batch.sign[:n], now_ms
        )  # fmt: skip

    def _probabilities(self, z: Array) -> Array:
        return _sigmoid(self.state.calibrated(z)).astype(np.float32)


def _no_belief(n: int) -> Array:
    return np.zeros((n, 0, len(TASKS)), np.float32)


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def _fetched(*parts: Tensor) -> list[Array]:
    """On the host, float64, in one copy: all that a step waits for its device for."""
    flat = torch.cat([part.detach().double().reshape(-1) for part in parts]).numpy(force=True)
    ends = np.cumsum([part.numel() for part in parts])
    return [values.reshape(part.shape) for values, part in zip(np.split(flat, ends[:-1]), parts, strict=True)]


def _pulled(objectives: Sequence[_Objective], leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of the outputs, carried back to the leaves; zeros where none arrives.

    As the gradient of one number, their dot products: given gradients, torch compares shapes by sympy, which takes .6 s to import.
    """
    dots = [torch.dot(output.reshape(-1), gradient.reshape(-1)) for output, gradient in objectives]
    return torch.autograd.grad(torch.stack(dots).sum(), leaves, allow_unused=True, materialize_grads=True)
