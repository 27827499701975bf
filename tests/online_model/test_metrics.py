"""Metrics against the figures of MODEL.md section 9, scikit-learn, river and plain loops; windows, fading, state."""
from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from online_model.metrics import BUFFERED, OPEN_WINDOWS, WIDTHS_MS, Prequential, WindowResult
from tests.oracles import metrics as naive

Array = np.ndarray
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 1_700_006_400_000  # a midnight UTC: every window starts here


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def world(seed: int, n: int, tasks: int = 1, bias: float = -1.0, users: int = 50) -> tuple[Array, Array, Array, Array, Array]:
    """Times, users, logits, probabilities, labels of a calibrated predictor."""
    rng = np.random.default_rng(seed)
    ts = T0 + np.sort(rng.integers(0, 2 * DAY, n))
    z = rng.normal(bias, 1.5, (n, tasks)).astype(np.float32)
    p = sigmoid(z.astype(np.float64))
    return ts, rng.integers(1, users + 1, n).astype(np.uint64), z, p, (rng.random((n, tasks)) < p).astype(np.float32)


def run(metrics: Prequential, rows: tuple[Array, ...], group: int = 1) -> Iterator[WindowResult]:
    """Feed rows in order, `group` at a time where they share a time, the watermark following them."""
    ts, *columns = rows
    i = 0
    while i < len(ts):
        j = i + 1
        while j < len(ts) and j - i < group and ts[j] == ts[i]:
            j += 1
        metrics.score(int(ts[i]), *(column[i:j] for column in columns))
        yield from metrics.advance(int(ts[i]))
        i = j


def fed(rows: tuple[Array, ...], tasks: tuple[str, ...] = ("a",)) -> Prequential:
    metrics = Prequential(tasks)
    list(run(metrics, rows))
    return metrics


def column(*values: float) -> Array:
    return np.array(values)[:, None]


# --- figures ---------------------------------------------------------------------------------------------------------


def test_four_rows_of_the_model_page() -> None:
    p = column(0.8, 0.3, 0.2, 0.6)
    metrics = Prequential(("a",))
    metrics.score(T0, np.arange(4, dtype=np.uint64), np.log(p / (1 - p)), p, column(1, 0, 0, 1))
    figures = metrics.summary()["a"]
    assert figures["logloss"] == pytest.approx(0.32844691758328565, abs=1e-12)
    assert figures["ne"] == pytest.approx(0.4738487391926723, abs=1e-12)
    assert figures["rig"] == pytest.approx(1 - 0.4738487391926723, abs=1e-12)
    assert figures["copc"] == pytest.approx(1.0526315789473684, abs=1e-12)
    assert (figures["auc"], figures["n"], figures["positives"]) == (1.0, 4, 2)


def test_entries_that_are_not_finite_are_left_out_of_their_task_alone() -> None:
    _, users, z, p, y = world(6, 500, tasks=2)
    spoilt_z, spoilt_p, spoilt_y = z.copy(), p.copy(), y.copy()
    spoilt_z[0, 0], spoilt_p[1, 0], spoilt_y[2, 0] = np.nan, np.inf, np.nan
    metrics, rest = Prequential(("a", "b")), Prequential(("a", "b"))
    metrics.score(T0, users, spoilt_z, spoilt_p, spoilt_y)
    rest.score(T0, users[3:], z[3:], p[3:], y[3:])
    assert metrics.summary()["a"] == rest.summary()["a"]
    assert metrics.summary()["b"]["n"] == 500


def test_nothing_scored_is_undefined_and_null_in_json() -> None:
    figures = Prequential(("a",)).summary()["a"]
    assert figures.pop("n") == figures.pop("positives") == 0
    assert all(math.isnan(value) for value in figures.values())
    assert msgspec.json.decode(msgspec.json.encode(figures)) == dict.fromkeys(figures)


# --- GAUC ------------------------------------------------------------------------------------------------------------


def test_every_figure_of_thinned_out_rows_is_that_of_the_rows_they_stand_for() -> None:
    ts, users, z, p, y = world(9, 1_500, bias=0.0)
    times = np.where(np.arange(1_500) % 3 == 0, 4, 1)
    thin, whole = Prequential(("a",)), Prequential(("a",))
    for i in range(1_500):
        row = slice(i, i + 1)
        thin.score(int(ts[i]), users[row], z[row], p[row], y[row], times[row].astype(float))
        whole.score(int(ts[i]), *(np.repeat(c[row], times[i], axis=0) for c in (users, z, p, y)))
        assert [w.start_ms for w in thin.advance(int(ts[i]))] == [w.start_ms for w in whole.advance(int(ts[i]))]
    assert thin.summary()["a"] == pytest.approx(whole.summary()["a"], rel=1e-9)
    assert whole.summary()["a"]["n"] == 3_000
    for half_life, figures in thin.fading().items():
        assert figures["a"] == pytest.approx(whole.fading()[half_life]["a"], rel=1e-9, nan_ok=True)
    for ours, theirs in zip(thin.close(), whole.close(), strict=True):
        assert msgspec.structs.asdict(ours.tasks["a"]) == pytest.approx(msgspec.structs.asdict(theirs.tasks["a"]), rel=1e-9, nan_ok=True)


