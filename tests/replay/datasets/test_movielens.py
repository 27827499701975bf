"""Ratings with a header, and with `::`; stars become acts; the catalog has genres and years."""
from __future__ import annotations

import csv
import datetime

from replay import logs
from replay.datasets import movielens
from tests.replay.datasets.sample import SAMPLES, read

CSV, DAT = SAMPLES / "movielens" / "ratings.csv", SAMPLES / "ml-1m" / "ratings.dat"
Y1990 = 631_152_000


def test_sample_gives_what_csv_counts() -> None:
    with CSV.open(newline="") as file:
        rows = list(csv.DictReader(file))
    good = [row for row in rows if row["rating"] != "good" and float(row["rating"]) <= 5 and int(row["timestamp"]) >= Y1990]
    once = {tuple(row.values()): row for row in good}.values()  # the last row stands twice
    times = [int(row["timestamp"]) * 1000 for row in once]
    found = read("movielens", CSV)
    users, movies = {row["userId"] for row in once}, {row["movieId"] for row in once}
    assert len(rows) == 20 and found.counts == (len(once), len(users), len(movies), 20 - len(once), min(times), max(times))
    assert found.rejected == {"wrong_type": 2, "out_of_bounds": 1, "duplicate": 1}  # no number, six stars; of 1985; twice the same
    stars = [float(row["rating"]) for row in once]
    liked, seen = sum(s >= 4 for s in stars), sum(s > 2 for s in stars)
    assert found.actions() == {"play": seen, "collect": liked, "dislike": len(stars) - seen}
    assert all(event.full is (True if "play" in (event.action, *event.also) else None) for event in found.events)


def test_older_file_of_double_colons_is_the_same_log_of_whole_stars() -> None:
    rows = [line.split("::") for line in DAT.read_text().splitlines()]
    good = {tuple(row) for row in rows if int(row[2]) <= 5 and int(row[3]) >= Y1990}
    found = read("movielens", DAT)
    assert len(found.events) == len(good) and {event.item_id for event in found.events} == {row[1] for row in good}


def test_catalog_beside_has_genres_and_years_and_survives_commas_quotes_and_latin_1() -> None:
    items = {item.item_id: item for item in logs.items([CSV], logs.Format.MOVIELENS)}
    assert len(items) == 7 and items["21"].categories == ("Comedy", "Drama", "Musical") and items["16"].categories == ()
    years = {item: found.published_ts and datetime.datetime.fromtimestamp(found.published_ts / 1000, datetime.UTC).year
             for item, found in items.items()}  # fmt: skip
    assert years == {"11": 1995, "13": None, "16": 2001, "21": None, "31": 1994, "33": 1995, "47": 1982}
    assert [item.categories for item in movielens.items(DAT)] == [("Animation", "Children's"), ("Thriller",)]
