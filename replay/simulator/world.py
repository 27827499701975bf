"""A small world with a known truth: items, and listeners with hidden taste who come and ask for lists.

What a listener feels about an item (v, on the logit scale of every act):

    v = taste_d(t) . item + scene . item + quality                              what a learner should find
      + conformity * (log1p(popularity_i(t)) - its mean over the domain)        what a debiased learner should tell apart
      + curiosity_u * (novelty of the category - 1/2) - satiation * (own recent plays of the item) + mood of the session

taste_d is a rotation of one common taste plus noise, one rotation a domain; the common taste turns slowly and may
switch. popularity_i(t) is the decayed count of the item's plays, collects and shares. How v becomes acts:
`reactions.py`; logs: `open_loop.py`; listeners who react to a recommender: `closed_loop.py`.
Time and seeds are parameters; equal seeds give equal listeners, items, arrivals and noise, whatever is recommended,
so that runs of two recommenders can be compared session by session.
"""
from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from streams.core.join.events import Action, Context, Event
from streams.core.join.items import Item
from streams.core.join.keys import HOUR_MS

DAY_MS = 86_400_000
SCENES = ("night", "commute", "work", "evening")  # of hours 0-5, 6-9, 10-17, 18-23
DEVICES = ("phone", "desktop", "speaker")
BANDS = 6  # values of user.band, a coarse and sometimes wrong hint at taste, and of the item's era
HEARD = 200  # plays of a listener that satiate
RECENT = 20  # plays of a listener that novelty is measured against
CHUNK = 512  # sessions drawn at once
DRAWS = 12  # uniform draws a slot, see reactions.py
CATEGORY_WORTH = 0.5  # standard deviation of the log of what an exposure in a category is worth: books are not songs
_NEVER = np.iinfo(np.int64).max
_COUNTS = {Action.PLAY, Action.COLLECT, Action.SHARE}  # what makes an item popular, as the core counts it


class Domain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of item: its share of sessions and of items, its length (0 = has none, as a live room)."""

    name: str
    sessions: float
    items: float
    duration_s: float
    expiring: float = 0.1  # share of the items that expire


class WorldSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The world. Effects are on the logit scale of an act."""

    start_ms: int = 1_735_689_600_000  # 2025-01-01, UTC
    listeners: int = 400
    items: int = 400
    days: float = 14.0  # over which new items are born and old ones expire
    domains: tuple[Domain, ...] = (
        Domain(name="song", sessions=0.70, items=0.50, duration_s=200.0),
        Domain(name="video", sessions=0.20, items=0.25, duration_s=45.0),
        Domain(name="longform", sessions=0.08, items=0.15, duration_s=1_800.0),
        Domain(name="live", sessions=0.02, items=0.10, duration_s=0.0, expiring=0.3),
    )
    dimensions: int = 8  # of taste
    categories: int = 8  # a domain
    items_per_artist: float = 5.0
    born_share: float = 0.25  # of the items that appear after the start
    slots: int = 10  # a listener looks at
    taste: float = 1.5  # standard deviation of taste . item over listeners
    domain_noise: float = 0.4  # 0 = taste in a domain is the rotated common taste, 1 = has nothing to do with it
    quality: float = 0.4  # standard deviation over items
    scene: float = 0.2  # standard deviation of scene . item
    mood: float = 0.4  # standard deviation over sessions
    conformity: float = 0.15  # slope on log1p of the decayed plays
    popularity_half_life_h: float = 24.0
    curiosity: float = 0.3  # mean over listeners
    satiation: float = 0.15  # an own play just now weighs -satiation
    satiation_half_life_h: float = 24.0
    drift_per_day: float = 0.02  # radians that taste turns
    switch_days: tuple[float, ...] = ()  # at each, `switch_share` of the listeners change taste at once
    switch_share: float = 0.3
    sessions_per_day: float = 5.0  # mean over listeners
    activity: float = 0.8  # standard deviation of log activity: heavy-tailed
    day_swing: float = 0.7  # 0 = same activity at all hours
    attention: float = 0.95  # chance to look at the next slot
    pace: float = 10.0  # listeners get through their lists so many times faster than in life
    skip_bias: float = -0.4
    full_bias: float = 0.0
    collect_bias: float = -3.0
    share_bias: float = -4.5
    dislike_bias: float = -4.4

    def __post_init__(self) -> None:
        if self.listeners < 1 or self.items < len(self.domains) or not self.domains or self.slots < 1:
            raise ValueError(f"need a listener, a slot, a domain and an item a domain; got {self.listeners} listeners, {self.items} items")
        if min(self.pace, self.sessions_per_day, self.days, self.popularity_half_life_h, self.satiation_half_life_h) <= 0:
            raise ValueError("pace, sessions_per_day, days and half-lives must be above 0")
        if not (0 <= self.domain_noise <= 1 and 0 < self.attention <= 1 and 0 <= self.day_swing < 1):
            raise ValueError("domain_noise must be in [0, 1], attention in (0, 1], day_swing in [0, 1)")


