"""Lists asked for just before plays: what is asked of, of which state, and what is found, by hand and by naive loops."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from replay import logs, prequential
from replay.evidence.next_found import POOL, NextFound, PlayRanks
from replay.evidence.next_page import section, table
from replay.evidence.next_play import AFTER, MIX, MOST, NEIGHBOURS, NOW, ORDERS, RECENT, SEGUE, SLOW, NextPlay, NextSettings, Session
from replay.log_rows import LogRow
from replay.prequential import Numbered, Result
from streams.cli import offline
from streams.cli.main import segue
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import MAX_SLOTS, Action, Event
from streams.core.join.items import Item
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.serving.recommend import RecommendSettings, Slate
from streams.core.serving.surfaces import default_strategy_bandit
from streams.core.state.tables import Tables

SMALL = ModelSettings(embedding_dim=4, attention_units=4, expert_units=8, tower_units=4, cin_layers=(4,), dense_batch=8)
T = 1_704_067_200_000
MINUTE_MS = 60_000


def plays(*given: str, domain: str | None = None) -> list[LogRow]:
    """`MINUTE USER ITEM [EVENT_ID]` each."""
    rows = []
    for n, one in enumerate(given):
        minute, user, item, *event_id = one.split()
        record = {"event_id": event_id[0] if event_id else f"e{n}", "ts": T + int(minute) * MINUTE_MS, "user_id": user, "item_id": item}
        rows.append(LogRow(n + 1, msgspec.json.encode(record | {"action": "play"} | ({"domain": domain} if domain else {})), None))
    return rows


def machine(items: Sequence[str] = ()) -> Partition:
    catalog = Catalog()
    for item in items:
        catalog.put(Item(item_id=item))
    return Partition(PartitionSettings(), Tables.over(), catalog)


def ask(
    rows: list[LogRow], k: int = 2, every: int = 1, session: Session = lambda event: None, recommend: RecommendSettings | None = None,
    items: Sequence[str] = (), yardsticks: bool = False,
) -> tuple[NextFound, NextPlay, Result]:  # fmt: skip
    partition, learner = machine(items), Learner(LearnerSettings(micro_batch_examples=16), Trainer(SMALL), default_strategy_bandit())
    settings = NextSettings(k=k, every=every, resamples=20, yardsticks=yardsticks)
    known = [found for item in items if (found := partition.catalog.get(_key(item)))]
    asking = NextPlay(settings, recommend or RecommendSettings(), partition, learner, known, session)
    numbered = prequential.of_file(rows)
    result = prequential.run(numbered, partition, learner, closing=True, batches=asking.batches, after=asking.after)
    return asking.found(), asking, result


def _key(item: str) -> int:
    return keys.key("item", item)


def ranks(asking: NextPlay) -> dict[str, list[int]]:
    return {name: [asked.ranks[n] for asked in asking._questions] for n, name in enumerate(asking.names)}


TINY = plays(
    "0 u a", "1 u b",    # asked of b: known are a; nothing has followed a
    "10 v a", "11 v b",  # asked of b: most played a 2, b 1; b has followed a
    "12 v a",            # asked of a: a 2, b 2; a has never followed b
    "13 v b",            # asked of b: a 3, b 2; after a came b twice
    "80 v a",            # more than an hour after 13: not asked; nor does it follow b
    "90 u c",            # more than an hour after 1: not asked
    "91 u a",            # asked of a: a 4, b 3, c 1; nothing has followed c
)  # fmt: skip


def test_ranks_of_a_tiny_log_by_hand() -> None:
    found, asking, _ = ask(TINY)
    got = ranks(asking)
    assert (found.plays, found.questions, found.users) == (5, 5, 2)
    a_first = _key("a") < _key("b")  # equal counts: by key, as `Top` has it
    assert got[MOST] == [0, 2, 1 if a_first else 2, 2, 1]
    assert got[AFTER] == [0, 1, 0, 1, 0]
    # `popular`, by decayed counts: before minute 12 b was played last, a minute after a; before 13 a; before 91 a at 80, b at 13
    assert got[NOW] == [0, 2, 2, 2, 1]
    # two items are all there is before c comes: whichever way they are ranked, both are in a list of two, but b before it was met
    assert [rank > 0 for rank in got[SEGUE][:4]] == [False, True, True, True]
    by_name = {order.name: order for order in found.orders}
    assert by_name[AFTER].hit.value == pytest.approx(2 / 5) and by_name[AFTER].mrr.value == pytest.approx(2 / 5)
    assert by_name[NOW].hit.value == pytest.approx(4 / 5) and by_name[NOW].mrr.value == pytest.approx((1 / 2 + 1 / 2 + 1 / 2 + 1) / 5)
    less = by_name[AFTER].hit_less
    assert less is not None and less.value == pytest.approx(by_name[SEGUE].hit.value - 2 / 5)
    assert by_name[SEGUE].hit_less is None


def test_every_second_play_is_asked_of_from_the_first_on() -> None:
    _, whole, _ = ask(TINY)
    found, asking, _ = ask(TINY, every=2)
    assert (found.plays, found.questions) == (5, 3)
    for name in (NOW, MOST, AFTER):
        assert ranks(asking)[name] == ranks(whole)[name][::2]


def test_what_is_asked_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    rows = plays(*(f"{n} u{rng.integers(6)} i{rng.integers(9)}" for n in range(80)))
    found, _, result = ask(rows, k=3)
    alone = prequential.run(
        prequential.of_file(rows),
        machine(),
        Learner(LearnerSettings(micro_batch_examples=16), Trainer(SMALL), default_strategy_bandit()),
        closing=True,
    )
    assert result.digests == alone.digests and found.questions > 40


def test_list_depends_on_nothing_of_its_own_moment_or_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two logs that are the same up to a moment: the lists asked for before it are the same, in order, and of different users' plays."""
    rng = np.random.default_rng(3)
    first = plays(*(f"{n} u{rng.integers(4)} i{rng.integers(9)}" for n in range(75)))
    other = first[:50] + [row._replace(raw=row.raw.replace(b'"item_id":"i', b'"item_id":"j')) for row in first[50:]]
    told: list[list[tuple[str, list[str]]]] = []
    slate_of = NextPlay._slate

    def spied(asking: NextPlay, event: Event, strategy: str, k: int) -> Slate:
        made = slate_of(asking, event, strategy, k)
        told[-1].append((event.user_id, [ranked.item_id for ranked in made.items]))
        return made

    monkeypatch.setattr(NextPlay, "_slate", spied)
    for rows in (first, other):
        told.append([])
        ask(rows, k=5)
    one, two = told
    same = next(n for n, (a, b) in enumerate(zip(one, two, strict=True)) if a != b)
    users = [msgspec.json.decode(row.raw)["user_id"] for row in first]
    asked_before = sum(user in users[:n] for n, user in enumerate(users[:51]))  # all within the hour: four users, a play a minute
    assert same >= 2 * asked_before > 70  # two lists a question; the one before play 50 is still the same
    assert len({tuple(items) for _, items in one}) > 25


