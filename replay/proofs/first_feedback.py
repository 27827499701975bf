"""What the first acts of a listener teach: of whom a dislike speaks, of whom a collect, and how soon a rare taste is found.

Segue learns the log of a world in which listeners dislike. Then strangers come, and some whom it knows. One dislikes or collects a song;
or dislikes five and collects five of one category, by different artists. Measured is how the scores that they would be served by
move, at one moment and with all else equal, of songs that they have not heard: of the act's artist, and of other artists in the same
category. In the world's truth a song is nearer to those of its artist than to others of its category.
And fans come, each of whom plays four of five songs of a category that nobody else likes. After 40 exposures their top 20 should have
it where the world's own order has it.
Shapes: N songs, T tasks.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import msgspec
import numpy as np

from online_model.features import TASKS
from online_model.model_settings import ModelSettings
from replay.proofs.claims import Claim, Figures, claim
from replay.proofs.small_world import Array, auc
from replay.simulator.open_loop import records
from replay.simulator.reactions import act_probabilities, event, exposure, react
from replay.simulator.segue_loop import Segue, SegueSettings
from replay.simulator.world import DRAWS, SCENES, Domain, Session, World, WorldSettings
from streams.core.join import keys
from streams.core.join.events import Action, Context, Event, ExposedItem, Exposure, Tick
from streams.core.learning.learn import LearnerSettings
from streams.core.serving.model_view import ModelView
from streams.core.serving.recommend import RANKED, SlateRequest

MINUTE_MS = 60_000
TOP = 20
_FULL_PLAY = TASKS.index("full_play")
SONGS = (Domain(name="song", sessions=1.0, items=1.0, duration_s=200.0, expiring=0.0),)
FEEDBACK = {"dislike": (Action.SKIP, Action.DISLIKE), "collect": (Action.PLAY, Action.COLLECT)}


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The world, what is learned of it, and who comes then."""

    records: int = 4_000
    listeners: int = 150
    songs: int = 240
    categories: int = 6
    songs_per_artist: float = 8.0
    skip_bias: float = 0.5  # P(skip) = .62 at utility 0
    dislike_bias: float = -1.5  # of what is skipped, a sixth is disliked
    probes: int = 6  # acts of each kind, of strangers and of the known
    fans: int = 4
    aversion: float = 2.0  # of all others to the rare category, against a standard deviation of taste of 1
    fan_utility: float = 1.9  # of a song of the rare category: P(play) = .8
    visits: int = 4  # of a fan, of ten songs each


class _Market:
    """A world, Segue that has learned its log, and the time."""

    def __init__(self, seed: int, sizes: Sizes, model: ModelSettings) -> None:
        settings = WorldSettings(
            listeners=sizes.listeners + sizes.fans, items=sizes.songs, domains=SONGS, categories=sizes.categories,
            items_per_artist=sizes.songs_per_artist, born_share=0.0, domain_noise=0.0, drift_per_day=0.0,
            skip_bias=sizes.skip_bias, dislike_bias=sizes.dislike_bias,
        )  # fmt: skip
        self.world = world = World(settings, seed)
        self.rng = np.random.default_rng([seed, 5])
        self.rare = _plant(world, sizes)
        learner = LearnerSettings(micro_batch_span_ms=10 * MINUTE_MS)  # in which some five listeners come
        self.segue = Segue(world, seed, SegueSettings(model=model, learner=learner))
        self.heard: list[set[int]] = [set() for _ in range(settings.listeners)]
        self.now_ms = settings.start_ms
        log = records(world, sizes.records, seed)
        while chunk := list(islice(log, 256)):
            self.segue.observe(chunk)
            self.now_ms = chunk[-1].ts
            for record in chunk:
                exposed = [slot.item_id for slot in record.slots] if isinstance(record, Exposure) else [record.item_id]
                self.heard[world.listener[record.user_id]].update(world.index[item_id] for item_id in exposed)
        self.now_ms += 20 * MINUTE_MS
        self.segue.observe([Tick(ts=self.now_ms)])
        self._items = [keys.key("item", item_id) for item_id in world.item_ids]
        self._count = 0

    def context(self, band: int) -> Context:
        """Of a request."""
        return {"scene": SCENES[0], "device": "phone", "user.band": f"b{band}"}

    def scores(self, user_id: str, ts: int, context: Context) -> tuple[Array, Array]:
        """What all songs would be ordered by for a user [N], and their logits [N, T]."""
        segue = self.segue
        scorer = segue.recommender.scorer
        request = SlateRequest(user_id=user_id, k=10, domain=SONGS[0].name, context=context)
        model = ModelView(predict=segue.learner.trainer.predict, version=segue.learner.version)
        user = segue.partition.user(keys.key("user", user_id))
        state = scorer.state(request, "probe", user, segue.partition.item_counts, model, ts, 0)
        scored = scorer.score(self._items, state, scorer.fusion(request, scorer.settings.ranking(RANKED)), lambda _: None)
        if (found := scored.model) is None:
            raise ValueError("nothing was learned of the log")
        return np.array([scored.score[key] for key in self._items]), found.prediction.logits[[found.row[key] for key in self._items]]

    def receive(self, user_id: str, songs: Iterable[tuple[int, str]], context: Context) -> tuple[Array, Array]:
        """Show songs one by one, each received as FEEDBACK has it; how scores [N] and logits [N, T] move, time aside."""
        world, start, exposed = self.world, self.now_ms, list[Event | Exposure]()
        for song, what in songs:
            self._count += 1
            first, also = FEEDBACK[what]
            name, item, length = f"p{self._count}", world.item_ids[song], int(world.duration_ms[song])
            slots = (ExposedItem(item_id=item, position=0),)
            exposed.append(Exposure(ts=start, user_id=user_id, request_id=name, slots=slots, domain=SONGS[0].name, context=context))
            exposed.append(
                Event(
                    ts=start + 20_000,
                    user_id=user_id,
                    item_id=item,
                    action=first,
                    also=(also,),
                    event_id=name,
                    request_id=name,
                    domain=SONGS[0].name,
                    duration_ms=length,
                    played_ms=length if first is Action.PLAY else 2_000,
                )  # fmt: skip
            )
            start += MINUTE_MS
        self.now_ms = start + 20 * MINUTE_MS  # past the join window, in which a slate is compared
        before, logits = self.scores(user_id, self.now_ms, context)
        self.segue.observe([*exposed, Tick(ts=self.now_ms)])
        after, moved = self.scores(user_id, self.now_ms, context)
        return after - before, moved - logits


