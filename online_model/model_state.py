"""Everything that predictions and steps are made by, in one value: parameters, tables, calibration, optimizer state and counters.

`forward.py` reads it, `trainer.py` changes it, `delta.py` lets a serving replica follow it. Shapes: T tasks, M numbers.
"""
from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import torch
import xxhash
from torch import Tensor

from online_model import id_cross, popularity_effect
from online_model.adam import Adam, flattened
from online_model.base_rates import BaseRates
from online_model.beliefs import Beliefs
from online_model.blend import Blend, CrossDomainBlend
from online_model.decay import DAY_MS, HOUR_MS
from online_model.domains import Domains
from online_model.embedding import Admission, RowInit, RowLookup, Table, occurrences
from online_model.features import TASKS
from online_model.last_good import LastGood
from online_model.levels import Levels
from online_model.model_settings import ROW_START, WIDE_START, ModelSettings, differences, recorded
from online_model.numeric import momentary
from online_model.pairs import TierWeights
from online_model.platt import Platt
from online_model.popularity_effect import MOVED, PopularityEffect
from online_model.ranker import Ranker
from online_model.rows import KEPT_SHARE, Rows
from online_model.saved import Saved, part, prefixed
from online_model.taken_items import TakenItems
from online_model.two_tower import TwoTower
from online_model.wide import NumberWeights, PairKeys

Array = np.ndarray


