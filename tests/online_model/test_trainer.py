"""The trainer: predictions change nothing, steps are reproducible, deltas and checkpoints carry all."""
from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from online_model import behaviour_attention
from online_model.batch import Batch
from online_model.features import BAG_LIMIT, BAGS, CODES, COUNTS, DOMAIN_LIMIT, EMBEDDING, FIELDS, OWN_PLAYS, PLAY_TIMES_S, SCOPES, TASKS
from online_model.trainer import ModelSettings, Trainer

DAY = 86_400_000
SHARED = ("history", "action", "age_s", "where", "domains", "domain_exposures")
T0 = 1_700_000_000_000


def batch(n: int, seed: int, length: int = 3, users: int = 20, items: int = 10) -> Batch:
    """Random examples; histories of up to `length` behaviours, padded behind."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((n, len(FIELDS)), np.uint64)
    ids[:, 0] = 1000 + rng.integers(0, users, n)
    ids[:, 1] = 2000 + rng.integers(0, items, n)
    ids[:, 3] = 3000 + rng.integers(0, 3, n)
    ids[:, 5] = 5000 + rng.integers(0, 3, n)
    bags = np.where(rng.random((n, len(BAGS), BAG_LIMIT)) < 0.3, rng.integers(4000, 4020, (n, len(BAGS), BAG_LIMIT)), 0).astype(np.uint64)
    there = np.arange(length) < rng.integers(0, length + 1, (n, 2, 1))
    return Batch(
        fields=ids,
        bags=bags,
        history=np.where(there, 2000 + rng.integers(0, items, (n, 2, length)), 0).astype(np.uint64),
        action=np.where(there, rng.integers(1, 7, (n, 2, length)), 0).astype(np.uint8),
        age_s=np.where(there, rng.random((n, 2, length)) * 1e4, 0).astype(np.float32),
        where=np.where(there, 5000 + rng.integers(0, 3, (n, 2, length)), 0).astype(np.uint64),
        related=np.where(there[:, 0], 2000 + rng.integers(0, items, (n, length)), 0).astype(np.uint64),
        related_action=np.where(there[:, 0], rng.integers(1, 7, (n, length)), 0).astype(np.uint8),
        related_age_s=np.where(there[:, 0], rng.random((n, length)) * 1e4, 0).astype(np.float32),
        domains=np.broadcast_to(np.array([5000, 5001, 0, 0, 0, 0], np.uint64), (n, DOMAIN_LIMIT)).copy(),
        domain_exposures=np.broadcast_to(np.array([3, 1, 0, 0, 0, 0], np.float32), (n, DOMAIN_LIMIT)).copy(),
        counts=rng.integers(0, 5, (n, len(SCOPES), len(COUNTS))).astype(np.float32),
        popularity=rng.random((n, 3)).astype(np.float32),
        item_age_s=rng.random(n).astype(np.float32),
        followed=np.maximum(0, rng.random(n) - 0.7).astype(np.float32),
        near=np.maximum(0, rng.random(n) - 0.5).astype(np.float32),
        own_plays=np.where(rng.random((n, 1)) < 0.5, 0, rng.random((n, len(OWN_PLAYS)))).astype(np.float32),
        artist_feedback=rng.integers(0, 2, (n, CODES)).astype(np.float32),
        play_times=np.zeros((n, len(PLAY_TIMES_S)), np.float32),
        embedding=np.where(rng.random((n, 1)) < 0.5, 0, rng.random((n, EMBEDDING))).astype(np.float32),
        shown_ms=np.full(n, T0, np.int64),
        labels=(rng.random((n, len(TASKS))) < 0.4).astype(np.float32),
        sign=np.zeros((n, len(TASKS)), np.float32),
        is_example=np.ones(n, np.float32),
        sampling_rate=np.ones(n, np.float32),
        ids=np.arange(n).astype(np.uint64),
        slate=np.full(n, -1, np.int64),
        tier=np.zeros(n, np.int64),
        foreseen=np.zeros(n, bool),
    )


def part(whole: Batch, rows: slice) -> Batch:
    assert whole.owner is None
    return Batch(**{f.name: getattr(whole, f.name)[rows] for f in fields(Batch) if f.name != "owner"})


def apart(of: Batch) -> Batch:
    """Each row with a half of its own, also where all have the only one."""
    if of.owner is None and len(of.history) < len(of):
        of = replace(of, owner=np.zeros(len(of), np.int64))
    return of.apart()


def together(n: int, seed: int, users: int) -> Batch:
    """Random examples that share the halves of so many users."""
    out = batch(n, seed)
    owner = np.sort(np.random.default_rng(seed).permutation(np.arange(n) % users))
    owner[1:-1] = np.where(np.arange(1, n - 1) % 3, owner[1:-1], 0)  # not only in rows side by side
    owner = np.unique(owner, return_inverse=True)[1]
    first = np.unique(owner, return_index=True)[1]
    user = FIELDS.index("user")
    out.fields[:, user] = out.fields[first, user][owner]
    at = BAGS.index("user_attributes")
    out.bags[:, at] = out.bags[first, at][owner]
    return replace(out, **{name: getattr(out, name)[first] for name in SHARED}, owner=owner)


def trained(steps: int = 6, settings: ModelSettings | None = None) -> Trainer:
    made = Trainer(settings or ModelSettings())
    for at in range(steps):
        made.step(batch(1 + at % 4, at), T0 + at * 1000)
    return made


def test_prediction_changes_nothing_and_is_what_the_step_reports() -> None:
    made, next_ = trained(), batch(5, 99)
    before = made.digest()
    predicted = made.predict(next_)
    assert made.digest() == before
    report = made.step(next_, T0 + 9000)
    np.testing.assert_array_equal(report.logits, predicted.logits)
    np.testing.assert_array_equal(report.probabilities, predicted.probabilities)
    assert made.digest() != before


def test_same_batches_and_seed_give_the_same_bytes_and_another_seed_others() -> None:
    assert trained().digest() == trained().digest()
    assert trained().digest() != trained(settings=ModelSettings(seed=2)).digest()


def test_a_batch_is_predicted_as_its_examples_one_by_one() -> None:
    made, whole = trained(), batch(6, 50)
    alone = np.concatenate([made.predict(part(whole, slice(i, i + 1))).logits for i in range(6)])
    np.testing.assert_allclose(made.predict(whole).logits, alone, rtol=0, atol=1e-5)


def test_rows_that_share_halves_are_predicted_and_learned_as_if_each_had_its_own() -> None:
    one, other = trained(), trained()
    for at in range(4):
        shared = together(12, 60 + at, 4)
        assert shared.owner is not None and len(shared.history) == 4 < len(apart(shared).history)
        shared.slate[8:], shared.tier[8:] = 0, [0, 1, 2, 3]
        shared.is_example[8:], shared.labels[8:] = 0, 0
        np.testing.assert_allclose(one.predict(shared).logits, other.predict(apart(shared)).logits, rtol=0, atol=1e-5)
        got, wanted = one.step(shared, T0 + 9000 + at), other.step(apart(shared), T0 + 9000 + at)
        assert got.logits.shape == (8, len(TASKS))
        np.testing.assert_allclose(got.logits, wanted.logits, rtol=0, atol=1e-5)
        assert got.grad_norm == pytest.approx(wanted.grad_norm, rel=1e-4)
    ours, theirs = one.arrays(), other.arrays()
    for name in ("ids.weights", "feed.weights", "cross.weights", "wide.weights", "weights", "numbers.weights"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-4, err_msg=name)
    np.testing.assert_array_equal(ours["ids.keys"], theirs["ids.keys"])


def test_rows_that_are_only_compared_move_no_task_and_no_linear_weight() -> None:
    made = trained()
    shown = batch(6, 61)
    shown.slate[:], shown.tier[:], shown.is_example[:], shown.labels[:] = 0, [0, 1, 2, 3, 0, 1], 0, 0
    before = made.arrays()
    report = made.step(shown, T0 + 9000)
    assert report.skipped is None and report.logits.shape == (0, len(TASKS)) and report.grad_norm > 0
    after = made.arrays()
    for name in ("wide.keys", "wide.weights", "numbers.weights", "effect.weights", "platt.slope", "blend.share"):
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    old = len(before["ids.weights"])
    assert (after["ids.weights"][:old] != before["ids.weights"]).any()


def test_a_step_waits_for_its_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else it read back would make a GPU stand still. Attention takes whole rows, as it does there; levels lie on the host."""
    made, read = trained(), list[str]()
    host = (made.state.levels.table.weights, made.state.levels.table.squares)

    def told(name: str) -> None:
        original = getattr(torch.Tensor, name)

        def reading(self: torch.Tensor, *args: Any, **more: Any) -> Any:
            if all(self is not tensor for tensor in host):
                read.append(name)
            return original(self, *args, **more)

        monkeypatch.setattr(torch.Tensor, name, reading)

    monkeypatch.setattr(behaviour_attention, "_sparse", lambda there: False)
    for name in ("numpy", "tolist", "item", "cpu", "nonzero", "__bool__", "__int__", "__float__", "__index__"):
        told(name)
    listed = batch(8, 61)
    listed.slate, listed.tier = np.array([-1] * 4 + [0] * 4), np.array([0] * 4 + [3, 2, 1, 0])
    for at, given in enumerate((batch(6, 60), listed, batch(1, 62))):
        read.clear()
        assert made.step(given, made.state.looked_ms + at).skipped is None
        assert read == ["numpy"]


