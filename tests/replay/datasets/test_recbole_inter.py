"""Atomic files: a typed header, ratings on whatever scale, labels, and a file without times."""
from __future__ import annotations

from pathlib import Path

import polars
import pytest

from replay import logs
from replay.datasets import recbole_inter
from replay.log_rows import LogError
from tests.replay.datasets.sample import SAMPLES, read

LOG = SAMPLES / "recbole" / "toy.inter"


def test_sample_gives_what_polars_counts() -> None:
    table = polars.read_csv(LOG, separator="\t", infer_schema=False)
    good = table.filter(polars.col("timestamp:float") != "late").with_columns(polars.col("timestamp:float", "rating:float").cast(float))
    times = good["timestamp:float"] * 1000
    found = read("recbole-inter", LOG)
    users, items = good["user_id:token"].n_unique(), good["item_id:token"].n_unique()
    assert len(table) == 20 and found.counts == (len(good), users, items, 1, times.min(), times.max())
    stars = good["rating:float"]
    assert found.actions() == {"play": (stars > 2).sum(), "collect": (stars >= 4).sum(), "dislike": (stars <= 2).sum()}
    assert {event.context.get("channel") for event in found.events} == {"web", "app", None}


def test_ratings_of_another_scale_mean_the_same(tmp_path: Path) -> None:
    log = tmp_path / "ten.inter"
    log.write_text("item_id:token\tuser_id:token\ttimestamp:float\trating:float\n" + "".join(
        f"i{n}\tu\t{1_500_000_000_000 + n}\t{rating}\n" for n, rating in enumerate((10, 8, 7, 4, 1))
    ))  # fmt: skip
    acts = [(str(event.action), *map(str, event.also)) for event in read("recbole-inter", log).events]
    assert acts == [("play", "collect"), ("play", "collect"), ("play",), ("dislike",), ("dislike",)]
    assert read("recbole-inter", log).events[0].ts == 1_500_000_000_000


def test_label_makes_a_log_of_exposures(tmp_path: Path) -> None:
    log = tmp_path / "click.inter"
    log.write_text("user_id:token\titem_id:token\tlabel:float\ttimestamp:float\nu\ta\t1\t1500000000\nu\tb\t0\t1500000001\n")
    clicked, left = read("recbole-inter", log).events
    assert (clicked.action, clicked.also, clicked.full) == ("impression", ("play",), True)
    assert (left.action, left.also, left.full) == ("impression", (), None)


def test_file_without_times_is_refused_with_that_reason(tmp_path: Path) -> None:
    log = tmp_path / "x.inter"
    log.write_text("user_id:token\titem_id:token\n1\t2\n")
    with pytest.raises(LogError, match=r"x\.inter:1: no column timestamp: without times nothing can be replayed"):
        list(recbole_inter.rows(log))


def test_items_beside_have_categories_and_artist_but_no_title() -> None:
    items = {item.item_id: (item.artist_id, item.categories) for item in logs.items([LOG], logs.Format.RECBOLE_INTER)}
    assert items == {"500": ("Mina", ("Animation", "Comedy")), "507": (None, ("Drama",))}
