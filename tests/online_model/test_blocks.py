"""One list of properties over every block of the ranker, then over the whole trainer, each switch alone and all on.

Padding, order of behaviours, a batch as its examples one by one, the empty history, the id that nobody has seen, the gradient.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from online_model.batch import Batch
from online_model.behaviour_attention import BehaviourAttention
from online_model.cgc import CGC
from online_model.cin import CIN
from online_model.features import BAGS, FIELDS, TASKS
from online_model.id_cross import FEED, WIDTH, id_cross
from online_model.model_settings import ModelSettings
from online_model.mv_conet import MVCoNet
from online_model.trainer import Prediction, Trainer
from tests.online_model.test_trainer import SHARED, T0, batch, part

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


# --- the whole trainer

SWITCHES = ("deep", "wide", "attention", "cin", "related", "id_cross", "cross_domain", "gates", "platt", "causal")
BEHAVIOURS = ("history", "action", "age_s", "where")
RELATED = ("related", "related_action", "related_age_s")
USER, ITEM = FIELDS.index("user"), FIELDS.index("item")
STRONG = {"row_spread": 0.5, "dense_batch": 8, "dense_rate": 0.02, "cross_rate": 0.5, "effect_rate": 0.5}  # so that every block is heard
FORMS = {
    "no switch": ModelSettings(**dict.fromkeys(SWITCHES, False), pairs=0.0, **STRONG),  # the linear path and its numbers
    **{
        name: ModelSettings(**{other: other in (name, "deep") for other in SWITCHES}, pairs=0.0, **STRONG) for name in SWITCHES
    },
    "pairs": ModelSettings(**{other: other == "deep" for other in SWITCHES}, pairs=0.1, **STRONG),
    "all": ModelSettings(**STRONG),
}  # fmt: skip
every_form = pytest.mark.parametrize("form", FORMS)
_TRAINED: dict[ModelSettings, Trainer] = {}


def asked(seed: int) -> Batch:
    """Six users, some of them in a domain that has no place of its own."""
    one = batch(6, seed, length=6)
    one.fields[::2, FIELDS.index("domain")] = 9000
    one.where[..., ::2] = np.where(one.history[..., ::2] != 0, 9000, 0)
    return one


def lists(n: int, seed: int) -> Batch:
    """Examples, then the rows of two closed lists, as a batch of the learner has them."""
    one = batch(n, seed, length=6)
    rng = np.random.default_rng(seed)
    half = n // 2
    one.is_example[half:], one.labels[half:] = 0, 0
    one.slate[half:], one.tier[half:] = rng.integers(0, 2, n - half), rng.integers(0, 4, n - half)
    return one


def trained(settings: ModelSettings) -> Trainer:
    """A trainer that none of these tests teaches anything: predictions change nothing."""
    if settings not in _TRAINED:
        made = Trainer(settings)
        for at in range(20):
            assert made.step(lists(12, at), T0 + at * 1000).skipped is None
        _TRAINED[settings] = made
    return _TRAINED[settings]


def figures(made: Trainer, of: Batch) -> np.ndarray:
    """All that is predicted, with the parts taken away in part: [B, ...]."""
    plain, moved = made.predict(of), made.predict(of, gamma_user=0.5, gamma_item=0.7)
    return np.concatenate([*wide(plain), *wide(moved)], 1)


def wide(of: Prediction) -> list[np.ndarray]:
    return [of.logits, of.rank[:, None], of.user, of.popularity]


def close(got: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def different(got: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(got - expected).max() > 1e-3)


def changed(of: Batch, names: tuple[str, ...], change: Callable[[np.ndarray], np.ndarray]) -> Batch:
    return replace(of, **{name: change(getattr(of, name)) for name in names})


def padded(array: np.ndarray, by: int) -> np.ndarray:
    """Zeros behind the ids; behind all else what must not be read."""
    tail = np.zeros if array.dtype == np.uint64 else np.ones
    return np.concatenate([array, tail((*array.shape[:-1], by), array.dtype)], -1)


@every_form
def test_the_trainers_padding_changes_nothing(form: str) -> None:
    made, of = trained(FORMS[form]), asked(50)
    longer = changed(changed(of, BEHAVIOURS, lambda a: padded(a, 9)), RELATED, lambda a: padded(a, 4))
    longer.where[..., 6:] = 5000  # behind no item, too
    close(figures(made, longer), figures(made, of))


@every_form
def test_the_order_of_the_trainers_behaviours_changes_nothing(form: str) -> None:
    made, of = trained(FORMS[form]), asked(51)
    turned = changed(changed(of, BEHAVIOURS, lambda a: a[..., ::-1].copy()), RELATED, lambda a: a[..., [3, 0, 5, 1, 4, 2]].copy())
    close(figures(made, turned), figures(made, of))


@every_form
def test_the_trainers_batch_is_its_examples_one_by_one(form: str) -> None:
    made, of = trained(FORMS[form]), asked(52)
    close(np.concatenate([figures(made, part(of, slice(i, i + 1))) for i in range(6)]), figures(made, of))


@every_form
def test_candidates_of_one_user_share_what_is_the_users(form: str) -> None:
    made, own = trained(FORMS[form]), asked(53)
    own = changed(own, SHARED, lambda a: np.repeat(a[:1], 6, axis=0))
    own.fields[:, USER] = own.fields[0, USER]
    own.bags[:, BAGS.index("user_attributes")] = own.bags[0, BAGS.index("user_attributes")]
    assert own.history[0].any()
    close(figures(made, changed(own, SHARED, lambda a: a[:1])), figures(made, own))


@every_form
def test_an_empty_history_is_no_history_to_the_trainer(form: str) -> None:
    made, of = trained(FORMS[form]), asked(54)
    shortest = changed(of, BEHAVIOURS + RELATED, lambda a: np.zeros_like(a[..., :1]))  # as a batch of users without one has it
    empty = changed(of, ("history", "related"), np.zeros_like)  # actions, ages and domains still there, behind no item
    got = figures(made, empty)
    assert np.isfinite(got).all()
    close(got, figures(made, shortest))
    assert different(got, figures(made, of))


@every_form
def test_an_id_that_nobody_has_seen_scores_as_an_unknown_one(form: str) -> None:
    made, of = trained(msgspec.structs.replace(FORMS[form], row_spread=0.0)), batch(6, 55, length=6)
    unseen, absent = batch(6, 55, length=6), batch(6, 55, length=6)
    for column in (USER, ITEM, FIELDS.index("artist"), FIELDS.index("category")):
        unseen.fields[:, column], absent.fields[:, column] = 900_000 + 10 * column + np.arange(6), 0
    got = figures(made, unseen)
    assert np.isfinite(got).all()
    close(got, figures(made, absent))
    assert different(made.predict(unseen).logits, made.predict(of).logits) == (form != "no switch")


def test_a_new_row_is_within_its_spread_of_an_unknown_one() -> None:
    """Rows are born apart, and scores with them: at the default spread of .01 by less than a hundredth of what a known item differs, in
    the mean of 60 (the largest of 6 is .006 to .015 of theirs, as the rows fall)."""
    gaps, known = [], []
    for spread in (0.1, 0.01, 0.001):
        made, of, unseen, absent = trained(ModelSettings(row_spread=spread)), batch(60, 55), batch(60, 55), batch(60, 55)
        unseen.fields[:, ITEM], absent.fields[:, ITEM] = 900_000 + np.arange(60), 0
        unknown = made.predict(absent).logits
        gaps.append(np.abs(made.predict(unseen).logits - unknown).mean())
        known.append(np.abs(made.predict(of).logits - unknown).mean())
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2] > 0
    assert gaps[1] < 0.01 * known[1]


@every_form
def test_the_trainers_gradients_are_finite(form: str) -> None:
    made = Trainer(FORMS[form])
    empty = changed(batch(8, 56), BEHAVIOURS + RELATED + ("domains", "domain_exposures"), np.zeros_like)
    bare = replace(empty, fields=np.zeros_like(empty.fields), bags=np.zeros_like(empty.bags), item_age_s=np.full(8, -1, np.float32))
    numbers = ("counts", "popularity", "item_age_s", "age_s", "domain_exposures")
    loud = changed(batch(8, 57, length=6), numbers, lambda a: a * np.float32(1e6))
    for at, one in enumerate((bare, empty, loud, lists(12, 58), loud, bare)):
        report = made.step(one, T0 + at * 1000)
        assert report.skipped is None and np.isfinite([report.loss, report.grad_norm]).all() and np.isfinite(report.logits).all()
    for name, array in made.arrays().items():
        assert np.isfinite(array).all(), name


INPUTS = {"attention": 32, "cin": 64, "related": 16, "id_cross": 16, "cross_domain": 17}  # what a block gives the experts


def silenced(name: str, made: Trainer, patch: pytest.MonkeyPatch) -> None:
    """The block as if it said nothing."""
    ranker = made.state.ranker
    blocks = {"attention": ranker.attention, "cin": ranker.cin, "related": ranker.related}
    if name in blocks:
        block, width = blocks[name], INPUTS[name]
        patch.setattr(block, "forward", lambda *x: x[0].new_zeros(len(x[0]), width))
    elif name == "id_cross":
        patch.setattr("online_model.id_cross.id_cross", lambda rows, *rest: rows.new_zeros(len(rows), INPUTS[name]))
    elif name == "cross_domain":
        assert ranker.domains is not None
        said = ranker.domains.forward
        patch.setattr(ranker.domains, "forward", lambda *x: tuple(0 * part for part in said(*x)))
    elif name == "causal":
        assert ranker.effect is not None
        patch.setattr(ranker.effect, "forward", lambda x: x.new_zeros(len(x), len(TASKS)))
    elif name == "gates":
        patch.setattr(ranker.tasks, "gated", False)
    elif name == "deep":
        patch.setattr(made.state.blend, "share", 0 * made.state.blend.share)
    elif name == "wide":
        patch.setattr(made.state.wide, "weights", 0 * made.state.wide.weights)
    elif name == "platt":
        patch.setattr(made.state.platt, "slope", 1 + 0 * made.state.platt.slope)
        patch.setattr(made.state.platt, "offset", 0 * made.state.platt.offset)


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_is_heard(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a block is on, what it says counts, and by its own switch alone; the properties above are about something."""
    on, off, of = trained(FORMS[name]), trained(FORMS["deep"]), asked(59)
    said = on.predict(of)
    with monkeypatch.context() as patch:
        silenced(name, on, patch)
        without = on.predict(of)
    assert different(said.probabilities, without.probabilities)
    assert different(on.predict(of).logits, without.logits) or name == "platt"
    width = on.state.ranker.tasks.experts.shape[0] - off.state.ranker.tasks.experts.shape[0]
    assert width == INPUTS.get(name, 0)


def test_what_only_one_block_reads_moves_nothing_where_it_is_off() -> None:
    off, of = trained(FORMS["deep"]), asked(59)
    of.domain_exposures *= np.arange(6, dtype=np.float32)[:, None]
    for names in (("related",), ("domain_exposures",)):
        assert not different(figures(off, changed(of, names, lambda a: np.roll(a, 1, axis=0))), figures(off, of))


def test_without_platt_probabilities_are_those_of_the_logits() -> None:
    for form, same_ in (("cin", True), ("platt", False)):
        said = trained(FORMS[form]).predict(asked(59))
        assert bool(np.abs(said.probabilities - 1 / (1 + np.exp(-said.logits))).max() < 1e-6) is same_


def test_the_rank_head_learns_from_pairs_alone() -> None:
    new = Trainer(FORMS["deep"]).state.ranker.tasks
    for form in ("deep", "pairs"):
        made = trained(FORMS[form])
        learned = [not torch.equal(made.state.ranker.tasks.tower[task], new.tower[task]) for task in range(len(TASKS) + 1)]
        assert learned == [True] * len(TASKS) + [form == "pairs"]
        assert (made.state.tier_weights.counts.sum() > 0) == (form == "pairs")
