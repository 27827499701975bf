"""Models side by side in one pass: each learns as it would alone, copies follow as published, and figures are those of rows."""
from __future__ import annotations

import html
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from online_model.batch import Batch
from online_model.features import TASKS
from online_model.model_settings import ModelSettings, blocks
from online_model.trainer import StepReport, Trainer
from replay import logs, prequential
from replay.evidence.findings import sections, tables
from replay.evidence.holdout import HoldoutRows, Tail, stopping
from replay.evidence.ledger import Ledger, PredictedExposures
from replay.evidence.side_by_side import ComparedLearner, LaggedReplica, frozen_name, gamma_name
from replay.evidence.tables import ALL_ON, Comparison, Evidence, Finding, Question, measured, span_name, switched_off, tail_ms
from replay.log_rows import LogRow
from replay.prequential import Result
from streams.cli.main import segue
from streams.core.join.catalog import Catalog
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.serving.surfaces import default_strategy_bandit
from streams.core.state.tables import Tables

SMALL = ModelSettings(embedding_dim=4, attention_units=4, expert_units=8, tower_units=4, cin_layers=(4,), dense_batch=8)
LEARNING = LearnerSettings(micro_batch_examples=16)
T = 1_704_067_200_000
SKIP = TASKS.index("skip")


def log(hours: int = 12, a_list: int = 40, seed: int = 0) -> list[LogRow]:
    """Lists of an hour: users like a third of the items."""
    rng = np.random.default_rng(seed)
    rows = []
    for hour in range(hours):
        for k in range(a_list):
            user, item = int(rng.integers(12)), int(rng.integers(9))
            liked = rng.random() < (0.8 if user % 3 == item % 3 else 0.2)
            record = {
                "event_id": f"e{seed}-{hour}-{k}", "ts": T + hour * 3_600_000 + k, "user_id": f"u{user}", "item_id": f"i{item}",
                "action": "impression", "also": ["play"] if liked else ["skip"], "full": bool(liked), "domain": "ab"[item % 2],
            }  # fmt: skip
            rows.append(LogRow(len(rows) + 1, msgspec.json.encode(record), None))
    return rows


def machine() -> Partition:
    return Partition(PartitionSettings(), Tables.over(), Catalog())


def run(evidence: Evidence, rows: list[LogRow]) -> Result:
    return prequential.run(prequential.of_file(rows), machine(), evidence.learner, closing=True, also=evidence.also)


def test_who_is_watched_learns_as_if_nobody_looked() -> None:
    rows = log(hours=4, a_list=16)
    question = Question(ablate=blocks(SMALL), spans_ms=(0, 60_000), gammas=(0.0, 1.0), frozen_from_ms=T + 2 * 3_600_000, resamples=5)
    evidence = Evidence(question, SMALL, LEARNING, "cpu")
    result = run(evidence, rows)
    alone = prequential.run(
        prequential.of_file(rows), machine(), Learner(LEARNING, Trainer(SMALL), default_strategy_bandit()), closing=True
    )
    assert result.digest == alone.digest and result.metrics["skip"] == alone.metrics["skip"]
    for rival in evidence._compared:
        by_itself = prequential.run(
            prequential.of_file(rows),
            machine(),
            Learner(LEARNING, Trainer(rival.trainer.settings), default_strategy_bandit()),
            closing=True,
        )
        assert rival.learner.digest()["trainer"] == by_itself.digests["trainer"] != result.digests["trainer"]


def test_every_switch_and_the_pairs_are_switched_off_one_at_a_time() -> None:
    off = switched_off(SMALL, blocks(SMALL))
    assert {"no cin", "no related", "no id_cross", "no cross_domain", "no causal", "no deep", "no wide", "no pairs"} <= set(off)
    on = msgspec.structs.asdict(SMALL)
    for name, settings in off.items():
        assert {key for key, value in msgspec.structs.asdict(settings).items() if value != on[key]} == {name.removeprefix("no ")}
    assert "cin" not in blocks(off["no cin"]) and "pairs" not in blocks(off["no pairs"])
    assert list(switched_off(SMALL, ("wide", "cin"))) == ["no wide", "no cin"]


