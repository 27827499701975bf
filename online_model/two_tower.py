"""Two towers for retrieval: a vector of a user's moment and one of an item; the larger their product, the likelier the item is taken next.

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019. A user's vector is pooled by
attention from what was taken before and from the context. An item's is the sum of rows of its id, artist, category and features, and of
its embedding times a matrix, where the catalog has one: so guests and songs without a play have vectors, too. Rows are in tables of
their own, learned from what was taken (POSITIVE).

The softmax is over the different items among those that were taken last. A rare item is seldom among them, so as a negative it would
count too little: each logit is lessened by the log of how likely its item is there (the logQ correction; `taken_items.py`).

Shapes: B examples, P of them positive, L behaviours, H heads, D dimensions of a vector, W = D + 1 with the item's own constant,
C content keys of an item, N different items of a softmax.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from online_model.adam import Adam, flattened
from online_model.batch import Batch
from online_model.decay import DAY_MS
from online_model.embedding import RowInit, RowLookup, Table, occurrences, summed
from online_model.features import BAGS, EMBEDDING, FIELDS, TASKS
from online_model.history import ACTIONS
from online_model.model_settings import ROW_START, SQUARE_HALF_LIFE_D, ModelSettings
from online_model.rows import Rows
from online_model.saved import Saved
from online_model.taken_items import CONTENT, TakenItems

Array = np.ndarray

POSITIVE = ("full_play", "collect", "share")  # tasks of which one says that an item was taken
HEADS = 2  # ways to pool what was taken before: what came just now, and all of it
BEHAVIOURS = 30  # newest ones that are pooled
SPREAD = 0.1  # a row is born within this of zero
CHANGES = 256  # updates that a follower may be behind before it reads all rows again

_ITEM, _ARTIST, _CATEGORY = (FIELDS.index(name) for name in ("item", "artist", "category"))
_FEATURES = BAGS.index("item_features")
_POSITIVE = [TASKS.index(name) for name in POSITIVE]
_MINUTE_S = 60.0
_DECAYS = (2.0, -1.0)  # first powers of time by head, before softplus: what came just now, and nearly all alike
_SQUARE_HALF_LIFE_MS = SQUARE_HALF_LIFE_D * DAY_MS


class Pooling(nn.Module):
    """A moment of a user as one vector: behaviours by attention, a head after another, the rows of the context, a constant part."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.zeros(dim))
        self.action = nn.Parameter(torch.zeros(HEADS, ACTIONS))
        self.decay = nn.Parameter(torch.tensor(_DECAYS))
        self.direction = nn.Parameter(torch.zeros(HEADS, dim))
        self.null = nn.Parameter(torch.zeros(HEADS, 1, 1))
        self.mix = nn.Parameter(torch.eye(dim).repeat(HEADS, 1, 1))

    def forward(self, taken: Tensor, context: Tensor, action: Tensor, age_s: Tensor, there: Tensor) -> Tensor:
        """Behaviours [P, L, D], rows of the context [P, K, D], codes, ages and mask [P, L] -> [P, W], the last of them 1.

        A head's logits are action bias + direction . row - softplus(decay) log(1 + age in minutes); a null logit lets it abstain.
        """
        logits = torch.einsum("hd,pld->hpl", self.direction, taken) + self.action[:, action]
        logits = logits - softplus(self.decay)[:, None, None] * torch.log1p(age_s / _MINUTE_S) / 4
        logits = logits.masked_fill(~there, float("-inf"))
        weights = torch.cat([self.null.expand(-1, len(taken), -1), logits], 2).softmax(2)[:, :, 1:]
        pooled = torch.einsum("hpl,pld,hde->pe", weights, taken, self.mix)
        vector = pooled + context.sum(1) + self.constant
        return torch.cat([vector, vector.new_ones(len(vector), 1)], 1)


@dataclass(slots=True)
class _Moments:
    """What users' vectors are made of."""

    lookup: RowLookup  # of behaviours, then keys of the context
    length: int  # behaviours
    action: Tensor  # int64 [P, L]
    age_s: Tensor  # float32 [P, L]
    there: Tensor  # bool [P, L]


@dataclass(slots=True)
class Pulled:
    """Gradients of a batch, summed over its positive examples."""

    content: Array  # uint64 [P, C], of what was taken
    embeddings: Array  # float32 [P, EMBEDDING], of the same
    queries: RowLookup
    candidates: RowLookup
    by_query: Tensor  # of the rows at their occurrences
    by_candidate: Tensor
    dense: Tensor

    @property
    def check(self) -> Tensor:
        """Finite where all of it is."""
        return self.by_query.sum() + self.by_candidate.sum() + self.dense.norm()


