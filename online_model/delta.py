"""What a serving replica needs to follow a trainer: the rows that a step touched, and what every prediction goes through.

Predictions become those of the state that is followed; optimizer state does not follow.
"""
from __future__ import annotations

import msgspec
import numpy as np
import torch
from torch import Tensor

from online_model.model_state import ModelState

Array = np.ndarray


class _Delta(msgspec.Struct, frozen=True, kw_only=True):
    tables: dict[str, tuple[bytes, bytes, bytes]]  # keys uint64, values float32, dropped keys uint64
    small: dict[str, bytes]  # see `_small`
    base: tuple[float, int, int]  # examples behind the base rates, their time; domains with a place
    dense: list[bytes] | None  # the flat buffer, the number weights, the popularity effect, the towers' flat buffer


_DELTA = msgspec.msgpack.Decoder(_Delta)


def encoded(state: ModelState, touched: dict[str, Array], dense: bool) -> bytes:
    """Rows of the touched keys as they stand now, tombstones for those that went, and the dense part if wanted."""
    tables = {}
    for name, table in state.tables().items():
        keys = np.unique(touched.get(name, np.zeros(0, np.uint64)))
        rows = table.rows.find(keys)
        live = rows != 0
        values = table.read(keys[live], rows[live]).numpy(force=True)
        tables[name] = (keys[live].tobytes(), values.tobytes(), keys[~live].tobytes())
    small = {name: array.tobytes() for name, array in _small(state).items()}
    parts = [t.numpy(force=True).tobytes() for t in _dense(state)] if dense else None
    base = (state.base.n, state.base.at_ms, state.domains.n)
    return msgspec.msgpack.encode(_Delta(tables=tables, small=small, base=base, dense=parts))


def apply(state: ModelState, data: bytes) -> None:
    """Take over what `encoded` wrote."""
    delta = _DELTA.decode(data)
    state.base.n, state.base.at_ms, state.domains.n = delta.base
    for name, array in _small(state).items():
        array[...] = np.frombuffer(delta.small[name], array.dtype).reshape(array.shape)
    for name, table in state.tables().items():
        keys, values, dropped = delta.tables[name]
        table.rows.remove(np.frombuffer(dropped, np.uint64))
        table.write(np.frombuffer(keys, np.uint64), np.frombuffer(values, np.float32).reshape(-1, table.width), state.base.at_ms)
        if name == "candidates" and state.towers is not None and (keys or dropped):
            state.towers.note(np.frombuffer(keys + dropped, np.uint64))
    if delta.dense is not None:
        for tensor, part in zip(_dense(state), delta.dense, strict=True):
            tensor.copy_(torch.from_numpy(np.frombuffer(part, np.float32).copy()).view_as(tensor))


def _small(state: ModelState) -> dict[str, Array]:
    """Arrays that every delta carries whole: what serving needs beside rows and dense parameters."""
    return {
        "share": state.blend.share, "hearsay": state.cross_domain_blend.share,
        "slope": state.platt.slope, "offset": state.platt.offset, "positives": state.base.positives,
        "domains": state.domains.keys, "mean": state.effect.mean, "variance": state.effect.variance,
    }  # fmt: skip


def _dense(state: ModelState) -> list[Tensor]:
    towers = [] if state.towers is None else [state.towers.flat]
    return [state.flat, state.number_weights.weights, state.effect.weights, *towers]