@dataclass(slots=True, frozen=True, eq=False)
class Session:
    """A listener comes and asks for one list. `noise` [slots, draws]: the luck of the reaction, drawn beforehand."""

    index: int
    ts: int
    listener: int
    domain: int
    scene: int
    mood: float
    noise: np.ndarray
    context: Context


class World:
    """Items and listeners (fixed by settings and seed), and what listeners have heard so far (moved by `observe`)."""

    def __init__(self, settings: WorldSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        rng = np.random.default_rng([seed, 0])
        self._draw_items(rng)
        self._draw_listeners(rng)
        self._counts = np.zeros(settings.items)  # decayed, at `_since`
        self._since = np.full(settings.items, settings.start_ms, np.int64)
        self._heard: list[deque[tuple[int, int]]] = [deque(maxlen=HEARD) for _ in range(settings.listeners)]

    def _draw_items(self, rng: np.random.Generator) -> None:
        s, n = self.settings, self.settings.items
        shares = np.array([d.items for d in s.domains])
        sizes = np.maximum(1, np.floor(shares / shares.sum() * n)).astype(int)
        sizes[0] += n - sizes.sum()
        self.item_domain = np.repeat(np.arange(len(s.domains)), sizes)
        centres = _units(rng, len(s.domains), s.categories, s.dimensions)
        self.item_category = rng.integers(s.categories, size=n)
        self.item_artist = np.zeros(n, np.int64)
        self.artists = 0
        vectors = np.zeros((n, s.dimensions))
        for d in range(len(s.domains)):
            mine = np.flatnonzero(self.item_domain == d)
            artists = max(1, round(len(mine) / s.items_per_artist))
            home = rng.integers(s.categories, size=artists)  # most of an artist's items are of one category
            offset = _units(rng, artists, s.dimensions)
            artist = rng.integers(artists, size=len(mine))
            at_home = rng.random(len(mine)) < 0.8
            self.item_category[mine] = np.where(at_home, home[artist], self.item_category[mine])
            own = _units(rng, len(mine), s.dimensions)
            vectors[mine] = math.sqrt(0.65) * centres[d, self.item_category[mine]] + math.sqrt(0.2) * offset[artist] + math.sqrt(0.15) * own
            self.item_artist[mine] = self.artists + artist
            self.artists += artists
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self.centres = centres
        self.quality = rng.normal(0.0, s.quality, n)
        born = rng.random(n) < s.born_share
        span = s.days * DAY_MS
        birth = np.where(born, rng.uniform(0, span, n), -rng.uniform(0, 60 * DAY_MS, n))
        life = rng.uniform(DAY_MS, max(2 * DAY_MS, span), n)
        expiring = rng.random(n) < np.array([d.expiring for d in s.domains])[self.item_domain]
        self.born_ms = (s.start_ms + birth).astype(np.int64)
        self.expires_ms = np.full(n, _NEVER)
        self.expires_ms[expiring] = (np.maximum(birth, 0) + life + s.start_ms)[expiring].astype(np.int64)
        typical = np.array([d.duration_s for d in s.domains])[self.item_domain]
        self.duration_ms = (1_000 * typical * rng.lognormal(0.0, 0.3, n)).astype(np.int64)
        self.era = (self.vectors @ _units(rng, BANDS, s.dimensions).T).argmax(axis=1)
        self.monetization = np.round(rng.gamma(2.0, 0.005, n) * self._category_worth()[self.item_domain, self.item_category], 4)
        self.item_ids = [f"{s.domains[d].name}{i:05d}" for i, d in enumerate(self.item_domain)]
        self.index = {item_id: i for i, item_id in enumerate(self.item_ids)}
        self.label = self.item_domain * s.categories + self.item_category  # int64 [items], a number for each category of each domain
        self._of_domain = [np.flatnonzero(self.item_domain == d) for d in range(len(s.domains))]

    def _category_worth(self) -> np.ndarray:
        """What an exposure in a category is worth against one in the others, [domains, categories], mean 1; of no listener's liking.

        From a generator of its own: drawn from the world's, it would have changed all that comes after it.
        """
        s = self.settings
        log_worth = np.random.default_rng([self.seed, 4]).normal(0.0, CATEGORY_WORTH, (len(s.domains), s.categories))
        return np.exp(log_worth - CATEGORY_WORTH**2 / 2)

    def _draw_listeners(self, rng: np.random.Generator) -> None:
        s, n, size = self.settings, self.settings.listeners, self.settings.dimensions
        self.activity = rng.lognormal(0.0, s.activity, n)
        self.activity /= self.activity.sum()
        self.peak_hour = rng.normal(20.0, 4.0, n)
        wanted = np.array([d.sessions for d in s.domains])
        self.domain_shares = rng.dirichlet(6 * wanted / wanted.sum(), n)  # some never come to a small domain
        self.taste = rng.normal(0.0, 1.0, (n, 2 + len(s.switch_days), size))  # now, where drift leads, after each switch
        self.switches = rng.random((n, len(s.switch_days))) < s.switch_share
        self.domain_taste = rng.normal(0.0, 1.0, (n, len(s.domains), size))  # the part a domain does not share
        self.rotation = np.stack([np.linalg.qr(rng.normal(size=(size, size)))[0] for _ in s.domains])
        self.scene_taste = rng.normal(0.0, s.scene, (len(SCENES), len(s.domains), size))
        self.curiosity = rng.gamma(2.0, s.curiosity / 2, n)
        hint = (self.taste[:, 0] @ _units(rng, BANDS, size).T).argmax(axis=1)
        self.band = np.where(rng.random(n) < 0.8, hint, rng.integers(BANDS, size=n))
        self.user_ids = [f"u{i:05d}" for i in range(n)]
        self.listener = {user_id: i for i, user_id in enumerate(self.user_ids)}
        self.domain = {d.name: i for i, d in enumerate(s.domains)}

    def catalog(self) -> list[Item]:
        """All items as catalog records, oldest first."""
        out = []
        for i in np.argsort(self.born_ms, kind="stable").tolist():
            name = self.settings.domains[self.item_domain[i]].name
            expires = int(self.expires_ms[i])
            out.append(
                Item(
                    item_id=self.item_ids[i],
                    domain=name,
                    artist_id=f"artist{self.item_artist[i]:04d}",
                    categories=(self.category(i),),
                    published_ts=int(self.born_ms[i]),
                    expires_ts=expires if expires < _NEVER else None,
                    duration_ms=int(self.duration_ms[i]) or None,
                    monetization=float(self.monetization[i]),
                    features={"era": f"e{self.era[i]}"},
                )
            )
        return out

    def category(self, item: int) -> str:
        """The category's name; categories belong to one domain."""
        return f"{self.settings.domains[self.item_domain[item]].name}-{self.item_category[item]}"

    def available(self, domain: int, ts: int) -> np.ndarray:
        """Indices of the domain's items that are born and not expired."""
        mine = self._of_domain[domain]
        return mine[(self.born_ms[mine] <= ts) & (ts < self.expires_ms[mine])]

    def popularity(self, items: np.ndarray, ts: int) -> np.ndarray:
        """Decayed count of good events (a play, collect or share among its actions) up to ts, [n]."""
        passed = (ts - self._since[items]) / (HOUR_MS * self.settings.popularity_half_life_h)
        return self._counts[items] * np.exp2(-np.maximum(passed, 0.0))

    def taste_at(self, listener: int, domain: int, ts: int) -> np.ndarray:
        """The listener's taste in the domain at ts, [dimensions], in units of standard deviations."""
        s = self.settings
        day = (ts - s.start_ms) / DAY_MS
        row = 0
        for k, when in enumerate(s.switch_days):
            if day >= when and self.switches[listener, k]:
                row = 2 + k
        turned = s.drift_per_day * day
        common = math.cos(turned) * self.taste[listener, row] + math.sin(turned) * self.taste[listener, 1]
        own = self.domain_taste[listener, domain]
        mixed: np.ndarray = math.sqrt(1 - s.domain_noise**2) * (self.rotation[domain] @ common) + s.domain_noise * own
        return mixed

    def utility(self, session: Session, items: np.ndarray, ts: int) -> np.ndarray:
        """What the session's listener feels about the items at ts: v of the module's head, [n]."""
        s, listener, domain = self.settings, session.listener, session.domain
        wish = s.taste * self.taste_at(listener, domain, ts) + self.scene_taste[session.scene, domain]
        v = self.vectors[items] @ wish + self.quality[items] + session.mood
        if s.conformity:
            level = np.log1p(self.popularity(self.available(domain, ts), ts))
            v += s.conformity * (np.log1p(self.popularity(items, ts)) - (level.mean() if len(level) else 0.0))
        heard = self._heard[listener]
        if not heard:
            return v + 0.5 * self.curiosity[listener]
        past = np.array(heard)
        recent = np.bincount(self.label[past[-RECENT:, 0]], minlength=len(s.domains) * s.categories) / min(len(past), RECENT)
        v += self.curiosity[listener] * (0.5 - recent[self.label[items]])
        weight = np.exp2(-np.maximum(ts - past[:, 1], 0) / (HOUR_MS * s.satiation_half_life_h))
        return v - s.satiation * np.bincount(past[:, 0], weight, minlength=s.items)[items]

    def observe(self, event: Event) -> None:
        """Take an event into the item's popularity, and a play into the listener's memory."""
        item, listener = self.index.get(event.item_id), self.listener.get(event.user_id)
        actions = {event.action, *event.also}
        if item is None or _COUNTS.isdisjoint(actions):
            return
        half_life = HOUR_MS * self.settings.popularity_half_life_h
        passed = event.ts - int(self._since[item])
        if passed >= 0:
            self._counts[item] = self._counts[item] * 2.0 ** (-passed / half_life) + 1.0
            self._since[item] = event.ts
        else:
            self._counts[item] += 2.0 ** (passed / half_life)
        if listener is not None and Action.PLAY in actions:
            self._heard[listener].append((item, event.ts))

    def sessions(self, seed: int) -> Iterator[Session]:
        """Arrivals without end, in time order: Poisson, each listener by activity and hour of the day."""
        s = self.settings
        rng = np.random.default_rng([seed, 1])
        by_activity = np.cumsum(self.activity)
        by_domain = np.cumsum(self.domain_shares, axis=1)
        gap = DAY_MS / (s.listeners * s.sessions_per_day * (1 + s.day_swing))
        ts, index = float(s.start_ms), 0
        while True:
            times = ts + np.cumsum(rng.exponential(gap, CHUNK))
            ts = float(times[-1])
            who = np.minimum(np.searchsorted(by_activity, rng.random(CHUNK)), s.listeners - 1)
            hour = times / HOUR_MS % 24
            swing = 1 + s.day_swing * np.cos((hour - self.peak_hour[who]) * (math.pi / 12))
            kept = np.flatnonzero(rng.random(CHUNK) * (1 + s.day_swing) < swing)
            domain = np.minimum((by_domain[who] < rng.random((CHUNK, 1))).sum(axis=1), len(s.domains) - 1)
            scene = np.searchsorted([6, 10, 18], hour, side="right")
            scene = np.where(rng.random(CHUNK) < 0.2, rng.integers(len(SCENES), size=CHUNK), scene)
            device = rng.integers(len(DEVICES), size=CHUNK)
            mood = rng.normal(0.0, s.mood, CHUNK)
            noise = rng.random((CHUNK, s.slots, DRAWS))
            for i in kept.tolist():
                context: Context = {
                    "scene": SCENES[scene[i]],
                    "device": DEVICES[device[i]],
                    "user.band": f"b{self.band[who[i]]}",
                }
                yield Session(
                    index=index,
                    ts=int(times[i]),
                    listener=int(who[i]),
                    domain=int(domain[i]),
                    scene=int(scene[i]),
                    mood=float(mood[i]),
                    noise=noise[i],
                    context=context,
                )
                index += 1


def _units(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random directions: unit vectors along the last axis."""
    x = rng.normal(size=shape)
    out: np.ndarray = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return out