def test_a_step_that_is_not_finite_is_skipped_and_counted() -> None:
    made, broken = trained(), batch(2, 60)
    broken.counts[0, 0, 0] = np.nan
    state = made.arrays()
    report = made.step(broken, T0 + 9000)
    assert (report.skipped, made.state.skipped, report.touched) == ("non-finite gradient", 1, {})
    for name, array in made.arrays().items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


def test_an_item_gets_its_row_at_its_third_event_and_a_user_at_the_first() -> None:
    made, one = Trainer(ModelSettings()), batch(1, 1)
    user, item = one.fields[:, 0], one.fields[:, 1]
    seen = []
    for at in range(3):
        made.step(one, T0 + at)
        seen.append((bool(made.state.ids.rows.find(user)[0]), bool(made.state.ids.rows.find(item)[0])))
    assert seen == [(True, False), (True, False), (True, True)]


def test_an_item_that_only_stands_in_a_history_gets_no_row() -> None:
    made, one = Trainer(ModelSettings()), batch(1, 1)
    one.history[:] = 777
    for at in range(4):
        made.step(one, T0 + at)
    assert made.state.ids.rows.find(np.array([777], np.uint64)).tolist() == [0]


def test_a_reversal_raises_its_task_and_an_undo_lowers_it() -> None:
    for sign in (1.0, -1.0):
        made, one = trained(), batch(1, 61)
        before = made.predict(one).logits[0]
        one.is_example[:] = 0
        one.labels[:] = 0
        one.sign[0, 1] = sign
        made.step(one, T0 + 9000)
        after = made.predict(one).logits[0]
        assert (after[1] - before[1]) * sign > 0


