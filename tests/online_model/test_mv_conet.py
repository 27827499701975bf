"""Cross-domain towers against MODEL.md's numbers and against loops."""
from __future__ import annotations

import pytest
import torch
from torch import Tensor

from online_model.mv_conet import GAIN, MAP_INIT, MVCoNet, exchange
from tests.oracles import mv_conet as naive

B, N, I, E, H, O = 5, 3, 4, 6, 7, 2  # noqa: E741
SIGNS = [1.0, -1.0, 1.0]
TURN = [[0.0, -1.0], [1.0, 0.0]]  # MODEL.md section 5: M_a->b; its transpose leads back
BACK = [[0.0, 1.0], [-1.0, 0.0]]
NONE = [[0.0, 0.0], [0.0, 0.0]]


def double(values: list[object]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def block() -> MVCoNet:
    torch.manual_seed(9)
    made = MVCoNet(N, I, E, SIGNS, H, O).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(10)
    x = torch.randn(B, N, I, generator=g, dtype=torch.float64)
    there = (torch.rand(B, N, generator=g) < 0.6).double()
    there[0], there[1] = 0, 1
    return x, there, torch.tensor([0, 1, 2, 0, 1]), torch.randn(B, E, generator=g, dtype=torch.float64)


def exchanged(a_to_b: list[list[float]], b_to_a: list[list[float]]) -> list[list[float]]:
    h_a, h_b = [1.0, -2.0], [0.5, 1.0]
    own = double([[h_a, [2 * v for v in h_b]]])  # W_a = I, W_b = 2 I
    return torch.relu(exchange(own, double([[h_a, h_b]]), double([[NONE, a_to_b], [b_to_a, NONE]])))[0].tolist()


def test_exchange_is_the_models_numbers() -> None:
    a, b = exchanged(TURN, BACK)
    assert (a, b) == (pytest.approx([2, 0], abs=1e-9), pytest.approx([3, 3], abs=1e-9))


def test_one_map_for_both_directions_would_be_seen() -> None:
    assert exchanged(TURN, TURN)[0] == pytest.approx([0, 0], abs=1e-9)


def test_exchange_equals_the_loops() -> None:
    g = torch.Generator().manual_seed(1)
    own, sent = (torch.randn(B, N, H, generator=g, dtype=torch.float64) for _ in range(2))
    maps = torch.randn(N, N, H, H, generator=g, dtype=torch.float64)
    between = maps * (1 - torch.eye(N, dtype=torch.float64))[:, :, None, None]
    got = exchange(own, sent, between)
    for s in range(B):
        expected = naive.exchange(own[s].tolist(), sent[s].tolist(), maps.tolist())
        for d in range(N):
            assert got[s, d].tolist() == pytest.approx(expected[d], abs=1e-9)


def loops(made: MVCoNet, x: Tensor, there: Tensor, target: int, item: Tensor) -> list[float]:
    weights = (made.own, made.maps, made.user, made.item, made.transfer_user, made.transfer_item, made.transfer_weight)
    own, transfer = naive.tower(x.tolist(), there.tolist(), target, item.tolist(), *(p.tolist() for p in weights))
    return own + transfer


def both(made: MVCoNet, *given: Tensor) -> Tensor:
    """Own part and what is transferred, beside each other."""
    return torch.cat(made(*given), 1)


def test_forward_equals_the_loops() -> None:
    made, (x, there, target, item) = block(), inputs()
    got = both(made, x, there, target, item)
    assert got.shape == (B, O + 1 + len(SIGNS))
    for b in range(B):
        assert got[b].tolist() == pytest.approx(loops(made, x[b], there[b], int(target[b]), item[b]), abs=1e-9)


def test_candidates_may_share_one_user() -> None:
    made, (x, there, target, item) = block(), inputs()
    got = both(made, x[1:2], there[1:2], target, item)
    for b in range(B):
        assert got[b].tolist() == pytest.approx(loops(made, x[1], there[1], int(target[b]), item[b]), abs=1e-9)


def test_an_empty_domain_sends_nothing() -> None:
    made, (x, there, target, item) = block(), inputs()
    other = x.clone()
    at = there == 0
    at[torch.arange(B), target] = False  # a domain's own part is there in any case
    assert at.any()
    other[at] = 5.0
    torch.testing.assert_close(both(made, other, there, target, item), both(made, x, there, target, item), rtol=0, atol=0)


def test_another_domain_of_the_user_changes_what_is_transferred_and_nothing_else() -> None:
    made, (x, _, _, item) = block(), inputs()
    there, target = torch.ones(B, N, dtype=torch.float64), torch.zeros(B, dtype=torch.int64)
    other = x.clone()
    other[:, 2] += 1
    (own, transfer), (same, moved) = made(x, there, target, item), made(other, there, target, item)
    torch.testing.assert_close(same, own, rtol=0, atol=0)
    assert ((moved - transfer).abs() > 1e-4).all()
    alone = there.clone()
    alone[:, 1:] = 0
    assert not made(x, alone, target, item)[1].any()


def test_what_is_transferred_teaches_neither_rows_nor_the_own_towers() -> None:
    made, (x, there, target, item) = block(), inputs()
    x, item = x.requires_grad_(), item.requires_grad_()
    made(x, there, target, item)[1].sum().backward()
    assert x.grad is None and item.grad is None and made.own.grad is None and made.user.grad is None and made.item.grad is None
    for weights in (made.maps, made.transfer_user, made.transfer_item, made.transfer_weight):
        assert weights.grad is not None and weights.grad.any()


def test_what_is_transferred_starts_with_the_signs_of_the_tasks() -> None:
    assert MVCoNet(N, I, E, SIGNS, H, O).transfer_weight.tolist() == [[GAIN, -GAIN, GAIN]] * O


def test_the_target_chooses_both_towers() -> None:
    made, (x, there, _, item) = block(), inputs()
    each = [both(made, x, there, torch.full((B,), d), item) for d in range(N)]
    assert not any(torch.allclose(each[a], each[b], atol=1e-3) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_dual_maps_cost_nothing_and_others_what_the_loops_say() -> None:
    made = MVCoNet(2, 1, 1, SIGNS, width=2).double()
    made.maps.data = double([[NONE, TURN], [BACK, NONE]])
    assert made.penalty(2).item() == pytest.approx(0, abs=1e-12)
    made.maps.data = double([[NONE, TURN], [TURN, NONE]])
    assert made.penalty(2).item() == pytest.approx(8, abs=1e-9)  # a turn twice is -I: ||-2 I||^2 / 2 = 4, in both directions
    three = block()
    assert three.penalty(N).item() == pytest.approx(naive.penalty(three.maps.tolist()), abs=1e-9)
    first = [row[:2] for row in three.maps.tolist()[:2]]
    assert three.penalty(2).item() == pytest.approx(naive.penalty(first), abs=1e-9)  # places without a domain cost nothing


def test_the_penalty_leaves_a_domains_map_to_itself_alone() -> None:
    made = block()
    made.penalty(N).backward()
    assert made.maps.grad is not None
    for a in range(N):
        for b in range(N):
            assert (made.maps.grad[a, b] != 0).any().item() == (a != b)


def test_maps_start_as_a_tenth_of_the_identity_and_one_domain_has_no_penalty() -> None:
    maps = MVCoNet(2, 1, 1, SIGNS, width=3).maps
    assert maps[1, 0].tolist() == [pytest.approx([MAP_INIT * (i == j) for j in range(3)]) for i in range(3)]
    assert MVCoNet(1, 1, 1, SIGNS).penalty(1).item() == 0
