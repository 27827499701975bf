"""Rewards on their way into the posteriors: they wait for a moment that follows from the records alone, and are learned together.

The live values of the strategies see each reward just before the posteriors do, so that they use what was known until then.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import xxhash

from online_model.features import Reward
from streams.core.learning.checkpoint_arrays import below, packed, prefixed, unpacked, update_hash
from streams.core.learning.live_value import LiveValue, StrategyValue
from streams.core.learning.strategy_bandit import StrategyBandit

AT_ONCE = 256  # at most: while no step and no tick comes, none waits for long


class RewardQueue:
    """Rewards that wait, the strategy bandit that learns from them, and the live value of its strategies."""

    def __init__(self, strategy_bandit: StrategyBandit) -> None:
        self.strategy_bandit = strategy_bandit
        self.live = LiveValue()
        self.values: list[StrategyValue] = []  # of closed hours, not yet handed out
        self._waiting: list[Reward] = []
        self._log = 0  # hash of all rewards so far, in order

    def __len__(self) -> int:
        """Rewards that wait."""
        return len(self._waiting)

    def put(self, reward: Reward) -> bool:
        """Line a reward up; whether it is time to learn."""
        self._waiting.append(reward)
        self._log = xxhash.xxh3_64_intdigest(self._log.to_bytes(8, "big") + msgspec.msgpack.encode(reward))
        return len(self._waiting) >= AT_ONCE

    def learn(self) -> dict[str, int]:
        """Learn of all that wait; what became of them."""
        if not self._waiting:
            return {}
        rewards, self._waiting = self._waiting, []
        self.live.see(self.strategy_bandit, rewards)
        return self.strategy_bandit.learn(rewards)

    def due(self, settled_ms: int) -> bool:
        """Whether an hour can be closed; what waits should be learned first."""
        return self.live.until(settled_ms) > self.live.oldest

    def advance(self, settled_ms: int) -> None:
        """Lists shown before have closed."""
        self.values += self.live.advance(settled_ms)

    def close(self) -> None:
        """All logs have ended."""
        self.values += self.live.close()

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays of a checkpoint."""
        return prefixed("policy.", self.strategy_bandit.arrays()) | {"live": self.live.array(), "waiting": packed(self._waiting)}

    def meta(self) -> dict[str, Any]:
        """The rest of a checkpoint."""
        return {"choosing": self.strategy_bandit.meta(), "log": f"{self._log:016x}", "values": msgspec.to_builtins(self.values)}

    def load(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> int:
        """Restore a checkpoint; returns how many drift windows start anew, as `StrategyBandit.load` does."""
        restarted = self.strategy_bandit.load(below("policy.", arrays), meta["choosing"])
        self.live.load(arrays["live"])
        self._waiting = unpacked(arrays["waiting"], list[Reward])
        self._log = int(meta["log"], 16)
        self.values = msgspec.convert(meta["values"], list[StrategyValue])
        return restarted

    def digest(self) -> str:
        """A hash of what was learned of which rewards, in which order: none can be dropped, doubled or swapped unseen."""
        h = xxhash.xxh3_128(self._log.to_bytes(8, "big"))
        update_hash(h, self.arrays())
        h.update(msgspec.msgpack.encode(self.strategy_bandit.meta()["learned"], order="sorted"))
        return h.hexdigest()
