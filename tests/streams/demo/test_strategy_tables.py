"""Which table of strategies the panel has when, and which rows find room."""
from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from streams.core.serving.recommend import ALL
from streams.demo.readings import FIGURES, Readings
from streams.demo.strategy_tables import EARNS_S, TURN_S, rows, strategy_table
from streams.status import LearnerStatus, StrategyStatus, SurfaceStatus

PROPENSITIES = {"tail": 0.2, "explore": 0.5, "fixed": 0.3}


def readings(*surfaces: str) -> Readings:
    strategies = {
        name: StrategyStatus(rounds=10.0, propensity=p, experience=0.2, revenue=0.5, value=None, value_error=None, ess=9.0)
        for name, p in PROPENSITIES.items()
    }
    status = LearnerStatus(
        at_ms=0, slot="0", epoch=0, version=1, offset=0, lag=0, acts=0, counted={}, fading={},
        surfaces={surface: SurfaceStatus(revenue_weight=0.25, strategies=strategies) for surface in surfaces},
    )  # fmt: skip
    out = Readings()
    out.take(msgspec.json.encode(status))
    return out


def printed(readings: Readings, most: int, passed_s: float) -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as capture:
        console.print(strategy_table(readings, 120, most, passed_s))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_surface_needs_a_row_a_strategy_and_one_for_all() -> None:
    assert [rows(readings(*surfaces)) for surfaces in ((), ("page",), ("page", "list"))] == [0, 4, 8]


def test_without_a_reward_there_is_no_table() -> None:
    (line,) = printed(readings(), 5, 0.0)
    assert line.startswith("no strategy has earned anything yet")


@pytest.mark.parametrize(("most", "names"), [(9, ["tail", "explore", "fixed"]), (2, ["explore", "fixed"]), (1, ["explore"])])
def test_where_room_is_short_the_likeliest_strategies_stay(most: int, names: list[str]) -> None:
    _, *lines = printed(readings("page"), most, 0.0)
    assert [line.split()[:2] for line in lines] == [["page", name] for name in names]


def test_figures_take_their_turns_after_the_table_of_posteriors_and_then_it_begins_again() -> None:
    heads, last = [], printed(readings("page"), 9, 0.0)[0]
    assert "experience" in last and "chance" in last
    for turn in range(len(FIGURES)):
        head, *lines = printed(readings("page"), 9, EARNS_S + turn * TURN_S)
        if "chance" in head:
            break
        heads += head.split()
        assert lines[0].split()[:2] == ["page", ALL]
    assert tuple(heads) == FIGURES and head == last