class _Script:
    """Batches of the log with their times, as a learner's trainer meets them: predicted, or learned from."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Batch, int]] = []
        self.ledger = Ledger()
        self.main = ComparedLearner("main", SMALL, LEARNING, "cpu", self.ledger)
        self.main.before(lambda batch, now_ms: self.seen.append(("predicted", batch, now_ms)))
        self.main.after(lambda batch, made, now_ms: self.seen.append(("learned", batch, now_ms)) if isinstance(made, StepReport) else None)
        self.main.before(lambda batch, now_ms: self.ledger.exposed(batch))

    def play(self) -> PredictedExposures:
        prequential.run(prequential.of_file(log()), machine(), self.main.learner, closing=True)
        return self.ledger.exposures()


@pytest.mark.parametrize("every_ms", [1, 7_200_000])
def test_copy_answers_by_the_parameters_of_the_last_publication(every_ms: int) -> None:
    script = _Script()
    LaggedReplica("copy", script.main, script.ledger, every_ms)
    found = script.play().logits["copy"]
    # the same by whole copies of a trainer that has learned all steps before the span that a batch lies in
    teacher, expected, due = Trainer(SMALL), [], 0
    served = Trainer(SMALL)
    for what, batch, now_ms in script.seen:
        if what == "learned":
            teacher.step(batch, now_ms)
            continue
        if now_ms >= due:
            served = Trainer(SMALL)
            served.load(teacher.arrays(), teacher.meta())
            due = (now_ms // every_ms + 1) * every_ms
        expected.append(served.predict(batch).logits[~batch.foreseen])
    assert np.abs(found - np.concatenate(expected)).max() < 1e-6
    assert np.ptp(found) > 0.1


def test_tail_is_predicted_by_what_was_known_when_it_began() -> None:
    """As if the log had ended there: the same model and state, asked about the rest; labels are those of the whole log."""
    rows, from_ms = log(hours=8, a_list=16), T + 5 * 3_600_000
    head = rows[: 5 * 16]
    assert logs.time_of(rows[80], T) == from_ms

    def asked(first: list[LogRow]) -> tuple[Evidence, list[np.ndarray]]:
        question = Question(ablate=blocks(SMALL), gammas=(0.0, 1.0), frozen_from_ms=from_ms, resamples=5)
        evidence, partition, answers = Evidence(question, SMALL, LEARNING, "cpu"), machine(), list[np.ndarray]()

        def ask(batch: Batch) -> None:
            evidence.ask_tail(batch)
            answers.append(evidence.main.trainer.predict(batch).logits)

        tail = Tail(lambda: prequential.of_file(rows), partition, ask, from_ms)
        stops = stopping([tail])
        prequential.run(prequential.of_file(first), partition, evidence.learner, closing=True, batches=stops, also=evidence.also)
        return evidence, answers

    whole, answers = asked(rows)
    _, alone = asked([*head, rows[80]])  # a record of the tail sets it off
    assert len(answers) == len(alone) >= 1 and all((a == b).all() for a, b in zip(answers, alone, strict=True))
    judged = whole._ledger.exposures()
    still, taken = judged.logits[frozen_name(ALL_ON)], judged.logits[gamma_name(frozen_name(ALL_ON), 1.0)]
    there = np.isfinite(still[:, 0])
    assert there.tolist() == [False] * 80 + [True] * 48 and (still[there] == np.concatenate(answers)).all()
    assert np.abs((still - taken)[there, TASKS.index("collect")]).max() == 0 < np.abs((still - taken)[there, SKIP]).max()
    assert all(np.isfinite(judged.logits[frozen_name(rival.name)][there]).all() for rival in whole._compared)


def test_time_that_passes_in_the_tail_takes_nothing_from_what_was_known() -> None:
    """Frozen counts that fade on would say of every item that nobody looks at it any more."""
    head, tail, from_ms = log(hours=4), log(hours=5)[4 * 40 : 4 * 40 + 10], T + 4 * 3_600_000

    def asked(apart_ms: int) -> np.ndarray:
        records = [msgspec.json.decode(row.raw) for row in tail]
        moved = [msgspec.json.encode(each | {"ts": each["ts"] + n * apart_ms}) for n, each in enumerate(records)]
        rows = [*head, *(LogRow(row.line, raw, None) for row, raw in zip(tail, moved, strict=True))]
        partition, answers = machine(), list[np.ndarray]()
        learner = Learner(LEARNING, Trainer(SMALL), default_strategy_bandit())
        stop = Tail(lambda: prequential.of_file(rows), partition, lambda b: answers.append(learner.trainer.predict(b).logits), from_ms)
        prequential.run(prequential.of_file(rows), partition, learner, closing=False, batches=stopping([stop]))
        return np.concatenate(answers)

    assert len(asked(0)) == 10 and np.array_equal(asked(0), asked(24 * 3_600_000))


def test_tail_finds_the_exposures_of_served_lists() -> None:
    served = [
        {"kind": "exposure", "event_id": f"x{k}", "ts": T + k * 1000, "user_id": "u1", "request_id": f"r{k}",
         "slots": [{"item_id": f"i{j}", "position": j} for j in range(3)], "domain": "a"}
        for k in range(4)
    ]  # fmt: skip
    act = {"user_id": "u1", "item_id": "i1", "action": "skip"}
    acts = [act | {"event_id": f"a{k}", "ts": T + k * 1000, "request_id": f"r{k}"} for k in range(4)]
    both = [record for pair in zip(served, acts, strict=True) for record in pair]
    rows = [LogRow(k, msgspec.json.encode(record), None) for k, record in enumerate(both)]
    evidence, partition = Evidence(Question(ablate=blocks(SMALL), frozen_from_ms=T + 2000), SMALL, LEARNING, "cpu"), machine()
    stops = stopping([Tail(lambda: prequential.of_file(rows), partition, evidence.ask_tail, T + 2000)])
    prequential.run(prequential.of_file(rows), partition, evidence.learner, closing=True, batches=stops, also=evidence.also)
    judged = evidence._ledger.exposures()
    there = np.isfinite(judged.logits[frozen_name(ALL_ON)][:, 0])
    assert sorted(judged.shown_ms[there].tolist()) == [T + 2000] * 3 + [T + 3000] * 3
    assert judged.labels[there, SKIP].sum() == 2


def test_second_log_is_predicted_and_changes_nothing() -> None:
    first, second = log(a_list=26), log(a_list=26, seed=1)
    question = Question(gammas=(0.0, 1.0), frozen_from_ms=T, resamples=5)
    evidence, partition = Evidence(question, SMALL, LEARNING, "cpu"), machine()
    judge = HoldoutRows(prequential.of_file(second), partition, evidence.ask, evidence.uniform)
    result = prequential.run(
        prequential.of_file(first), partition, evidence.learner, closing=True, batches=stopping([judge]), also=evidence.also
    )
    alone = prequential.run(
        prequential.of_file(first), machine(), Learner(LEARNING, Trainer(SMALL), default_strategy_bandit()), closing=True
    )
    assert result.digest == alone.digest
    judged = evidence.uniform.exposures()
    assert judged.shown_ms.tolist() == [T + hour * 3_600_000 + k for hour in range(12) for k in range(26)]
    assert judged.labels[:, SKIP].tolist() == [float(b'"skip"' in row.raw) for row in second]
    assert np.isfinite(judged.logits[gamma_name(ALL_ON, 1.0)]).all()
    (found,) = evidence.findings(result)
    assert {row.part for row in found.rows} == {"all", "second log"}


def test_second_log_has_the_features_that_the_first_would_have_had_at_that_moment() -> None:
    """Each row of the second log is one of the first, a millisecond before it: so both are shown to the same state."""
    first = [row._replace(raw=_moved(row.raw, 10 + 2 * k)) for k, row in enumerate(log(hours=3))]
    second = [row._replace(raw=_moved(row.raw, -1)) for row in first]
    evidence, partition, asked = Evidence(Question(), SMALL, LEARNING, "cpu"), machine(), list[Batch]()
    learned: list[Batch] = []
    evidence.main.before(lambda batch, now_ms: learned.append(batch))
    judge = HoldoutRows(prequential.of_file(second), partition, asked.append, Ledger())
    prequential.run(prequential.of_file(first), partition, evidence.learner, closing=True, batches=stopping([judge]))

    def keys(batches: list[Batch]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        found = [(batch.fields[at], batch.history[at]) for batch in batches for at in np.flatnonzero(batch.is_example > 0)]
        return [(tuple(fields.tolist()), tuple(history[history != 0].tolist())) for fields, history in found]

    assert keys(asked) == keys(learned) and len(keys(asked)) == 120
    for name in ("counts", "followed", "popularity", "domain_exposures"):  # a millisecond's decay apart
        one, other = (np.concatenate([getattr(batch, name)[batch.is_example > 0] for batch in batches]) for batches in (asked, learned))
        assert np.abs(one - other).max() < 1e-5 < one.max(), name


@pytest.mark.parametrize(("more", "says"), [({"request_id": "r1"}, "request_id 'r1'"), ({"kind": "exposure"}, "an exposure")])
def test_a_second_log_whose_acts_come_in_rows_of_their_own_is_refused(more: dict[str, str], says: str, tmp_path: Path) -> None:
    shown = {"ts": T, "user_id": "u", "request_id": "r1", "slots": [{"item_id": "i", "position": 0}], "domain": "a"}
    plain = {"event_id": "e", "ts": T, "user_id": "u", "item_id": "i", "action": "impression"}
    record = (shown if "kind" in more else plain) | more
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    first.write_bytes(b"\n".join(row.raw for row in log(hours=1)))
    second.write_bytes(b"\n".join([msgspec.json.encode(plain), msgspec.json.encode(record)]))
    told = CliRunner().invoke(segue, ["replay", str(first), "--format", "jsonl", "--gamma", "0,1", "--holdout", str(second)])
    assert told.exit_code == 2 and f"second log, row 2: {says}, whose acts may come in other rows" in " ".join(told.output.split())


def test_figures_of_thinned_negatives_are_those_of_the_replay_and_say_so() -> None:
    """The replay's own count each exposure as many as it was kept of, from a histogram; these from rows."""

    def found(rate: float, hours: int) -> tuple[Result, Finding]:
        bare = [row._replace(raw=row.raw.replace(b'"also":["skip"]', b'"also":[]')) for row in log(hours=hours)]
        evidence = Evidence(Question(gammas=(0.0, 1.0), resamples=5), SMALL, LEARNING, "cpu")
        partition = Partition(PartitionSettings(negative_rate=rate), Tables.over(), Catalog())
        result = prequential.run(prequential.of_file(bare), partition, evidence.learner, closing=True, also=evidence.also)
        return result, evidence.findings(result)[0]

    result, finding = found(0.4, 20)
    row, theirs = next(row for row in finding.rows if row.task == "full_play" and row.part == "all"), result.metrics["full_play"]
    assert (row.n, row.positives) == (round(theirs.n), round(theirs.positives)) and result.examples < 740 < row.n
    assert (row.ne, row.copc) == pytest.approx((theirs.ne, theirs.copc), rel=1e-5)
    assert row.auc == pytest.approx(theirs.auc, abs=2e-3)  # bins of logits
    assert len(found(1.0, 12)[1].notes) + 1 == len(finding.notes) and "partition.negative_rate" in finding.notes[-1]


