"""Prequential metrics: every row is predicted first, then learned from; here the predictions are scored.

By tumbling windows of event time (5 min, 1 h, 1 d), fading (half-lives 1 h and 1 d: S = l + aS) and over the whole
run. `tally.py` and `gauc.py` define the figures; this file decides which rows go where.

Rows are buffered and folded in by the thousand, for speed alone: sums are sequential and decay is by exact powers of
two, so the state depends on the rows and on the watermark between them, never on when they were folded in or read.
"""
from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ldexp
from typing import Any

import msgspec
import numpy as np

from online_model.decay import DAY_MS, HOUR_MS
from online_model.features import TASKS
from online_model.gauc import Sample
from online_model.saved import part, prefixed
from online_model.tally import BINS, Scored, Tally, TaskMetrics, scored

Array = np.ndarray

WIDTHS_MS = (300_000, HOUR_MS, DAY_MS)  # each a multiple of the one before
HALF_LIVES_MS = (HOUR_MS, DAY_MS)
ROWS_CAP = 200_000  # rows kept for GAUC: 7.4 MB
OPEN_WINDOWS = 4  # of one width; a further one closes the oldest
BUFFERED = 1_024  # rows
KINDS = (
    np.uint64,
    np.int64,
    np.float32,
    np.float64,
    np.float32,
    np.float64,
)  # of buffered users, times, logits, probabilities, labels, weights
RESCALE = 64  # half-lives after which fading sums are scaled back


