from __future__ import annotations

import msgspec
import pytest

from streams.core.learning.live_value import StrategyValue
from streams.demo.readings import FADING_MS, Readings, bars, shares, squeezed
from streams.status import UNKNOWN, LearnerStatus, PartitionStatus, StrategyStatus, SurfaceStatus, WorkerStatus


def worker(
    at_s: int, events: int, slot: str = "0", lag: int = 0, measured: int = 0, fresh: dict[int, int] | None = None, **counted: int
) -> bytes:
    partitions = {0: PartitionStatus(stored=events, lag=lag, watermark_ms=0, open_lists=0)}
    return msgspec.json.encode(
        WorkerStatus(
            at_ms=1000 * at_s,
            slot=slot,
            partitions=partitions,
            counted={"events": events} | counted,
            model_version=None,
            model_age_ms=0,
            measured=measured,
            freshness_ms=fresh or {},
        )  # fmt: skip
    )


def learner(at_s: int, examples: int, acts: int = 0, lag: int = 0, auc: float | None = None) -> bytes:
    figures: dict[str, float | None] = {"auc": auc, "n": float(examples)}
    return msgspec.json.encode(
        LearnerStatus(
            at_ms=1000 * at_s,
            slot="0",
            epoch=0,
            version=1,
            offset=0,
            lag=lag,
            acts=acts,
            counted={"examples": examples},
            fading={FADING_MS: {"skip": figures}},
        )  # fmt: skip
    )


def read(*records: bytes) -> Readings:
    readings = Readings()
    for record in records:
        readings.take(record)
    return readings


def test_a_rate_is_over_the_last_five_seconds() -> None:
    # 100 a second for 10 s, then none: 5 s later the rate is 0
    readings = read(*(worker(at_s, 100 * min(at_s, 10)) for at_s in range(16)))
    assert list(readings.curves["events"]) == [100.0] * 10 + [80.0, 60.0, 40.0, 20.0, 0.0]
    assert (readings.rate("events"), readings.events) == (0.0, 1_000)


def test_lag_is_of_all_workers_and_the_learner_and_unknown_until_both_have_spoken() -> None:
    readings = read(worker(1, 0, "a", lag=3), worker(1, 0, "b", lag=4))
    assert readings.lag is None
    readings.take(learner(1, 0, lag=5))
    assert readings.lag == 3 + 4 + 5
    readings.take(worker(2, 0, "b", lag=UNKNOWN))
    assert readings.lag is None


def test_unlearned_acts_are_infinitely_old() -> None:
    # 6 acts at 100 ms and 2 at 200; 1 found no exposure, 1 is in a version that the copy has not taken: 2 of 10 are infinite
    readings = read(worker(1, 8, measured=8, fresh={100: 6, 200: 2}, unjoined=1), learner(1, 8, acts=9))
    assert (readings.unmeasured, readings.unlearned) == (1, 2)
    assert readings.freshness(readings.unlearned) == (100, None)
    assert readings.recent_freshness() == (100, 200)  # of those that were learned


def test_freshness_of_late_is_that_of_the_last_minute() -> None:
    readings = read(worker(1, 1, measured=1, fresh={900: 1}), worker(61, 2, measured=2, fresh={100: 1}))
    assert readings.recent_freshness().p99 == 100
    assert readings.freshness(0).p99 == 900


def test_counts_of_workers_add_up_and_rejections_are_told_by_reason() -> None:
    readings = read(worker(1, 5, "a", exposures=1, **{"rejected:late": 2}), worker(1, 7, "b", **{"rejected:late": 1, "rejected:empty": 1}))
    assert (readings.events, readings.counted["exposures"]) == (12, 1)
    assert readings.rejected == {"empty": 1, "late": 3}


def test_figures_are_the_fading_ones_and_what_is_undefined_makes_no_point() -> None:
    readings = read(learner(1, 10), learner(2, 20, auc=0.6))
    assert readings.figures() == {"skip": {"auc": 0.6, "n": 20.0}}
    assert list(readings.curves["skip"]) == [0.6]


@pytest.mark.parametrize("other", [b"", b"{", b'{"kind":"window"}', b'{"width_ms":300000,"tasks":{}}'])
def test_other_records_are_passed_over(other: bytes) -> None:
    assert read(other).lag is None


def test_strategies_are_worth_what_they_are_in_the_open_hour_and_else_in_the_last_one_that_closed() -> None:
    def surface(rounds: float, value: float | None) -> SurfaceStatus:
        one = StrategyStatus(rounds=rounds, propensity=1.0, experience=0.3, revenue=0.1, value=value, value_error=None, ess=0.0)
        return SurfaceStatus(revenue_weight=0.0, strategies={"tail": one})

    def with_surfaces(page: SurfaceStatus) -> bytes:
        status = msgspec.json.decode(learner(1, 10), type=LearnerStatus)
        return msgspec.json.encode(msgspec.structs.replace(status, surfaces={"page": page, "list": surface(0.0, None)}))

    hour = StrategyValue(
        surface="page", strategy="tail", start_ms=0, end_ms=3_600_000, n=9, chosen=4, ess=3.5, experience=0.25, experience_error=0.02,
        experience_mean=0.2, revenue=0.0, revenue_error=0.0, revenue_mean=0.0, late=0,
    )  # fmt: skip
    readings = read(with_surfaces(surface(9.0, 0.4)))
    assert set(readings.surfaces) == {"page"}  # no list was drawn a strategy for
    readings.take(msgspec.json.encode(hour))
    assert readings.surfaces["page"].strategies["tail"].value == 0.4
    readings.take(with_surfaces(surface(9.0, None)))
    told = readings.surfaces["page"].strategies["tail"]
    assert (told.value, told.value_error, told.ess, told.experience) == (0.25, 0.02, 3.5, 0.3)


def test_collects_are_per_play_and_dislikes_per_thousand() -> None:
    assert shares({"play": 400, "collect": 20, "dislike": 1}) == (0.05, 2.5)
    assert shares({"skip": 3}) == (None, None)


def test_shares_of_late_are_those_of_the_last_minute_taken_once_a_second() -> None:
    readings = Readings()
    assert readings.recent_shares() == (None, None)
    readings.note_actions(0, {})
    readings.note_actions(1_000, {"play": 100, "collect": 50})
    readings.note_actions(1_500, {"play": 5_000})  # too soon
    readings.note_actions(61_000, {"play": 300, "collect": 60, "dislike": 1})
    assert readings.recent_shares() == (10 / 200, 1000 * 1 / 200)
    assert list(readings.curves["collects"]) == [0.5, 0.05]


def test_bars_stand_for_the_last_values_on_the_given_scale() -> None:
    assert bars([9, 0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert bars([4, 4], 8, low=0, high=8) == "▅▅"
    assert bars([16, -1], 8, low=0, high=8) == "█▁"  # the scale grows upwards, and has a floor
    assert (bars([], 8), bars([3, 3], 8)) == ("", "▁▁")


@pytest.mark.parametrize(
    ("values", "width", "wanted"),
    [([], 4, []), ([1.0, 2.0], 4, [1.0, 2.0]), ([1.0, 3.0, 5.0, 7.0], 2, [2.0, 6.0]), ([1.0, 2.0, 3.0, 4.0, 5.0], 2, [1.5, 4.0])],
)
def test_a_long_curve_is_squeezed_into_a_short_one(values: list[float], width: int, wanted: list[float]) -> None:
    assert squeezed(values, width) == wanted
