"""A linear mix of what a page of code knows of the next play: softmax over candidates, learned online; the yardstick of a whole list.

Candidates are the best of recent successors, neighbouring sessions, the user's own plays and predecessors; each has ten features, brought
to mean 0 and variance 1 by fading means; weights follow the gradient of log softmax with a step of Adagrad (Duchi et al., JMLR 2011).
Features of neighbours: `sessions.py`. It is no part of the system: `next_play.py` alone uses it.
"""
from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np

from replay.evidence.sessions import PAST, Array, Scores, Sessions, linked

OF_SUCCESSORS, OF_NEIGHBOURS, OF_OWN, OF_PREDECESSORS = 120, 200, 60, 30  # candidates
OWN_PLAYS = 300  # last plays of the user that are read
LAST_PREDECESSORS = 5
RATE, FADES, LEAST_VARIANCE = 0.3, 0.01, 0.01
FEATURES = (
    "last successors", "recent successors", "neighbours", "predecessors", "own plays", "own recency", "own", "plays", "in this session",
    "the last item",
)  # fmt: skip


class Question(NamedTuple):
    """What was known just before a play."""

    recent: Array  # items, the best first: successors of the last ones,
    neighbours: Array  # of neighbouring sessions,
    mixed: Array  # and of the mix
    items: Array  # candidates of the mix [N],
    features: Array  # as they are mixed [N, FEATURES]


class LinearMix:
    """Learns which of its candidates is played next."""

    def __init__(self, sessions: Sessions, k: int) -> None:
        """`k`: items of each order."""
        self._sessions, self._k = sessions, k
        self._weights, self._square = np.zeros(len(FEATURES)), np.ones(len(FEATURES))
        self._weights[1:3] = 1.0  # before anything is learned: by successors and neighbours
        self._mean, self._variance, self._seen = np.zeros(len(FEATURES)), np.ones(len(FEATURES)), 0

    def ask(self, session: Hashable, user: str, domain: str | None) -> Question:
        """The orders just before a play of a user in a session that has begun."""
        known = self._sessions
        last = known.current(session)
        one, recent, before = (
            scores.among(known.of_domain(scores.items, domain))
            for scores in (
                linked(known.successors, last[:1]), linked(known.successors, last[:PAST]),
                linked(known.predecessors, last[:LAST_PREDECESSORS]),
            )
        )  # fmt: skip
        near = known.neighbours(session, domain)
        own = np.array(known.histories[user][: -OWN_PLAYS - 1 : -1], np.int64)  # the newest first
        own_items, ages, counts = np.unique(own, return_index=True, return_counts=True)
        allowed = known.of_domain(own_items, domain)
        count, since = Scores(own_items, counts.astype(float)).among(allowed), Scores(own_items, 1.0 / (1 + ages)).among(allowed)
        items = np.unique(
            np.concatenate([recent.best(OF_SUCCESSORS), near.best(OF_NEIGHBOURS), since.best(OF_OWN), before.best(OF_PREDECESSORS)])
        )
        total = near.values.sum() or 1.0
        own_count = count.of(items)
        raw = np.stack(
            [
                np.log(1e-4 + one.of(items)), np.log(1e-4 + recent.of(items)), np.log(1e-5 + near.of(items) / total),
                np.log(1e-4 + before.of(items)), np.log1p(own_count), since.of(items), own_count > 0,
                np.log1p(np.frombuffer(known.plays, np.int64)[items]), np.isin(items, last), items == last[0],
            ],
            1,
        )  # fmt: skip
        features = self._scaled(raw)
        mixed = items[np.argsort(-(features @ self._weights), kind="stable")[: self._k]]
        return Question(recent.best(self._k), near.best(self._k), mixed, items, features)

    def _scaled(self, raw: Array) -> Array:
        """Features [N, FEATURES] by the fading means, which have seen them then."""
        if len(raw):
            self._seen += 1
            rate = max(FADES, 1 / self._seen)
            self._mean += rate * (raw.mean(0) - self._mean)
            self._variance += rate * (raw.var(0) + LEAST_VARIANCE - self._variance)
        return (raw - self._mean) / np.sqrt(self._variance)

    def learn(self, question: Question, item: int | None) -> None:
        """The number of what was played then; says nothing where it was no candidate."""
        right = np.flatnonzero(question.items == item)
        if not len(right):
            return
        scores = question.features @ self._weights
        chances = np.exp(scores - scores.max())
        gradient = chances / chances.sum() @ question.features - question.features[right[0]]
        self._square += gradient**2
        self._weights -= RATE * gradient / np.sqrt(self._square)
