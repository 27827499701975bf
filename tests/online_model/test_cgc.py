"""CGC against MODEL.md's numbers and against loops."""
from __future__ import annotations

import math

import pytest
import torch

from online_model.cgc import CGC, mix
from tests.oracles import cgc as naive

B, INPUTS, T, S, H, K = 3, 6, 3, 2, 5, 4


def test_mixture_is_the_models_numbers() -> None:
    # MODEL.md section 3: experts own a, own b, shared s; one gate for both tasks, columns own, shared
    experts = torch.tensor([[[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)
    gate = torch.softmax(torch.tensor([[1.0, -1.0]], dtype=torch.float64) @ torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64), -1)
    assert gate[0].tolist() == pytest.approx([0.11920292202211755, 0.8807970779778823], abs=1e-9)
    mixed = mix(experts, gate[:, None].expand(1, 2, 2))
    assert mixed[0, 0].tolist() == pytest.approx([1, 0.11920292202211755], abs=1e-9)
    assert mixed[1, 0].tolist() == pytest.approx([1, 0], abs=1e-9)
    tower = mixed @ torch.tensor([1, -0.5], dtype=torch.float64) + 0.1
    assert tower[:, 0].tolist() == pytest.approx([1.0403985389889412, 1.1], abs=1e-9)


def block() -> CGC:
    torch.manual_seed(5)
    made = CGC(INPUTS, T, S, H, K).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def inputs() -> torch.Tensor:
    return torch.randn(B, INPUTS, generator=torch.Generator().manual_seed(6), dtype=torch.float64)


def test_forward_equals_the_loops() -> None:
    made, x = block(), inputs()
    got = made(x)
    experts, bias = made.experts.view(INPUTS, T + S, H), made.experts_bias.view(T + S, H)
    for b in range(B):
        row = x[b].tolist()
        parts = [(experts[:, e].tolist(), bias[e].tolist(), made.scale[e].tolist(), made.shift[e].tolist()) for e in range(T + S)]
        outputs = [naive.expert(row, *part) for part in parts]
        for t in range(T):
            gates = made.gates.view(INPUTS, T, 1 + S)[:, t].tolist()
            tower = (made.tower[t].tolist(), made.tower_bias[t, 0].tolist(), made.out[t, :, 0].tolist(), made.out_bias[t].item())
            assert got[b, t].item() == pytest.approx(naive.logit(row, outputs[t], outputs[T:], gates, *tower), abs=1e-9)


@pytest.mark.parametrize("whole", range(B + 1))
def test_the_last_task_alone_is_what_it_is_among_all_and_learns_so(whole: int) -> None:
    made, x = block(), inputs().requires_grad_()
    every = made(x)
    most, last = made.heads(x, whole)
    torch.testing.assert_close(most, every[:whole, : T - 1], rtol=0, atol=1e-12)
    torch.testing.assert_close(last, every[:, T - 1], rtol=0, atol=1e-12)
    learns = [x, *made.parameters()]
    got = torch.autograd.grad(most.square().sum() + last.square().sum(), learns)
    wanted = torch.autograd.grad(every[:whole, : T - 1].square().sum() + every[:, T - 1].square().sum(), learns)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_gradient_is_finite_where_all_inputs_are_zero() -> None:
    made, x = block(), torch.zeros(B, INPUTS, dtype=torch.float64, requires_grad=True)
    made(x).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.parameters())


def test_a_batch_is_its_examples_one_by_one() -> None:
    made, x = block(), inputs()
    torch.testing.assert_close(made(x), torch.cat([made(x[b : b + 1]) for b in range(B)]), rtol=0, atol=1e-12)


def test_use_of_the_gates_by_hand() -> None:
    # one task of two with two shared experts; x picks the row of the gates: (log 2, 0, log 1/2) and zeros
    made = CGC(2, 2, 2, H, K).double()
    with torch.no_grad():
        made.gates[0, :3] = torch.tensor([math.log(2), 0, -math.log(2)], dtype=torch.float64)
        made.gates[1, 3] = 1000.0  # the second task's gate is all on its own expert at the second row
    use = made.use(torch.eye(2, dtype=torch.float64))
    first = [4 / 7, 2 / 7, 1 / 7]  # 2 : 1 : 1/2
    assert use.share[0].tolist() == pytest.approx([(p + 1 / 3) / 2 for p in first], abs=1e-12)
    assert use.share[1].tolist() == pytest.approx([(1 / 3 + 1) / 2, 1 / 6, 1 / 6], abs=1e-12)
    entropy = -sum(p * math.log(p) for p in first)
    assert use.entropy.tolist() == pytest.approx([(entropy + math.log(3)) / 2, math.log(3) / 2], abs=1e-12)


def test_use_of_the_gates_is_that_of_the_loops_and_leaves_no_gradient() -> None:
    made, x = block(), inputs()
    use = made.use(x.requires_grad_())
    gates = made.gates.view(INPUTS, T, 1 + S)
    for t in range(T):
        rows = [naive.softmax(naive.linear(x[b].tolist(), gates[:, t].tolist(), [0.0] * (1 + S))) for b in range(B)]
        assert use.share[t].tolist() == pytest.approx([sum(column) / B for column in zip(*rows, strict=True)], abs=1e-12)
        assert use.entropy[t].item() == pytest.approx(-sum(p * math.log(p) for row in rows for p in row) / B, abs=1e-12)
    assert not use.share.requires_grad and not use.entropy.requires_grad