def _moved(raw: bytes, ms: int) -> bytes:
    record = msgspec.json.decode(raw)
    return msgspec.json.encode(record | {"ts": record["ts"] + ms, "event_id": record["event_id"] + str(ms)})


def test_rows_of_a_table_are_what_the_figures_say() -> None:
    """200 exposures of 20 users; the second model is the first one turned round."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, len(TASKS))).astype(np.float32)
    labels = (rng.random((400, len(TASKS))) < 0.5).astype(float)
    labels[:, 1:] = np.nan
    p = 1 / (1 + np.exp(-z))
    judged = PredictedExposures(
        np.arange(400) % 20, np.arange(400), np.zeros(400), labels, {"a": z, "b": -z}, {"a": p, "b": 1 - p}, np.ones(400)
    )
    rows, why = measured(judged, Comparison(["a", "b"], top=0.5), [("all", np.ones(400, bool))], 20)
    others = ", ".join(f"{task} (0 of 0)" for task in TASKS[1:])
    assert why == [f"No figures of all, with fewer than 100 positives or negatives: {others}."]
    assert [(row.name, row.task, row.n) for row in rows] == [("a", TASKS[0], 400), ("b", TASKS[0], 400)]
    a, b = rows
    assert a.auc + b.auc == pytest.approx(1) and b.auc_more.value == pytest.approx(1 - 2 * a.auc)
    assert (a.auc_more.value, a.auc_more.low, a.auc_more.high) == (0, 0, 0)
    assert a.gauc + b.gauc == pytest.approx(1) and a.top is not None and b.top is not None
    assert (a.top + b.top) / 2 == pytest.approx(labels[:, 0].mean())


def test_what_came_before_every_copy_was_published_to_twice_is_not_judged() -> None:
    """12 hours of 40: of a copy of two hours the first four are not judged; one of four hours would want sixteen."""
    evidence = Evidence(Question(spans_ms=(0, 7_200_000, 14_400_000), resamples=5), SMALL, LEARNING, "cpu")
    (found,) = evidence.findings(run(evidence, log()))
    assert {(row.name, row.n) for row in found.rows if row.part == "all"} == {("at once", 320), ("every 2 h", 320)}
    assert found.notes[1] == "Left out, since the log does not last 4 times as long: every 4 h."


def test_a_table_that_can_say_nothing_says_why() -> None:
    """A share of popularity's part for tasks that it has no part in; tasks, parts and logs with too few positives."""
    collected = [
        row._replace(raw=row.raw.replace(b'["play"]', b'["play","collect"]').replace(b'"full":true', b'"full":false'))
        for row in log(a_list=26)
    ]
    evidence = Evidence(Question(gammas=(0.0, 0.5, 1.0), resamples=5), SMALL, LEARNING, "cpu")
    (found,) = evidence.findings(run(evidence, collected))
    assert {row.task for row in found.rows} == {"collect", "skip"}
    assert any(
        note.startswith("collect: every share of popularity's part gives the same figures: it has none in collect") for note in found.notes
    )
    assert not any(note.startswith("skip: every share") for note in found.notes)
    plays = sum(b"collect" in row.raw for row in collected)
    assert 100 < plays < 212
    assert found.notes[-1] == (
        "No figures of all, with fewer than 100 positives or negatives: full_play (0 of 312), share (0 of 312), dislike (0 of 312)."
    )
    evidence = Evidence(Question(ablate=blocks(SMALL), spans_ms=(0, 60_000), gammas=(0.0, 1.0), resamples=5), SMALL, LEARNING, "cpu")
    few = evidence.findings(run(evidence, log(hours=2)))
    said = "\n".join(line for line in tables(few) if isinstance(line, str))
    for finding in few:
        assert finding.rows == [] and f"{finding.title}: no figures" in said
        assert any(note.startswith("No figures of all, with fewer than 100") and "full_play (" in note for note in finding.notes)
        assert all(f"note: {note}" in said for note in finding.notes)
    assert all("No figures of all" in section for _, section in sections(few))