# --- windows ---------------------------------------------------------------------------------------------------------


def one(ts: int, metrics: Prequential, label: float = 1.0) -> None:
    metrics.score(ts, np.array([1], np.uint64), column(0.5), column(sigmoid(np.array(0.5))), column(label))


#   minute:    0    1         5              10
#              |--- window 1 --|--- window 2 --|
#   rows           a    (4) b        c (6)         late (3), after the watermark stood at 5
#   watermark                 5                10
def test_a_window_closes_when_the_watermark_reaches_its_end() -> None:
    metrics = Prequential(("a",))
    one(T0 + 1 * MINUTE, metrics)
    assert metrics.advance(T0 + 4 * MINUTE) == []
    one(T0 + 4 * MINUTE, metrics, 0.0)
    (first,) = metrics.advance(T0 + 5 * MINUTE)
    assert (first.width_ms, first.start_ms, first.end_ms, first.late) == (300_000, T0, T0 + 5 * MINUTE, 0)
    assert (first.tasks["a"].n, first.tasks["a"].positives) == (2, 1)
    one(T0 + 6 * MINUTE, metrics)
    one(T0 + 3 * MINUTE, metrics)
    (second,) = metrics.advance(T0 + 10 * MINUTE)
    assert (second.start_ms, second.late, second.tasks["a"].n) == (T0 + 5 * MINUTE, 1, 1)
    assert metrics.late == {300_000: 1, HOUR: 0, DAY: 0}
    assert [(w.width_ms, w.tasks["a"].n) for w in metrics.close()] == [(HOUR, 4), (DAY, 4)]  # the wider ones were open: nothing lost
    assert metrics.close() == []


