"""The towers against loops over behaviours and items, gradients against the softmax's closed form, and tastes that were planted."""
from __future__ import annotations

import math

import numpy as np
import pytest

from online_model.features import BAGS, EMBEDDING, FIELDS, TASKS
from online_model.history import FULL_PLAY
from online_model.model_settings import ModelSettings, linear
from online_model.trainer import Trainer
from online_model.two_tower import BEHAVIOURS, HEADS, contents
from tests.online_model.test_trainer import T0, Batch, batch, trained

ITEM, ARTIST, FULL = FIELDS.index("item"), FIELDS.index("artist"), TASKS.index("full_play")


def rows(made: Trainer, name: str, keys: np.ndarray) -> np.ndarray:
    table = made.state.tables()[name]
    return np.array([table.read(np.array([k], np.uint64), table.rows.find(np.array([k], np.uint64))).numpy()[0] for k in keys.reshape(-1)])


def looped(made: Trainer, given: Batch, at: int) -> np.ndarray:
    """The vector of one row, a behaviour after another."""
    pooling = {name: part.detach().numpy().astype(float) for name, part in made.state.towers.pooling.named_parameters()}  # type: ignore[union-attr]
    taken = [n for n in range(min(BEHAVIOURS, given.history.shape[2])) if given.history[at, 0, n]]
    each = rows(made, "queries", given.history[at, 0, taken]).reshape(len(taken), -1).astype(float)
    out = pooling["constant"].copy()
    for head in range(HEADS):
        logits = [
            pooling["direction"][head] @ row + pooling["action"][head][given.action[at, 0, n]]
            - math.log1p(math.exp(pooling["decay"][head])) * math.log1p(given.age_s[at, 0, n] / 60) / 4
            for n, row in zip(taken, each, strict=True)
        ]  # fmt: skip
        total = math.exp(pooling["null"][head][0][0]) + sum(map(math.exp, logits))
        for logit, row in zip(logits, each, strict=True):
            out += math.exp(logit) / total * row @ pooling["mix"][head]
    context = given.bags[at, : BAGS.index("item_features")].reshape(-1)
    return np.append(out + rows(made, "queries", context[context != 0]).reshape(-1, len(out)).sum(0), 1.0)


def test_vectors_are_those_of_a_loop() -> None:
    made, given = trained(), batch(6, 70, length=40)
    towers = made.state.towers
    assert towers is not None
    np.testing.assert_allclose(towers.query(given), [looped(made, given, at) for at in range(6)], rtol=1e-4, atol=1e-5)
    found, learned = towers.rows(np.array([3000, 999], np.uint64))
    assert learned.tolist() == [True, False] and not found[1].any() and found[0].any()


def test_the_gradient_is_that_of_a_softmax_over_different_items_less_their_log_inclusion() -> None:
    made, given = trained(), batch(8, 71)
    given.labels[:] = 0
    given.labels[[1, 4, 6], FULL] = 1
    towers = made.state.towers
    assert towers is not None
    pulled = towers.pull(given)
    assert pulled is not None
    at = np.array([1, 4, 6])
    items, theirs = towers.taken.different(contents(given, at), given.embedding[at])
    vectors = rows(made, "candidates", items).reshape(len(items), items.shape[1], -1).sum(1) + theirs @ towers.embedding_map()
    users = towers.query(given)[[1, 4, 6]]
    logits = users @ vectors.T - np.log(towers.taken.inclusion(items[:, 0]))
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wanted -= items[:, 0] == given.fields[[1, 4, 6], ITEM][:, None]
    np.testing.assert_array_equal(pulled.embeddings, given.embedding[at])
    by_item = pulled.by_candidate.numpy().reshape(len(items), items.shape[1], -1)[:, 0]
    np.testing.assert_allclose(by_item, wanted.T @ users, rtol=1e-3, atol=1e-5)


def test_what_was_not_taken_is_no_example() -> None:
    made, given = trained(), batch(8, 72)
    given.labels[:] = 0
    given.labels[:, TASKS.index("skip")] = 1
    assert made.state.towers is not None and made.state.towers.pull(given) is None
    assert Trainer(linear(ModelSettings())).state.towers is None and Trainer(ModelSettings(vectors=False)).state.towers is None


