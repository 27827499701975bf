"""Adam against PyTorch's, however the examples came in batches."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from online_model.adam import Adam


@pytest.mark.parametrize("parts", [[64], [1] * 64, [30, 33, 1]])
def test_steps_are_those_of_pytorch_on_the_mean_gradient_of_so_many_examples(parts: list[int]) -> None:
    rng = np.random.default_rng(3)
    flat, theirs = torch.ones(7), torch.nn.Parameter(torch.ones(7))
    ours = Adam(flat, 1e-2, 64, clip=1.0)
    torchs = torch.optim.Adam([theirs], lr=1e-2, betas=(0.9, 0.99), eps=1e-8)
    for scale in (0.1, 10.0, 0.01, 3.0):  # some of them are clipped
        gradients = torch.from_numpy(rng.normal(0, scale, (64, 7)).astype(np.float32))
        at = 0
        for n in parts:
            assert ours.take(gradients[at : at + n].sum(0), n) == (at + n == 64)
            at += n
        theirs.grad = gradients.mean(0)
        torch.nn.utils.clip_grad_norm_([theirs], 1.0)
        torchs.step()
    np.testing.assert_allclose(flat.numpy(), theirs.detach().numpy(), rtol=1e-5)


def test_restored_in_the_middle_of_a_sum_it_goes_on_as_if_never_stopped() -> None:
    gradients = torch.from_numpy(np.random.default_rng(4).normal(0, 1, (40, 5)).astype(np.float32))
    first, flat = torch.zeros(5), torch.zeros(5)
    whole, stopped = (Adam(f, 1e-2, 16, clip=1.0) for f in (first, flat))
    for g in gradients:
        whole.take(g.clone(), 1)
    for g in gradients[:20]:
        stopped.take(g.clone(), 1)
    again = Adam(flat, 1e-2, 16, clip=1.0)
    again.load(stopped.arrays())
    for g in gradients[20:]:
        again.take(g.clone(), 1)
    assert flat.tolist() == first.tolist()
    assert {k: v.tolist() for k, v in again.arrays().items()} == {k: v.tolist() for k, v in whole.arrays().items()}