def test_windows_split_the_run_and_come_in_order_of_their_end() -> None:
    rows = world(9, 6_000)
    metrics = Prequential(("a",))
    results = [*run(metrics, rows), *metrics.close()]
    assert [(w.end_ms, w.width_ms) for w in results] == sorted((w.end_ms, w.width_ms) for w in results)
    ts, users, z, p, y = rows
    for width in WIDTHS_MS:
        mine = [w for w in results if w.width_ms == width]
        assert [w.start_ms for w in mine] == np.unique(ts // width * width).tolist()
        assert sum(w.tasks["a"].n for w in mine) == 6_000
    for window in results[:: len(results) // 20]:
        at = np.flatnonzero((ts >= window.start_ms) & (ts < window.end_ms))
        zs, ps, ys = (c[at, 0].tolist() for c in (z, p, y))
        assert window.tasks["a"].logloss == pytest.approx(naive.log_loss(ps, ys), abs=1e-9)
        assert window.tasks["a"].auc == pytest.approx(naive.auc(zs, ys), abs=2e-2, nan_ok=True)  # few rows: a shared bin is a tie
        assert window.tasks["a"].gauc == pytest.approx(naive.gauc(users[at].tolist(), zs, ys)[0], abs=1e-12, nan_ok=True)


def test_open_windows_are_bounded_the_oldest_closes_and_is_still_handed_out() -> None:
    metrics = Prequential(("a",))
    for i in range(OPEN_WINDOWS + 2):  # far ahead of a watermark that stands still
        one(T0 + i * 5 * MINUTE, metrics)
    metrics.summary()
    metrics.advance(T0 + 1)
    assert len([key for key in metrics._windows if key[0] == WIDTHS_MS[0]]) == OPEN_WINDOWS
    one(T0, metrics)
    narrow = [w for w in metrics.close() if w.width_ms == WIDTHS_MS[0]]
    assert [w.start_ms for w in narrow] == [T0 + i * 5 * MINUTE for i in range(2, OPEN_WINDOWS + 2)]
    assert metrics.late[WIDTHS_MS[0]] == 1


# --- fading ----------------------------------------------------------------------------------------------------------


def test_fading_of_the_model_page() -> None:
    """a = .5 (rows one half-life apart), values 1, 0, 1: means 1, 1/3, .714..."""
    metrics, seen = Prequential(("a",)), []
    for i, label in enumerate((1.0, 0.0, 1.0)):
        one(T0 + i * HOUR, metrics, label)
        figures = metrics.fading()[HOUR]["a"]
        seen.append(figures["positives"] / figures["n"])
    assert seen == pytest.approx([1, 1 / 3, 0.7142857142857143], abs=1e-12)
    assert figures["n"] == pytest.approx(1.75, abs=1e-12)


@pytest.mark.parametrize("half_life", [HOUR, DAY])
def test_fading_log_loss_equals_its_recursion(half_life: int) -> None:
    rows = world(10, 3_000)
    ts, _, _, p, y = rows
    expected = naive.fading_log_loss(ts.tolist(), p[:, 0].tolist(), y[:, 0].tolist(), half_life)
    assert fed(rows).fading()[half_life]["a"]["logloss"] == pytest.approx(expected, rel=1e-9)


def test_fading_survives_gaps_of_any_length() -> None:
    metrics = Prequential(("a",))
    for gap in (1, 63 * HOUR, 130 * HOUR, 400 * DAY, 9_000 * DAY):
        one(T0, metrics, 0.0)
        one(T0 + gap, metrics, 1.0)
        figures = metrics.fading()[HOUR]["a"]
        assert figures["positives"] >= 1.0 - 1e-12 and math.isfinite(figures["logloss"])
    assert figures["n"] == pytest.approx(1.0, abs=1e-12)  # of the newest row alone


def test_fading_auc_follows_the_recent_rows() -> None:
    metrics = Prequential(("a",))
    rng = np.random.default_rng(0)
    for hour in range(20):  # the predictor turns from always right to always wrong
        z = rng.normal(0, 2, (200, 1))
        right = (z > 0).astype(float)
        metrics.score(T0 + hour * HOUR, np.ones(200, np.uint64), z, sigmoid(z), right if hour < 10 else 1 - right)
    assert metrics.fading()[HOUR]["a"]["auc"] < 0.01
    assert metrics.summary()["a"]["auc"] == pytest.approx(0.5, abs=0.05)


# --- state -----------------------------------------------------------------------------------------------------------


def state(metrics: Prequential) -> tuple[dict[str, tuple[str, tuple[int, ...], bytes]], bytes]:
    return {k: (v.dtype.str, v.shape, v.tobytes()) for k, v in metrics.arrays().items()}, msgspec.msgpack.encode(metrics.meta())


def restored(metrics: Prequential) -> Prequential:
    other = Prequential(metrics.tasks)
    other.load(metrics.arrays(), msgspec.msgpack.decode(msgspec.msgpack.encode(metrics.meta())))
    return other


Undisturbed = tuple[tuple[Array, ...], list[WindowResult], tuple[dict[str, tuple[str, tuple[int, ...], bytes]], bytes]]


@pytest.fixture(scope="module")
def undisturbed() -> Undisturbed:
    """Rows of two tasks, their windows, and the state behind them."""
    rows, whole = world(11, 2_200, tasks=2), Prequential(("a", "b"))
    return rows, [*run(whole, rows), *whole.close()], state(whole)


@pytest.mark.parametrize("cut", [1, BUFFERED - 1, BUFFERED, 1_900])
def test_restored_goes_on_as_if_never_stopped(cut: int, undisturbed: Undisturbed) -> None:
    (rows, expected, at_the_end), first = undisturbed, Prequential(("a", "b"))
    before = list(run(first, tuple(c[:cut] for c in rows)))
    second = restored(first)
    assert state(second) == state(first)
    after = [*run(second, tuple(c[cut:] for c in rows)), *second.close()]
    assert msgspec.json.encode(before + after) == msgspec.json.encode(expected)
    assert state(second) == at_the_end


def test_neither_looking_nor_the_size_of_the_buffer_changes_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = world(12, 1_300)
    unseen, watched = fed(rows), Prequential(("a",))
    ts, *columns = rows
    for i in range(len(ts)):
        watched.score(int(ts[i]), *(c[i : i + 1] for c in columns))
        watched.advance(int(ts[i]))
        if i % 97 == 0:
            watched.summary(), watched.fading(), watched.arrays(), watched.meta()
    assert state(watched) == state(unseen)
    monkeypatch.setattr("online_model.metrics.BUFFERED", 10)
    assert state(fed(rows)) == state(unseen)


def test_rows_together_are_rows_one_by_one() -> None:
    ts, *columns = world(13, 5_000)
    ts = ts // HOUR * HOUR  # about a hundred rows at a time
    results = []
    for group in (1, 7, 10_000):
        metrics = Prequential(("a",))
        windows = list(run(metrics, (ts, *columns), group))
        results.append((msgspec.json.encode(windows), state(metrics)))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("change", ["drop", "double", "swap"])
def test_one_row_more_less_or_swapped_changes_the_state(change: str) -> None:
    rows = world(14, 1_200)
    order = list(range(1_200))
    if change == "drop":
        del order[600]
    elif change == "double":
        order.insert(600, 600)
    else:
        order[600], order[601] = order[601], order[600]
    assert state(fed(tuple(c[order] for c in rows))) != state(fed(rows))


def test_other_tasks_or_cap_than_saved_are_refused_by_name() -> None:
    saved = Prequential(("a",))
    with pytest.raises(ValueError, match="tasks = "):
        Prequential(("b",)).load(saved.arrays(), saved.meta())
    with pytest.raises(ValueError, match="rows_cap = 200000, now 10"):
        Prequential(("a",), rows_cap=10).load(saved.arrays(), saved.meta())


def test_memory_levels_off() -> None:
    metrics = Prequential(("a",), rows_cap=1_000)
    sizes = []
    for part in range(4):
        ts, users, z, p, y = world(part, 2_500, users=10_000)
        list(run(metrics, (ts + part * 2 * DAY, users + np.uint64(part * 10_000), z, p, y)))
        sizes.append(sum(a.nbytes for a in metrics.arrays().values()))
    assert max(sizes) < 1.15 * sizes[0] + 60_000  # of one buffer