class ModelState:
    """The model on one device. A new one has first weights drawn by the seed of its settings, and empty tables."""

    def __init__(self, settings: ModelSettings, device: str = "cpu") -> None:
        self.settings = s = settings
        self.device = torch.device(device)
        self.uses_ranker = s.deep or s.causal or s.pairs > 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(s.seed)
            self.ranker = Ranker(s)
        self.ranker.to(self.device)
        self.parameters = list(self.ranker.parameters())
        self.flat = flattened(self.parameters)
        self.dense = Adam(self.flat, s.dense_rate, s.dense_batch, s.clip_norm)

        self.ids = Table(self._rows(s.id_capacity), s.embedding_dim, RowInit(s.row_spread, ROW_START, s.seed), device=self.device)
        # An element of a wide row has a square of its own: the rare tasks' gradients would vanish under one shared with the frequent ones.
        wide = RowInit(0.0, WIDE_START, s.seed)
        self.wide = Table(self._rows(s.wide_capacity), len(TASKS), wide, per_element=True, device=self.device)
        self.cross, self.feed = (
            Table(self._rows(s.id_capacity), width, RowInit(spread, ROW_START, s.seed, unborn=False), device=self.device)
            for width, spread in ((id_cross.WIDTH, id_cross.SPREAD), (id_cross.FEED, id_cross.FEED**-0.5))
        )
        self.levels = Levels(self._rows(s.id_capacity), len(popularity_effect.INPUTS))
        self.beliefs = Beliefs(self._rows(s.id_capacity), len(TASKS)) if s.beliefs else None
        self.admission = Admission(self._rows(s.id_capacity, kept_share=0.0))
        self.towers = TwoTower(s, lambda: self._rows(s.id_capacity), self.device) if s.vectors and self.uses_ranker else None
        self.pair_keys = PairKeys()
        self.domains = Domains(s.domain_places)

        self.number_weights = NumberWeights(s.number_rate, self.device)
        self.effect = PopularityEffect(s.effect_rate, self.device)
        self.lasting: Tensor | None = None  # [M], 0 at the numbers that momentary popularity moves
        if s.causal:  # else the linear path would take over what popularity adds
            moved = torch.tensor([t in MOVED for t in TASKS])
            self.number_weights.mask = (1 - momentary()[:, None] * moved).to(self.device)
            self.lasting = (1 - momentary()).to(self.device)
        self.blend = Blend(len(TASKS))
        self.cross_domain_blend = CrossDomainBlend(s.domain_places, len(TASKS))
        self.platt = Platt(len(TASKS))
        self.base = BaseRates()
        self.tier_weights = TierWeights(s.pair_exponent)

        self.skipped = 0  # steps whose gradient was not finite
        self.swept_ms = 0  # event time at which unused rows last expired
        self.looked_ms = 0  # event time at which the gates were last looked at
        self.last_good = LastGood(self.dense_arrays())

    def _rows(self, capacity: int, kept_share: float = KEPT_SHARE) -> Rows:
        return Rows(capacity, int(self.settings.expire_d * DAY_MS), int(self.settings.floor_h * HOUR_MS), kept_share)

    def tables(self) -> dict[str, Table]:
        """By name."""
        tables = {"ids": self.ids, "wide": self.wide, "cross": self.cross, "feed": self.feed, "levels": self.levels.table}
        if self.towers is not None:
            tables |= {"queries": self.towers.queries, "candidates": self.towers.candidates}
        if self.beliefs is not None:
            tables |= {"beliefs": self.beliefs.table}
        return tables

    def find(self, table: Table, flat: Array, learns: bool) -> RowLookup:
        """Where keys [N] stand in a table, and their rows."""
        seen = occurrences(flat, stable=learns)
        rows = table.rows.find(seen.keys)
        return RowLookup(seen, rows, table.read(seen.keys, rows).index_select(0, self.to(seen.inverse)))

    def base_logits(self) -> Tensor:
        """Of the running base rates [T], on the device."""
        return self.to(self.base.logits().astype(np.float32))

    def calibrated(self, z: Array) -> Array:
        """Logits [B, T] -> logits of the probabilities that are served."""
        return self.platt(z) if self.settings.platt else z

    def to(self, array: Array) -> Tensor:
        """An array on the device."""
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def forget(self, keys: Array) -> dict[str, Array]:
        """Drop the rows of erased ids; the dropped keys by table. Pairs with them are only known by their mixed keys: they expire."""
        self.admission.rows.remove(keys)
        for table in self.tables().values():
            table.rows.remove(keys)
        own = np.unique(self.domains.own_rows(keys))
        self.ids.rows.remove(own)
        if self.towers is not None:
            self.towers.taken.forget(keys)
        return dict.fromkeys(self.tables(), keys) | {"ids": np.concatenate([keys, own])}

    def expire(self, now_ms: int) -> dict[str, Array]:
        """Drop rows that were not used for `expire_d`, as far as a table may shrink; their keys by table."""
        self.admission.rows.expire(now_ms)
        return {name: table.rows.expire(now_ms) for name, table in self.tables().items()}

    def dense_arrays(self) -> dict[str, Array]:
        """All but rows and counts: what is small, and what every prediction goes through."""
        out = {"weights": self.flat.numpy(force=True).copy()}
        for name, saved in self._dense_parts().items():
            out |= prefixed(name, saved.arrays())
        return out

    def roll_back(self) -> dict[str, Array]:
        """Put the dense part back as it last was good and drop rows that are not finite; the keys of those by table."""
        self._load_dense(self.last_good.arrays)
        return {name: table.drop_broken() for name, table in self.tables().items()}

    def arrays(self) -> dict[str, Array]:
        """Every array of the state, for a checkpoint."""
        out = self.dense_arrays() | prefixed("good", self.last_good.arrays)
        for name, saved in self._counted_parts().items():
            out |= prefixed(name, saved.arrays())
        return out

    def meta(self) -> dict[str, Any]:
        """The rest of the state, and the settings it belongs to."""
        return {
            "settings": recorded(self.settings),
            "last_good": self.last_good.meta(),
            "skipped": self.skipped,
            "swept_ms": self.swept_ms,
            "looked_ms": self.looked_ms,
        }

    def load(self, arrays: dict[str, Array], meta: dict[str, Any]) -> None:
        """Restore `arrays()` and `meta()`. Raises ValueError, naming them, where settings or constants differ from the saved ones."""
        if changed := differences(self.settings, meta["settings"]):
            raise ValueError(f"model settings differ from the saved ones: {', '.join(changed)}")
        self._load_dense(arrays)
        self.last_good.load(part("good", arrays), meta["last_good"])
        self.skipped, self.swept_ms, self.looked_ms = meta["skipped"], meta["swept_ms"], meta["looked_ms"]
        for name, saved_part in self._counted_parts().items():
            saved_part.load(part(name, arrays))

    def digest(self) -> str:
        """Of the whole state, 32 hex digits. How often rows were used is left out: the same steps say it as say when."""
        out = xxhash.xxh3_128(msgspec.msgpack.encode(self.meta(), order="sorted"))
        for name, array in sorted((n, a) for n, a in self.arrays().items() if not n.endswith(".uses")):
            out.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            out.update(array.tobytes())
        return out.hexdigest()

    def _load_dense(self, arrays: dict[str, Array]) -> None:
        self.flat.copy_(torch.from_numpy(arrays["weights"].copy()))
        for name, saved in self._dense_parts().items():
            saved.load(part(name, arrays))

    def _dense_parts(self) -> dict[str, Saved]:
        parts: dict[str, Saved] = {} if self.towers is None else {"towers": self.towers, "towers.dense": self.towers.dense}
        return parts | {
            "numbers": self.number_weights, "blend": self.blend, "hearsay": self.cross_domain_blend, "platt": self.platt,
            "base": self.base, "dense": self.dense, "effect": self.effect,
        }  # fmt: skip

    def _counted_parts(self) -> dict[str, Table | Admission | Domains | TierWeights | TakenItems]:
        taken: dict[str, TakenItems] = {} if self.towers is None else {"taken": self.towers.taken}
        return {**taken, **self.tables(), "waiting": self.admission, "domains": self.domains, "tiers": self.tier_weights}
