from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from online_model.features import TASKS
from streams.core.serving.recommend import ALL
from streams.core.serving.surfaces import Variety
from streams.demo.listeners import Activity
from streams.demo.panel import Facts, line, panel
from streams.demo.readings import FADING_MS, FIGURES, POINTS, Readings
from streams.status import LearnerStatus, PartitionStatus, StrategyStatus, SurfaceStatus, WorkerStatus

TERMINAL_LINES = 24
ARMS = ("blend-0", "blend-0.25", "blend-0.5", "blend-0.75", "tail", "explore", "fixed")
SURFACE = SurfaceStatus(
    revenue_weight=0.25,
    strategies={
        name: StrategyStatus(
            rounds=100.0 + n, propensity=n / 21, experience=0.2 + n / 100, revenue=0.5,
            value=0.25 + n / 100, value_error=0.031, ess=40.0 + n,
        )  # fmt: skip
        for n, name in enumerate(ARMS)
    },
)  # fmt: skip


def facts(**other: Any) -> Facts:
    given = {
        "http": "http://127.0.0.1:41873", "learner": "http://127.0.0.1:41874", "kafka": "127.0.0.1:39211",
        "prefix": "segue-run-20260102-030405", "folder": "run/live-20260102-030405", "join_window_s": 20.0, "events_per_s": 200.0,
        "seed": 7, "seconds": None,
    }  # fmt: skip
    return Facts(**(given | other))


def running() -> Readings:
    readings = Readings()
    for second in range(90):
        events = 201 * second
        partitions = {0: PartitionStatus(stored=1, lag=3, watermark_ms=1, open_lists=3)}
        records = (
            WorkerStatus(
                at_ms=1000 * second, slot="0", partitions=partitions, counted={"events": events, "rejected:late": 2}, model_version=second,
                model_age_ms=0, measured=events, freshness_ms={180: 101, 390: 100},
            ),
            LearnerStatus(
                at_ms=1000 * second, slot="0", epoch=0, version=second, offset=1, lag=0, acts=events, counted={"examples": 187 * second},
                fading={FADING_MS: {task: {"auc": 0.5 + second / 1000, "n": 12_345.0} for task in TASKS}},
                surfaces={"page": SURFACE},
            ),
        )  # fmt: skip
        for record in records:
            readings.take(msgspec.json.encode(record))
    for at_ms, plays in ((0, 8_000), (60_000, 9_000)):
        readings.note_actions(at_ms, {"play": plays, "skip": 7_000, "collect": plays * 31 // 1_000, "dislike": plays // 200})
    return readings


ACTIVITY = Activity(lists=1_203, pages=1_204, feedback=17_889)


def drawn(
    readings: Readings, activity: Activity, width: int, height: int = TERMINAL_LINES, passed_s: float = 144.0, **other: Any
) -> list[str]:  # fmt: skip
    console = Console(width=width, file=io.StringIO(), legacy_windows=False)
    with console.capture() as capture:
        console.print(panel(facts(**other), readings, activity, passed_s, width, height))
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 50), (120, 24), (120, 30)])
def test_panel_fits_a_terminal_and_tells_all_figures(width: int, height: int) -> None:
    lines = drawn(running(), ACTIVITY, width, height)
    assert len(lines) <= height and {len(line) for line in lines} == {width}
    told = "\n".join(lines)
    figures = ["201", "17,889 in all", "187", "180 ms", "390 ms", "3.1%", "5.0", "20 s", "0.589", "2:24", "2 records rejected"]
    figures += ["1,203", "1,204", "revenue weighs 0.25", "28.6%", "0.260", "0.310 ±0.031"]  # of `fixed`: 6/21, .2 + .06, .25 + .06
    figures += ["12,345"] if (width, height) != (80, 24) else []  # where there is room
    assert [figure for figure in figures if figure not in told] == []
    places = ["http://127.0.0.1:41873/docs", "http://127.0.0.1:41874/metrics", "127.0.0.1:39211"]
    places += ["segue-run-20260102-030405.*", "run/live-20260102-030405", *TASKS, *(f"page {arm} " for arm in ARMS)]
    assert [place for place in places if place not in told] == []


def test_strategies_that_find_no_room_are_those_drawn_least() -> None:
    readings = running()
    assert readings.learner is not None
    both = {"page": SURFACE, "list": SURFACE}
    readings.learner = msgspec.structs.replace(readings.learner, surfaces=both)
    told = drawn(readings, ACTIVITY, 80)
    assert len(told) == TERMINAL_LINES
    named = [line.split()[1:3] for line in told if "±" in line]
    assert named[:6] == [[surface, arm] for arm in ("fixed", "explore", "tail") for surface in ("page", "list")] and len(named) == 7
    assert len([line for line in drawn(readings, ACTIVITY, 80, 50) if "±" in line]) == 14


@pytest.mark.parametrize("width", [80, 104, 120, 132])
def test_what_strategies_earn_is_whole_and_their_revenue_is_told_where_there_is_room(width: int) -> None:
    readings = running()
    assert readings.learner is not None
    readings.learner = msgspec.structs.replace(readings.learner, surfaces={"page": SURFACE})
    told = drawn(readings, ACTIVITY, width, 50)
    rows = [line for line in told if "±" in line]
    assert len(rows) == len(ARMS) and all(len(line) <= width for line in told)
    for n, row in enumerate(rows):
        figures = [f"{0.2 + n / 100:.3f}", *(["0.500"] if width >= 104 else []), f"{0.25 + n / 100:.3f} ±0.031", f"{40 + n}"]
        at = [row.find(figure) for figure in figures]
        assert min(at) > 0 and at == sorted(at), row
    (head,) = (line.split() for line in told if "experience" in line)
    assert head.count("revenue") == 1 + (width >= 104)  # what it weighs stands first


