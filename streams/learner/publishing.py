"""What one turn of learning changed, to the topics: sent in order, one turn's records on their way at most."""
from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from aiokafka.structs import RecordMetadata

from streams.core.learning.learn import Learner, Step
from streams.kafka_io import messages
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.messages import Beat, Delta, Out


class Publisher:
    """Deltas of the model, figures and heartbeats of one learner."""

    def __init__(self, delivery: Delivery, dense_every_s: float) -> None:
        self.updates_offset = 0  # where `model-updates` go on from the state as it is
        self.deltas = 0
        self.acts = 0  # in the deltas
        self._delivery, self._dense_every_s = delivery, dense_every_s
        self._update_at = 0.0  # of the last record in `model-updates`
        self._dense_at = 0.0  # of the last delta with dense parameters
        self._dense_pending = False  # dense parameters changed since then
        self._bandit_version = 0  # that was last published
        self._sending: list[asyncio.Future[RecordMetadata]] = []

    def begin_epoch(self, epoch: int, learner: Learner) -> None:
        """From here on `learner` is published; replicas have its state from a checkpoint."""
        self.updates_offset, self._bandit_version = epoch + 1, learner.strategy_bandit.version

    def delta(self, epoch: int, learner: Learner, steps: Sequence[Step]) -> Delta | None:
        """What these steps, and rewards between them, changed; None: nothing. Runs in the thread that learns."""
        bandit = learner.strategy_bandit
        state = b""
        if bandit.version != self._bandit_version:
            self._bandit_version, state = bandit.version, bandit.copy_bytes()
        if not steps:
            version, watermark = learner.version, learner.watermark_ms
            return Delta(epoch, version, version, watermark, [], b"", state) if state else None
        now = time.monotonic()
        dense = now - self._dense_at >= self._dense_every_s
        if dense:
            self._dense_at = now
        self._dense_pending = not dense
        touched: dict[str, np.ndarray] = {}
        for name in {n for s in steps for n in s.report.touched}:
            touched[name] = np.unique(np.concatenate([s.report.touched[name] for s in steps if name in s.report.touched]))
        return Delta(
            epoch=epoch, first=steps[0].version, version=steps[-1].version, watermark_ms=steps[-1].watermark_ms,
            arrivals_ms=[a for s in steps for a in s.arrivals_ms], rows=learner.trainer.delta(touched, dense),
            strategy_bandit=state,
        )  # fmt: skip

    async def publish(self, learner: Learner, delta: Delta | None) -> None:
        """Send a delta, and the figures that the learner has ready."""
        out = [Out("metrics", 0, b"window", msgspec.json.encode(w)) for w in learner.take_windows()]
        out += [Out("metrics", 0, b"strategy", msgspec.json.encode(v)) for v in learner.take_values()]
        if delta is not None:
            out.insert(0, _update(delta))
            self._update_at = time.monotonic()
            self.deltas += 1
            self.acts += len(delta.arrivals_ms)
        if out:
            await self.send(out)

    async def beat(self, epoch: int, learner: Learner, every_s: float) -> None:
        """Send dense parameters that no delta had, and a sign of life where nothing was sent for so long."""
        if self._dense_pending:
            self._dense_pending = False
            rows = learner.trainer.delta({}, True)
            await self.send([_update(Delta(epoch, learner.version, learner.version, learner.watermark_ms, [], rows))])
        if time.monotonic() - self._update_at >= every_s:
            self._update_at = time.monotonic()
            await self.send([_update(Beat(epoch, learner.version))])

    async def send(self, rows: Iterable[Out]) -> None:
        """Start to send, once the broker has what was sent before."""
        await self.settle()
        self._sending = await self._delivery.start_sending(rows)

    async def settle(self) -> None:
        """Wait until the broker has all. Raises what it refused something with."""
        sending, self._sending = self._sending, []
        for record in await asyncio.gather(*sending):
            if record.topic == self._delivery.topics.model_updates:
                self.updates_offset = record.offset + 1


def _update(update: Delta | Beat) -> Out:
    return Out("model_updates", 0, None, messages.encode(update))