def test_list_knows_nothing_of_the_exposure_that_was_made_of_the_play() -> None:
    """30Music's adapter writes an exposure of the very moment before each play; without a catalog, it would be where an item is met."""
    rows = list(plays("0 u a", "1 u b"))
    shown = {
        "kind": "exposure", "event_id": "x", "ts": T + MINUTE_MS, "user_id": "u", "request_id": "r",
        "slots": [{"item_id": "b", "position": 1}, {"item_id": "c", "position": 2}],
    }  # fmt: skip
    torn = LogRow(3, b"{", None)  # belongs to the moment before it, and parts nothing
    rows = [rows[0], LogRow(2, msgspec.json.encode(shown), None), torn, rows[1]]
    _, asking, result = ask(rows, k=5)
    assert {name: got for name, got in ranks(asking).items() if got != [0]} == {}
    assert result.rejected == {"malformed": 1}
    later = [*rows, *plays("2 u c d3")]
    _, asking, _ = ask(later, k=5)
    assert [rank > 0 for rank in ranks(asking)[SEGUE]] == [False, True]  # a minute later both are known


def test_play_that_is_not_admitted_is_no_question() -> None:
    found, asking, result = ask(plays("0 u a", "1 u b same", "2 u b same", "3 u a"))
    assert result.merged == {"duplicate": 1} and found.plays == 2
    assert ranks(asking)[AFTER] == [0, 0]  # b -> b is no successor, since it never was


def test_session_of_the_log_goes_before_the_hour() -> None:
    rows = plays("0 u a", "90 u b", "91 u a")
    found, _, _ = ask(rows)
    assert found.plays == 1
    found, _, _ = ask(rows, session=lambda event: "one")
    assert found.plays == 2  # ninety minutes later, in the same session
    found, _, _ = ask(rows, session=lambda event: event.item_id)
    assert found.plays == 1  # a again


def test_sessions_of_30music_are_its_own() -> None:
    event = Event(ts=T, user_id="u", item_id="i", action=Action.PLAY, request_id="31-2")
    assert logs.session(logs.Format.THIRTY_MUSIC)(event) == "31"
    assert logs.session(logs.Format.JSONL)(event) is None