def varied(readings: Readings, looks: int = 12) -> Readings:
    """Looked at every five seconds: figures of `tail` rise, those of the others stand still."""
    for look in range(looks):
        of = {
            name: Variety(
                impressions=100 + look, categories_per_user=3.0 + look * (name == "tail"), overlap=0.125, distinct_items=1_000 + n,
                dislikes_per_1000_plays=None if name == "fixed" else 4.5,
            )
            for n, name in enumerate([ALL, *ARMS])
        }  # fmt: skip
        readings.note_variety(5_000 * (look + 1), lambda of=of: {"page": of})  # type: ignore[misc]
    return readings


@pytest.mark.parametrize("each", [False, pytest.param(True, marks=pytest.mark.prove)])
@pytest.mark.parametrize("width", [80, 104, 132])
def test_at_no_height_and_no_time_is_the_panel_higher_than_the_terminal(width: int, each: bool) -> None:
    """Every height at one time of four, and, by `make prove`, at each of them."""
    readings = varied(running())
    assert readings.learner is not None
    times, tried = (0.0, 9.0, 13.0, 17.0), 0
    for n, surfaces in enumerate(({"page": SURFACE}, {"page": SURFACE, "list": SURFACE})):
        readings.learner = msgspec.structs.replace(readings.learner, surfaces=surfaces)
        for height in range(TERMINAL_LINES, 52):
            for second in times if each else [times[(height + n) % 4]]:
                assert len(drawn(readings, ACTIVITY, width, height, passed_s=second)) <= height
                tried += 1
    print(f"{tried} panels, {width} columns wide, none higher than its terminal")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 50), (120, 30), (132, 50)])
def test_by_turns_the_panel_shows_every_figure_of_every_strategy_with_its_curve(width: int, height: int) -> None:
    readings = varied(running())
    shown: dict[str, dict[str, list[str]]] = {}
    for second in range(60):
        lines = drawn(readings, ACTIVITY, width, height, passed_s=float(second))
        assert len(lines) <= height and {len(line) for line in lines} == {width}
        heads = [line.split()[1:-1] for line in lines if line.split()[1:-1] and set(line.split()[1:-1]) <= set(FIGURES)]
        for text in lines:
            words = text.strip("│ ").split()
            if heads and words[:1] == ["page"] and words[1] in (ALL, *ARMS):
                shown.setdefault(words[1], {}).update({name: words[2 + 2 * n : 4 + 2 * n] for n, name in enumerate(heads[0])})
    assert list(shown)[0] == ALL and set(shown[ALL]) == set(FIGURES)  # the likeliest follow, as far as there is room
    assert shown["tail"]["categories"][0] == "14.00" and shown["tail"]["categories"][1].endswith("█")
    assert set(shown["explore"]["categories"][1]) == {"▁"} and shown["explore"]["items"][0] == "1,006"
    assert (shown["tail"]["experience"][0], shown["tail"]["revenue"][0], shown["tail"]["overlap"][0]) == ("0.240", "0.500", "0.125")
    assert shown["tail"]["regret"][0] == "0.020" and shown["fixed"]["regret"][0] == "0.000"  # .26 - .24
    chances = [n / 21 for n in range(7)]
    assert shown[ALL]["regret"][0] == f"{0.26 - sum(c * (0.2 + n / 100) for n, c in enumerate(chances)):.3f}"
    for name, of in shown["tail"].items():  # of the whole time, not of its end
        assert len(of) == 1 or 5 <= len(of[1]) <= 14, name
    assert shown["tail"]["dislikes"][0] == "4.5" and shown["fixed"]["dislikes"][0] == "–"


def test_curves_are_looked_at_every_five_seconds_and_bounded() -> None:
    asked: list[int] = []
    readings = running()
    for second in range(400):
        readings.note_variety(1_000 * second, lambda: asked.append(1) or {})  # type: ignore[func-returns-value]
    assert len(asked) == 80 and len(readings.curves["page tail experience"]) == POINTS
    assert "page tail overlap" not in readings.curves  # nothing known of it


@pytest.mark.parametrize("width", [60, 80, 120])
def test_panel_of_a_run_that_has_just_begun_says_what_is_missing(width: int) -> None:
    told = "\n".join(drawn(Readings(), Activity(), width, seconds=150.0))
    assert "nothing scored yet" in told and "no strategy has earned anything yet" in told
    assert "0:06 to go" in told and "nan" not in told and "None" not in told


def test_line_tells_the_same_figures() -> None:
    assert line(running(), ACTIVITY, 83.2) == (
        "1:23  201 events/s  lag 3  187 examples/s  freshness p50 180 p99 390 ms  collect rate 3.1%  dislikes/1,000 plays 5.0"
        "  AUC full_play 0.589  collect 0.589  share 0.589  skip 0.589  dislike 0.589  pages most often fixed 29%"
    )
    assert line(Readings(), Activity(), 3_661.0).startswith("1:01:01  0 events/s  lag –  0 examples/s  freshness p50 – p99 – ms")
