"""Logs of plays or ratings alone: what is drawn beside an act was there, was not taken, and says that it was drawn."""
from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from replay import negatives
from replay.log_rows import DRAWN, LogRow
from replay.negatives import Negatives, has_exposures
from streams.cli.main import segue
from streams.core.join.decode import decode
from streams.core.join.events import Event, Exposure
from streams.core.join.items import Item

T, HOUR = 1_704_067_200_000, 3_600_000
SMALL = ("embedding_dim=4", "attention_units=4", "expert_units=8", "tower_units=4")


def act(ts: int, user: str, item: str, action: str = "play", **more: object) -> dict[str, object]:
    return {"event_id": f"{ts}-{user}-{item}-{action}", "ts": T + ts, "user_id": user, "item_id": item, "action": action, **more}


def rows(*records: dict[str, object]) -> list[LogRow]:
    return [LogRow(n, msgspec.json.encode(record), None) for n, record in enumerate(records, 1)]


def plays(n: int, users: int = 8, items: int = 40, seed: int = 3) -> list[dict[str, object]]:
    draw = random.Random(seed)
    return [act(1000 * k, f"u{draw.randrange(users)}", f"i{min(items - 1, int(draw.expovariate(8 / items)))}") for k in range(n)]


def drawn(log: list[LogRow], beside: int = 4, items: tuple[Item, ...] = ()) -> Iterator[tuple[Exposure | None, Event]]:
    """Each act with its exposure."""
    exposure = None
    for row in Negatives(beside, items).rows(log):
        (record,) = decode(row.raw)
        if isinstance(record, Exposure):
            exposure = record
        else:
            assert isinstance(record, Event)
            yield exposure, record
            exposure = None


def test_drawn_items_were_there_and_not_taken_and_of_the_own_past_where_the_act_is_a_repeat() -> None:
    there: set[str] = set()
    taken: dict[str, set[str]] = {}
    places = Counter[int]()
    slates = Counter[bool]()
    for exposure, event in drawn(rows(*plays(600))):
        past, item = taken.setdefault(event.user_id, set()), event.item_id
        repeat = item in past
        if exposure is not None:
            items = [slot.item_id for slot in exposure.slots]
            beside = set(items) - {item}
            places[items.index(item)] += 1
            slates[repeat] += 1
            assert beside <= (past if repeat else there - past) and len(set(items)) == len(items) <= 5 and item in there
            assert (exposure.request_id, exposure.ts, exposure.strategy) == (event.request_id, event.ts, DRAWN)
        else:
            assert item not in there or (past == {item} if repeat else len(there - past) < 40)
        there.add(item)
        past.add(item)
    assert set(places) == {0, 1, 2, 3, 4} and min(slates.values()) > 50 and slates.total() > 500


def test_one_listener_alone_has_slates_of_the_own_past() -> None:
    log = rows(*(act(1000 * k, "me", f"i{k * 7 % 10}") for k in range(40)))
    found = list(drawn(log))
    assert [exposure is None for exposure, _ in found] == [True] * 10 + [False] * 30  # ten songs, then each again
    assert all(exposure is None or len(exposure.slots) == 5 for exposure, _ in found)


def test_nothing_is_drawn_that_appears_only_later() -> None:
    log = plays(300)
    whole = list(Negatives().rows(rows(*log)))
    part = list(Negatives().rows(rows(*log[:150])))
    assert whole[: len(part)] == part


def test_same_log_same_bytes_also_at_a_second_pass() -> None:
    log, once = rows(*plays(200)), Negatives()
    assert list(once.rows(log)) == list(once.rows(log)) == list(Negatives().rows(log)) != list(Negatives(3).rows(log))


def test_new_item_is_learned_of_only_where_a_catalog_names_it() -> None:
    log = rows(act(0, "u", "a"), act(10, "u", "b"))
    assert [exposure for exposure, _ in drawn(log)] == [None, None]
    assert all(event.request_id for _, event in drawn(log))  # no slate of that request: it moves state and is no example
    catalog = tuple(Item(item_id=item, published_ts=ts) for item, ts in (("a", None), ("b", None), ("c", T + 5), ("d", T + 99)))
    first, second = (exposure for exposure, _ in drawn(log, items=catalog))
    assert first is not None and {slot.item_id for slot in first.slots} == {"a", "b"}
    assert second is not None and {slot.item_id for slot in second.slots} == {"b", "c"}  # d is not published, a is taken


def test_expired_items_are_not_drawn() -> None:
    catalog = (Item(item_id="a"), Item(item_id="b", expires_ts=T + 5), Item(item_id="c"))
    ((exposure, _),) = drawn(rows(act(6, "u", "a")), items=catalog)
    assert exposure is not None and {slot.item_id for slot in exposure.slots} == {"a", "c"}