class WindowResult(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of the rows with start_ms <= ts < end_ms, by task."""

    width_ms: int
    start_ms: int
    end_ms: int
    late: int  # rows so far that came after their window of this width had closed
    tasks: dict[str, TaskMetrics]


class Prequential:
    """Scored rows in, figures out."""

    def __init__(self, tasks: Sequence[str] = TASKS, rows_cap: int = ROWS_CAP) -> None:
        self.tasks = tuple(tasks)
        self.late = dict.fromkeys(WIDTHS_MS, 0)
        n = len(self.tasks)
        self._total = Tally.empty(n)
        self._fading = [_Fading(n, half_life) for half_life in HALF_LIVES_MS]
        self._windows: dict[tuple[int, int], Tally] = {}  # (width, start); closed ones are gone
        self._passed = 0  # narrow windows that the watermark has passed: nothing closes before the next one does
        self._closed_until = dict.fromkeys(WIDTHS_MS, 0)
        self._closed: list[WindowResult] = []  # not yet handed out
        self._sample = Sample(n, rows_cap)
        self._buffer: list[tuple[Array, ...]] = []  # rows on their way in, as `score` was given them
        self._buffered = 0

    def score(
        self, ts: int, users: Array, logits: Array, probabilities: Array, labels: Array, importance_weight: Array | None = None
    ) -> None:
        """Rows of one event time: users uint64 [N]; the rest [N, T], with logits and probabilities as before the update.

        An entry that isn't finite (a label that isn't known, say) is left out of its task. `importance_weight` [N]: exposures that a row
        is counted as (1 if not given), where such rows were thinned out: every figure is then an estimate of that of all of them.
        """
        each = np.ones(len(users)) if importance_weight is None else importance_weight
        columns = (users, np.full(len(users), ts), logits, probabilities, labels, each)
        self._buffer.append(tuple(column.astype(kind) for column, kind in zip(columns, KINDS, strict=True)))
        self._buffered += len(users)
        if self._buffered >= BUFFERED:
            self._fold()

    def advance(self, watermark_ms: int) -> list[WindowResult]:
        """Close what ends at or before the watermark; results in order of their end, the narrow ones first."""
        if watermark_ms // WIDTHS_MS[0] > self._passed:
            self._passed = watermark_ms // WIDTHS_MS[0]
            self._fold()
            for width in WIDTHS_MS:
                self._closed_until[width] = max(self._closed_until[width], watermark_ms // width * width)
            self._close([key for key in self._windows if key[1] + key[0] <= self._closed_until[key[0]]])
        return self._handed_out()

    def close(self) -> list[WindowResult]:
        """Close every open window, whatever the watermark: the log has ended."""
        self._fold()
        for width, start in self._windows:
            self._closed_until[width] = max(self._closed_until[width], start + width)
        self._close(list(self._windows))
        return self._handed_out()

    def summary(self) -> dict[str, dict[str, float]]:
        """Figures of every row so far, by task. GAUC sorts the kept rows: some 0.2 s at the cap."""
        self._fold()
        return _by_task(self.tasks, _with_gauc(self._total, self._sample.read()))

    def fading(self) -> dict[int, dict[str, dict[str, float]]]:
        """Figures in which a row loses half its weight a half-life (ms): half-life -> task -> figures, without GAUC."""
        self._fold()
        return {fading.half_life: _by_task(self.tasks, fading.read()) for fading in self._fading}

    def arrays(self) -> dict[str, Array]:
        """With `meta`, all there is to save: equal states give equal bytes."""
        self._fold()
        windows = [self._windows[key] for key in sorted(self._windows)]
        total = {"total.histogram": self._total.histogram.copy(), "total.loss": self._total.loss.copy()}
        fading = prefixed("fading", _stacked([f.tally for f in self._fading], len(self.tasks)))
        return total | fading | prefixed("windows", _stacked(windows, len(self.tasks))) | prefixed("sample", self._sample.arrays())

    def meta(self) -> dict[str, Any]:
        """What `arrays` belongs to, as plain values."""
        self._fold()
        return {
            "tasks": list(self.tasks),
            "windows": [list(key) for key in sorted(self._windows)],
            "passed": self._passed,
            "closed_until": [self._closed_until[width] for width in WIDTHS_MS],
            "late": [self.late[width] for width in WIDTHS_MS],
            "closed": msgspec.to_builtins(self._closed),
            "fading": [[f.zero_ms, f.newest_ms] for f in self._fading],
            "sample": {"cap": self._sample.cap, "halvings": self._sample.halvings},
        }

    def load(self, arrays: dict[str, Array], meta: dict[str, Any]) -> None:
        """Become the saved state. Tasks and the cap of kept rows must be the saved ones."""
        for name, saved, ours in (("tasks", tuple(meta["tasks"]), self.tasks), ("rows_cap", meta["sample"]["cap"], self._sample.cap)):
            if saved != ours:
                raise ValueError(f"metrics were saved with {name} = {saved}, now {ours}; use the saved one or start metrics anew")
        self._total = Tally(arrays["total.histogram"].copy(), arrays["total.loss"].copy())
        for fading, tally, times in zip(self._fading, _unstacked(part("fading", arrays)), meta["fading"], strict=True):
            fading.tally, (fading.zero_ms, fading.newest_ms) = tally, times
        self._windows = dict(zip(map(tuple, meta["windows"]), _unstacked(part("windows", arrays)), strict=True))
        self._passed = meta["passed"]
        self._closed_until = dict(zip(WIDTHS_MS, meta["closed_until"], strict=True))
        self.late = dict(zip(WIDTHS_MS, meta["late"], strict=True))
        self._closed = msgspec.convert(meta["closed"], list[WindowResult])
        self._sample.load(part("sample", arrays), meta["sample"]["halvings"])
        self._buffer, self._buffered = [], 0

    def _fold(self) -> None:
        if not self._buffered:
            return
        users, ts, logits, probabilities, labels, importance_weight = map(np.concatenate, zip(*self._buffer, strict=True))
        self._buffer, self._buffered = [], 0
        rows = scored(logits, probabilities, labels)
        self._total.add(rows, importance_weight)
        for fading in self._fading:
            fading.add(rows, ts, importance_weight)
        self._sample.add(users, ts, np.where(rows.counts > 0, logits, np.nan), labels > 0.5, importance_weight)
        for width in WIDTHS_MS:
            self._window(width, ts, rows, importance_weight)

    def _window(self, width: int, ts: Array, rows: Scored, importance_weight: Array) -> None:
        starts = ts // width * width
        cuts = [0, *(np.flatnonzero(starts[1:] != starts[:-1]) + 1).tolist(), len(ts)]
        for begin, end in pairwise(cuts):  # runs of one window, in order of arrival
            start = int(starts[begin])
            if start + width <= self._closed_until[width]:
                self.late[width] += end - begin
                continue
            if (width, start) not in self._windows:
                self._windows[width, start] = Tally.empty(len(self.tasks))
            self._windows[width, start].add(rows.take(slice(begin, end)), importance_weight[begin:end])
            same = sorted(key for key in self._windows if key[0] == width)
            if len(same) > OPEN_WINDOWS:
                self._closed_until[width] = same[0][1] + width
                self._close(same[:1], with_gauc=False)  # rows behind this one may be in the sample already

    def _close(self, keys: list[tuple[int, int]], with_gauc: bool = True) -> None:
        for width, start in sorted(keys, key=lambda key: (key[0] + key[1], key[0])):
            end = start + width
            tally = self._windows.pop((width, start))
            figures = _with_gauc(tally, self._sample.read(start, end)) if with_gauc else tally.read()
            by_task = dict(zip(self.tasks, figures, strict=True))
            self._closed.append(WindowResult(width_ms=width, start_ms=start, end_ms=end, late=self.late[width], tasks=by_task))

    def _handed_out(self) -> list[WindowResult]:
        out, self._closed = self._closed, []
        return out


class _Fading:
    """A tally whose rows weigh 2^((ts - zero) / half-life): forward decay, so that adding costs the new rows only."""

    def __init__(self, tasks: int, half_life_ms: int) -> None:
        self.half_life, self.zero_ms, self.newest_ms = half_life_ms, 0, 0
        self.tally = Tally.empty(tasks)

    def add(self, rows: Scored, ts: Array, importance_weight: Array) -> None:
        self.newest_ms = max(self.newest_ms, int(ts.max()))
        zero = self.newest_ms // (RESCALE * self.half_life) * (RESCALE * self.half_life)
        if zero > self.zero_ms:
            self.tally.scale(ldexp(1.0, (self.zero_ms - zero) // self.half_life))
            self.zero_ms = zero
        whole, rest = np.divmod(ts - zero, self.half_life)
        self.tally.add(rows, importance_weight * np.ldexp(np.exp2(rest / self.half_life), np.maximum(whole, -10_000).astype(np.int32)))

    def read(self) -> list[TaskMetrics]:
        """As of the newest row: `n` is the sum of weights then."""
        now = Tally(self.tally.histogram.copy(), self.tally.loss.copy())
        now.scale(2.0 ** ((self.zero_ms - self.newest_ms) / self.half_life))
        return now.read()


def _stacked(tallies: Sequence[Tally], tasks: int) -> dict[str, Array]:
    """Tallies of so many tasks as one array each of their histograms [n, T, 3, BINS] and losses [n, T]."""
    histograms = np.array([tally.histogram for tally in tallies]).reshape(-1, tasks, 3, BINS)
    return {"histogram": histograms, "loss": np.array([tally.loss for tally in tallies]).reshape(-1, tasks)}


def _unstacked(arrays: dict[str, Array]) -> list[Tally]:
    """The tallies that `_stacked` was given."""
    return [Tally(histogram.copy(), loss.copy()) for histogram, loss in zip(arrays["histogram"], arrays["loss"], strict=True)]


def _with_gauc(tally: Tally, gauc: list[tuple[float, float]]) -> list[TaskMetrics]:
    figures = zip(tally.read(), gauc, strict=True)
    return [msgspec.structs.replace(task, gauc=value, gauc_skipped=skipped) for task, (value, skipped) in figures]


def _by_task(tasks: Sequence[str], figures: list[TaskMetrics]) -> dict[str, dict[str, float]]:
    return dict(zip(tasks, map(msgspec.structs.asdict, figures), strict=True))
