"""What other systems predicted for the same rows of a log, set against what was predicted here: differences with intervals.

A file of theirs is an npz whose rows are the log's in time order, equal ones once: `ts` [N] and, for each task and system,
`label:TASK` [N], `pass:SYSTEM:TASK` [N] (each row predicted before it was learned, one pass) and `frozen:SYSTEM:TASK` [N] (nothing
learned from the last 30 % of the rows).
"""
from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bandit.bootstrap import Interval
from online_model.features import TASKS
from replay.evidence.intervals import Figure, Users, interval
from replay.evidence.ledger import PredictedExposures

Array = np.ndarray

OURS = "segue"
FIRST = 10_000
FEW = 10  # positives (in the rows at hand) below which nothing is said
RESAMPLES = int(os.environ.get("RESAMPLES", "1000"))


@dataclass(slots=True)
class Said:
    """Predictions for the rows of one task, by system; `segue` is first."""

    labels: Array
    once: dict[str, Array]  # one pass
    frozen: dict[str, Array] = field(default_factory=dict)  # NaN before the tail


def said(judged: PredictedExposures, ours: str, still: str, theirs: Path | None) -> dict[str, Said]:
    """By task. Refuses a file whose rows are not these."""
    out = {
        task: Said(judged.labels[:, k], {OURS: judged.probabilities[ours][:, k]}, {OURS: judged.probabilities[still][:, k]})
        for k, task in enumerate(TASKS)
    }
    if theirs is None:
        return out
    with np.load(theirs) as file:
        assert np.array_equal(file["ts"], judged.shown_ms), f"{theirs}: other rows, or another order"
        for name in file.files:
            kind, *rest = name.split(":")
            if kind == "label":
                assert np.array_equal(file[name], out[rest[0]].labels), f"{theirs}: other labels of {rest[0]}"
            elif kind in ("pass", "frozen"):
                system, task = rest
                (out[task].once if kind == "pass" else out[task].frozen)[system] = file[name]
    return out


def differences(users: Users, figures: dict[str, Figure]) -> dict[str, tuple[Interval, Interval]]:
    """By system: its figure, and ours less it."""
    names = list(figures)
    read = users.read(list(figures.values()), RESAMPLES)
    return {name: (interval(read[:, k]), interval(read[:, names.index(OURS)] - read[:, k])) for k, name in enumerate(names)}


@dataclass(slots=True)
class Verdict:
    """One figure of one task on some rows, of every system."""

    task: str
    what: str
    positives: int
    by_system: dict[str, tuple[Interval, Interval]]

    @property
    def strongest(self) -> str | None:
        """The best of the others: the highest (NE: the lowest) figure."""
        others = {name: found[0].value for name, found in self.by_system.items() if name != OURS and found[0].value == found[0].value}
        return (min if self.what.startswith("NE") else max)(others, key=others.__getitem__) if others else None

    def __str__(self) -> str:
        ours = self.by_system[OURS][0]
        head = f"{self.task:10}{self.what:24}{ours.value:.4f} [{ours.low:.4f}, {ours.high:.4f}]  {self.positives:,} positives"
        rest = [f"{'':14}less {name:6} ({figure.value:.4f}): {less}" for name, (figure, less) in self.by_system.items() if name != OURS]
        return "\n".join([head, *rest])


def verdicts(judged: PredictedExposures, found: dict[str, Said], since_ms: int) -> Iterator[Verdict]:
    """All that is compared: AUC and NE over one pass, its first rows, its second half, since a moment; GAUC on the frozen tail."""
    n = len(judged)
    everything = np.arange(n)
    since = np.flatnonzero(judged.shown_ms >= since_ms)
    for task, each in found.items():
        tail = np.flatnonzero(np.isfinite(each.frozen[OURS]))
        tail = tail[tail >= int(0.7 * n)]
        for what, rows in (
            ("AUC", everything), ("NE", everything), ("AUC, first 10,000", everything[:FIRST]), ("AUC, second half", everything[n // 2 :]),
            ("AUC, apart", since), ("NE, apart", since), ("GAUC, frozen tail", tail),
        ):  # fmt: skip
            labels = each.labels[rows]
            if labels.sum() < FEW:
                continue
            users = Users(judged.users[rows])
            figure = users.ne if what.startswith("NE") else users.gauc if what.startswith("GAUC") else users.auc
            of = each.frozen if what.startswith("GAUC") else each.once
            by_system = {name: figure(p[rows], labels) for name, p in of.items() if np.isfinite(p[rows]).all()}
            yield Verdict(task, what, int(labels.sum()), differences(users, by_system))


def copc(judged: PredictedExposures, found: dict[str, Said]) -> dict[str, Interval]:
    """What happened over what was predicted here, by task."""
    users = Users(judged.users)
    read = users.read([users.copc(each.once[OURS], each.labels) for each in found.values()], RESAMPLES)
    return {task: interval(read[:, k]) for k, task in enumerate(found)}
