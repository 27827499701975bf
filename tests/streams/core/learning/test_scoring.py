"""What becomes of predictions: scored once, at the time they were shown, against the labels at the close of the window."""
from __future__ import annotations

import numpy as np

from online_model.batch import of_records
from online_model.features import Closed, Example, ExampleRecord, Exposed, Tick
from streams.core.learning.learn import Learner
from streams.core.learning.scoring import ClosedExposures
from tests.streams.core.learning.test_learn import (
    COLLECT,
    FULL,
    MINUTE,
    SKIP,
    T0,
    WINDOW,
    closed,
    counts,
    example,
    learner,
    numbered,
    reversal,
    shown,
)


class Watched:
    """Rows that a learner scores."""

    def __init__(self, made: Learner) -> None:
        self.rows: list[tuple[int, int, tuple[float, ...], list[float]]] = []
        made.watchers.append(self.told)

    def told(
        self, ts: int, users: np.ndarray, logits: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, importance_weight: np.ndarray
    ) -> None:  # fmt: skip
        assert (importance_weight == 1).all()
        for user, p, y in zip(users, probabilities, labels, strict=True):
            self.rows.append((ts, int(user), tuple(p.tolist()), y.tolist()))


#  min  0 shown, full play   1 collect   10+ closed {full, collect}   11 taken back: counted beside the metric
def test_a_prediction_is_scored_once_against_the_labels_at_window_close() -> None:
    made = learner()
    watched = Watched(made)
    before = made.trainer.predict(of_records([example(1)])).probabilities[0]
    made.apply(0, numbered([example(1, 0, FULL), Tick(T0, False), reversal(1, MINUTE), Tick(T0 + MINUTE, False)]))
    assert watched.rows == []
    late = [closed(WINDOW + 1, s1=FULL | COLLECT), reversal(1, WINDOW + MINUTE, sign=-1), Tick(T0 + 2 * WINDOW, True), closed(WINDOW, s1=0)]
    made.apply(0, numbered(late, 10))
    assert watched.rows == [(T0, 101, tuple(before.tolist()), [1.0, 1.0, 0.0, 0.0, 0.0])]
    figures = made.metrics.summary()
    assert [(figures[t]["n"], figures[t]["positives"]) for t in ("full_play", "collect", "skip")] == [(1, 1), (1, 1), (1, 0)]
    assert made.counted == {"examples": 1, "reversals": 2, "scored": 1, "unscored": 1}


def test_what_closes_while_its_batch_is_open_is_scored_when_it_was_predicted() -> None:
    made = learner()
    watched = Watched(made)
    made.apply(0, numbered([example(1, WINDOW + 1, shown_at=0), closed(WINDOW + 1, s1=0)]))  # left alone: both at one moment
    assert watched.rows == []
    made.apply(0, numbered([Tick(T0 + WINDOW + 2, False)], 2))
    assert [(ts, y) for ts, _, _, y in watched.rows] == [(T0, [0.0] * 5)]


def test_items_of_one_list_are_scored_each_at_the_time_it_was_shown() -> None:
    made = learner()
    watched = Watched(made)
    made.apply(0, numbered([example(1, 1), example(2, 1), example(3, 7), Tick(T0 + 9, False), closed(WINDOW + 8, s1=SKIP, s2=0, s3=FULL)]))
    assert [(ts - T0, y) for ts, _, _, y in watched.rows] == [(1, [0, 0, 0, 1, 0]), (1, [0] * 5), (7, [1, 0, 0, 0, 0])]