def _plant(world: World, sizes: Sizes) -> int:
    """Turn listeners away from the category with the most songs, and the last of them into its fans, who stay away for now."""
    rare = int(np.bincount(world.item_category, minlength=sizes.categories).argmax())
    towards = world.rotation[0].T @ world.centres[0, rare]
    world.taste -= sizes.aversion * towards
    inside = world.vectors[world.item_category == rare] @ world.centres[0, rare]
    world.taste[-sizes.fans :] = sizes.fan_utility / (world.settings.taste * inside.mean()) * towards
    world.activity[-sizes.fans :] = 0
    world.activity /= world.activity.sum()
    return rare


def figures(seed: int, sizes: Sizes, model: ModelSettings | None = None) -> dict[str, float]:
    """Of one world."""
    market = _Market(seed, sizes, model or ModelSettings(seed=seed))
    return {**_one_act(market, sizes), **_ten_acts(market, sizes), **_fans(market, sizes)}


def _one_act(market: _Market, sizes: Sizes) -> dict[str, float]:
    """By act and whose: the mean move of the artist's unheard songs, and of other artists' in its category."""
    world, rng, out = market.world, market.rng, dict[str, float]()
    active = np.flatnonzero(world.activity > 0)
    for who in ("stranger", "known"):
        for what in FEEDBACK:
            moves = list[tuple[float, float]]()
            while len(moves) < sizes.probes:
                listener = int(rng.choice(active))
                user_id = f"{who}-{what}-{len(moves)}" if who == "stranger" else world.user_ids[listener]
                heard = market.heard[listener] if who == "known" else set[int]()
                found = _songs(world, rng, heard)
                if found is None:
                    continue
                song, artist, others = found
                score, _ = market.receive(user_id, [(song, what)], market.context(int(world.band[listener])))
                heard.add(song)
                moves.append((float(score[artist].mean()), float(score[others].mean())))
            mean = np.mean(moves, axis=0)
            out |= {f"{who} {what} artist": float(mean[0]), f"{who} {what} others": float(mean[1])}
    return out


def _songs(world: World, rng: np.random.Generator, heard: set[int]) -> tuple[int, Array, Array] | None:
    """An unheard song; unheard others of its artist in its category, and of other artists there. None where there are none."""
    fresh = np.setdiff1d(np.arange(len(world.item_ids)), np.fromiter(heard, np.int64))
    if not len(fresh):
        return None
    song = int(rng.choice(fresh))
    near = fresh[(world.item_category[fresh] == world.item_category[song]) & (fresh != song)]
    same = world.item_artist[near] == world.item_artist[song]
    return (song, near[same], near[~same]) if same.any() and not same.all() else None


def _ten_acts(market: _Market, sizes: Sizes) -> dict[str, float]:
    """Of strangers: mean moves of unheard songs, by artists who were disliked, collected, or neither."""
    world, rng, moves = market.world, market.rng, []
    for n in range(sizes.probes):
        mine, artists = _category(world, rng)
        disliked, collected = artists[:2], artists[2:4]
        plan = [
            (song, what)
            for what, of in (("dislike", disliked), ("collect", collected))
            for song in _spread([mine[world.item_artist[mine] == artist] for artist in of], 5)
        ]
        order = rng.permutation(len(plan))
        score, _ = market.receive(f"ten-{n}", [plan[i] for i in order], market.context(int(rng.integers(6))))
        unheard = np.setdiff1d(mine, [song for song, _ in plan])
        by = world.item_artist[unheard]
        groups = (np.isin(by, disliked), np.isin(by, collected), ~np.isin(by, artists[:4]))
        moves.append([score[unheard[group]].mean() for group in groups])
    mean = np.mean(moves, axis=0)
    return {f"ten {name}": float(value) for name, value in zip(("disliked", "collected", "untouched"), mean, strict=True)}