def test_a_row_that_is_used_when_the_sweep_comes_is_kept_and_the_idle_ones_go() -> None:
    made, one = Trainer(ModelSettings()), batch(1, 1)
    user = one.fields[:, 0]
    made.step(one, T0)
    made.step(batch(1, 2), T0)
    report = made.step(one, T0 + 15 * DAY)
    live = made.state.ids.rows.keys[made.state.ids.rows.keys != 0]
    asked = np.unique(np.concatenate([one.fields.ravel(), one.bags.ravel()]))
    assert made.state.ids.rows.find(user)[0] != 0
    domain_visits = [5000, 5001, int(one.fields[0, FIELDS.index("domain")])]  # the user's row in each of these
    own = made.state.domains.own_rows(user)[0, made.state.domains.places(np.array(domain_visits, np.uint64))]
    assert set(live.tolist()) == (set(asked.tolist()) | set(own.tolist())) - {0, int(one.fields[0, 1])}  # the item: two events only
    assert set(report.touched["ids"].tolist()) > set(live.tolist())


@pytest.mark.prove
def test_a_planted_taste_is_learned() -> None:
    # skip depends on the parity of user + item: no main effect, only the pair tells
    made = Trainer(ModelSettings())
    late: list[tuple[float, float]] = []
    for at in range(300):
        one = batch(8, at, users=6, items=6)
        one.labels[:, 3] = (one.fields[:, 0] + one.fields[:, 1]) % np.uint64(2)
        report = made.step(one, T0 + at * 1000)
        if at >= 250:
            late += zip(report.probabilities[:, 3].tolist(), one.labels[:, 3].tolist(), strict=True)
    right = np.mean([(p > 0.5) == (y == 1) for p, y in late])
    print(f"a taste that only the pair of user and item tells: {right:.3f} of the last {len(late)} are right")
    assert right > 0.9
