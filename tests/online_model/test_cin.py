"""CIN against MODEL.md's numbers and against four nested loops."""
from __future__ import annotations

import pytest
import torch

from online_model.cin import CIN
from tests.oracles import cin as naive

B, F, D, LAYERS = 3, 4, 5, (6, 3, 2)


def block() -> CIN:
    torch.manual_seed(2)
    return CIN(F, LAYERS).double()


def inputs() -> torch.Tensor:
    return torch.randn(B, F, D, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def test_pools_are_the_models_numbers() -> None:
    made = CIN(2, (2, 1)).double()  # MODEL.md section 2
    first, second = [[[1, 0], [0, 1]], [[0.5, -1], [2, 0]]], [[[1, -1], [0.5, 0]]]
    for parameter, weights in zip(made.filters, (first, second), strict=True):
        parameter.data = torch.tensor(weights, dtype=torch.float64)
    fields = [[1.0, 2.0], [3.0, -1.0]]
    assert made(torch.tensor([fields], dtype=torch.float64))[0].tolist() == pytest.approx([15, 3.5, -3.25], abs=1e-9)
    assert naive.layer(fields, fields, first) == [[10, 5], [3.5, 0]]
    assert naive.pools(fields, [first, second]) == [15, 3.5, -3.25]


def test_forward_equals_the_loops() -> None:
    made, x = block(), inputs()
    got = made(x)
    assert got.shape == (B, made.width) == (B, sum(LAYERS))
    for b in range(B):
        assert got[b].tolist() == pytest.approx(naive.pools(x[b].tolist(), [w.tolist() for w in made.filters]), abs=1e-9)


@pytest.mark.parametrize("layers", [(3,), (3, 2), LAYERS])
def test_gradient_is_that_of_finite_differences(layers: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    made = CIN(F, layers).double()
    assert torch.autograd.gradcheck(lambda x, *_: made(x), (inputs().requires_grad_(), *made.parameters()))


@pytest.mark.parametrize("scale", [2.0, -1.0, 0.0, -0.5])
def test_a_layer_is_of_one_degree_more_than_the_one_before(scale: float) -> None:
    made, x = block(), inputs()
    degrees = torch.tensor([2 + k for k, maps in enumerate(LAYERS) for _ in range(maps)])  # X^1 multiplies two fields
    torch.testing.assert_close(made(scale * x), made(x) * scale**degrees, rtol=1e-12, atol=1e-12)


def test_new_filters_keep_the_scale_of_their_inputs() -> None:
    torch.manual_seed(1)
    made = CIN(12, (32, 32))  # N(0, 1 / (maps before * fields)), MODEL.md section 2: 4608 and 12288 draws
    assert [tuple(w.shape) for w in made.filters] == [(32, 12, 12), (32, 32, 12)]
    for weights, before in zip(made.filters, (12, 32), strict=True):
        assert weights.std().item() * (before * 12) ** 0.5 == pytest.approx(1, abs=0.04)
        assert weights.mean().item() * (before * 12) ** 0.5 == pytest.approx(0, abs=0.06)
