"""When a micro-batch ends: at a count, or at a span of event time. Only the records decide, so live and replay make the same steps.

Exposures wait beside it for their prediction, which is due before the next step: until then the parameters are those of their moment.
"""
from __future__ import annotations

from online_model.features import Example, Exposed, Reversal
from streams.core.learning.checkpoint_arrays import Array, packed, unpacked

FIRST_BATCH = 64  # examples of a full micro-batch before much has been learned (MODEL.md section 7)
PREDICTED = 256  # exposures that are predicted at once
GROWTH = 128  # examples learned for each that a micro-batch may hold: a large step teaches less while all is new, and costs half an example


def full_size(most: int, learned: int) -> int:
    """Records of a full micro-batch after so many examples learned: a 128th of them, from 64 up to `most`.

    Steps of 256 from the start cost .02 of the AUC of skip in KuaiRand's first 20,000 examples.

    >>> full_size(256, 0), full_size(256, 12_800), full_size(256, 1_000_000)
    (64, 100, 256)
    """
    return min(most, max(FIRST_BATCH, learned // GROWTH))


class MicroBatch:
    """The records of the open micro-batch, in order."""

    def __init__(self, span_ms: int) -> None:
        self.span_ms = span_ms
        self.records: list[Example | Reversal] = []
        self.exposed: list[Exposed] = []

    def __len__(self) -> int:
        return len(self.records)

    def ends_before(self, ts: int) -> bool:
        """Whether a record at event time `ts` lies beyond the span of the batch; late ones lie beyond it backwards."""
        return bool(self.records) and abs(ts - self.records[0].ts) > self.span_ms

    def take(self) -> list[Example | Reversal]:
        """The records; the next batch begins empty."""
        records, self.records = self.records, []
        return records

    def take_exposed(self) -> list[Exposed]:
        """The exposures that wait for their prediction."""
        exposed, self.exposed = self.exposed, []
        return exposed

    def arrays(self) -> dict[str, Array]:
        """All state, for a checkpoint."""
        return {"batch": packed(self.records), "exposed": packed(self.exposed)}

    def load(self, arrays: dict[str, Array]) -> None:
        """Restore `arrays()`."""
        self.records = unpacked(arrays["batch"], list[Example | Reversal])
        self.exposed = unpacked(arrays["exposed"], list[Exposed]) if "exposed" in arrays else []  # older checkpoints have none
