"""ID-Cross against MODEL.md's numbers and against loops."""
from __future__ import annotations

import pytest
import torch
from torch import Tensor

from online_model.id_cross import FEED, OUT, SPREAD, UNITS, WIDTH, id_cross
from tests.oracles import id_cross as naive

B, L = 4, 5


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(8)
    rows = torch.randn(B, WIDTH, generator=g, dtype=torch.float64)
    feeds = 1.5 * torch.randn(B, L, FEED, generator=g, dtype=torch.float64)  # some beyond the clip of 2
    there = torch.rand(B, L, generator=g) < 0.6
    there[1] = False
    return rows, feeds, there


def nets(row: Tensor) -> tuple[list[list[float]], list[list[float]]]:
    at = FEED * UNITS
    return row[:at].view(FEED, UNITS).tolist(), row[at:].view(UNITS, UNITS).tolist()


def test_the_small_form_is_the_models_numbers() -> None:
    # MODEL.md section 2: 2 -> 2 -> 1; order 1 in front of order 2, in each the first layer's units in front of the second's
    rows = torch.tensor([[0.5, -0.25, 0.1, 0.2, 1.0, -1.0]], dtype=torch.float64)
    feeds = torch.tensor([[[1.0, 2.0], [-1.0, 0.5]]], dtype=torch.float64)
    got = id_cross(rows, feeds, torch.ones(1, 2, dtype=torch.bool), units=2)[0]
    expected = [0.1824687718671555, 0.48526057795965016, -0.3027918060924947, 1.1978476685633324, 0.30314489096533126, 0.8947027775980012]
    assert (got * 3**0.5).tolist() == pytest.approx(expected, abs=1e-9)
    assert (got[0].item(), got[5].item()) == pytest.approx((0.10534839455620264, 0.5165568894909119), abs=1e-9)
    assert naive.unscaled([[0.5, -0.25], [0.1, 0.2]], [[1.0], [-1.0]], feeds[0].tolist()) == pytest.approx(expected, abs=1e-12)


def test_forward_equals_the_loops() -> None:
    rows, feeds, there = inputs()
    assert (feeds.abs() > 2).any()
    got = id_cross(rows, feeds, there)
    assert got.shape == (B, OUT)
    for b in range(B):
        assert got[b].tolist() == pytest.approx(naive.cross(*nets(rows[b]), feeds[b, there[b]].tolist()), abs=1e-9)


def test_candidates_may_share_the_behaviours() -> None:
    rows, feeds, there = inputs()
    shared = id_cross(rows, feeds[:1], there[:1])
    for b in range(B):
        assert shared[b].tolist() == pytest.approx(naive.cross(*nets(rows[b]), feeds[0, there[0]].tolist()), abs=1e-9)


def test_a_row_of_zeros_and_an_empty_history_give_zeros() -> None:
    rows, feeds, there = inputs()
    assert id_cross(torch.zeros_like(rows), feeds, there).tolist() == [[0.0] * OUT] * B
    assert id_cross(rows, feeds, torch.zeros_like(there)).tolist() == [[0.0] * OUT] * B


def test_padding_is_masked_whatever_stands_in_it() -> None:
    rows, feeds, there = inputs()
    other = torch.where(there[..., None], feeds, torch.full_like(feeds, -1.7))
    torch.testing.assert_close(id_cross(rows, other, there), id_cross(rows, feeds, there), rtol=0, atol=0)


def test_a_candidate_answers_to_its_own_row_alone() -> None:
    rows, feeds, there = inputs()
    changed = rows.clone()
    changed[2] += 1
    same = (id_cross(changed, feeds, there) == id_cross(rows, feeds, there)).all(1)
    assert same.tolist() == [True, True, False, True]


def test_new_rows_spread_as_the_model_says() -> None:
    assert (WIDTH, OUT) == (48, 16)
    assert SPREAD == pytest.approx([8**-0.5] * 32 + [0.5] * 16)
