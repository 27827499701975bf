"""Labelled lists: each an exposure, each click an event in it."""
from __future__ import annotations

import datetime

from replay import logs
from tests.replay.datasets.sample import SAMPLES, read

LOG = SAMPLES / "mind" / "behaviors.tsv"


def test_sample_gives_what_a_reader_of_tabs_counts() -> None:
    rows = [line.split("\t") for line in LOG.read_text().splitlines()]
    good = [row for row in rows if "/" in row[2] and all("-" in news for news in row[4].split())]
    clicks = [(row, news[:-2]) for row in good for news in row[4].split() if news.endswith("-1")]
    times = [
        round(datetime.datetime.strptime(row[2], "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=datetime.UTC).timestamp() * 1000)
        for row, _ in clicks
    ]
    found = read("mind", LOG)
    assert len(rows) == 20 and len(good) == 18
    users, items = {row[1] for row, _ in clicks}, {item for _, item in clicks}
    assert found.counts == (len(clicks), len(users), len(items), 2, min(times), max(times))
    assert sum(len(exposure.slots) for exposure in found.exposures) == sum(len(row[4].split()) for row in good)
    assert all(event.full and event.action == "play" for event in found.events)


def test_list_longer_than_an_exposure_is_two_with_their_own_clicks() -> None:
    found = read("mind", LOG)
    parts = [exposure for exposure in found.exposures if exposure.user_id == "U5"]
    assert [(len(part.slots), part.request_id) for part in parts] == [(200, "20-0"), (60, "20-1")]
    assert {event.request_id: event.item_id for event in found.events if event.user_id == "U5"} == {"20-0": "M3", "20-1": "M250"}


def test_news_beside_have_category_and_subcategory_once() -> None:
    items = {item.item_id: item.categories for item in logs.items([LOG], logs.Format.MIND)}
    assert items["N1"] == ("sports", "soccer") and items["N3"] == ("news",) and len(items) == 6
