"""Listens and feedback of three listeners, one of whom is not named; a mapped recording is one item in both."""
from __future__ import annotations

import json

from replay.datasets import listenbrainz
from streams.core.join.events import Action
from tests.replay.datasets.sample import SAMPLES, read

LISTENS, FEEDBACK = (SAMPLES / "listenbrainz" / name for name in ("listens.jsonl", "feedback.jsonl"))


def test_sample_gives_what_json_counts() -> None:
    lines = [json.loads(line) for line in LISTENS.read_text(encoding="utf-8").splitlines()[:-1]]
    listens = [line for line in lines if line["listened_at"] is not None]
    feedback = [line for line in map(json.loads, FEEDBACK.read_text(encoding="utf-8").splitlines()) if line["score"] in (-1, 0, 1)]
    times = [1000 * line["listened_at"] for line in listens] + [1000 * line["created"] for line in feedback]
    found = read("listenbrainz", LISTENS, FEEDBACK)
    # r1, r2, m3, r4, Öl by its names, m5, r9; broken and unfinished lines: the last listen, playing now, a score of 7
    assert found.counts == (len(listens) + len(feedback), 3, 7, 3, min(times), max(times)) == (16, 3, 7, 3, 1700000000000, 1700004000000)
    assert found.actions() == {"play": 10, "collect": 4, "dislike": 1, "uncollect": 1}


def test_played_and_whole_length_are_read_in_either_unit() -> None:
    lengths = {(event.played_ms, event.duration_ms) for event in read("listenbrainz", LISTENS).events}
    assert lengths == {(None, 201_000), (90_000, 180_000), (None, None), (240_000, 240_000)}


def test_feedback_finds_the_recording_that_was_listened_to() -> None:
    heard = {(event.user_id, event.item_id) for event in read("listenbrainz", LISTENS).events}
    said = [event for event in read("listenbrainz", FEEDBACK).events if event.action is not Action.UNCOLLECT]
    assert [(event.user_id, event.item_id) in heard for event in said] == [True, False, True, True, True]  # r9 was never heard


def test_artist_of_a_recording_is_the_mapped_one_else_its_name() -> None:
    artists = {item.item_id: item.artist_id for item in listenbrainz.items([LISTENS, FEEDBACK])}
    assert (artists["r1"], artists["m3"], "r9" in artists) == ("a1", "Unsigned Band", False)