def tastes(n: int, seed: int) -> Batch:
    """Who took an item of one half takes one of the same half; each half has an artist, and a direction that embeddings are near to."""
    out, rng = batch(n, seed, length=2), np.random.default_rng(seed)
    half = rng.integers(0, 2, n)
    item = 2000 + 20 * half + rng.integers(0, 20, n)
    out.fields[:, ITEM], out.fields[:, ARTIST], out.fields[:, 3], out.bags[:] = item, 7000 + half, 0, 0
    out.embedding[:] = rng.normal(0, 0.1, out.embedding.shape)
    out.embedding[np.arange(n), half] += 1
    out.history[:], out.action[:] = 0, 0
    out.history[:, 0] = (2000 + 20 * half + rng.integers(0, 20, n))[:, None]
    out.action[:, 0] = FULL_PLAY
    out.labels[:] = 0
    out.labels[:, FULL] = 1
    return out


@pytest.fixture(scope="module")
def taught() -> Trainer:
    made = Trainer(ModelSettings())
    for step in range(60):
        made.step(tastes(64, step), T0 + 1000 * step)
    return made


def test_planted_tastes_are_found_and_items_that_nobody_took_stand_with_artist_or_embedding(taught: Trainer) -> None:
    towers, asked = taught.state.towers, tastes(200, 999)
    assert towers is not None
    new = [[9000, 7000], [9001, 7001]]  # unknown items of both artists
    content = np.array([[2000 + n, 7000 + n // 20] for n in range(40)] + new, np.uint64)
    found, _ = towers.rows(content.reshape(-1))
    users = towers.query(asked)
    score = users @ found.reshape(42, 2, -1).sum(1).T
    half = (asked.fields[:, ARTIST] - 7000).astype(int)
    best = score[:, :40].argmax(1) // 20
    assert (best == half).mean() > 0.95
    assert (score[:, 40:].argmax(1) == half).mean() > 0.95
    by_embedding = users @ (np.eye(2, EMBEDDING) @ towers.embedding_map()).T  # an item with an embedding and nothing else
    assert (by_embedding.argmax(1) == half).mean() > 0.95


def test_followers_learn_what_has_changed_and_those_too_far_behind_read_all(taught: Trainer) -> None:
    towers = taught.state.towers
    assert towers is not None
    keys = np.arange(2000, 2040, dtype=np.uint64)
    before, at = towers.rows(keys)[0], towers.changes
    report = taught.step(tastes(3, 77), T0 + 90_000)
    after, changed = towers.rows(keys)[0], towers.changed_since(at)
    assert changed is not None and set(changed.tolist()) == set(report.touched["candidates"].tolist())
    assert set(keys[(before != after).any(1)].tolist()) <= set(changed.tolist())
    assert towers.changed_since(towers.changes) is not None and towers.changed_since(at - 1000) is None
    assert towers.changed_since(towers.changes + 1) is None  # of another run


def test_a_replica_has_the_same_vectors_and_hears_of_the_same_changes(taught: Trainer) -> None:
    copy = Trainer(ModelSettings())
    copy.load(taught.arrays(), taught.meta())
    mine, theirs = taught.state.towers, copy.state.towers
    assert mine is not None and theirs is not None
    at = mine.changes, theirs.changes
    report = taught.step(tastes(5, 78), T0 + 95_000)
    copy.apply_delta(taught.delta(report.touched, dense=True))
    np.testing.assert_array_equal(mine.changed_since(at[0]), theirs.changed_since(at[1]))
    asked, keys = tastes(4, 79), np.arange(2000, 2040, dtype=np.uint64)
    np.testing.assert_array_equal(mine.query(asked), theirs.query(asked))
    np.testing.assert_array_equal(mine.rows(keys)[0], theirs.rows(keys)[0])
    dropped = taught.forget(np.array([2003], np.uint64))
    copy.apply_delta(taught.delta(dropped, dense=False))
    assert not mine.rows(keys)[1][3] and not theirs.rows(keys)[1][3] and 2003 not in mine.taken.recent[:, 0]
