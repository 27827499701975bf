"""Scrobbles without a header, newest first, with quotes and rows without ids."""
from __future__ import annotations

import datetime

from replay.datasets import lastfm_1k
from tests.replay.datasets.sample import SAMPLES, read

LOG = SAMPLES / "lastfm-1k.tsv"


def test_sample_gives_what_a_reader_of_tabs_counts() -> None:
    rows = [line.split("\t") for line in LOG.read_text(encoding="utf-8").splitlines()]
    good = [row for row in rows if row[1] != "yesterday" and (row[4] or row[5])]
    times = [datetime.datetime.strptime(row[1], "%Y-%m-%dT%H:%M:%S%z").timestamp() * 1000 for row in good]
    items = {row[4] or (row[3], row[5]) for row in good}
    found = read("lastfm-1k", LOG)
    assert len(rows) == 20 and len(good) == 18
    assert found.counts == (18, len({row[0] for row in good}), len(items), 2, min(times), max(times))
    assert found.actions() == {"play": 18} and not found.exposures


def test_quotes_are_part_of_names_and_a_track_without_an_id_is_named() -> None:
    found = read("lastfm-1k", LOG)
    assert {event.item_id for event in found.events if "–" in event.item_id} == {"Unsigned Band – Garage", "Copper Lane – Late Train"}
    artists = {item.item_id: item.artist_id for item in lastfm_1k.items([LOG])}
    assert (artists["d3a1"], artists["Unsigned Band – Garage"]) == ("a7", "Unsigned Band")


def test_track_counts_as_published_only_after_its_first_play() -> None:
    first = {event.item_id: event.ts for event in reversed(read("lastfm-1k", LOG).events)}
    assert {item.item_id: item.published_ts for item in lastfm_1k.items([LOG])} == {item: ts + 1 for item, ts in first.items()}
