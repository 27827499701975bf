"""What a trainer has learned, as arrays for a checkpoint and as deltas for whoever follows it: out and in again.

Functions beside the trainer, which has a method for each: a step touches none of this.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
import xxhash
from torch import Tensor

from online_model.domains import Domains
from online_model.embedding import Admission, Table
from online_model.model_settings import ModelSettings
from online_model.pairs import TierWeights

if TYPE_CHECKING:
    from online_model.trainer import Trainer

Array = np.ndarray

_Part = Table | Admission | Domains | TierWeights


class _Delta(msgspec.Struct, frozen=True, kw_only=True):
    tables: dict[str, tuple[bytes, bytes, bytes]]  # keys uint64, values float32, gone uint64
    small: dict[str, bytes]  # see `_small`
    base: tuple[float, int, int]  # examples behind the base rates, their time; domains with a place
    dense: list[bytes] | None  # the flat buffer, the number weights, the popularity effect


_DELTA = msgspec.msgpack.Decoder(_Delta)


def delta(trainer: Trainer, touched: dict[str, Array], dense: bool) -> bytes:
    """Rows of the touched keys as they stand now, tombstones for those that went, and the dense part if wanted."""
    tables = {}
    for name, table in trainer.tables().items():
        keys = np.unique(touched.get(name, np.zeros(0, np.uint64)))
        rows = table.rows.find(keys)
        live = rows != 0
        values = table.read(keys[live], rows[live]).numpy(force=True)
        tables[name] = (keys[live].tobytes(), values.tobytes(), keys[~live].tobytes())
    small = {name: array.tobytes() for name, array in _small(trainer).items()}
    parts = [t.numpy(force=True).tobytes() for t in _shared(trainer)] if dense else None
    base = (trainer.base.n, trainer.base.at_ms, trainer.domains.n)
    return msgspec.msgpack.encode(_Delta(tables=tables, small=small, base=base, dense=parts))


def apply_delta(trainer: Trainer, data: bytes) -> None:
    """Follow a trainer by its delta: predictions become its predictions, optimizer state does not follow."""
    delta = _DELTA.decode(data)
    trainer.base.n, trainer.base.at_ms, trainer.domains.n = delta.base
    for name, array in _small(trainer).items():
        array[...] = np.frombuffer(delta.small[name], array.dtype).reshape(array.shape)
    for name, table in trainer.tables().items():
        keys, values, gone = delta.tables[name]
        table.rows.remove(np.frombuffer(gone, np.uint64))
        table.write(np.frombuffer(keys, np.uint64), np.frombuffer(values, np.float32).reshape(-1, table.width), trainer.base.at_ms)
    if delta.dense is not None:
        for tensor, part in zip(_shared(trainer), delta.dense, strict=True):
            tensor.copy_(torch.from_numpy(np.frombuffer(part, np.float32).copy()).view_as(tensor))


def _small(trainer: Trainer) -> dict[str, Array]:
    """Arrays that every delta carries whole: what serving needs beside rows and dense parameters."""
    return {
        "share": trainer.blend.share, "hearsay": trainer.hearsay.share,
        "slope": trainer.platt.slope, "offset": trainer.platt.offset, "positives": trainer.base.positives,
        "domains": trainer.domains.keys, "mean": trainer.effect.mean, "variance": trainer.effect.variance,
    }  # fmt: skip


def _shared(trainer: Trainer) -> tuple[Tensor, Tensor, Tensor]:
    return trainer.flat, trainer.number_weights.weights, trainer.effect.weights


def dense_arrays(trainer: Trainer) -> dict[str, Array]:
    """All but rows and counts: what is small, and what every prediction goes through."""
    out = {
        "weights": trainer.flat.numpy(force=True).copy(),
        "numbers.weights": trainer.number_weights.weights.numpy(force=True).copy(),
        "numbers.squares": trainer.number_weights.squares.numpy(force=True).copy(),
        "blend.share": trainer.blend.share.copy(),
        "blend.squares": trainer.blend.squares.copy(),
        "hearsay.share": trainer.hearsay.share.copy(),
        "hearsay.squares": trainer.hearsay.squares.copy(),
        "platt.slope": trainer.platt.slope.copy(),
        "platt.offset": trainer.platt.offset.copy(),
        "platt.information": trainer.platt.information.copy(),
        "base.positives": trainer.base.positives.copy(),
        "base.n": np.array(trainer.base.n),
        "base.at_ms": np.array(trainer.base.at_ms),
    }
    return out | _prefixed("dense", trainer.dense.arrays()) | _prefixed("effect", trainer.effect.arrays())


def _load_dense(trainer: Trainer, arrays: dict[str, Array]) -> None:
    for name, tensor in (
        ("weights", trainer.flat),
        ("numbers.weights", trainer.number_weights.weights),
        ("numbers.squares", trainer.number_weights.squares),
    ):
        tensor.copy_(torch.from_numpy(arrays[name].copy()))
    trainer.blend.share, trainer.blend.squares = arrays["blend.share"].copy(), arrays["blend.squares"].copy()
    trainer.hearsay.share, trainer.hearsay.squares = arrays["hearsay.share"].copy(), arrays["hearsay.squares"].copy()
    trainer.platt.slope, trainer.platt.offset = arrays["platt.slope"].copy(), arrays["platt.offset"].copy()
    trainer.platt.information = arrays["platt.information"].copy()
    trainer.base.positives, trainer.base.n = arrays["base.positives"].copy(), float(arrays["base.n"])
    trainer.base.at_ms = int(arrays["base.at_ms"])
    trainer.dense.load(_of("dense", arrays))
    trainer.effect.load(_of("effect", arrays))


def roll_back(trainer: Trainer) -> dict[str, Array]:
    """The dense part as it last was good; rows that are not finite go. Keys of those, by table."""
    _load_dense(trainer, trainer.last_good.arrays)
    return {name: table.drop_broken() for name, table in trainer.tables().items()}


def arrays(trainer: Trainer) -> dict[str, Array]:
    """Every array of the state, for a checkpoint."""
    out = dense_arrays(trainer) | _prefixed("good", trainer.last_good.arrays)
    for name, part in _parts(trainer).items():
        out |= _prefixed(name, part.arrays())
    return out


def meta(trainer: Trainer) -> dict[str, Any]:
    """The rest of the state, and the settings it belongs to."""
    return {
        "settings": msgspec.to_builtins(trainer.settings),
        "last_good": trainer.last_good.meta(),
        "skipped": trainer.skipped,
        "swept_ms": trainer.swept_ms,
        "looked_ms": trainer.looked_ms,
    }


def load(trainer: Trainer, arrays: dict[str, Array], meta: dict[str, Any]) -> None:
    """The state that `arrays` and `meta` gave, of a trainer with the same settings."""
    if msgspec.convert(meta["settings"], ModelSettings) != trainer.settings:
        theirs = meta["settings"]
        changed = [f"{k}: {theirs.get(k)!r} -> {v!r}" for k, v in msgspec.to_builtins(trainer.settings).items() if theirs.get(k) != v]
        raise ValueError(f"model settings differ from the saved ones: {', '.join(changed)}")
    _load_dense(trainer, arrays)
    trainer.last_good.load(_of("good", arrays), meta["last_good"])
    trainer.skipped, trainer.swept_ms, trainer.looked_ms = meta["skipped"], meta["swept_ms"], meta["looked_ms"]
    for name, part in _parts(trainer).items():
        part.load(_of(name, arrays))


def digest(trainer: Trainer) -> str:
    """Of the whole state, 32 hex digits."""
    out = xxhash.xxh3_128(msgspec.msgpack.encode(meta(trainer), order="sorted"))
    for name, array in sorted(arrays(trainer).items()):
        out.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        out.update(array.tobytes())
    return out.hexdigest()


def _parts(trainer: Trainer) -> dict[str, _Part]:
    return {**trainer.tables(), "waiting": trainer.waiting, "domains": trainer.domains, "tiers": trainer.tier_weights}


def _prefixed(name: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {f"{name}.{key}": array for key, array in arrays.items()}


def _of(name: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}
