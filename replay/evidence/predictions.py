"""`segue replay --predictions FILE`: every exposure that the figures count as a row of a Parquet file, to be compared with other systems.

    record ──► names of what it exposes ──► window closes, the exposure is scored ──► row

A row is the very prediction that the figures are made of: made when the exposure was shown, beside the labels as they stood when its
window closed. Rows are in the order in which windows closed. The core has keys, not the log's own strings: those are kept here while an
exposure is open. Rows leave for a part on disk by the row group; at the end the parts become the file, in one rename. Same log, same
settings: same bytes.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from online_model.features import TASKS, Example, Exposed
from replay.log_rows import DRAWN, LogError
from replay.prequential import Numbered, even
from streams.core.join.events import Event, Exposure
from streams.core.join.join import exposure_id
from streams.core.join.records import Arrived, Effects
from streams.core.learning.learn import Learner
from streams.core.learning.scoring import ClosedExposures

Batches = Callable[[Iterator[Numbered]], Iterator[list[Numbered]]]
After = Callable[[Effects], None]

GROUP = 65_536  # rows of a row group: some 10 MB in memory
SCHEMA = pl.Schema({
    "time": pl.Datetime("ms", "UTC"), "user": pl.String, "item": pl.String, "request": pl.String, "drawn": pl.Boolean, "weight": pl.Float64,
    **{
        name: kind for task in TASKS
        for name, kind in ((task, pl.Int8), (f"{task}_probability", pl.Float32), (f"{task}_logit", pl.Float32))
    },
})  # fmt: skip


class ExposureNames(NamedTuple):
    """What a log calls an exposure."""

    user: str
    item: str
    request: str | None
    drawn: bool  # nobody made it: its item was drawn beside one that was taken


@contextmanager
def written(path: Path) -> Iterator[Predictions]:
    """What collects the rows; the file is there once the block has ended well. Raises LogError where it can't be written."""
    if not path.parent.is_dir():
        raise LogError(f"--predictions {path}: there is no folder {path.parent}")
    try:
        folder = TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)  # beside the file: a rename stays on one disk
    except OSError as error:
        raise LogError(f"--predictions {path}: {error.strerror}") from None
    with folder as parts:
        predictions = Predictions(Path(parts))
        yield predictions
        predictions.write(path)


class Predictions:
    """The rows of one replay, on their way to the file."""

    def __init__(self, folder: Path) -> None:
        """`folder`: for the parts."""
        self.rows = 0
        self._folder, self._parts = folder, 0
        self._open: dict[int, ExposureNames] = {}  # by exposure
        self._of_batch: dict[int, ExposureNames] = {}  # of what the records at hand expose, if they are taken
        self._waiting: list[pl.DataFrame] = []
        self._waiting_rows = 0

    def following(self, learner: Learner, batches: Batches = even, after: After = lambda effects: None, **hooks: Any) -> dict[str, Any]:
        """Follow a learner: the hooks of `prequential.run`, with those that are given."""

        def named(numbered: Iterator[Numbered]) -> Iterator[list[Numbered]]:
            for batch in batches(numbered):
                for _, arrived in batch:
                    self._name(arrived)
                yield batch

        def kept(effects: Effects) -> None:
            self._keep(effects)
            after(effects)

        learner.closed_watchers.append(self.closed)
        return hooks | {"batches": named, "after": kept}

    def closed(self, exposures: ClosedExposures) -> None:
        """Take exposures that were scored, and forget those that never will be."""
        for exposure in exposures.unscored:
            self._open.pop(exposure, None)
            self._of_batch.pop(exposure, None)
        if not exposures.ids:
            return
        names = [(self._open if exposure in self._open else self._of_batch).pop(exposure) for exposure in exposures.ids]
        self._waiting.append(_frame(exposures, names))
        self.rows += len(names)
        self._waiting_rows += len(names)
        if self._waiting_rows >= GROUP:
            self._write(GROUP)

    def write(self, path: Path) -> None:
        """All rows as one file."""
        whole = self._folder / "whole"
        self._write(1)
        if self._parts:
            pl.scan_parquet(sorted(self._folder.glob("*.part"))).sink_parquet(whole, row_group_size=GROUP)
        else:
            pl.DataFrame(schema=SCHEMA).write_parquet(whole)
        os.replace(whole, path)

    def _name(self, arrived: Arrived) -> None:
        """Name what a record exposes. What was drawn beside an act has no event of its own; what was taken has."""
        record, keys = arrived.record, arrived.keys
        if not isinstance(record, Event | Exposure):
            return
        items = [slot.item_id for slot in record.slots] if isinstance(record, Exposure) else [record.item_id]
        drawn = isinstance(record, Exposure) and record.strategy == DRAWN
        for item_id, item in zip(items, keys.items, strict=True):
            exposure = exposure_id(keys.user, keys.slate, item, record.ts)
            names = self._open if exposure in self._open else self._of_batch
            known = names.get(exposure) or ExposureNames(record.user_id, item_id, record.request_id, drawn)
            names[exposure] = known._replace(drawn=known.drawn and drawn)

    def _keep(self, effects: Effects) -> None:
        """Keep the names of what a batch has exposed in truth, while it is open."""
        for out in effects.examples:
            made = out.record
            if isinstance(made, Exposed) or (isinstance(made, Example) and not made.predicted):
                if (names := self._of_batch.get(made.id)) is not None:
                    self._open[made.id] = names
        self._of_batch = {}

    def _write(self, least: int) -> None:
        """Write the rows that wait, a row group a part; what is left of fewer than `least` waits on."""
        frame = pl.concat([pl.DataFrame(schema=SCHEMA), *self._waiting])
        while len(frame) >= least:
            frame.head(GROUP).write_parquet(self._folder / f"{self._parts:09}.part")
            self._parts, frame = self._parts + 1, frame[GROUP:]
        self._waiting, self._waiting_rows = [frame], len(frame)


def _frame(exposures: ClosedExposures, names: list[ExposureNames]) -> pl.DataFrame:
    """Rows of exposures. What is not finite counts in no figure; here it is null."""
    columns = [exposures.shown_ms, *map(list, zip(*names, strict=True)), exposures.importance_weight]
    for task in range(len(TASKS)):
        for values in (exposures.labels, exposures.probabilities, exposures.logits):
            column = np.where(np.isfinite(values[:, task]), values[:, task], np.nan)
            columns.append(pl.Series(column, dtype=pl.Float32).fill_nan(None))
    return pl.DataFrame(dict(zip(SCHEMA, columns, strict=True)), schema_overrides={"request": pl.String}).cast(SCHEMA)