def test_collect_after_a_play_belongs_to_its_slate_and_one_of_its_own_gets_one() -> None:
    # u plays b and a, collects a at once, and a day later once more
    catalog = tuple(Item(item_id=item) for item in "abcdef")
    more = act(9, "u", "a", "collect"), act(25 * HOUR, "u", "a", "collect"), act(26 * HOUR, "u", "b", "uncollect")
    log = rows(act(0, "u", "b"), act(1, "u", "a"), *more)
    found = list(drawn(log, items=catalog))
    assert [exposure is not None for exposure, _ in found] == [True, True, False, True, False]
    assert found[2][1].request_id is None  # the join finds the last slate that held the item


def test_doubled_row_stays_a_duplicate_and_broken_rows_pass() -> None:
    catalog = tuple(Item(item_id=item) for item in "abc")
    one = act(0, "u", "a", full=True)
    log = [
        *rows(one, one),
        LogRow(3, b"{", None),
        *rows(act(-T, "u", "b")),
        LogRow(4, msgspec.json.encode(one), None, omitted="left out: x"),
    ]
    found = list(Negatives(2, catalog).rows(log))
    assert [row.line for row in found] == [1, 1, 2, 3, 1, 4] and found[2:] == log[1:]


@pytest.mark.parametrize(
    ("fields", "full"),
    [
        ({}, True),
        ({"duration_ms": 200_000}, True),
        ({"played_ms": 30_000}, True),
        ({"played_ms": 29_999}, None),
        ({"played_ms": 100, "duration_ms": 200_000}, None),  # the core goes by the ratio
        ({"full": False}, False),
        ({"also": ["skip"]}, None),
        ({"action": "collect"}, None),
    ],
)
def test_play_that_says_nothing_of_its_length_is_a_full_play(fields: dict[str, object], full: bool | None) -> None:
    ((_, event),) = drawn(rows(act(0, "u", "a") | fields), beside=0)
    assert event.full is full


def test_memory_is_bounded_and_what_is_forgotten_first_is_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "MOST_PAIRS", 50)
    monkeypatch.setattr(negatives, "MOST_PAST", 9)
    monkeypatch.setattr(negatives, "MOST_ITEMS", 10)
    walk = negatives._Walk(Negatives())
    for row in rows(*plays(500)):
        list(walk.row(row))
        each = [len(past) for past in walk._past.values()]
        assert sum(each) == walk._pairs <= 50 and max(each) <= 9 and len(walk._groups._at) <= 10


def test_log_has_exposures_where_one_record_says_so() -> None:
    exposure = {"kind": "exposure", "ts": T, "user_id": "u", "request_id": "r", "slots": []}
    assert not has_exposures([*rows(*plays(5)), LogRow(6, b"{", None)])
    assert has_exposures(rows(*plays(5), exposure)) and has_exposures(rows(act(0, "u", "a", also=["impression"])))


@pytest.fixture
def listened(tmp_path: Path) -> Path:
    """The README's own complaint: listener, track, time, and nothing else."""
    path = tmp_path / "plays.csv"
    path.write_text("listener,track,at\n" + "".join(f"{p['user_id']},{p['item_id']},{p['ts']}\n" for p in plays(100)))
    return path


def test_plays_alone_have_a_figure_for_each_task_that_can_have_one_and_a_reason_for_each_other(listened: Path) -> None:
    report = listened.parent / "report"
    mapping = ("--map", "user_id=listener", "--map", "item_id=track", "--map", "ts=at", "--const", "action=play")
    sets = (part for each in SMALL for part in ("--set", f"model.{each}"))
    call = ["replay", str(listened), "--format", "csv", *mapping, *sets, "--set", "learner.micro_batch_span_ms=60000"]
    done = CliRunner().invoke(segue, [*call, "--json", "--report", str(report)])
    assert done.exit_code == 0, done.output
    assert "This log has no exposures. Beside each act, 4 items are drawn" in done.stderr
    found = json.loads(done.stdout)
    assert (found["rows"], found["events"], found["rejected"]) == (100, 100, {})
    full = found["metrics"]["full_play"]
    assert full["n"] == found["drawn"] + full["positives"] > 300 and full["auc"] is not None and full["ne"] is not None
    for task, figures in found["metrics"].items():
        assert figures["auc"] is not None or any(note.startswith(f"{task}: no positive") for note in found["notes"])
    assert any("100 plays say nothing of their length" in note for note in found["notes"])
    assert any("what is drawn are candidates that Segue would have ranked" in note for note in found["notes"])
    assert any(f" of {full['positives']:.0f} acts repeat what their user had taken before." in note for note in found["notes"])
    assert found["evidence"][0]["kind"] == "next" and found["evidence"][0]["questions"] > 0
    page = (report / "index.html").read_text(encoding="utf-8")
    assert f"{found['drawn']:,} negatives drawn" in page and json.loads((report / "result.json").read_bytes())["result"]["drawn"]


def test_items_are_not_drawn_for_a_log_that_says_what_was_left(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(row.raw for row in rows(act(0, "u", "a", "impression"))))
    done = CliRunner().invoke(segue, ["replay", str(path), "--format", "jsonl", "--negatives", "2"])
    assert done.exit_code == 2 and "--negatives 2: log.jsonl has exposures" in done.stderr
