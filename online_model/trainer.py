"""One step of learning: a batch in, predictions made before it and one update out.

Shapes: B examples, C columns (fields, then bags), A families, L behaviours, D embedding, P wide keys an example, N occurrences
of ids in a batch, T tasks.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch
import xxhash
from torch import Tensor

from online_model.adam import Adam
from online_model.base_rates import BaseRates
from online_model.batch import Batch
from online_model.blend import Blend
from online_model.embedding import Admission, Occurrences, Table, occurrences, summed
from online_model.features import BAG_LIMIT, BAGS, FIELDS, TASKS
from online_model.losses import log_loss, logit_gradient
from online_model.model_settings import ModelSettings
from online_model.numeric import numbers
from online_model.platt import Platt
from online_model.ranker import FAMILIES, Inputs, Ranker
from online_model.rows import Rows
from online_model.wide import NumberWeights, PairKeys

Array = np.ndarray

_COLUMNS = len(FIELDS) + len(BAGS) * BAG_LIMIT
_ITEM = FIELDS.index("item")
_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000


@dataclass(slots=True)
class Prediction:
    """Before any learning from these examples."""

    logits: Array  # float32 [B, T], uncalibrated
    probabilities: Array  # float32 [B, T], calibrated


@dataclass(slots=True)
class StepReport:
    """What was predicted, and what the update did."""

    logits: Array  # float32 [B, T]
    probabilities: Array  # float32 [B, T]
    loss: float  # calibrated log loss summed over tasks, mean over examples
    grad_norm: float  # of the batch's mean dense gradient before clipping
    skipped: str | None  # why nothing was learned
    touched: dict[str, Array]  # table -> keys (uint64) whose rows changed or went


@dataclass(slots=True)
class _Pass:
    """What one pass over a batch leaves for the update."""

    ids: Occurrences
    id_rows: Array
    pairs: Occurrences
    pair_rows: Array
    numbers: Tensor  # [B, M]
    leaf: Tensor  # [N, D]
    deep: Tensor  # [B, T], before the base rates are added
    paths: Tensor  # [2, B, T], logits of the linear path and of the deep one


class Trainer:
    """Parameters, optimizer and tables, on one device."""

    def __init__(self, settings: ModelSettings, device: str = "cpu") -> None:
        self.settings = s = settings
        self.device = torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(s.seed)
            self.ranker = Ranker(s.embedding_dim, s.attention_units, s.shared_experts, s.expert_units, s.tower_units)
        self._parameters = list(self.ranker.parameters())
        self._flat = torch.cat([p.detach().reshape(-1) for p in self._parameters]).to(self.device)
        at = 0
        for parameter in self._parameters:  # views of one buffer, so that Adam is a handful of operations
            parameter.data = self._flat[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
        self.dense = Adam(self._flat, s.dense_rate, s.dense_betas, s.dense_batch, s.clip_norm)
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
        self.waiting = Admission(Rows(s.id_capacity, expire, floor))
        self.number_weights = NumberWeights(s.number_lifts, s.number_rate, s.number_start, self.device)
        self.blend = Blend(len(TASKS))
        self.platt = Platt(len(TASKS))
        self.base = BaseRates()
        self.skipped = 0
        self._swept_ms = 0
        self._pair_keys = PairKeys()

    def predict(self, batch: Batch) -> Prediction:
        """Score a batch; changes nothing."""
        with torch.inference_mode():
            z = self._blended(self._run(batch))
        return Prediction(z.astype(np.float32), self._probabilities(z))

    def step(self, batch: Batch, now_ms: int) -> StepReport:
        """Predict, then learn from the batch once."""
        run = self._run(batch)
        z = self._blended(run)
        logits, probabilities = z.astype(np.float32), self._probabilities(z)
        with torch.no_grad():
            linear, deep = logit_gradient(
                run.paths,
                self._to(batch.labels),
                self._to(batch.sign),
                self._to(batch.is_example[:, None]),
                self._to(np.log(batch.weight)[:, None]),
            )
        rows, *dense = torch.autograd.grad(run.deep, [run.leaf, *self._parameters], deep)
        with torch.no_grad():
            gradient = torch.cat([g.reshape(-1) for g in dense])
            norm, *sums = torch.stack([gradient.norm(), rows.sum(), linear.sum()]).tolist()
            if not np.isfinite([norm, *sums]).all():
                self.skipped += 1
                return StepReport(logits, probabilities, float("nan"), norm, "non-finite gradient", {})
            ids = self._learn_ids(batch, run, rows, now_ms)
            wide = self._learn_wide(run, linear, now_ms)
            self.dense.take(gradient, len(batch))
            gone = self._sweep(now_ms)  # after the batch's own rows were used: their numbers must hold until here
        loss = self._calibrate(batch, run, z, now_ms)
        touched = {"ids": np.concatenate([ids, gone[0]]), "wide": np.concatenate([wide, gone[1]])}
        return StepReport(logits, probabilities, loss, norm / len(batch), None, touched)

    def forget(self, keys: Array) -> dict[str, Array]:
        """Drop the rows of erased ids (pairs with them are only known by their mixed keys: they expire)."""
        self.waiting.rows.remove(keys)
        self.ids.rows.remove(keys)
        self.wide.rows.remove(keys)
        return {"ids": keys, "wide": keys}

    def delta(self, touched: dict[str, Array], dense: bool) -> bytes:
        """Rows of the touched keys as they stand now, tombstones for those that went, and the dense part if wanted."""
        tables = {}
        for name, table in self._tables().items():
            keys = np.unique(touched.get(name, np.zeros(0, np.uint64)))
            rows = table.rows.find(keys)
            live = rows != 0
            values = table.read(keys[live], rows[live]).numpy(force=True)
            tables[name] = (keys[live].tobytes(), values.tobytes(), keys[~live].tobytes())
        line = (
            self.blend.share.tobytes(), self.platt.slope.tobytes(), self.platt.offset.tobytes(),
            self.base.n, self.base.positives.tobytes(), self.base.at_ms,
        )  # fmt: skip
        parts = (self._flat.numpy(force=True).tobytes(), self.number_weights.weights.numpy(force=True).tobytes()) if dense else None
        return msgspec.msgpack.encode(_Delta(tables=tables, line=line, dense=parts))

    def apply_delta(self, data: bytes) -> None:
        """Follow a trainer by its delta: predictions become its predictions, optimizer state does not follow."""
        delta = _DELTA.decode(data)
        share, slope, offset, self.base.n, positives, self.base.at_ms = delta.line
        self.blend.share = np.frombuffer(share).copy()
        self.platt.slope, self.platt.offset = np.frombuffer(slope).copy(), np.frombuffer(offset).copy()
        self.base.positives = np.frombuffer(positives).copy()
        for name, table in self._tables().items():
            keys, values, gone = delta.tables[name]
            table.rows.remove(np.frombuffer(gone, np.uint64))
            table.write(np.frombuffer(keys, np.uint64), np.frombuffer(values, np.float32).reshape(-1, table.width), self.base.at_ms)
        if delta.dense is not None:
            flat, weights = (torch.from_numpy(np.frombuffer(part, np.float32).copy()).to(self.device) for part in delta.dense)
            self._flat.copy_(flat)
            self.number_weights.weights.copy_(weights.view_as(self.number_weights.weights))

    def arrays(self) -> dict[str, Array]:
        """Every array of the state, for a checkpoint."""
        out = {
            "weights": self._flat.numpy(force=True).copy(),
            "numbers.weights": self.number_weights.weights.numpy(force=True).copy(),
            "numbers.squares": self.number_weights.squares.numpy(force=True).copy(),
            "blend.share": self.blend.share.copy(),
            "blend.squares": self.blend.squares.copy(),
            "platt.slope": self.platt.slope.copy(),
            "platt.offset": self.platt.offset.copy(),
            "base.positives": self.base.positives.copy(),
        }
        for name, part in self._parts().items():
            out |= {f"{name}.{key}": array for key, array in part.arrays().items()}
        return out

    def meta(self) -> dict[str, Any]:
        """The rest of the state, and the settings it belongs to."""
        return {
            "settings": msgspec.to_builtins(self.settings),
            "base_n": self.base.n,
            "base_at_ms": self.base.at_ms,
            "platt_n": self.platt.n,
            "skipped": self.skipped,
            "swept_ms": self._swept_ms,
        }

    def load(self, arrays: dict[str, Array], meta: dict[str, Any]) -> None:
        """The state that `arrays` and `meta` gave, of a trainer with the same settings."""
        if msgspec.convert(meta["settings"], ModelSettings) != self.settings:
            theirs = meta["settings"]
            changed = [f"{k}: {theirs.get(k)!r} -> {v!r}" for k, v in msgspec.to_builtins(self.settings).items() if theirs.get(k) != v]
            raise ValueError(f"model settings differ from the saved ones: {', '.join(changed)}")
        for name, tensor in (
            ("weights", self._flat),
            ("numbers.weights", self.number_weights.weights),
            ("numbers.squares", self.number_weights.squares),
        ):
            tensor.copy_(torch.from_numpy(arrays[name].copy()))
        self.blend.share, self.blend.squares = arrays["blend.share"].copy(), arrays["blend.squares"].copy()
        self.platt.slope, self.platt.offset = arrays["platt.slope"].copy(), arrays["platt.offset"].copy()
        self.platt.n = meta["platt_n"]
        self.base.positives, self.base.n, self.base.at_ms = arrays["base.positives"].copy(), meta["base_n"], meta["base_at_ms"]
        self.skipped, self._swept_ms = meta["skipped"], meta["swept_ms"]
        for name, part in self._parts().items():
            part.load({key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")})

    def digest(self) -> str:
        """Of the whole state, 32 hex digits."""
        out = xxhash.xxh3_128(msgspec.msgpack.encode(self.meta(), order="sorted"))
        for name, array in sorted(self.arrays().items()):
            out.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            out.update(array.tobytes())
        return out.hexdigest()

    def _tables(self) -> dict[str, Table]:
        return {"ids": self.ids, "wide": self.wide}

    def _parts(self) -> dict[str, Table | Admission | Adam]:
        return {**self._tables(), "waiting": self.waiting, "dense": self.dense}

    def _run(self, batch: Batch) -> _Pass:
        n = len(batch)
        columns = np.concatenate([batch.fields, batch.bags.reshape(n, -1)], 1)
        ids = occurrences(np.concatenate([columns.reshape(-1), batch.history.reshape(-1)]))
        id_rows = self.ids.rows.find(ids.keys)
        leaf = self.ids.read(ids.keys, id_rows).index_select(0, self._to(ids.inverse)).requires_grad_()
        x = self._inputs(batch, leaf)
        pairs = occurrences(self._pair_keys(columns).reshape(-1))
        pair_rows = self.wide.rows.find(pairs.keys)
        deep = self.ranker(x)
        with torch.no_grad():
            base = self._to(self.base.logits().astype(np.float32))
            linear = base + self.number_weights(x.numbers)
            if self.settings.wide:
                linear += self.wide.read(pairs.keys, pair_rows).index_select(0, self._to(pairs.inverse)).view(n, -1, len(TASKS)).sum(1)
            paths = torch.stack([linear, base + deep]).clamp_(-self.settings.logit_clip, self.settings.logit_clip)
        return _Pass(ids, id_rows, pairs, pair_rows, x.numbers, leaf, deep, paths)

    def _blended(self, run: _Pass) -> Array:
        linear, deep = run.paths.numpy(force=True)
        return self.blend(linear, deep) if self.settings.deep else linear.astype(np.float64)

    def _inputs(self, batch: Batch, rows: Tensor) -> Inputs:
        """Rows [N, D] and the batch's numbers, as the blocks want them."""
        n, (shared, _, length) = len(batch), batch.history.shape
        columns, history = rows[: n * _COLUMNS].view(n, _COLUMNS, -1), rows[n * _COLUMNS :].view(shared, FAMILIES, length, -1)
        return Inputs(
            fields=columns[:, : len(FIELDS)],
            bags=columns[:, len(FIELDS) :].view(n, len(BAGS), BAG_LIMIT, -1),
            bag_sizes=self._to(np.maximum((batch.bags != 0).sum(2, keepdims=True), 1).astype(np.float32)),
            history=history.transpose(0, 1),
            action=self._to(batch.action.transpose(1, 0, 2).astype(np.int64)),
            age_s=self._to(np.ascontiguousarray(batch.age_s.transpose(1, 0, 2))),
            there=self._to(np.ascontiguousarray(batch.history.transpose(1, 0, 2)) != 0),
            numbers=self._to(numbers(batch, self.base.rates(), self.settings.count_strength)),
        )

    def _learn_ids(self, batch: Batch, run: _Pass, gradient: Tensor, now_ms: int) -> Array:
        s, keys = self.settings, run.ids.keys
        inverse = run.ids.inverse[: len(batch) * _COLUMNS].reshape(len(batch), _COLUMNS)
        admitted = np.zeros(len(keys), bool)
        admitted[inverse] = True  # what only stands in a history waits for an event of its own
        items, events = np.unique(inverse[:, _ITEM], return_counts=True)
        new = (run.id_rows[items] == 0) & (keys[items] != 0)
        if new.any():
            items, events = items[new], events[new]
            admitted[items] = self.waiting.ripe(keys[items], events, s.item_admission_events, now_ms)
        admitted &= keys != 0
        half_life_ms = s.square_half_life_d * _DAY_MS
        lost = self.ids.learn(keys, run.id_rows, admitted, summed(gradient, run.ids), now_ms, s.row_rate, half_life_ms)
        return np.concatenate([keys[admitted | (run.id_rows != 0)], lost])

    def _learn_wide(self, run: _Pass, dz: Tensor, now_ms: int) -> Array:
        s, keys = self.settings, run.pairs.keys
        idle_ms = max(0, now_ms - self.base.at_ms) if self.base.at_ms else 0
        self.number_weights.learn(run.numbers, dz, 2.0 ** (-idle_ms / (s.square_half_life_d * _DAY_MS)))
        if not s.wide:
            return keys[:0]
        each = dz[:, None].expand(-1, len(run.pairs.inverse) // len(dz), -1).reshape(-1, len(TASKS))
        half_life_ms = s.square_half_life_d * _DAY_MS
        lost = self.wide.learn(keys, run.pair_rows, keys != 0, summed(each, run.pairs), now_ms, s.wide_rate, half_life_ms)
        return np.concatenate([keys[keys != 0], lost])

    def _sweep(self, now_ms: int) -> tuple[Array, Array]:
        """Expire unused rows, once an hour of event time."""
        if now_ms < self._swept_ms + _HOUR_MS:
            return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        self._swept_ms = now_ms
        self.waiting.rows.expire(now_ms)
        return self.ids.rows.expire(now_ms), self.wide.rows.expire(now_ms)

    def _calibrate(self, batch: Batch, run: _Pass, z: Array, now_ms: int) -> float:
        examples = batch.is_example[:, None].astype(np.float64)
        log_weight = np.log(batch.weight)[:, None]
        calibrated = self.platt(z) - log_weight
        loss = float((log_loss(calibrated, batch.labels) * examples).sum() / max(1.0, examples.sum()))
        gradient = (_sigmoid(calibrated) - batch.labels) * examples - batch.sign
        self.platt.step(z, self.base.logits(), gradient, int(examples.sum()))
        linear, deep = run.paths.numpy(force=True)
        self.blend.step(linear, deep, (_sigmoid(z - log_weight) - batch.labels) * examples - batch.sign)
        self.base.add(float(examples.sum()), (batch.labels * examples + batch.sign).sum(0), now_ms)
        return loss

    def _probabilities(self, z: Array) -> Array:
        return _sigmoid(self.platt(z)).astype(np.float32)

    def _to(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


class _Delta(msgspec.Struct, frozen=True, kw_only=True):
    tables: dict[str, tuple[bytes, bytes, bytes]]  # keys uint64, values float32, gone uint64
    line: tuple[bytes, bytes, bytes, float, bytes, int]  # the blend's shares; Platt's slopes, offsets; base rates: n, positives, time
    dense: tuple[bytes, bytes] | None  # the flat buffer, the number weights


_DELTA = msgspec.msgpack.Decoder(_Delta)