def _category(world: World, rng: np.random.Generator) -> tuple[Array, Array]:
    """A category in which four artists have four songs each at least: its songs, and those artists in any order."""
    for category in rng.permutation(world.settings.categories).tolist():
        mine = np.flatnonzero(world.item_category == category)
        artists, songs = np.unique(world.item_artist[mine], return_counts=True)
        if (songs >= 4).sum() >= 4:
            return mine, rng.permutation(artists[songs >= 4])
    raise ValueError("no category has four artists of four songs")


def _spread(of: Sequence[Array], n: int) -> list[int]:
    """n songs of two artists, in turn, each artist keeping one at least."""
    return [int(of[i % len(of)][i // len(of)]) for i in range(n)]


def _fans(market: _Market, sizes: Sizes) -> dict[str, float]:
    """Share of the rare category in the top 20 and AUC of full plays, by the world's own chances: before and after the visits."""
    world, out = market.world, list[list[float]]()
    for listener in range(world.settings.listeners - sizes.fans, world.settings.listeners):
        songs, played = market.rng.permutation(len(world.item_ids)), list[bool]()
        before = _found(market, _session(market, listener))
        for visit in range(sizes.visits):
            played += _visit(market, _session(market, listener), songs[10 * visit : 10 * visit + 10].tolist())
        out.append([*before, *_found(market, _session(market, listener)), len(played), float(np.mean(played))])
    names = [f"{name} {when}" for when in ("before", "after") for name in ("top", "truth", "AUC")]
    return {f"fan {name}": float(value) for name, value in zip([*names, "exposed", "played"], np.mean(out, axis=0), strict=True)}


def _session(market: _Market, listener: int) -> Session:
    """Half an hour later the listener comes, in no mood, and looks at the whole slate."""
    world = market.world
    market.now_ms += 30 * MINUTE_MS
    market.segue.observe([Tick(ts=market.now_ms)])
    noise = market.rng.random((world.settings.slots, DRAWS))
    noise[:, 0] = 0.0
    return Session(0, market.now_ms, listener, 0, 0, 0.0, noise, market.context(int(world.band[listener])))


def _found(market: _Market, session: Session) -> tuple[float, float, float]:
    """Share of the rare category in the listener's top 20, the same by the world's truth, and AUC of full plays."""
    world = market.world
    rare, songs = world.item_category == market.rare, np.arange(len(world.item_ids))
    score, logits = market.scores(world.user_ids[session.listener], session.ts, session.context)
    v = world.utility(session, songs, session.ts)
    top, truth = (float(rare[np.argsort(-order)[:TOP]].mean()) for order in (score, v))
    return top, truth, auc(logits[:, _FULL_PLAY], act_probabilities(world.settings, v).full)


def _visit(market: _Market, session: Session, songs: list[int]) -> list[bool]:
    """A slate and what the listener does at once; of each song of the rare category, whether it was played."""
    world, name = market.world, f"{session.listener}-{session.ts}"
    slate = [ExposedItem(item_id=world.item_ids[song], position=n) for n, song in enumerate(songs)]
    reactions = [each for each in react(world, session, songs, session.ts) if each.ts < session.ts + 25 * MINUTE_MS]
    events = [event(world, session, reaction, f"{name}-{n}", name) for n, reaction in enumerate(reactions)]
    market.segue.observe([exposure(world, session, slate, name), *events])
    for each in events:
        world.observe(each)
    first = [reaction for reaction in reactions if reaction.played_ms is not None]
    return [reaction.action is Action.PLAY for reaction in first if world.item_category[reaction.item] == market.rare]


def claims(found: Figures) -> list[Claim]:
    """Both acts by whose they are of, their ten together, and what becomes of the rare taste."""
    out = list[Claim]()
    for who in ("stranger", "known"):
        fell, rose = found[f"{who} dislike others"] - found[f"{who} dislike artist"], found[f"{who} collect artist"]
        out.append(claim(f"{who}, a dislike: further fall of the artist's songs than of the category's", fell, low_above=0.0))
        out.append(claim(f"{who}, a collect: rise of the artist's songs", rose, low_above=0.0))
        out.append(claim(f"{who}, a collect: further rise than of the category's", rose - found[f"{who} collect others"], low_above=0.0))
    disliked, collected, untouched = (found[f"ten {name}"] for name in ("disliked", "collected", "untouched"))
    out.append(claim("five of each: fall of disliked artists' songs below untouched ones'", untouched - disliked, low_above=0.0))
    out.append(claim("five of each: rise of collected artists' songs above untouched ones'", collected - untouched, low_above=0.0))
    out.append(claim("rare taste: its share of the top 20 after 40 exposures", found["fan top after"], 0.6))
    out.append(claim("rare taste: AUC of full plays within the listener, then", found["fan AUC after"], low_above=0.5))
    return [*out, *(claim(name, values) for name, values in found.items())]
