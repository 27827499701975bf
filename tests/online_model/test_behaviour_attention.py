"""Behaviour attention against MODEL.md's numbers and against loops."""
from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from online_model.behaviour_attention import BehaviourAttention, faded, weigh
from tests.oracles import behaviour_attention as naive

FAMILIES, B, L, D, H, ACTIONS = 2, 3, 4, 5, 6, 7


def one(*values: float) -> Tensor:
    return torch.tensor([[values]], dtype=torch.float64)


SCORE, BIAS, AGE = one(0.2, -0.1, 0.5), one(1, 0, -1), one(0, 3600, 86400)  # MODEL.md section 2
DECAY = torch.nn.functional.softplus(torch.tensor([0.5413248546129181], dtype=torch.float64))
ALL = torch.ones(1, 1, 3, dtype=torch.bool)


def weights(null: float, there: Tensor = ALL) -> list[float]:
    return weigh(SCORE, faded(BIAS, AGE, DECAY), there, torch.tensor([null], dtype=torch.float64))[0, 0].tolist()


@pytest.mark.parametrize("share", [0.2, 0.9])  # of places where something is: both forms
def test_candidates_find_the_behaviours_of_their_owner(share: float) -> None:
    made, (_, keys, action, age, _) = block(), inputs()
    there = torch.rand(FAMILIES, B, L, generator=torch.Generator().manual_seed(5)) < share
    owner = torch.arange(2 * B) % 3 % B
    many = torch.randn(2 * B, D, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    keys.requires_grad_()
    one = (keys, action, age, there, owner)
    each = (keys[:, owner], action[:, owner], age[:, owner], there[:, owner])
    got, wanted = made(many, *one), made(many, *each)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(made.weights(many, *one), made.weights(many, *each), rtol=0, atol=1e-12)
    for ours, theirs in zip(*(torch.autograd.grad(out.square().sum(), [keys, *made.parameters()]) for out in (got, wanted)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_weights_without_a_null_slot_are_the_models_numbers() -> None:
    assert weights(-math.inf) == pytest.approx([0, 0.874452083370185, 0.11915799710160221, 0.006389919528212848], abs=1e-9)


def test_weights_with_the_third_masked_are_the_models_numbers() -> None:
    there = torch.tensor([[[True, True, False]]])
    assert weights(-math.inf, there) == pytest.approx([0, 0.8800756962479452, 0.1199243037520548, 0], abs=1e-9)


def test_weights_and_output_with_the_null_slot_are_the_models_numbers() -> None:
    got = weights(0.0)
    assert got == pytest.approx([0.208472451423996, 0.6921529138971819, 0.09431683733905778, 0.00505779733976425], abs=1e-9)
    values = [[0.5, 0.5], [1, 0], [0, 1], [1, 1]]
    output = [sum(w * v[d] for w, v in zip(got, values, strict=True)) for d in range(2)]
    assert output == pytest.approx([0.8014469369489442, 0.20361086039082005], abs=1e-9)


def block() -> BehaviourAttention:
    torch.manual_seed(3)
    made = BehaviourAttention(FAMILIES, ACTIONS, D, H).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(4)
    query = torch.randn(B, D, generator=g, dtype=torch.float64)
    keys = torch.randn(FAMILIES, B, L, D, generator=g, dtype=torch.float64)
    action = torch.randint(1, ACTIONS, (FAMILIES, B, L), generator=g)
    age = torch.rand(FAMILIES, B, L, generator=g, dtype=torch.float64) * 1e5
    there = torch.rand(FAMILIES, B, L, generator=g) < 0.7
    there[0, 0] = False  # an empty history
    return query, keys, action, age, there


def test_forward_equals_the_loops() -> None:
    made, (query, keys, action, age, there) = block(), inputs()
    got = made(query, keys, action, age, there)
    for f in range(FAMILIES):
        weights_of = naive.Attention(
            hidden=made.hidden[f].tolist(),
            bias=made.bias[f, 0].tolist(),
            out=made.out[f, :, 0].tolist(),
            action=made.action[f].tolist(),
            decay=math.log1p(math.exp(made.decay[f].item())),
            null_logit=made.null_logit[f].item(),
            null_value=made.null_value[f].tolist(),
        )
        for b in range(B):
            kept = [at for at in range(L) if there[f, b, at]]
            expected = naive.attend(
                weights_of, query[b].tolist(), keys[f, b, kept].tolist(), action[f, b, kept].tolist(), age[f, b, kept].tolist()
            )
            assert got[b, f * D : (f + 1) * D].tolist() == pytest.approx(expected, abs=1e-9)


def test_an_empty_history_gives_the_null_value_and_a_finite_gradient() -> None:
    made, (query, keys, action, age, there) = block(), inputs()
    query.requires_grad_()
    out = made(query, keys, action, age, torch.zeros_like(there))
    assert out[0].tolist() == made.null_value.flatten().tolist()
    out.sum().backward()
    assert query.grad is not None and torch.isfinite(query.grad).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in made.parameters())


def test_order_of_behaviours_and_padding_change_nothing() -> None:
    made, (query, keys, action, age, there) = block(), inputs()
    expected = made(query, keys, action, age, there)
    turn = torch.tensor([2, 0, 3, 1])
    turned = made(query, keys[:, :, turn], action[:, :, turn], age[:, :, turn], there[:, :, turn])
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-12)
    longer = [torch.cat([part, torch.zeros_like(part)], 2) for part in (keys, action, age, there)]
    torch.testing.assert_close(made(query, *longer), expected, rtol=0, atol=1e-12)


def test_a_newer_copy_never_weighs_less() -> None:
    ages = one(10, 4000, 90000)
    bias = faded(torch.zeros_like(ages), ages, DECAY)
    same = weigh(torch.ones_like(ages), bias, ALL, torch.zeros(1, dtype=torch.float64))[0, 0, 1:].tolist()
    assert same == sorted(same, reverse=True)


def test_a_batch_is_its_examples_one_by_one() -> None:
    made, (query, keys, action, age, there) = block(), inputs()
    alone = [made(query[b : b + 1], *(part[:, b : b + 1] for part in (keys, action, age, there))) for b in range(B)]
    torch.testing.assert_close(made(query, keys, action, age, there), torch.cat(alone), rtol=0, atol=1e-12)


def test_one_history_for_all_is_each_its_own() -> None:
    made, (query, keys, action, age, there) = block(), inputs()
    one = [part[:, 1:2] for part in (keys, action, age, there)]
    each = [part.repeat(1, B, *[1] * (part.dim() - 2)) for part in one]
    torch.testing.assert_close(made(query, *one), made(query, *each), rtol=0, atol=1e-12)
    torch.testing.assert_close(made.weights(query, *one), made.weights(query, *each), rtol=0, atol=1e-12)