def test_repeats_are_listed_and_domains_are_asked_for_apart() -> None:
    rows = plays("0 u a", "1 u b", "2 u a", domain="song") + plays("3 u x f0", "4 u a f1", domain="video")
    rows = [row._replace(line=n) for n, row in enumerate(rows)]
    _, asking, _ = ask(rows, k=1)
    got = ranks(asking)
    # b: only a is known. a: a and b once each. x and then a: the first of `video`, where nothing and then x was played
    assert got[MOST][0] == got[MOST][2] == got[MOST][3] == 0 and got[AFTER] == [0, 0, 0, 0]
    assert len(got[SEGUE]) == 4


def test_items_of_a_catalog_are_candidates_before_anybody_plays_them() -> None:
    found, asking, _ = ask(TINY, items=["a", "b", "c"], k=3)
    assert min(ranks(asking)[SEGUE]) >= 1 and found.orders[0].hit.value == 1
    assert found.sources[0].hits == sum(source.hits for source in found.sources[1:]) == 5


def test_list_is_the_top_of_the_whole_ranked_pool_and_lacks_what_a_source_brought(monkeypatch: pytest.MonkeyPatch) -> None:
    """By loops: the list that a request for k gives is the beginning of the pool as ranked; without a source, its items are dropped."""
    rng = np.random.default_rng(5)
    rows = plays(*(f"{n} u{rng.integers(3)} i{rng.integers(40)}" for n in range(66)))
    quotas = RecommendSettings(popular_candidates=12, fresh_candidates=4, explore_candidates=3, own_candidates=3, co_listened_candidates=4)
    met: list[tuple[str, list[tuple[str, str]]]] = []
    slate_of, ranks_of = NextPlay._slate, NextPlay._ranks

    def spied(asking: NextPlay, event: Event, *known: Any) -> PlayRanks:
        pool = asking._ranked(event)
        short = slate_of(asking, event, "ranked", 5).items
        assert [(each.item_id, each.source) for each in short] == [(each.item_id, each.source) for each in pool[:5]]
        met.append((event.item_id, [(each.item_id, each.source) for each in pool]))
        return ranks_of(asking, event, *known)

    monkeypatch.setattr(NextPlay, "_ranks", spied)
    found, _, _ = ask(rows, k=5, every=3, recommend=quotas)
    assert len({source for _, pool in met for _, source in pool}) == len(found.sources) - 1 >= 4
    for source in found.sources:
        left = [(item, [each for each, of in pool if of != source.name][:5]) for item, pool in met]
        assert source.hit.value == pytest.approx(np.mean([item in items for item, items in left]))
        assert source.mrr.value == pytest.approx(np.mean([1 / (items.index(item) + 1) if item in items else 0 for item, items in left]))
        brought = [item in [each for each, of in pool[:20] if source.name in (of, POOL)] for item, pool in met]
        assert source.recall["20"].value == pytest.approx(np.mean(brought))


def test_items_are_told_apart_by_who_played_them_before() -> None:
    found, asking, _ = ask(plays("0 u a", "1 u b", "2 v a", "3 v b", "4 u a", "5 w a", "6 w a", "7 w a", "8 w b"))
    assert [asked.repeat for asked in asking._questions] == [False, False, True, True, True, False]
    assert [asked.plays for asked in asking._questions] == [0, 1, 2, 4, 5, 2]  # b b | a a a b, of all users before
    assert {kind.name: kind.questions for kind in found.kinds} == {"played before": 3, "new to the user": 3, "under 5 plays so far": 5}


def test_slow_yardsticks_change_no_other_figure_and_are_of_the_state_before() -> None:
    rng = np.random.default_rng(6)
    rows = plays(*(f"{n} u{rng.integers(4)} i{rng.integers(9)}" for n in range(30)))
    plain, _, result = ask(rows, k=3)
    found, asking, with_them = ask(rows, k=3, yardsticks=True)
    assert with_them.digests == result.digests and [order.name for order in found.orders] == [*ORDERS, *SLOW]
    assert found.orders[: len(ORDERS)] == plain.orders and found.sources == plain.sources
    _, tiny, _ = ask(TINY, yardsticks=True)
    # asked of b, b, a, b, a: nothing has followed, a -> b did, nothing followed b, a -> b twice; c is of no session before
    assert ranks(tiny)[RECENT] == [0, 1, 0, 1, 0]
    assert ranks(tiny)[NEIGHBOURS][:2] == [0, 1] and ranks(tiny)[MIX][0] == 0


def test_log_without_a_second_play_says_so() -> None:
    found, _, _ = ask(plays("0 u a", "1 v a", "70 u b"))
    assert (found.plays, found.questions, found.orders, found.spans) == (0, 0, [], [])
    assert found.notes == ["No play of this log follows another of the same user within 1 h: there is nothing to ask."]
    assert list(table(found)) == [f"note: {found.notes[0]}"] and found.notes[0] in section(found)[1]


