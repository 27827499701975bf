"""Decaying counts: the oracle of MODEL.md section 4, naive sums, any order, undo."""
from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.features import COUNTS, TASKS
from online_model.popularity import EXPOSURE, POPULAR, RATE_HALF_LIFE_H, Increment, counts, increments, merge, of_item, of_scope
from tests import strategies
from tests.oracles.popularity import HALF_LIVES_H
from tests.oracles.popularity import popularity as naive

HOUR = 3_600_000
add, read = of_item().add, of_item().read


def folded(rows: list[Increment]) -> bytes | None:
    record = None
    for row in rows:
        record = add(record, row.ts, increments(row.mask, row.sign))
    return record


#   0 h      0.5 h     1 h       2 h read
#   e1                 e2        e3          1/4 + 1/2 + 1
#             late                           + 2^-1.5
def test_events_at_0_1_2_hours_read_at_2_are_1_75_and_a_late_one_counts_as_if_in_order() -> None:
    popular = increments(POPULAR)
    record = None
    for hour in (0, 1, 2):
        record = add(record, hour * HOUR, popular)
    assert read(record, 2 * HOUR)[0] == 1.75
    late = add(record, HOUR // 2, popular)
    in_order = None
    for ts in (0, HOUR // 2, HOUR, 2 * HOUR):
        in_order = add(in_order, ts, popular)
    assert read(late, 2 * HOUR)[0] == pytest.approx(2.103553390593274, rel=1e-9)
    assert read(in_order, 2 * HOUR)[0] == pytest.approx(2.103553390593274, rel=1e-9)


@pytest.mark.parametrize(("column", "half_life_h"), list(enumerate(HALF_LIVES_H)))
def test_a_half_life_halves_exactly(column: int, half_life_h: float) -> None:
    record = folded([Increment(1, ts, POPULAR) for ts in (0, 12_345, 7 * HOUR)])
    now = read(record, 7 * HOUR)[column]
    assert read(record, 7 * HOUR + int(half_life_h * HOUR))[column] == now / 2


@given(st.lists(strategies.increments, max_size=30), strategies.near_times)
def test_columns_equal_the_sums_of_the_formula(rows: list[Increment], later: int) -> None:
    at = max([row.ts for row in rows], default=0) + later % (30 * 86_400_000)
    expected = [naive([r.ts for r in rows if r.mask & POPULAR], at, h) for h in HALF_LIVES_H]
    expected += [naive([r.ts for r in rows if r.mask >> bit & 1], at, RATE_HALF_LIFE_H) for bit in range(len(COUNTS))]
    assert read(folded(rows), at) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@given(st.lists(strategies.increments, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_counts(rows: list[Increment], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    at = max(row.ts for row in rows)
    assert read(folded(shuffled), at) == pytest.approx(read(folded(rows), at), rel=1e-9, abs=1e-300)


@given(st.lists(strategies.increments, min_size=2, max_size=20), st.integers(1, 19))
def test_parts_of_two_sources_add_up_to_the_whole(rows: list[Increment], cut: int) -> None:
    at = max(row.ts for row in rows)
    parts = [read(folded(part), at) for part in (rows[:cut], rows[cut:])]
    assert merge(parts) == pytest.approx(read(folded(rows), at), rel=1e-9, abs=1e-300)


def test_an_undo_given_the_time_of_what_it_undoes_leaves_nothing() -> None:
    collect = 2 << TASKS.index("collect")
    rows = [Increment(1, 0, EXPOSURE), Increment(1, 5 * HOUR, collect), Increment(1, 5 * HOUR, collect, -1)]
    left = read(folded(rows), 9 * HOUR)
    assert left[3 + COUNTS.index("collect")] == 0.0
    assert left[3 + COUNTS.index("exposures")] == pytest.approx(2 ** (-9 / 168), rel=1e-12)


def test_a_younger_undo_takes_back_a_whole_count_and_may_leave_a_negative_one() -> None:
    collect = 2 << TASKS.index("collect")
    rows = [Increment(1, 0, collect), Increment(1, 168 * HOUR, collect, -1)]
    assert read(folded(rows), 168 * HOUR)[3 + COUNTS.index("collect")] == -0.5  # half of the count is left by then, one is taken


def test_masks_name_their_columns() -> None:
    assert increments(EXPOSURE) == (0, 0, 0, 1, 0, 0, 0, 0, 0)
    assert increments(2 << TASKS.index("dislike")) == (0, 0, 0, 0, 0, 0, 0, 0, 1)
    assert increments(POPULAR | 2 << TASKS.index("full_play"), -1) == (-1, -1, -1, 0, -1, 0, 0, 0, 0)
    assert counts(EXPOSURE | 2 << TASKS.index("share")) == (1, 0, 0, 1, 0, 0)


def test_nothing_is_zero_and_the_past_reads_as_the_newest_time() -> None:
    assert read(None, 5) == read(b"", 5) == (0.0,) * 9
    assert add(None, 7, increments(POPULAR)) == add(b"", 7, increments(POPULAR))
    record = add(None, 10 * HOUR, increments(POPULAR))
    assert read(record, 0) == read(record, 10 * HOUR) == (1, 1, 1, 0, 0, 0, 0, 0, 0)


def test_a_record_is_80_bytes_of_an_item_and_56_of_a_scope() -> None:
    assert len(add(None, 1, increments(127))) == 80
    assert len(of_scope().add(None, 1, counts(127))) == 56


def test_scopes_decay_as_the_counts_of_items_do() -> None:
    item, scope, of_user = None, None, of_scope()
    for ts, mask in ((0, 3), (9 * HOUR, 5), (4 * HOUR, 1)):
        item, scope = add(item, ts, increments(mask)), of_user.add(scope, ts, counts(mask))
    assert of_user.read(scope, 50 * HOUR) == read(item, 50 * HOUR)[3:]


def test_the_half_life_of_rates_is_a_setting_and_popularity_keeps_its_own() -> None:
    short = of_item(rate_half_life_h=2.0)
    record = short.add(None, 0, increments(POPULAR | EXPOSURE))
    assert short.read(record, 4 * HOUR)[0] == 1 / 16  # 1 h
    assert short.read(record, 4 * HOUR)[3] == 1 / 4  # 2 h
    with pytest.raises(ValueError, match="half-lives must be"):
        of_scope(rate_half_life_h=0.0)


def test_a_gap_of_years_is_zero_not_an_error() -> None:
    record = add(None, 0, increments(POPULAR))
    assert read(record, 4_102_444_800_000)[0] == 0.0
    assert read(add(record, 4_102_444_800_000, increments(POPULAR)), 4_102_444_800_000)[0] == 1.0


@given(strategies.increments)
def test_an_increment_survives_the_wire(row: Increment) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=Increment) == row
