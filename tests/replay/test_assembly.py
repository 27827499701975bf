"""A replay as it is assembled: one pass, and what was asked for is measured beside it."""
from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from online_model.model_settings import ModelSettings
from replay import assembly, prequential
from replay.assembly import Outcome, Source
from replay.log_rows import LogError, LogRow
from replay.options import CoreSettings, ReplayOptions
from replay.prequential import Numbered
from streams.core.join.items import Item
from streams.core.join.settings import PartitionSettings
from streams.worker.stores import StoreSettings, scratch

CORE = CoreSettings(model=ModelSettings(embedding_dim=4, attention_units=4, expert_units=8, tower_units=4))
T = 1_704_067_200_000


def event(n: int, **fields: object) -> bytes:
    record = {"event_id": f"e{n}", "ts": T + n * 1000, "user_id": f"u{n % 3}", "item_id": f"i{n % 5}", "action": "impression"}
    return msgspec.json.encode(record | {"also": ["play"] if n % 2 else ["skip"], "full": n % 4 == 1} | fields)


def arrivals(*lines: bytes) -> Iterator[Numbered]:
    return prequential.of_file(LogRow(number, line, None) for number, line in enumerate(lines, 1))


LOG = [event(n) for n in range(40)]


def replayed(options: ReplayOptions, source: Source | None = None) -> Outcome:
    return assembly.replay(source or Source(lambda: arrivals(*LOG)), CORE, options, lambda rows, ts: None)


def test_what_was_shown_from_a_moment_on_is_measured_apart_and_nothing_else_changes() -> None:
    result, whole = replayed(ReplayOptions(since_ms=T + 30_000)).result, replayed(ReplayOptions()).result
    assert {task: (m.n, m.positives) for task, m in result.since.items()} == {
        "full_play": (10, 2), "skip": (10, 5), "collect": (10, 0), "share": (10, 0), "dislike": (10, 0),
    }  # fmt: skip
    assert (result.since_ms, whole.since_ms, whole.since) == (T + 30_000, None, {})
    assert (result.metrics["skip"], result.digest) == (whole.metrics["skip"], whole.digest)


def test_what_is_measured_beside_the_model_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    items = [Item(item_id=f"i{n}", categories=("jazz",)) for n in range(5)]
    plain, nexts, compared = (
        replayed(options, Source(lambda: arrivals(*LOG), items))
        for options in (ReplayOptions(), ReplayOptions(next_k=3, next_every=1), ReplayOptions(gammas=(0.0, 1.0)))
    )
    assert plain.result.digest == nexts.result.digest == compared.result.digest
    assert plain.evidence == [] and "evidence" not in plain.document()
    assert nexts.next_plays is not None and nexts.evidence == [nexts.next_plays] and nexts.document()["evidence"]
    assert compared.findings and compared.evidence == compared.findings
    assert plain.histogram[:, :2].sum() == 5 * 40  # five tasks, one of two labels each
    page = assembly.write_report(tmp_path, nexts, [], "log.jsonl")
    assert "What was played next" in page.read_text(encoding="utf-8")


def test_ids_that_do_not_fit_in_memory_lie_on_disk_and_the_digest_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the dedupe window are 3 to 6 of this log's ids; every tenth comes twice."""
    partition = PartitionSettings(allowed_lateness_ms=60_000, dedupe_window_ms=60_000, join_window_ms=60_000)
    settings, log = msgspec.structs.replace(CORE, partition=partition), [event(n - n % 10 // 9, ts=T + n * 20_000) for n in range(40)]
    wanted = assembly.replay(Source(lambda: arrivals(*log)), settings, ReplayOptions(), lambda rows, ts: None).result
    monkeypatch.setattr(prequential, "BATCH", 5)
    monkeypatch.setattr(assembly, "IDS_IN_MEMORY", 2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch(StoreSettings()) as open_table:
        found = assembly.replay(Source(lambda: arrivals(*log)), settings, ReplayOptions(), lambda rows, ts: None, open_table).result
        assert [path.name for path in tmp_path.iterdir()] != []
    assert (found.digests, found.merged) == (wanted.digests, wanted.merged)
    assert found.merged == {"duplicate": 4}
    assert list(tmp_path.iterdir()) == []


def test_a_holdout_log_whose_acts_come_in_rows_of_their_own_is_refused_before_the_pass() -> None:
    called: list[int] = []
    source = Source(lambda: arrivals(*LOG), holdout=lambda: arrivals(event(1, request_id="r1")))
    with pytest.raises(LogError, match="second log, row 1: request_id 'r1'"):
        assembly.replay(source, CORE, ReplayOptions(gammas=(0.0, 1.0)), lambda rows, ts: called.append(rows))
    assert not called
