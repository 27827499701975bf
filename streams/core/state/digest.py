"""Digests of state: a hash per table, equal for equal rows, whichever driver made them."""
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec
import xxhash

from streams.core.state.rows import PROGRESS, Progress
from streams.core.state.tables import Row

MARKS = {"pending": (b"o", b"x", b"u"), "dedupe": (b"t",)}  # first bytes of their keys: they follow from the rows beside them


def digest(rows: Mapping[str, Iterable[Row]], in_order: Collection[str] = ()) -> dict[str, str]:
    """A hash per kind of row, over all rows in key order, marks left out: equal states, equal digests.

    `in_order`: tables whose rows come in key order, as those of a store do: they need not fit in memory.

    `progress` is event time and what was admitted in which order, so that no event can be dropped, doubled or swapped
    unseen, even where the others commute. What was rejected or counted leaves no trace.
    """
    out = {}
    for name in ("users", "pending", "dedupe", "popularity", "co_listening"):
        h = xxhash.xxh3_128()
        marks = MARKS.get(name, ())
        kept = ((k, v) for k, v in rows[name] if k[:1] not in marks)
        for key, raw in kept if name in in_order else sorted(kept):
            h.update(len(key).to_bytes(4, "little") + key + len(raw).to_bytes(4, "little") + raw)
        out[name] = h.hexdigest()
    progress = next((msgspec.msgpack.decode(raw, type=Progress) for key, raw in rows["meta"] if key == PROGRESS), Progress())
    passed = msgspec.msgpack.encode((progress.watermark_ms, progress.open_lists, progress.log))
    out["progress"] = xxhash.xxh3_128_hexdigest(passed)
    return out
