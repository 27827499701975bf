"""Lines of our own records pass as they are; an id is all that is added."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from replay.adapters import jsonl
from replay.log_rows import Columns, LogError, line_id
from streams.core.join.decode import decode
from streams.core.join.events import Action, Event, Reason, Rejected, Tick

GOOD = b'{"event_id":"e1","ts":5,"user_id":"u","item_id":"i","action":"play"}'
BARE = b'{ "ts":5,"user_id":"u","item_id":"i","action":"play"}'


def log(folder: Path, *lines: bytes) -> Path:
    path = folder / "events.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_line_with_an_id_passes_byte_for_byte(tmp_path: Path) -> None:
    (row,) = jsonl.rows(log(tmp_path, GOOD), Columns())
    assert (row.line, row.raw, row.arrival_ms) == (1, GOOD, None)


def test_line_without_an_id_gets_the_hash_of_its_bytes(tmp_path: Path) -> None:
    first, second = jsonl.rows(log(tmp_path, BARE, BARE), Columns())
    assert first.raw == second.raw
    assert decode(first.raw) == [Event(event_id=line_id(BARE), ts=5, user_id="u", item_id="i", action=Action.PLAY)]


def test_array_is_one_row_an_element_and_a_tick_stays_as_it_is(tmp_path: Path) -> None:
    tick = b'{"kind":"tick","ts":10,"last":true}'
    array = b'[{"ts":9,"arrival_ms":11,"user_id":"u","item_id":"i","action":"play"}, %b]' % tick
    first, second = jsonl.rows(log(tmp_path, array), Columns())
    assert (first.line, first.arrival_ms, decode(first.raw)[0].item_id) == (1, 11, "i")
    assert (second.line, second.raw, decode(second.raw)) == (1, tick, [Tick(ts=10, last=True)])


def test_bad_lines_come_out_as_they_stood(tmp_path: Path) -> None:
    bad = [b"not json", b"", b"\xff\xfe", b'[{"ts":5},', b"[" * 10_000]
    rows = list(jsonl.rows(log(tmp_path, *bad), Columns()))
    assert [row.raw for row in rows] == bad
    reasons = [record.reason for row in rows for record in decode(row.raw) if isinstance(record, Rejected)]
    assert reasons[:2] == [Reason.MALFORMED, Reason.EMPTY] and len(reasons) >= 4


def test_other_names_and_times_go_through_the_mapping(tmp_path: Path) -> None:
    line = b'{"when":"2024-01-01T00:00:00Z","user_id":"u","item_id":"i","action":"click","context":{"device":"tv"}}'
    (row,) = jsonl.rows(log(tmp_path, line), Columns(fields={"ts": "when"}, actions={"click": "play"}, time="iso"))
    (event,) = decode(row.raw)
    assert isinstance(event, Event)
    assert (event.ts, event.action, event.context) == (1_704_067_200_000, Action.PLAY, {"device": "tv"})


LISTENS = [{"listened_at": n, "user_name": "ada", "track_metadata": {"artist_name": "Böhm", "track_name": f"a]{{\n{n}"}} for n in range(5)]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(LISTENS),
        json.dumps(LISTENS, indent=2),
        json.dumps(LISTENS, indent=2, ensure_ascii=False),
        "[\n" + ",\n".join(json.dumps(listen) for listen in LISTENS) + "\n]\n",
        "\n".join(json.dumps(listen, indent=1) for listen in LISTENS),
        "\n".join(json.dumps(listen) for listen in LISTENS),
        "\ufeff" + json.dumps(LISTENS, indent=2),
    ],
)
def test_records_are_the_same_however_they_lie_over_lines(tmp_path: Path, text: str) -> None:
    path = tmp_path / "listens.json"
    path.write_text(text, encoding="utf-8")
    assert [json.loads(piece) for _, piece in jsonl.pieces(path)] == LISTENS


def test_a_broken_record_among_many_lines_loses_only_itself_and_each_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "listens.json"
    path.write_text('[\n  {"a": 1},\n  {"b": oops, "c": {"d": 2}},\n  {\n   "e": 3}\n]')
    found = list(jsonl.pieces(path))
    assert [line for line, piece in found if piece in (b'{"a": 1}', b'{\n   "e": 3}')] == [2, 4]
    assert b"oops" in dict(found)[3]


def test_a_mapping_that_no_row_has_is_refused_with_what_they_have_and_a_rare_one_is_found(tmp_path: Path) -> None:
    path = tmp_path / "listens.json"
    path.write_text("\n".join(json.dumps(listen) for listen in [*LISTENS * 300, {"rare": {"x": 1}}]))
    jsonl.check([path], Columns(fields={"context.x": "rare.x"}))
    with pytest.raises(
        LogError, match=r"--map item_id=track_metadata\.trakc: no row has track_metadata\.trakc; they have listened_at, user_name"
    ):
        jsonl.check([path], Columns(fields={"item_id": "track_metadata.trakc"}))


def test_numbers_as_ids_are_their_decimal_text(tmp_path: Path) -> None:
    lines = [b'{"ts":5,"user_id":17,"item_id":2.0,"action":"play"}', b'{"ts":5,"user_id":9007199254740993,"item_id":"i","action":"play"}']
    first, second = [decode(row.raw)[0] for row in jsonl.rows(log(tmp_path, *lines), Columns())]
    assert isinstance(first, Event) and isinstance(second, Event)
    assert (first.user_id, first.item_id, second.user_id) == ("17", "2", "9007199254740993")
