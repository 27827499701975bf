"""Predictions, kept until their exposure's window closes and scored against the labels as they stand then.

A score belongs to the metric window of the time at which the exposure was shown. Shapes: N exposures, T tasks.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from online_model.batch import Batch
from online_model.drift import Drift
from online_model.features import FIELDS, TASKS, Closed, Example, Exposed, Reversal
from online_model.metrics import Prequential, WindowResult
from streams.core.learning.checkpoint_arrays import Array, packed, unpacked
from streams.core.learning.sampled_buffer import NONE_DROPPED, SampledBuffer

if TYPE_CHECKING:  # settings are read without torch
    from online_model.trainer import Prediction as Predicted
    from online_model.trainer import StepReport

_USER, _DOMAIN = FIELDS.index("user"), FIELDS.index("domain")

Watcher = Callable[[int, Array, Array, Array, Array, Array], None]  # as `Prequential.score`


class Prediction(msgspec.Struct, frozen=True, array_like=True):
    """What was predicted for an exposure with the parameters as they stood when it was shown."""

    user: int
    shown_ms: int
    logits: bytes  # float32 [T]
    probabilities: bytes  # float32 [T]
    place: int  # of its domain
    sampling_rate: float  # share of such exposures that is kept


class ClosedExposures(NamedTuple):
    """Exposures whose windows have closed, N of them with a prediction, in the order in which they are scored."""

    ids: list[int]  # [N]
    shown_ms: list[int]  # [N]
    logits: Array  # float32 [N, T]
    probabilities: Array  # float32 [N, T]
    labels: Array  # float32 [N, T]
    importance_weight: Array  # float64 [N]
    unscored: list[int]  # ids of the others


@dataclass(slots=True)
class Scored:
    """What became of the closed exposures."""

    counts: Counter[str] = field(default_factory=Counter)
    settled_ms: list[int] = field(default_factory=list)  # moments before which all exposures have been scored, ascending


class PredictionScorer:
    """Open predictions, the metrics they are scored in, and the detector that watches their residuals."""

    def __init__(self, limit: int, domain_places: int) -> None:
        """`limit`: open predictions; beyond it whole slates are dropped, and count as unscored when they close."""
        self.metrics = Prequential()
        self.drift = Drift(domain_places)
        self.windows: list[WindowResult] = []  # closed, not yet handed out
        self.watchers: list[Watcher] = []  # also called with everything scored; no part of the state
        self.closed_watchers: list[Callable[[ClosedExposures], None]] = []  # … with their ids; no part of the state either
        self.settled_ms = -1  # all exposures shown before this moment are scored, once those that close at it are
        self._open = SampledBuffer[Prediction](limit, lambda prediction: (prediction.user, prediction.shown_ms))
        self._closed: list[Closed] = []

    def keep(
        self, records: Sequence[Exposed | Example | Reversal], batch: Batch, domain_place: Array, made: Predicted | StepReport
    ) -> None:
        """Keep what was predicted for exposures as they were shown, and what their examples add; `domain_place` [N]: of the batch."""
        users, shown_ms = batch.fields[:, _USER], batch.shown_ms
        logits, probabilities = made.logits.astype("<f4"), made.probabilities.astype("<f4")
        for i, record in enumerate(records):
            place, sampling_rate = int(domain_place[i]), record.sampling_rate if isinstance(record, Example) else 1.0
            if not batch.foreseen[i]:
                predicted = logits[i].tobytes(), probabilities[i].tobytes()
                self._open.put(record.id, Prediction(int(users[i]), int(shown_ms[i]), *predicted, place, sampling_rate))
            elif isinstance(record, Example) and (kept := self._open.rows.get(record.id)) is not None:
                self._open.rows[record.id] = msgspec.structs.replace(kept, place=place, sampling_rate=sampling_rate)

    def close(self, record: Closed) -> None:
        """Line up exposures whose window has closed, with their labels; `score` scores them."""
        self._closed.append(record)

    def score(self, now_ms: int) -> Scored:
        """Score all that have closed, metric windows in between."""
        closed, self._closed = self._closed, []
        out = Scored()
        rows = [[(self._open.pop(i), labels) for i, labels in zip(record.ids, record.labels, strict=True)] for record in closed]
        unlearned = [i for record in closed for i in record.unlearned]
        for exposure in unlearned:
            self._open.pop(exposure)
        if closed:
            self._open.settle(max(record.shown_before_ms for record in closed))
        known = [[(prediction, labels) for prediction, labels in of_record if prediction is not None] for of_record in rows]
        shown_ms, columns = _columns([row for of_record in known for row in of_record])
        at = 0
        for record, of_record in zip(closed, known, strict=True):
            if record.shown_before_ms > self.settled_ms:
                self.advance()
                out.settled_ms.append(self.settled_ms)
                self.settled_ms = record.shown_before_ms
            out.counts.update(unscored=len(record.ids) - len(of_record), scored=len(of_record), sampled_out=record.sampled_out)
            for ts, group in groupby(shown_ms[at : at + len(of_record)]):
                of_window = slice(at, at := at + len(list(group)))
                for score in (self.metrics.score, *self.watchers):
                    score(ts, *(column[of_window] for column in columns[:-1]))
        _, logits, probabilities, labels, importance_weight, places = columns
        if self.closed_watchers:
            ids = [i for record in closed for i in record.ids]
            there = [prediction is not None for of_record in rows for prediction, _ in of_record]
            left = [i for i, scored in zip(ids, there, strict=True) if not scored]
            ids = [i for i, scored in zip(ids, there, strict=True) if scored]
            for watch in self.closed_watchers:
                watch(ClosedExposures(ids, shown_ms, logits, probabilities, labels, importance_weight, left + unlearned))
        residuals = labels - probabilities
        finite = np.isfinite(residuals).all(1)  # a step that was skipped may have predicted nothing
        out.counts["drift"] = self.drift.see(places[finite], residuals[finite], importance_weight[finite], now_ms)
        return out

    def advance(self) -> None:
        """Close the metric windows of all that is settled."""
        self.windows += self.metrics.advance(self.settled_ms)

    def finish(self) -> None:
        """Close all metric windows: the log has ended."""
        self.windows += self.metrics.close()

    def arrays(self) -> dict[str, Array]:
        """Predictions and closed exposures, for a checkpoint; metrics and drift are saved apart."""
        return {
            "predicted": packed(list(self._open.rows.items())),
            "predicted_share": np.array(self._open.meta(), np.int64),
            "closed": packed(self._closed),
        }

    def load(self, arrays: dict[str, Array]) -> None:
        """Restore `arrays()`."""
        share = arrays["predicted_share"].tolist() if "predicted_share" in arrays else NONE_DROPPED
        self._open.load(unpacked(arrays["predicted"], list[tuple[int, Prediction]]), share)
        self._closed = unpacked(arrays["closed"], list[Closed])


def _columns(scored: Sequence[tuple[Prediction, int]]) -> tuple[list[int], tuple[Array, ...]]:
    """Event times [N], then users [N], logits, probabilities and labels [N, T], importance weights [N], domain places [N]."""
    n, tasks = len(scored), len(TASKS)
    masks = np.array([labels for _, labels in scored], np.int64)
    return [p.shown_ms for p, _ in scored], (
        np.array([p.user for p, _ in scored], np.uint64),
        np.frombuffer(b"".join([p.logits for p, _ in scored]), "<f4").reshape(n, tasks),
        np.frombuffer(b"".join([p.probabilities for p, _ in scored]), "<f4").reshape(n, tasks),
        ((masks[:, None] >> np.arange(tasks)) & 1).astype(np.float32),
        1 / np.array([p.sampling_rate for p, _ in scored], np.float64),
        np.array([p.place for p, _ in scored], np.int64),
    )
