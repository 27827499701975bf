"""A catalog is JSON lines, CSV or Parquet; what can't be read is named with its line."""
from __future__ import annotations

from pathlib import Path

import polars
import pytest

from replay.adapters import catalog
from replay.log_rows import LogError
from streams.core.join.items import Item

TRACKS = [
    Item(item_id="17", artist_id="Mina", categories=("jazz", "soul"), duration_ms=201_000, features={"bpm": "88"}),
    Item(item_id="18", artist_id=None, categories=("folk",), duration_ms=None),
]
COLUMNS = {"item_id": "track", "artist_id": "artist", "categories": "genres", "features.bpm": "tempo"}


def test_csv_with_other_names_is_the_same_catalog(tmp_path: Path) -> None:
    path = tmp_path / "tracks.csv"
    path.write_text('track;artist;genres;tempo;duration_ms;note\n17;Mina;jazz|soul;88;201000;"two\nlines"\n18;;folk;;;\n')
    assert list(catalog.items(path, COLUMNS)) == TRACKS


def test_parquet_with_numbers_as_ids_is_the_same_catalog(tmp_path: Path) -> None:
    path = tmp_path / "tracks.parquet"
    polars.DataFrame(
        {"track": [17, 18], "artist": ["Mina", None], "genres": [["jazz", "soul"], ["folk"]], "tempo": ["88", None],
         "duration_ms": [201_000, None]}
    ).write_parquet(path)  # fmt: skip
    assert list(catalog.items(path, COLUMNS)) == TRACKS


def test_json_lines_take_other_names_too(tmp_path: Path) -> None:
    path = tmp_path / "tracks.jsonl"
    path.write_text('{"track":"17","categories":["jazz"],"features":{"bpm":88}}\n\n{"track":"18"}\n')
    first, second = catalog.items(path, {"item_id": "track"})
    assert first == Item(item_id="17", categories=("jazz",), features={"bpm": 88}) and second == Item(item_id="18")


@pytest.mark.parametrize(
    ("name", "text", "columns", "message"),
    [
        ("i.jsonl", '{"item_id":"a"}\n{"item_id":7}\n', {}, r"i\.jsonl:2: .*item_id"),
        (
            "i.csv",
            "track,artist\n1,2\n",
            {},
            r"i\.csv:2: nothing maps to item_id; pass --items-map item_id=COLUMN \(it has track, artist\)",
        ),
        ("i.csv", "track,artist\n1,2\n", {"item_id": "song"}, r"i\.csv: no column song; it has track, artist"),
        ("i.csv", "item_id,duration_ms\n1,2\n2,long\n", {}, r"i\.csv:3: .*duration_ms"),
        ("i.csv", "item_id\n1\n", {"title": "item_id"}, r"--items-map title: no such field; expected artist_id"),
        ("i.parquet", "none", {}, r"i\.parquet: not a Parquet file"),
    ],
)
def test_what_can_not_be_read_is_named(tmp_path: Path, name: str, text: str, columns: dict[str, str], message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(LogError, match=message):
        list(catalog.items(tmp_path / name, columns))
