"""The learner as one would write it first, to measure the real one against: the same network, given the same.

Features are built row by row in Python, ids numbered by a dict, every id of the log has its row of an `nn.Embedding`, looked up
wherever it occurs, and `torch.optim.Adam` moves all rows at each step. The paths are summed and learn one loss ("Wide & Deep",
1606.07792), where the real learner trains each on its own and blends them.
Shapes: B rows, T tasks, F fields, G bags, L behaviours, N domains, D embedding, W wide ids and pairs of a row.
"""
from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from online_model import id_cross
from online_model.base_rates import BaseRates
from online_model.batch import Batch, Compared
from online_model.decay import DAY_MS
from online_model.features import BAG_LIMIT, BAGS, DOMAIN_LIMIT, EMBEDDING, FIELDS, SCOPES, TASKS, Example, Features, Reversal
from online_model.model_settings import ModelSettings
from online_model.numeric import PLAY_STRENGTH, TASTE_STRENGTH, WIDTH, momentary
from online_model.ranker import Inputs, Ranker
from online_model.wide import PAIRS, NumberWeights

Array = np.ndarray
Number = TypeVar("Number", int, float)

_USER, _ITEM, _DOMAIN = (FIELDS.index(name) for name in ("user", "item", "domain"))
_RECENCY_S = (600.0, 3_600.0, 86_400.0)  # as in numeric.py
_DAY_S = 86_400.0
_POPULARITY = 6  # inputs of its effect, as in popularity_effect.py


@dataclass(slots=True)
class Behaviours:
    """A history, the newest first."""

    items: list[int] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)
    domains: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Row:
    """One exposure."""

    fields: list[int]
    bags: list[list[int]]
    positive: Behaviours
    negative: Behaviours
    related: Behaviours
    domains: list[tuple[int, float]]  # and the exposures there
    counts: list[list[float]]  # [scope][1 + T]
    popularity: list[float]
    age_s: float
    shown_ms: int
    followed: float
    artist_feedback: list[float]
    near: float
    own_plays: list[float]
    play_times: list[float]


def row(f: Features) -> Row:
    """What a record holds, as lists."""
    counts = struct.unpack(f"<{len(f.counts) // 4}f", f.counts)
    each = 1 + len(TASKS)
    return Row(
        fields=_keys(f.fields),
        bags=[_keys(b)[::-1] for b in (f.context, f.user_attributes, f.item_features)],
        positive=_behaviours(f.positive, f.shown_ms),
        negative=_behaviours(f.negative, f.shown_ms),
        related=_behaviours(f.related, f.shown_ms),
        domains=list(struct.iter_unpack("<Qf", f.domains)),
        counts=[list(counts[each * n : each * (n + 1)]) for n in range(len(SCOPES))],
        popularity=list(struct.unpack(f"<{len(f.popularity) // 4}f", f.popularity)),
        age_s=f.age_s,
        shown_ms=f.shown_ms,
        followed=f.followed,
        artist_feedback=list(struct.unpack(f"<{len(f.artist_feedback) // 4}f", f.artist_feedback)),
        near=f.near,
        own_plays=list(struct.unpack(f"<{len(f.own_plays) // 4}f", f.own_plays)),
        play_times=list(struct.unpack(f"<{len(f.play_times) // 4}f", f.play_times)),
    )


