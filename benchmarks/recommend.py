"""How long a list of 10 out of 200 candidates takes in process, the model included, against the model alone on the same batch."""
from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.figure import Figure
from online_model import devices
from online_model.batch import HALVES, Batch
from online_model.trainer import Prediction
from replay.simulator.closed_loop import ClosedLoop
from replay.simulator.segue_loop import Segue
from replay.simulator.world import World, WorldSettings
from streams.core.join import keys
from streams.core.serving.model_view import ModelView, Predict
from streams.core.serving.recommend import SlateRequest

SESSIONS, LISTS = 600, 500
TWICE = 100  # lists whose candidates are scored with shared parts and without, by turns
MODEL = "the model alone on the same batch, p50"


def measure() -> Iterator[Figure]:
    """Listeners who have heard enough for full histories ask for songs, of which there are 600."""
    devices.use_threads(1)
    world = World(WorldSettings(listeners=40, items=1_200), 0)
    segue = Segue(world, 0)
    loop = ClosedLoop(world, 0, segue, segue.observe)
    loop.run(SESSIONS)
    keenest = [world.user_ids[i] for i in np.argsort(-world.activity)[:20]]
    model: list[float] = []

    def predict(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        began = time.perf_counter()
        prediction = segue.learner.trainer.predict(batch, gamma_user, gamma_item)
        model.append(time.perf_counter() - began)
        return prediction

    def timed(batch: Batch) -> float:
        began = time.perf_counter()
        segue.learner.trainer.predict(batch, 0.0, 0.0)
        return time.perf_counter() - began

    whole: list[float] = []
    busy: list[float] = []  # of the processor: what a list takes where nobody else wants it

    def ask(n: int, predict: Predict) -> None:
        user_id = keenest[n % len(keenest)]
        request = SlateRequest(user_id=user_id, domain="song", context={"scene": "night", "device": "phone"})
        user = segue.partition.user(keys.key("user", user_id))
        segue.recommender.recommend(request, f"{n}", user, segue.partition.item_counts, ModelView(predict=predict), loop.now_ms + 1, 1)

    for n in range(LISTS):
        began, worked = time.perf_counter(), time.thread_time()
        ask(n, predict)
        busy.append(time.thread_time() - worked)
        whole.append(time.perf_counter() - began)
    alone = 1e3 * float(np.percentile(model, 50))
    for share, budget in ((50, "< 10 ms"), (99, "< 25 ms")):
        for of, taken in (("", whole), (", CPU time", busy)):
            ours = 1e3 * float(np.percentile(taken, share))
            what = f"200 candidates to a list of 10{of}, p{share}"
            yield Figure(what=what, unit="ms", ours=ours, baseline=MODEL, theirs=alone, budget=budget)
    pairs: list[tuple[float, float]] = []

    def both(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        each = apart(batch)
        first, second, third, fourth = (timed(b) for b in (batch, each, each, batch))
        pairs.append((first + fourth, second + third))
        return segue.learner.trainer.predict(batch, gamma_user, gamma_item)

    for n in range(TWICE):
        ask(n, both)
    shared, each = np.array(pairs).T / 2
    yield Figure(what="the model on 200 candidates, the user's part once, p50", unit="ms", ours=1e3 * float(np.median(shared)),
                 baseline="the user's part for each candidate", theirs=1e3 * float(np.median(each)))  # fmt: skip


def apart(batch: Batch) -> Batch:
    """Candidates that share a user's half, each with its own."""
    return dataclasses.replace(batch, **{name: np.repeat(getattr(batch, name), len(batch), 0) for name in HALVES})
