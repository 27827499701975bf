"""Pairs within a list: tiers, which pairs, what each kind weighs, the loss; MODEL.md section 1."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from online_model.features import TASKS
from online_model.losses import pair_loss
from online_model.pairs import HALF_LIFE_MS, PARTIAL_PLAY, PER_SLATE, TIERS, TierWeights, pairs, tiers
from tests.oracles import pairs as naive

DAY = int(HALF_LIFE_MS)
T0 = 1_700_000_000_000
Seen = list[tuple[list[tuple[int, int]], int]]  # pairs by tier, and how much later than the ones before
ACTS = (*TASKS, "partial_play")

rows = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, TIERS - 1)), max_size=13)  # list, tier; at most 63 pairs
kinds = st.tuples(st.integers(1, 3), st.integers(0, 2)).filter(lambda ab: ab[0] > ab[1])
history = st.lists(st.tuples(st.lists(kinds, min_size=1, max_size=9), st.integers(0, 3 * DAY)), min_size=1, max_size=5)


def mask(*acts: str) -> int:
    return sum(PARTIAL_PLAY if act == "partial_play" else 1 << TASKS.index(act) for act in acts)


def found(tier: list[int], lists: list[int], seed: int = 1) -> list[tuple[int, int]]:
    better, worse = pairs(np.array(tier, np.int64), np.array(lists, np.int64), seed)
    return list(zip(better.tolist(), worse.tolist(), strict=True))


def loss(s: torch.Tensor, compared: list[tuple[int, int]], weights: list[float] | None = None) -> torch.Tensor:
    better, worse = torch.tensor(compared, dtype=torch.int64).view(-1, 2).unbind(1)
    return pair_loss(s, better, worse, torch.tensor(weights or [1.0] * len(compared), dtype=s.dtype))


def scores(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


# --- tiers
@pytest.mark.parametrize(
    ("acts", "tier"),
    [
        ((), 0),
        (("skip",), 0),
        (("dislike",), 0),
        (("partial_play",), 1),
        (("partial_play", "skip"), 1),
        (("full_play",), 2),
        (("partial_play", "full_play"), 2),
        (("collect",), 3),
        (("share", "skip"), 3),
        (("full_play", "collect"), 3),
        (("full_play", "collect", "share", "dislike"), 0),
        (("partial_play", "dislike"), 0),
    ],
)
def test_the_highest_act_is_the_tier_and_a_dislike_forces_0(acts: tuple[str, ...], tier: int) -> None:
    assert tiers(np.array([mask(*acts)])).tolist() == [tier]


def test_every_mask_has_the_tier_of_its_acts() -> None:
    masks = np.arange(1 << len(ACTS))
    expected = [naive.tier({act for bit, act in enumerate(ACTS) if m >> bit & 1}) for m in masks.tolist()]
    assert PARTIAL_PLAY == 1 << ACTS.index("partial_play")
    assert tiers(masks).tolist() == expected


# --- which pairs
@given(rows)
def test_pairs_are_all_of_one_list_and_unequal_tier(listed: list[tuple[int, int]]) -> None:
    lists, tier = [at for at, _ in listed], [t for _, t in listed]
    assert found(tier, lists) == naive.pairs(tier, lists)


def test_across_lists_and_outside_of_them_there_is_no_pair() -> None:
    assert found([3, 0, 2, 0, 1], [0, 1, 2, -1, -1]) == []
    assert found([3, 0, 3, 0], [0, 0, 1, 1]) == [(0, 1), (2, 3)]


def test_a_list_gives_at_most_64_pairs_and_a_small_one_all_of_its_own() -> None:
    tier, lists = [at % 4 for at in range(40)] + [2, 1, 0], [0] * 40 + [1] * 3
    whole = set(naive.pairs(tier, lists))
    kept = found(tier, lists)
    assert PER_SLATE == 64 and len([p for p in whole if p[0] < 40]) == 600
    assert len(kept) == len(set(kept)) == 64 + 3
    assert set(kept) <= whole and {(40, 41), (40, 42), (41, 42)} <= set(kept)


def test_the_draw_is_of_its_seed_alone() -> None:
    tier, lists = [at % 4 for at in range(40)], [0] * 40
    assert found(tier, lists) == found(tier, lists)
    assert found(tier, lists) != found(tier, lists, seed=2)


def test_the_draw_gives_each_kind_of_pair_its_turn_and_each_of_a_kind_its_chance() -> None:
    # kinds: 17 * 8 = 136 pairs of 1 and 0, 17 of 3 and 1, 8 of 3 and 0. Of 64: all 8, all 17, and 39 of the 136.
    # Over 400 seeds each of the 136 comes 115 times; a binomial's deviation is 9
    tier, lists = [1] * 17 + [0] * 8 + [3], [0] * 26
    times = np.zeros((26, 26), np.int64)
    for seed in range(400):
        np.add.at(times, pairs(np.array(tier), np.array(lists), seed), 1)
    drawn = times[:17, 17:25]
    assert (times[25, :25] == 400).all()
    assert drawn.sum() == 400 * 39 and times.sum() == 400 * 64
    assert drawn.min() > 115 - 45 and drawn.max() < 115 + 45


# --- loss
def test_loss_of_six_pairs_is_the_models_number() -> None:
    s, compared = scores(2, 0.5, 1, -1), found([3, 2, 1, 0], [0] * 4)
    assert len(compared) == 6
    assert loss(s, compared).item() == pytest.approx(0.31094676504675817, abs=1e-9)


def test_weighted_loss_and_its_gradient_equal_the_loops() -> None:
    rng = np.random.default_rng(3)
    tier, lists, values = rng.integers(0, 4, 12).tolist(), rng.integers(0, 3, 12).tolist(), rng.normal(0, 2, 12)
    compared = found(tier, lists)
    weights = rng.random(len(compared)).tolist()
    s = scores(*values)
    value = loss(s, compared, weights)
    assert value.item() == pytest.approx(naive.loss(values.tolist(), compared, weights), abs=1e-9)
    value.backward()
    assert s.grad is not None
    for at in range(12):
        step = np.eye(12)[at] * 1e-6
        slope = (naive.loss((values + step).tolist(), compared, weights) - naive.loss((values - step).tolist(), compared, weights)) / 2e-6
        assert s.grad[at].item() == pytest.approx(slope, abs=1e-8)


def test_equal_tiers_give_no_pair_no_loss_and_no_gradient() -> None:
    s, compared = scores(2, 0.5, 1, -1), found([2, 2, 2, 2], [0] * 4)
    assert compared == []
    value = loss(s, compared)
    value.backward()
    assert value.item() == 0 and s.grad is not None and s.grad.tolist() == [0] * 4


def test_a_constant_added_to_a_list_changes_nothing() -> None:
    tier, lists = [3, 2, 1, 0, 2, 0], [0, 0, 0, 0, 1, 1]
    one, other = scores(2, 0.5, 1, -1, 0.3, 0.4), scores(9, 7.5, 8, 6, -2.7, -2.6)  # + 7, - 3
    values = [loss(s, found(tier, lists)) for s in (one, other)]
    for value in values:
        value.backward()
    assert values[0].item() == pytest.approx(values[1].item(), abs=1e-12)
    assert one.grad is not None and other.grad is not None
    torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-12)
    assert one.grad[:4].sum().item() == pytest.approx(0, abs=1e-12)


def test_far_apart_scores_stay_finite() -> None:
    s = scores(-1e4, 1e4)
    value = loss(s, [(0, 1)])
    value.backward()
    assert value.item() == 2e4 and s.grad is not None and s.grad.tolist() == [-1, 1]


# --- what a kind of pair weighs
def counted(batches: Seen, exponent: float) -> tuple[TierWeights, list[tuple[int, int, int]]]:
    made, seen, now = TierWeights(exponent), [], T0
    for compared, later in batches:
        now += later
        made.add(*np.array(compared, np.int64).reshape(-1, 2).T, now)
        seen += [(a, b, now) for a, b in compared]
    return made, seen


@given(history, st.sampled_from([0.0, 0.5, 1.0]))
def test_weights_equal_the_loops(batches: Seen, exponent: float) -> None:
    made, seen = counted(batches, exponent)
    n = naive.counts(seen, HALF_LIFE_MS)
    expected = naive.omega(n, exponent)
    kinds_seen = sorted(n)
    got = made(*np.array(kinds_seen).T)
    assert got.tolist() == pytest.approx([expected[ab] for ab in kinds_seen], rel=1e-6)  # float32
    assert sum(n[ab] * w for ab, w in zip(kinds_seen, got.tolist(), strict=True)) == pytest.approx(sum(n.values()), rel=1e-6)


def test_weights_by_hand() -> None:
    made, _ = counted([([(3, 0)] + [(2, 0)] * 4 + [(1, 0)] * 16, 0)], 0.5)  # mean 7
    raw = [7**0.5, (7 / 4) ** 0.5, (7 / 16) ** 0.5]
    scale = 21 / (raw[0] + 4 * raw[1] + 16 * raw[2])
    assert made(np.array([3, 2, 1]), np.array([0, 0, 0])).tolist() == pytest.approx([w * scale for w in raw], rel=1e-6)


def test_the_rarest_kinds_weigh_nine_times_the_most_frequent_at_most() -> None:
    # six kinds, mean 100 000: one is 6 times as frequent as that (clipped to 1/3), five next to nothing (clipped to 3)
    made, _ = counted([([(2, 0)] * 600_000 + [(1, 0), (3, 0), (2, 1), (3, 1)], 0)], 1.0)
    made.add(np.array([3]), np.array([2]), T0)
    frequent, *rare = made(np.array([2, 1, 3, 3]), np.array([0, 0, 0, 2])).tolist()
    assert rare == pytest.approx([9 * frequent] * 3, rel=1e-6)


def test_a_kind_that_was_never_seen_weighs_as_the_rarest() -> None:
    made, _ = counted([([(2, 0)] * 1_000 + [(1, 0)], 0)], 1.0)
    weights = made(np.array([3, 1]), np.array([0, 0])).tolist()
    assert weights == pytest.approx([3 * 1_001 / (1_000 * 0.5005 + 3)] * 2, rel=1e-6)  # mean 500.5


def test_exponent_0_weighs_all_alike() -> None:
    made, _ = counted([([(3, 0)] + [(1, 0)] * 50, 0)], 0.0)
    assert made(np.array([3, 1, 2]), np.array([0, 0, 1])).tolist() == pytest.approx([1, 1, 1], rel=1e-6)


def test_before_any_pair_all_weigh_one() -> None:
    assert TierWeights()(np.array([3, 1]), np.array([0, 0])).tolist() == [1, 1]


def test_counts_halve_in_a_day_and_a_late_batch_does_not_make_them_grow() -> None:
    made = TierWeights()
    made.add(np.array([3] * 8), np.array([0] * 8), T0)
    made.add(np.array([2]), np.array([0]), T0 + DAY)
    assert (made.counts[3, 0], made.counts[2, 0]) == (4, 1)
    made.add(np.array([2]), np.array([0]), T0)
    assert (made.counts[3, 0], made.counts[2, 0], made.at_ms) == (4, 2, T0 + DAY)
    made.add(np.zeros(0, np.int64), np.zeros(0, np.int64), T0 + 9 * DAY)
    assert made.counts[3, 0] == 4


@given(history, history)
def test_restored_goes_on_as_if_never_stopped(before: Seen, after: Seen) -> None:
    made, _ = counted(before, 0.5)
    again = TierWeights()
    again.load(made.arrays())
    for at, (compared, later) in enumerate(after):
        for one in (made, again):
            one.add(*np.array(compared, np.int64).T, T0 + (3 + at) * DAY + later)
    np.testing.assert_array_equal(again.counts, made.counts)
    assert again.at_ms == made.at_ms