class TwoTower(Saved):
    """Both towers: tables of rows, and what pools them. Keys without a row add nothing."""

    saved = ("flat",)

    def __init__(self, settings: ModelSettings, rows: Callable[[], Rows], device: torch.device) -> None:
        """`rows`: an empty set of rows, bounded as those of the other tables."""
        dim, seed = settings.vector_dim, settings.seed
        self.rate = settings.vector_rate
        self.queries = Table(rows(), dim, RowInit(SPREAD, ROW_START, seed, unborn=False), device=device)
        spread = [*[SPREAD] * dim, 0.0]
        self.candidates = Table(rows(), dim + 1, RowInit(spread, ROW_START, seed, unborn=False), device=device)
        self.pooling = Pooling(dim).to(device)
        self.embedding = nn.Parameter(torch.zeros(EMBEDDING, dim + 1, device=device))  # of an item, into its vector
        self.parameters = [*self.pooling.parameters(), self.embedding]
        self.flat = flattened(self.parameters)
        self.dense = Adam(self.flat, settings.dense_rate, settings.dense_batch, settings.clip_norm)
        self.taken = TakenItems()
        self.changes = 0  # updates of candidates' rows so far
        self._changed: deque[Array] = deque(maxlen=CHANGES)  # keys of each, the last ones

    def pull(self, batch: Batch) -> Pulled | None:
        """What the positive examples of a batch say; changes nothing. None: there is none."""
        labels = batch.labels[: batch.learned] + np.maximum(batch.sign[: batch.learned], 0)
        at = np.flatnonzero(labels[:, _POSITIVE].any(1) & (batch.fields[: batch.learned, _ITEM] != 0))
        if not len(at):
            return None
        content, embeddings = contents(batch, at), batch.embedding[at]
        items, theirs = self.taken.different(content, embeddings)
        correction = self._tensor(np.log(self.taken.inclusion(items[:, 0])).astype(np.float32))
        target = self._tensor(np.searchsorted(items[:, 0], content[:, 0]))
        moments, candidates = self._moments(batch, at, learns=True), self._find(self.candidates, items, learns=True)
        leaves = [moments.lookup.values.requires_grad_(), candidates.values.requires_grad_(), *self.parameters]
        with torch.enable_grad():
            vectors = candidates.values.view(len(items), CONTENT, -1).sum(1) + self._tensor(theirs) @ self.embedding
            loss = cross_entropy(self._query(moments) @ vectors.T - correction, target, reduction="sum")
            by_query, by_candidate, *parts = torch.autograd.grad(loss, leaves)
        return Pulled(
            content, embeddings, moments.lookup, candidates, by_query, by_candidate, torch.cat([part.reshape(-1) for part in parts])
        )

    def learn(self, pulled: Pulled, known: Callable[[Array], Array], now_ms: int) -> dict[str, Array]:
        """One step; keys by table whose rows changed or went. `known`: of keys [U], which may get a row."""
        self.taken.take(pulled.content, pulled.embeddings)
        out = {}
        for name, table, lookup, gradient in (
            ("queries", self.queries, pulled.queries, pulled.by_query),
            ("candidates", self.candidates, pulled.candidates, pulled.by_candidate),
        ):
            keys = lookup.seen.keys
            admitted = (keys != 0) & known(keys)
            lost = table.learn(keys, lookup.rows, admitted, summed(gradient, lookup.seen), now_ms, self.rate, _SQUARE_HALF_LIFE_MS)
            out[name] = np.concatenate([keys[admitted | (lookup.rows != 0)], lost])
        self.dense.take(pulled.dense, len(pulled.content))
        return out

    def query(self, batch: Batch) -> Array:
        """float32 [B, W]: the vectors of the moments of a batch, with 1 behind for the items' constants."""
        with torch.inference_mode():
            return self._query(self._moments(batch, np.arange(len(batch)), learns=False)).numpy(force=True)

    def rows(self, keys: Array) -> tuple[Array, Array]:
        """float32 [N, W] of content keys [N], and which of them have a row; an item's vector is the sum of its content's."""
        found = self.candidates.rows.find(keys)
        return self.candidates.read(keys, found).numpy(force=True), found != 0

    def embedding_map(self) -> Array:
        """float32 [EMBEDDING, W]: what an item's embedding is multiplied by, to be added to its vector."""
        return self.embedding.numpy(force=True).copy()

    def note(self, keys: Array) -> None:
        """Rows of these candidates' keys have changed or went."""
        self.changes += 1
        self._changed.append(keys)

    def changed_since(self, changes: int) -> Array | None:
        """Keys of what has changed since there were so many changes; None: all of it may have."""
        behind = self.changes - changes
        if not 0 <= behind <= len(self._changed):
            return None
        return np.unique(np.concatenate([np.zeros(0, np.uint64), *list(self._changed)[len(self._changed) - behind :]]))

    def _find(self, table: Table, keys: Array, learns: bool) -> RowLookup:
        seen = occurrences(keys.reshape(-1), stable=learns)
        rows = table.rows.find(seen.keys)
        return RowLookup(seen, rows, table.read(seen.keys, rows).index_select(0, self._tensor(seen.inverse)))

    def _moments(self, batch: Batch, at: Array, learns: bool) -> _Moments:
        """Of the rows `at` [P]."""
        half = batch.owner[at] if batch.owner is not None else at % len(batch.history)
        length = min(batch.history.shape[2], BEHAVIOURS)
        taken, action, age_s = (part[half, 0, :length] for part in (batch.history, batch.action, batch.age_s))
        keys = np.concatenate([taken, batch.bags[at, :_FEATURES].reshape(len(at), -1)], 1)
        to = self._tensor
        return _Moments(self._find(self.queries, keys, learns), length, to(action.astype(np.int64)), to(age_s), to(taken != 0))

    def _query(self, moments: _Moments) -> Tensor:
        rows = moments.lookup.values.view(len(moments.there), -1, self.queries.width)
        taken, context = rows[:, : moments.length], rows[:, moments.length :]
        return self.pooling(taken, context, moments.action, moments.age_s, moments.there)

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self.flat.device, non_blocking=True)


def contents(batch: Batch, at: Array) -> Array:
    """uint64 [P, C]: content keys of the items of rows `at` [P]."""
    return np.concatenate([batch.fields[at][:, [_ITEM, _ARTIST, _CATEGORY]], batch.bags[at, _FEATURES]], 1)
