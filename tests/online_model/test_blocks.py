"""One list of properties over every block of the ranker.

Padding, order of behaviours, a batch as its examples one by one, the empty history, the id that nobody has seen, the gradient.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from online_model.behaviour_attention import BehaviourAttention
from online_model.cgc import CGC
from online_model.cin import CIN
from online_model.id_cross import FEED, WIDTH, id_cross
from online_model.mv_conet import MVCoNet

B, L, D, ACTIONS = 4, 5, 6, 7
Named = dict[str, Tensor]

# --- blocks


@dataclass(frozen=True)
class Case:
    """A block, inputs for it, and along which axis of each input examples and behaviours lie."""

    run: Callable[..., Tensor]
    inputs: Named
    examples: dict[str, int]
    behaviours: dict[str, int] = field(default_factory=dict)  # none: it has no history
    mask: str = ""  # of the behaviours
    nothing: Callable[[], Tensor] | None = None  # what it gives without any history
    row: tuple[str, tuple[int | slice, ...]] = ("", ())  # where the rows of an id enter, which are zeros for an unknown one
    unknown: Callable[[], Tensor] | None = None  # what it gives then
    weights: nn.Module | None = None


def shaken(made: nn.Module) -> nn.Module:
    """In float64, and no parameter left at a start of zeros."""
    made.double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def attention(families: int) -> Case:
    made = shaken(BehaviourAttention(families, ACTIONS, D, 8))
    there = torch.rand(families, B, L) < 0.6
    there[:, 0] = False
    inputs = {
        "query": normal(B, D),
        "keys": normal(families, B, L, D),
        "action": torch.randint(1, ACTIONS, (families, B, L)),
        "age": torch.rand(families, B, L, dtype=torch.float64) * 1e5,
        "there": there,
    }
    behaviours = dict.fromkeys(("keys", "action", "age", "there"), 2)

    def unknown() -> Tensor:  # only the action, the age and the behaviour itself are left to say how much it counts
        zero = {**inputs, "query": torch.zeros(B, D, dtype=torch.float64)}
        weights = made.weights(**{name: zero[name] for name in ("query", "keys", "action")}, age_s=zero["age"], there=there)
        values = torch.cat([made.null_value[:, None, None].expand(-1, B, 1, -1), inputs["keys"]], 2)
        return (weights[..., None] * values).sum(2).transpose(0, 1).reshape(B, -1)

    return Case(
        made, inputs, {"query": 0} | dict.fromkeys(behaviours, 1), behaviours, "there",
        nothing=lambda: made.null_value.reshape(1, -1).expand(B, -1), row=("query", ()), unknown=unknown, weights=made,
    )  # fmt: skip


def cin() -> Case:
    made = shaken(CIN(5, (6, 3)))
    x = normal(B, 5, D)

    def unknown() -> Tensor:  # as if the field were not there
        less = CIN(4, (6, 3)).double()
        for smaller, whole in zip(less.filters, made.filters, strict=True):
            kept = whole[:, :, 1:] if whole is not made.filters[0] else whole[:, 1:, 1:]
            smaller.data = kept.detach().clone()
        return less(x[:, 1:])

    return Case(made, {"x": x}, {"x": 0}, row=("x", (slice(None), 0)), unknown=unknown, weights=made)


def crossed() -> Case:
    there = torch.rand(B, L) < 0.6
    there[0] = False
    inputs = {"rows": normal(B, WIDTH), "feeds": 1.5 * normal(B, L, FEED), "there": there}
    zeros = torch.zeros(B, 16, dtype=torch.float64)
    return Case(
        id_cross, inputs, dict.fromkeys(inputs, 0), {"feeds": 1, "there": 1}, "there",
        nothing=lambda: zeros, row=("rows", ()), unknown=lambda: zeros,
    )  # fmt: skip


def cgc() -> Case:
    made = shaken(CGC(10, 3, 2, 8, 4))
    x = normal(B, 10)

    def unknown() -> Tensor:  # as if its inputs were not there
        less = CGC(6, 3, 2, 8, 4).double()
        less.load_state_dict({name: w[4:] if name in ("experts", "gates") else w for name, w in made.state_dict().items()})
        return less(x[:, 4:])

    return Case(made, {"x": x}, {"x": 0}, row=("x", (slice(None), slice(4))), unknown=unknown, weights=made)


def conet() -> Case:
    made = shaken(MVCoNet(3, D, 5, [1.0, -1.0], 8, 4))
    there = (torch.rand(B, 3) < 0.6).double()
    there[0] = 0
    inputs = {"x": normal(B, 3, D), "there": there, "target": torch.tensor([0, 1, 2, 0]), "item": normal(B, 5)}
    zeros = torch.zeros(B, 5 + 2, dtype=torch.float64)

    def both(*given: Tensor) -> Tensor:
        return torch.cat(made(*given), 1)

    return Case(both, inputs, dict.fromkeys(inputs, 0), row=("x", ()), unknown=lambda: zeros, weights=made)


BLOCKS = {
    "attention": lambda: attention(2),
    "related attention": lambda: attention(1),
    "CIN": cin,
    "ID-Cross": crossed,
    "CGC": cgc,
    "MV-CoNet": conet,
}
every_block = pytest.mark.parametrize("name", BLOCKS)
with_history = pytest.mark.parametrize("name", ["attention", "related attention", "ID-Cross"])


def case(name: str) -> Case:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return BLOCKS[name]()


def run(of: Case, **changed: Tensor) -> Tensor:
    return of.run(*(of.inputs | changed).values())


def same(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@with_history
def test_padding_longer_changes_nothing_whatever_stands_in_it(name: str) -> None:
    of = case(name)
    longer = {key: torch.cat([of.inputs[key]] * 3, axis) for key, axis in of.behaviours.items()}
    axis = of.behaviours[of.mask]
    longer[of.mask] = longer[of.mask] & (torch.arange(3 * L) < L).view([-1 if at == axis else 1 for at in range(longer[of.mask].dim())])
    same(run(of, **longer), run(of))


@with_history
def test_the_order_of_behaviours_changes_nothing(name: str) -> None:
    of, turn = case(name), torch.tensor([3, 0, 4, 1, 2])
    turned = {key: of.inputs[key].index_select(axis, turn) for key, axis in of.behaviours.items()}
    same(run(of, **turned), run(of))
    (first, *_) = turned
    assert not torch.allclose(run(of, **{first: turned[first]}), run(of), atol=1e-3)  # without their masks it does


@every_block
def test_a_batch_is_its_examples_one_by_one(name: str) -> None:
    of = case(name)
    alone = [run(of, **{key: of.inputs[key].narrow(axis, b, 1) for key, axis in of.examples.items()}) for b in range(B)]
    same(torch.cat(alone), run(of))
    assert len(torch.unique(run(of)[1:], dim=0)) == B - 1


@with_history
def test_an_empty_history_is_no_history(name: str) -> None:
    of = case(name)
    assert of.nothing is not None
    nothing = of.nothing()
    same(run(of, **{of.mask: torch.zeros_like(of.inputs[of.mask])}), nothing)
    same(run(of)[:1], nothing[:1])  # among others who have one
    assert not torch.allclose(run(of)[1:], nothing[1:], atol=1e-3)


@every_block
def test_an_unknown_id_leaves_what_is_known_of_the_rest(name: str) -> None:
    of = case(name)
    key, at = of.row
    zeroed = of.inputs[key].clone()
    zeroed[at] = 0
    assert of.unknown is not None
    same(run(of, **{key: zeroed}), of.unknown())
    assert not torch.allclose(run(of), of.unknown(), atol=1e-3)


@every_block
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_gradients_are_finite(name: str, scale: float) -> None:
    of = case(name)
    real = {key: value for key, value in of.inputs.items() if value.is_floating_point() and key not in ("there", "age")}
    real = {key: (scale * value).requires_grad_() for key, value in real.items()}
    out = run(of, **real)
    assert torch.isfinite(out).all()
    wanted = [*real.values(), *(of.weights.parameters() if of.weights is not None else ())]
    out.square().sum().backward()
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in wanted)
    assert scale != 1 or any(value.grad is not None and value.grad.any() for value in wanted)