def test_tail_begins_where_seventy_percent_of_the_records_are_done() -> None:
    assert tail_ms(prequential.of_file(log())) == T + 8 * 3_600_000 + 16  # record 336 of 480


def test_names_of_spans() -> None:
    assert [span_name(ms) for ms in (0, 1_000, 60_000, 1_800_000, 18_000_000)] == [
        "at once", "every 1 s", "every 1 min", "every 30 min", "every 5 h",
    ]  # fmt: skip


def test_command_gives_tables_json_and_pictures(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(row.raw for row in log(a_list=26)))
    small = [f"model.{name}={getattr(SMALL, name)}" for name in ("embedding_dim", "attention_units", "expert_units", "tower_units")]
    options = ["--ablate", "cin,pairs", "--freshness", "--gamma", "0,1", "--holdout", str(path), "--report", str(tmp_path / "r"), "--json"]
    sets = [part for assignment in small for part in ("--set", assignment)]
    told = CliRunner().invoke(segue, ["replay", str(path), "--format", "jsonl", *options, *sets], catch_exceptions=False)
    assert told.exit_code == 0
    evidence = msgspec.json.decode(told.stdout)["evidence"]
    assert [table["kind"] for table in evidence] == ["ablation", "freshness", "gamma"]
    assert {row["name"] for row in evidence[0]["rows"]} == {ALL_ON, "no cin", "no pairs"}
    assert all(row["rate"] > 0 for row in evidence[0]["rows"])
    page = (tmp_path / "r" / "index.html").read_text()
    assert all(html.escape(table["title"]) in page for table in evidence) and page.count("data:image/png;base64,") >= 5
    assert msgspec.json.decode((tmp_path / "r" / "result.json").read_bytes())["evidence"] == evidence


@pytest.mark.parametrize("options", [["--gamma", "much"], ["--holdout", __file__]])
def test_call_that_asks_for_nothing_sensible_is_refused(options: list[str]) -> None:
    assert CliRunner().invoke(segue, ["replay", __file__, "--format", "jsonl", *options]).exit_code == 2