def test_spans_hold_all_questions_in_time_order() -> None:
    rng = np.random.default_rng(1)
    found, asking, _ = ask(plays(*(f"{n} u{rng.integers(3)} i{rng.integers(9)}" for n in range(112))), k=3)
    assert sum(span.questions for span in found.spans) == found.questions and len(found.spans) == found.questions // 50
    assert all(before.to_ms <= span.from_ms for before, span in zip(found.spans, found.spans[1:], strict=False))
    first = ranks(asking)[MOST][: found.spans[0].questions]
    assert found.spans[0].hits[MOST] == pytest.approx(np.mean([rank > 0 for rank in first]))


def test_command_gives_a_table_json_and_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(row.raw for row in TINY))
    small = [f"model.{name}={getattr(SMALL, name)}" for name in ("embedding_dim", "attention_units", "expert_units", "tower_units")]
    call = ["replay", str(path), "--format", "jsonl", *(part for assignment in small for part in ("--set", assignment))]
    told = CliRunner().invoke(
        segue, [*call, "--next", "2", "--every", "1", "--report", str(tmp_path / "r"), "--json"], catch_exceptions=False
    )
    assert told.exit_code == 0
    (found,) = msgspec.json.decode(told.stdout)["evidence"]
    assert (found["kind"], found["k"], found["questions"]) == ("next", 2, 5) and [o["name"] for o in found["orders"]] == list(ORDERS)
    page = (tmp_path / "r" / "index.html").read_text()
    assert "What was played next" in page and "hit@2" in page and page.count("data:image/png;base64,") >= 1
    assert msgspec.json.decode((tmp_path / "r" / "result.json").read_bytes())["evidence"][0]["orders"] == found["orders"]
    told = CliRunner().invoke(segue, [*call, "--next", "2", "--every", "1"], catch_exceptions=False)
    assert told.exit_code == 0 and "…" not in told.stdout and "0.4000 [" in told.stdout
    path.write_bytes(TINY[0].raw)
    told = CliRunner().invoke(segue, [*call, "--next", "2"], catch_exceptions=False)
    assert told.exit_code == 1 and "there is nothing to ask" in " ".join(told.stdout.split())


def test_list_may_be_as_long_as_an_exposure() -> None:
    assert offline.MAX_SLOTS == MAX_SLOTS


@pytest.mark.parametrize(
    "options", [["--next", "201"], ["--every", "2"], ["--next", "2", "--freshness"], ["--next", "0"], ["--yardsticks", "--freshness"]]
)
def test_call_that_asks_for_nothing_sensible_is_refused(options: list[str]) -> None:
    assert CliRunner().invoke(segue, ["replay", __file__, "--format", "jsonl", *options]).exit_code == 2


def test_records_of_one_moment_are_a_batch() -> None:
    partition, learner = machine(), Learner(LearnerSettings(), Trainer(SMALL), default_strategy_bandit())
    asking = NextPlay(NextSettings(k=1), RecommendSettings(), partition, learner)
    numbered: list[Numbered] = list(prequential.of_file(plays("0 u a", "0 v b", "1 u b", "2 u a", "2 u b")))
    assert [len(batch) for batch in asking.batches(iter(numbered))] == [2, 1, 2]


@pytest.mark.real_log
@pytest.mark.prove
def test_on_30music_the_list_has_the_next_song_more_often_than_the_last_ones_successors(data_dir: Path) -> None:
    """The whole log, at every 20th play that follows another; steps span ten minutes, since the log is of a year."""
    call = ["replay", str(data_dir / "30music" / "sessions.csv.gz"), "--format", "30music", "--next", "20", "--json"]
    told = CliRunner().invoke(segue, [*call, "--set", "learner.micro_batch_span_ms=600000"], catch_exceptions=False)
    assert told.exit_code == 0
    (found,) = msgspec.json.decode(told.stdout)["evidence"]
    assert found["plays"] == 152_749
    orders = {order["name"]: order for order in found["orders"]}
    print(f"{found['questions']:,} questions of {found['users']:,} users; Segue's hits by source: {found['sources']}")
    for name, order in orders.items():
        figures = " ".join(f"{what} {_interval(order[what])}" for what in ("hit", "mrr"))
        less = " ".join(f"{what} {_interval(order[f'{what}_less'])}" for what in ("hit", "mrr") if order[f"{what}_less"])
        print(f"{name:24}{figures}" + (f"; Segue's less it: {less}" if less else ""))
    assert orders[AFTER]["hit_less"]["low"] > 0
    assert orders[NOW]["hit_less"]["low"] > 0


def _interval(of: dict[str, float]) -> str:
    return f"{of['value']:.4f} [{of['low']:.4f}, {of['high']:.4f}]"
