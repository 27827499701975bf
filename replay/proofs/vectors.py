"""What vectors find that co-listening does not: who has played little, and items that few have played.

Two logs of simulated listeners: `films`, thousands of items of many makers that stay for years; `news`, items of categories that are
born all the time and go within days. Before every full play, with all that was learned up to some records before it: is its item among
the first K that vectors retrieve from the catalog, and among the first K by co-listening with the last plays?
"""
from __future__ import annotations

from collections import Counter
from itertools import islice

import msgspec
import numpy as np

from online_model.model_settings import ModelSettings
from replay.proofs.claims import Claim, Figures, claim
from replay.simulator.open_loop import records
from replay.simulator.segue_loop import Segue, SegueSettings
from replay.simulator.world import Domain, World, WorldSettings
from streams.core.join import keys
from streams.core.join.events import Action, Event
from streams.core.join.settings import PartitionSettings
from streams.core.serving.model_view import ModelView
from streams.core.serving.recommend import SlateRequest

K = 100
FEW_PLAYS, FEW_PLAYED = 10, 5  # of the listener, of the item
FULL_RATIO = PartitionSettings().full_play_ratio
GROUPS = ("all", "listeners with under 10 plays", "items with under 5 plays")


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The worlds."""

    records: int = 20_000
    listeners: int = 1_500
    items: int = 3_000
    chunk: int = 64  # records that are asked for before any of them is learned
    every: int = 3  # of the full plays, one in so many becomes a question

    def worlds(self) -> dict[str, WorldSettings]:
        """By name."""
        films = Domain(name="film", sessions=1.0, items=1.0, duration_s=6_000.0, expiring=0.0)
        news = Domain(name="news", sessions=1.0, items=1.0, duration_s=60.0, expiring=0.9)
        return {
            "films": WorldSettings(listeners=self.listeners, items=self.items, domains=(films,), categories=18, born_share=0.05),
            "news": WorldSettings(listeners=self.listeners, items=self.items, domains=(news,), categories=16, born_share=0.8, days=7.0),
        }


def figures(seed: int, sizes: Sizes) -> dict[str, float]:
    """Recall at K of both, by world and group."""
    out = {}
    for name, settings in sizes.worlds().items():
        found = np.array(_found(World(settings, seed), seed, sizes), float)
        for group, mask in zip(GROUPS, (found[:, 2] >= 0, found[:, 2] < FEW_PLAYS, found[:, 3] < FEW_PLAYED), strict=True):
            for column, source in enumerate(("vectors", "co-listening")):
                out[f"{name}, {group}: {source}"] = float(found[mask, column].mean())
    return out


def _found(world: World, seed: int, sizes: Sizes) -> list[tuple[bool, bool, int, int]]:
    """For each question, whether vectors and co-listening have the item; plays of the listener and of the item before it."""
    segue = Segue(world, seed, SegueSettings(model=ModelSettings(seed=seed)))
    of_listener, of_item, full = Counter[str](), Counter[str](), 0
    out = []
    log = records(world, sizes.records, seed)
    while chunk := list(islice(log, sizes.chunk)):
        plays = [record for record in chunk if isinstance(record, Event) and record.action is Action.PLAY]
        for event in plays:
            if (event.played_ms or 0) < FULL_RATIO * (event.duration_ms or 1):
                continue
            full += 1
            if full % sizes.every == 0:
                out.append((*_asked(segue, event), of_listener[event.user_id], of_item[event.item_id]))
        of_listener.update(event.user_id for event in plays)
        of_item.update(event.item_id for event in plays)
        segue.observe(chunk)
    return out


def _asked(segue: Segue, event: Event) -> tuple[bool, bool]:
    scorer, trainer = segue.recommender.scorer, segue.learner.trainer
    request = SlateRequest(user_id=event.user_id, k=1, domain=event.domain, context=event.context)
    model = ModelView(predict=trainer.predict, vectors=trainer.state.towers, version=segue.learner.version)
    user = segue.partition.user(keys.key("user", event.user_id))
    state = scorer.state(request, "question", user, segue.partition.item_counts, model, event.ts, 0)
    item = keys.key("item", event.item_id)
    by_vectors, near = (
        scorer.by_vectors(state),
        (key for key in scorer.nearness(state).best() if key in segue.catalog_index.of_domain(None)),
    )
    return item in islice(by_vectors, K), item in islice(near, K)


def claims(found: Figures) -> list[Claim]:
    """Vectors surely find more where little was played."""
    out = []
    for name in Sizes().worlds():
        for group in GROUPS:
            vectors, near = found[f"{name}, {group}: vectors"], found[f"{name}, {group}: co-listening"]
            out += [claim(f"{name}, {group}: recall@{K} of vectors", vectors), claim("… of co-listening", near)]
            out.append(claim("… more by vectors", vectors - near, low_above=None if group == GROUPS[0] else 0.0))
    return out
