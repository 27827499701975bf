"""Which domain has which place in the cross-domain towers: first come, first served, the last place for all that come later."""
from __future__ import annotations

import numpy as np

from online_model.mixing import mixed
from online_model.saved import Saved

Array = np.ndarray

_SALT = np.uint64(0x5D0A1B7C93E2F461)


class Domains(Saved):
    """At most `places` domains by 64-bit key; 0 (no domain named) is one like the others."""

    saved = ("keys", "n")

    def __init__(self, places: int) -> None:
        self.keys = np.zeros(places, np.uint64)  # of the last place: none
        self.n = 0

    def learn(self, keys: Array) -> None:
        """Give places to new domains [n], in order of appearance, while there are any."""
        for key in dict.fromkeys(keys.tolist()):
            if self.n < len(self.keys) - 1 and key not in self.keys[: self.n]:
                self.keys[self.n] = key
                self.n += 1

    def places(self, keys: Array) -> Array:
        """int64, in the shape of `keys`."""
        same = keys[..., None] == self.keys[: self.n]
        found = same.any(-1)
        return np.where(found, same.argmax(-1), len(self.keys) - 1) if self.n else np.full(keys.shape, len(self.keys) - 1)

    def own_rows(self, users: Array) -> Array:
        """Keys of the rows that users [n] have in each place: uint64 [n, places]."""
        salts = mixed(self.keys ^ mixed(_SALT + np.arange(len(self.keys), dtype=np.uint64)))  # a sum would let places meet
        return np.where(users[:, None] != 0, mixed(users[:, None] ^ salts), np.uint64(0))