def test_predictions_that_do_not_fit_are_counted_once_as_unscored() -> None:
    made = learner(open_predictions=3)
    made.apply(0, numbered([example(n, n // 2) for n in range(10)]))
    for n in range(0, 10, 2):
        made.apply(0, numbered([Tick(T0 + 5, False), closed(WINDOW + 9, **{f"s{n}": 0, f"s{n + 1}": 0})], 10 + 2 * n))
    scored = made.counted.get("scored", 0)
    assert 0 < scored <= 3
    assert made.counted["unscored"] == 10 - scored


def test_who_watches_ids_gets_each_exposure_once_scored_or_not() -> None:
    made = learner()
    seen = list[ClosedExposures]()
    made.closed_watchers.append(seen.append)
    silent = Example(2, T0, 0, 0, 0.25, shown(2))
    done = Closed(T0 + WINDOW + 1, [1, 9, 2], [SKIP, 0, FULL], T0, 0, [7])  # nothing was predicted of 9, 7 is no example
    made.apply(0, numbered([example(1, 0), silent, Exposed(7, T0, shown(7)), Tick(T0, False), done]))
    (only,) = [each for each in seen if each.ids]
    assert (only.ids, only.shown_ms, only.unscored, only.importance_weight.tolist()) == ([1, 2], [T0, T0], [9, 7], [1.0, 4.0])
    assert only.labels.tolist() == [[0, 0, 0, 1, 0], [1, 0, 0, 0, 0]] and only.logits.shape == only.probabilities.shape == (2, 5)


def test_a_row_of_a_kept_share_counts_as_what_it_stands_for_and_what_was_left_out_is_only_counted() -> None:
    made = learner()
    silent = Example(2, T0, 0, 0, 0.25, shown(2))
    done = Closed(T0 + WINDOW + 1, [1, 2], [SKIP, 0], T0, 3)
    made.apply(0, numbered([example(1, 0, SKIP), silent, Tick(T0, False), done, Closed(T0 + WINDOW + 2, [], [], T0, 1)]))
    assert made.counted == {"examples": 2, "scored": 2, "sampled_out": 4}
    figures = made.metrics.summary()["skip"]
    assert (figures["n"], figures["positives"]) == (5, 1)


#  min   0 1 2 3 4 | 5 … 9 | 10 …     shown, one a minute, each closed 10 minutes and a ms later; windows of 5 minutes
#                    [0, 5) waits for the exposure of minute 4, and is known to be whole when that of minute 5 closes
def test_a_metric_window_holds_all_that_was_shown_in_it_and_closes_when_it_is_judged() -> None:
    made, log = learner(), list[tuple[int, ExampleRecord]]()
    for minute in range(30):
        log += [(minute * MINUTE, example(minute, minute * MINUTE, SKIP))]
        log += [(minute * MINUTE + WINDOW + 1, closed(minute * MINUTE + WINDOW + 1, **{f"s{minute}": SKIP}))]
    log.sort(key=lambda row: row[0])
    closed_at = {}
    for n, (at, record) in enumerate(log):
        made.apply(0, numbered([record, Tick(T0 + at + 1, False)], 2 * n))
        closed_at.update({start: (at // MINUTE, rows) for start, rows in counts(made.take_windows())})
    assert closed_at == {0: (15, 5), 5: (20, 5), 10: (25, 5), 15: (30, 5), 20: (35, 5)}
    made.apply(0, numbered([Tick(T0 + 60 * MINUTE, True)], 2 * len(log)))
    assert counts(made.take_windows()) == [(25, 5)]
    assert made.metrics.late == dict.fromkeys(made.metrics.late, 0)


def test_a_list_that_is_cut_early_closes_no_window_over_what_is_still_open() -> None:
    # A list of more than 200 items closes its oldest ones before their time.
    made = learner()
    made.apply(0, numbered([example(1, MINUTE), example(2, 6 * MINUTE), Tick(T0 + 6 * MINUTE, False), closed(6 * MINUTE, s2=0)]))
    made.apply(0, numbered([closed(11 * MINUTE + 1, s1=SKIP), Tick(T0 + 12 * MINUTE, True)], 4))
    assert counts(made.take_windows()) == [(0, 1), (5, 1)]


#  source 0   examples … end            the first that ends must not close the windows of the second, whose rows come later
#  source 1              examples … end
def test_metric_windows_close_when_the_log_of_every_source_has_ended() -> None:
    made = learner(sources=2)

    def log(source: int, first: int) -> None:
        slot = source + 1
        records = [example(slot, 0), Tick(T0, False), closed(WINDOW + 1, **{f"s{slot}": 0}), Tick(T0 + WINDOW + 1, True)]
        made.apply(source, numbered(records, first))

    log(0, 0)
    assert counts(made.take_windows()) == []
    log(1, 0)
    assert counts(made.take_windows()) == [(0, 2)]
    made.apply(0, numbered([Tick(T0 + WINDOW + 1, True)], 10))  # another log, of which this source had no rows …
    made.apply(0, numbered([example(3, 2 * WINDOW), Tick(T0 + 2 * WINDOW, False)], 11))  # … and then it goes on
    made.apply(1, numbered([Tick(T0 + 2 * WINDOW, True)], 10))
    assert counts(made.take_windows()) == []
    made.apply(0, numbered([closed(3 * WINDOW + 1, s3=0), Tick(T0 + 3 * WINDOW + 1, True)], 13))
    assert counts(made.take_windows()) == [(20, 1)]