def _keys(packed: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(packed) // 8}Q", packed))


def _behaviours(packed: bytes, shown_ms: int) -> Behaviours:
    out = Behaviours()
    for item, ts, domain, action in reversed(list(struct.iter_unpack("<QqQB", packed))):
        out.items.append(item)
        out.actions.append(action)
        out.ages_s.append(max(shown_ms - ts, 0) / 1000)
        out.domains.append(domain)
    return out


def batch(records: Sequence[Example | Reversal], compared: Sequence[Compared] = ()) -> Batch:
    """`batch.of_records`, row by row."""
    rows = [row(r.features) for r in records] + [row(c.features) for c in compared]
    families = [b for r in rows for b in (r.positive, r.negative)]
    history = {name: part.reshape(len(rows), 2, -1) for name, part in _columns(families).items()}
    related = _columns([r.related for r in rows])
    masks = [r.labels if isinstance(r, Example) else 0 for r in records] + [0] * len(compared)
    sign = [[r.sign * (task == r.task) if isinstance(r, Reversal) else 0 for task in range(len(TASKS))] for r in records]
    return Batch(
        fields=np.array([r.fields for r in rows], np.uint64),
        bags=np.array([_padded(r.bags, BAG_LIMIT) for r in rows], np.uint64),
        history=history["items"],
        action=history["actions"],
        age_s=history["ages_s"],
        where=history["domains"],
        related=related["items"],
        related_action=related["actions"],
        related_age_s=related["ages_s"],
        domains=np.array(_padded([[d for d, _ in r.domains[::-1]] for r in rows], DOMAIN_LIMIT), np.uint64),
        domain_exposures=np.array(_padded([[n for _, n in r.domains[::-1]] for r in rows], DOMAIN_LIMIT, 0.0), np.float32),
        counts=np.array([r.counts for r in rows], np.float32),
        popularity=np.array([r.popularity for r in rows], np.float32),
        item_age_s=np.array([r.age_s for r in rows], np.float32),
        followed=np.array([r.followed for r in rows], np.float32),
        artist_feedback=np.array([r.artist_feedback for r in rows], np.float32),
        near=np.array([r.near for r in rows], np.float32),
        own_plays=np.array([r.own_plays for r in rows], np.float32),
        play_times=np.array([r.play_times for r in rows], np.float32),
        embedding=np.zeros((len(rows), EMBEDDING), np.float32),  # the ranker does not see it
        shown_ms=np.array([r.shown_ms for r in rows], np.int64),
        labels=np.array([[mask >> task & 1 for task in range(len(TASKS))] for mask in masks], np.float32),
        sign=np.array(sign + [[0] * len(TASKS)] * len(compared), np.float32),
        is_example=np.array([isinstance(r, Example) for r in records] + [False] * len(compared), np.float32),
        sampling_rate=np.array([r.sampling_rate for r in records] + [1.0] * len(compared), np.float32),
        ids=np.array([r.id for r in records] + [0] * len(compared), np.uint64),
        slate=np.array([-1] * len(records) + [c.slate for c in compared], np.int64),
        tier=np.array([0] * len(records) + [c.tier for c in compared], np.int64),
        foreseen=np.array([isinstance(r, Reversal) or r.predicted for r in records] + [True] * len(compared)),
    )


def _columns(histories: Sequence[Behaviours]) -> dict[str, Array]:
    return {
        "items": np.array(_padded([b.items for b in histories]), np.uint64),
        "actions": np.array(_padded([b.actions for b in histories]), np.uint8),
        "ages_s": np.array(_padded([b.ages_s for b in histories], 0, 0.0), np.float32),
        "domains": np.array(_padded([b.domains for b in histories]), np.uint64),
    }


def log_odds(rate: float) -> float:
    """Of a rate, away from 0 and 1.

    >>> log_odds(0.5)
    0.0
    """
    rate = min(max(rate, 1e-6), 1 - 1e-6)
    return math.log(rate / (1 - rate))


def numbers(r: Row, base: Sequence[float], strength: float) -> list[float]:
    """`numeric.numbers` of one row [M]."""
    lifts, amounts, item = list[float](), list[float](), list[float]()  # the item's own rates, which a taste is set against
    for scope, (exposures, *positives) in zip(SCOPES, r.counts, strict=True):
        priors, drawn = (base, strength) if scope != "user_category" else (item, TASTE_STRENGTH)
        rates = [(max(positive, 0.0) + drawn * prior) / (exposures + drawn) for positive, prior in zip(positives, priors, strict=True)]
        lifts += [min(max(log_odds(rate) - log_odds(prior), -3.0), 3.0) for rate, prior in zip(rates, priors, strict=True)]
        if scope == "item":
            item = rates
        amounts.append(math.log1p(exposures) / 3)
    out = lifts + amounts + [math.log1p(p) / 4 for p in r.popularity]
    out += [float(r.age_s >= 0), math.log1p(max(r.age_s, 0.0) / 3600) / 6]
    families = (r.positive.ages_s, r.negative.ages_s)
    out += [math.log1p(len(ages)) / 2 for ages in families]
    out += [math.log1p(sum(math.exp(-age / span) for age in ages)) for ages in families for span in _RECENCY_S]
    out += [n / (sum(r.play_times) + PLAY_STRENGTH) for n in r.play_times]
    out += [math.log1p(n) for n in r.artist_feedback]
    hour = r.shown_ms % DAY_MS * 2 * math.pi / DAY_MS
    out += [math.log1p(1_000 * r.followed) / 7, math.log1p(1_000 * r.near) / 3]
    plays, decayed, recency, age_s, following = r.own_plays
    out += [math.log1p(plays), math.log1p(decayed), recency, math.log1p(age_s / 3600) / 4, math.log1p(following)]
    out += [float(plays > 0), float(plays > 0 and age_s <= 3600), float(recency == 1)]
    return [*out, math.cos(hour), math.sin(hour)]


def popularity_inputs(r: Row) -> list[float]:
    """`popularity_effect.inputs` of one row, scaled to about 1."""
    p = [math.log1p(max(v, 0.0)) / 4 for v in r.popularity]
    age = math.log1p(max(r.age_s, 0.0) / 3600) / 6 if r.age_s >= 0 else 1.5
    return [*p, p[0] - p[-1], age, math.log1p(r.counts[SCOPES.index("item")][0]) / 4]


class Obvious(nn.Module):
    """Network, tables and optimizer."""

    def __init__(self, settings: ModelSettings, ids: int, wide: int, rate: float) -> None:
        """`ids`, `wide`: how many of each the log has; a table has exactly so many rows."""
        super().__init__()
        self.settings = s = settings
        torch.manual_seed(s.seed)
        self.ranker = Ranker(s)
        self.ids = nn.Embedding(1 + ids, s.embedding_dim, padding_idx=0)
        self.wide = nn.Embedding(1 + wide, len(TASKS), padding_idx=0)
        self.cross = nn.Embedding(1 + ids, id_cross.WIDTH, padding_idx=0)
        self.feed = nn.Embedding(1 + ids, id_cross.FEED, padding_idx=0)
        spread = id_cross.FEED**-0.5
        for table, within in ((self.ids, s.row_spread), (self.wide, 0.0), (self.cross, spread), (self.feed, spread)):
            nn.init.uniform_(table.weight, -within, within)
            with torch.no_grad():
                table.weight[0] = 0
        self.number_weights = nn.Parameter(NumberWeights(0.0, torch.device("cpu")).weights.clone())
        self.effect = nn.Linear(_POPULARITY, len(TASKS), bias=False)
        nn.init.zeros_(self.effect.weight)
        self.lasting = 1 - momentary() if s.causal else torch.ones(WIDTH)
        self.base = BaseRates()
        self.known: dict[int | tuple[int, int], int] = {}  # an id, or a user in a domain -> its row
        self.known_wide: dict[tuple[int, int, int], int] = {}  # an id (pair 0), or a pair by its number
        self.places: dict[int, int] = {}  # domain -> its tower
        self.optimizer = torch.optim.Adam(self.parameters(), lr=rate)

    def step(self, records: Sequence[Example | Reversal], compared: Sequence[Compared], now_ms: int) -> Array:
        """Predict, then learn once; the logits of the records [B, T]."""
        rows = [row(r.features) for r in records] + [row(c.features) for c in compared]
        linear, deep, rank, user = self.paths(rows)
        base = torch.tensor(self.base.logits(), dtype=torch.float32)
        z = (linear + deep + base)[: len(records)]
        labels, weights, signs = np.zeros((len(records), len(TASKS))), np.zeros((len(records), 1)), np.zeros((len(records), len(TASKS)))
        for n, record in enumerate(records):
            if isinstance(record, Reversal):
                signs[n, record.task] = record.sign
            else:
                labels[n] = [record.labels >> task & 1 for task in range(len(TASKS))]
                weights[n] = 1 / record.sampling_rate
        truth, weight, sign = (torch.tensor(part, dtype=torch.float32) for part in (labels, weights, signs))
        own = functional.binary_cross_entropy_with_logits(z, truth, reduction="none")
        if user is not None:
            alone = functional.binary_cross_entropy_with_logits(user[: len(records)] + base, truth, reduction="none")
            own = own + self.settings.user_effect_alone * alone
        loss = (weight * own - sign * z).sum() / len(records)
        if self.settings.pairs:
            loss = loss + self.settings.pairs * self._compare(rank[len(records) :], compared)
        if self.ranker.domains is not None and self.settings.map_penalty:
            loss = loss + self.settings.map_penalty * self.ranker.domains.penalty(len(self.places))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.base.add(sum(isinstance(r, Example) for r in records), (labels + signs).sum(0), now_ms)
        for r in rows:
            if r.fields[_DOMAIN] not in self.places and len(self.places) < self.settings.domain_places - 1:
                self.places[r.fields[_DOMAIN]] = len(self.places)
        return z.detach().numpy()

    def paths(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Logits [B, T] of the linear path with the effects of user and popularity, [B, T] of the deep one, [B] of the rank head,
        [B, T] of the user.
        """
        x = self._inputs(rows)
        scores = self.ranker(x)
        linear = x.numbers @ self.number_weights
        if self.settings.wide:
            wide = [self._wide(r) for r in rows]
            linear = linear + self.wide(torch.tensor(_padded(wide))).sum(1)
        if scores.user is not None:
            linear = linear + scores.user + self.effect(torch.tensor([popularity_inputs(r) for r in rows]))
        return linear, scores.deep, scores.rank, scores.user

    def _compare(self, rank: Tensor, compared: Sequence[Compared]) -> Tensor:
        slates = torch.tensor([c.slate for c in compared])
        tiers = torch.tensor([c.tier for c in compared])
        better, worse = torch.nonzero((slates[:, None] == slates) & (tiers[:, None] > tiers), as_tuple=True)
        return functional.softplus(rank[worse] - rank[better]).mean() if len(better) else torch.zeros(())

    def _id(self, key: int | tuple[int, int]) -> int:
        return self.known.setdefault(key, 1 + len(self.known)) if key else 0

    def _wide(self, r: Row) -> list[int]:
        columns = {name: [r.fields[n]] for n, name in enumerate(FIELDS)} | {name: r.bags[n] for n, name in enumerate(BAGS)}
        found = [(0, a, 0) for keys in columns.values() for a in keys if a]
        found += [(n, a, b) for n, (left, right) in enumerate(PAIRS, 1) for a in columns[left] for b in columns[right] if a and b]
        return [self.known_wide.setdefault(key, 1 + len(self.known_wide)) for key in found]

    def _inputs(self, rows: Sequence[Row]) -> Inputs:
        s, last = self.settings, self.settings.domain_places - 1
        base = self.base.rates().tolist()
        figures = torch.tensor([numbers(r, base, s.count_strength) for r in rows])
        families = [[r.positive for r in rows], [r.negative for r in rows]]
        length = max(1, max(len(b.items) for family in families for b in family))
        items = torch.tensor([_padded([[self._id(k) for k in b.items] for b in family], length) for family in families])  # [A, B, L]
        related = [r.related for r in rows]
        near = torch.tensor([_padded([[self._id(k) for k in b.items] for b in related])])
        bags = [[_padded([[self._id(k) for k in bag]], BAG_LIMIT)[0] for bag in r.bags] for r in rows]
        domain_visits = torch.zeros(len(rows), s.domain_places, 2)
        liked = torch.zeros(len(rows), s.domain_places, length)
        for n, r in enumerate(rows):
            for domain, exposures in r.domains:
                domain_visits[n, self.places.get(domain, last), 0] += exposures
            newest = dict[int, float]()
            for domain, age in zip(r.positive.domains, r.positive.ages_s, strict=True):
                place = self.places.get(domain, last)
                newest[place] = min(age, newest.get(place, age))
            for at, (domain, age) in enumerate(zip(r.positive.domains, r.positive.ages_s, strict=True)):
                place = self.places.get(domain, last)
                liked[n, place, at] = 2.0 ** ((newest[place] - age) / (s.liked_half_life_d * _DAY_S))
        domain_visits[..., 1] = (domain_visits[..., 0] > 0).float()
        domain_visits[..., 0] = torch.log1p(domain_visits[..., 0].clamp(min=0)) / 4
        own = [[self._id((r.fields[_USER], place)) if r.fields[_USER] else 0 for place in range(s.domain_places)] for r in rows]
        history = self.ids(items)
        return Inputs(
            fields=self.ids(torch.tensor([[self._id(k) for k in r.fields] for r in rows])),
            bags=self.ids(torch.tensor(bags)),
            bag_sizes=torch.tensor([[[float(max(1, len(bag)))] for bag in r.bags] for r in rows]),
            history=history,
            action=torch.tensor([_padded([b.actions for b in family], length) for family in families]),
            age_s=torch.tensor([_padded([b.ages_s for b in family], length, 0.0) for family in families]),
            there=items != 0,
            numbers=figures,
            lasting=figures * self.lasting,
            related=self.ids(near),
            related_action=torch.tensor([_padded([b.actions for b in related])]),
            related_age_s=torch.tensor([_padded([b.ages_s for b in related], 0, 0.0)]),
            related_there=near != 0,
            cross=self.cross(torch.tensor([self._id(r.fields[_ITEM]) for r in rows])),
            feed=self.feed(items[0]),
            own=self.ids(torch.tensor(own)),
            liked=torch.matmul(liked / liked.sum(2, keepdim=True).clamp(min=1), history[0].detach()),
            domain_visits=domain_visits,
            target=torch.tensor([self.places.get(r.fields[_DOMAIN], last) for r in rows]),
            owner=None,
            first=None,
            whole=len(rows),
        )


class PlainDIN(nn.Module):
    """The "Deep Interest Network" (1706.06978) for one task and the last 20 positives of a user, as an afternoon's work.

    Ids are numbered before any clock runs; histories are kept here, row by row.
    """

    def __init__(self, ids: int, dim: int = 16, length: int = 20) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.ids = nn.Embedding(ids, dim, padding_idx=0)
        nn.init.normal_(self.ids.weight, std=0.01)
        self.attention = nn.Sequential(nn.Linear(4 * dim, 32), nn.ReLU(), nn.Linear(32, 1))
        self.head = nn.Sequential(nn.Linear(dim * (len(FIELDS) + 1), 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
        self.optimizer = torch.optim.Adagrad(self.parameters(), 2e-2)
        self.past = np.zeros((ids, length), np.int64)

    def step(self, fields: Array, labels: Array) -> Array:
        """Ids int64 [B, F], labels float32 [B] -> logits [B] as before the step."""
        history = torch.from_numpy(self.past[fields[:, _USER]])
        rows, keys = self.ids(torch.from_numpy(fields)), self.ids(history)
        query = rows[:, _ITEM, None].expand_as(keys)
        score = self.attention(torch.cat([query, keys, query - keys, query * keys], 2)).squeeze(2)
        weights = torch.softmax(score.masked_fill(history == 0, -1e9), 1) * (history != 0)
        z = self.head(torch.cat([rows.flatten(1), (weights[..., None] * keys).sum(1)], 1)).squeeze(1)
        self.optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(z, torch.from_numpy(labels)).backward()
        self.optimizer.step()
        for user, item, label in zip(fields[:, _USER], fields[:, _ITEM], labels, strict=True):
            if label:
                self.past[user, :-1] = self.past[user, 1:]
                self.past[user, -1] = item
        return z.detach().numpy()


def _padded(lists: Sequence[list[Number]], length: int = 0, nothing: Number = 0) -> list[list[Number]]:
    """To the longest, or to `length`."""
    length = length or max(1, max(len(one) for one in lists))
    return [one + [nothing] * (length - len(one)) for one in lists]
