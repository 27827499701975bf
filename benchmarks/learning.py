"""Examples a second that the learner predicts and learns, against the same network as one would write it first, against itself with
each measure of speed off, and what each block costs.

The sides take turns on the same pieces of one log, so that a busy machine is busy for all; a figure is the median over the pieces,
of CPU time on one thread where nothing else is said. An example costs its features, its prediction, its step, and its being
compared with its list once that has closed.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import torch

from benchmarks import obvious
from benchmarks.figure import Figure
from benchmarks.slower import EveryOccurrence, Unflattened, everywhere, own_halves, unfolded
from online_model import behaviour_attention, devices
from online_model.batch import Batch, Compared, of_records
from online_model.cin import CIN
from online_model.features import TASKS, Closed, Example, Reversal
from online_model.model_settings import ModelSettings, linear
from online_model.tally import Tally, scored
from online_model.trainer import Trainer
from online_model.wide import PairKeys
from replay.simulator.open_loop import simulate_log
from replay.simulator.world import World, WorldSettings
from streams.core.join.catalog import Catalog
from streams.core.join.decode import decode
from streams.core.join.events import Rejected
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import COMPARED
from streams.core.learning.pair_buffer import PairBuffer
from streams.core.state.tables import Tables

Array = np.ndarray

EVENTS = 20_000  # of the log: some 21,000 examples
BATCH, SMALL, LARGE = 64, 8, 256  # examples a step; the last is what the learner takes at once after its first 32,768
PIECE = 16  # steps of a turn; of small ones as many examples
FROM = 2 / 5  # of the log is left out where only speed is asked: histories fill up first
PIECES = 6  # where only speed is asked; the first is not counted
RATES = (1e-3, 3e-3, 1e-2)  # of the obvious version's Adam; it is judged by the best
CATALOG = (100_000, 1_000_000)  # ids and pairs that its tables have room for: their sizes must be known before the log is
TRIED = 60  # steps that each rate is tried on
LIGHT = linear(ModelSettings())
ATTENDING = ModelSettings(cin=False, related=False, id_cross=False, cross_domain=False, causal=False, pairs=0.0)
BLOCKS: dict[str, dict[str, bool | float]] = {
    "attention": {"attention": False}, "CIN": {"cin": False}, "related behaviours": {"related": False}, "ID-Cross": {"id_cross": False},
    "cross-domain towers": {"cross_domain": False}, "causal part": {"causal": False},
    "gates": {"gates": False}, "Platt": {"platt": False}, "linear ids and pairs": {"wide": False},
    "comparing lists": {"pairs": 0.0},
}  # fmt: skip


@dataclass(slots=True)
class Step:
    """What one step learns, as `streams.core.learning.learn` would hand it over."""

    records: list[Example | Reversal]
    compared: list[Compared]
    now_ms: int


def steps(events: int, size: int, seed: int = 1) -> list[Step]:
    """The simulator's log through a partition, in steps of so many examples."""
    catalog = Catalog()
    for item in World(WorldSettings(), seed).catalog():
        catalog.put(item)
    partition = Partition(PartitionSettings(), Tables.over(), catalog)
    lines = enumerate(simulate_log(WorldSettings(), events, seed))
    arrived = [Arrived(n, i, r.ts, r, f"{n}-{i}") for n, line in lines for i, r in enumerate(decode(line)) if not isinstance(r, Rejected)]
    lists, open_, out = PairBuffer(COMPARED * 100), list[Example | Reversal](), list[Step]()
    for record in (o.record for o in partition.apply(arrived).examples):
        if isinstance(record, Closed):
            lists.close(record)
        elif isinstance(record, Example | Reversal):
            open_.append(record)
            if isinstance(record, Example):
                lists.put(record.id, record.features)
            if len(open_) == size:
                out.append(Step(open_, lists.take(COMPARED), record.ts))
                open_ = []
    return out


@dataclass(slots=True)
class Side:
    """One that takes its turns: `learn` gives the logits [B, T] of a step's records, calibrated, as before it."""

    learn: Callable[[Step], Array]
    rates: list[float] = field(default_factory=list)  # examples a second of CPU time, a piece
    walls: list[float] = field(default_factory=list)  # … of the clock on the wall
    tally: Tally = field(default_factory=lambda: Tally.empty(len(TASKS)))

    @property
    def rate(self) -> float:
        """Examples a second of CPU time, of the median piece; the first is not counted."""
        return median(self.rates[1:])

    @property
    def wall(self) -> float:
        """Examples a second of the clock on the wall, likewise."""
        return median(self.walls[1:])


def take_turns(sides: Sequence[Side], pieces: Sequence[Sequence[Step]]) -> None:
    """Every side learns every piece, one after the other."""
    for piece in pieces:
        n = sum(len(step.records) for step in piece)
        for side in sides:
            wall, cpu = time.perf_counter(), time.process_time()
            logits = [side.learn(step) for step in piece]
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            side.rates.append(n / cpu)
            side.walls.append(n / wall)
            for z, step in zip(logits, piece, strict=True):
                _score(side.tally, z, step)


def _score(tally: Tally, z: Array, step: Step) -> None:
    """Add the examples of a step to the tally, by the logits [B, T] of its records."""
    at = [n for n, r in enumerate(step.records) if isinstance(r, Example)]
    labels = np.array([[r.labels >> task & 1 for task in range(len(TASKS))] for r in step.records if isinstance(r, Example)])
    if at:
        tally.add(scored(z[at], 1 / (1 + np.exp(-z[at])), labels))


def pieces(of: Sequence[Step], size: int) -> list[Sequence[Step]]:
    """Whole ones."""
    return [of[at : at + size] for at in range(0, len(of) - size + 1, size)]


# --- the sides
def ours(settings: ModelSettings | None = None, of: type[Trainer] = Trainer, batch: Callable[..., Batch] = of_records) -> Side:
    """The trainer, by its settings."""
    return _side(of(settings or ModelSettings()), batch)


def _side(trainer: Trainer, batch: Callable[..., Batch] = of_records) -> Side:
    compares = trainer.settings.pairs > 0

    def learn(step: Step) -> Array:
        report = trainer.step(batch(step.records, step.compared if compares else ()), step.now_ms)
        p = report.probabilities[: len(step.records)].astype(np.float64)
        out: Array = np.log(p) - np.log1p(-p)
        return out

    return Side(learn)


def theirs(ids: int, wide: int, rate: float) -> Side:
    """The obvious version, with tables of these sizes."""
    net = obvious.Obvious(ModelSettings(), ids, wide, rate)
    return Side(lambda step: net.step(step.records, step.compared, step.now_ms))


def vocabulary(of: Sequence[Step]) -> tuple[int, int]:
    """How many ids, users' rows a domain among them, and how many ids and pairs of the linear path there are."""
    ids, wide, users = set[int](), set[int](), set[int]()
    pairs = PairKeys()
    for step in of:
        batch = of_records(step.records, step.compared)
        columns = np.concatenate([batch.fields, batch.bags.reshape(len(batch), -1)], 1)
        ids.update(np.unique(np.concatenate([columns.ravel(), batch.history.ravel(), batch.related.ravel()])).tolist())
        users.update(batch.fields[:, 0].tolist())
        wide.update(np.unique(pairs(columns)).tolist())
    return len(ids) + len(users) * ModelSettings().domain_places, len(wide)


def with_other(target: Any, name: str, other: Callable[..., Any]) -> Side:
    """Ours, with another function in the place of that one."""
    side = ours()

    def learn(step: Step) -> Array:
        with patch.object(target, name, other):
            return side.learn(step)

    return Side(learn)


def measure() -> Iterator[Figure]:
    """All on the CPU; then what a GPU does, where there is one."""
    devices.use_threads(1)
    log, whole = steps(EVENTS, BATCH), steps(EVENTS, LARGE)
    yield from against_obvious(log, BATCH)
    yield from against_obvious(whole, LARGE)
    yield from blocks(log[int(FROM * len(log)) :])
    yield from measures(log[int(FROM * len(log)) :])
    yield from light(whole[int(FROM * len(log) * BATCH / LARGE) :])
    small = steps(EVENTS // 4, SMALL)
    yield from dense_steps(small[int(FROM * len(small)) :])
    if torch.cuda.is_available():
        yield from cuda(log[int(FROM * len(log)) :])


def against_obvious(log: Sequence[Step], size: int) -> Iterator[Figure]:
    """One pass over the log in steps of this size, both from nothing. A learner's steps grow to the larger size by themselves."""
    sizes, piece = vocabulary(log), max(1, PIECE * BATCH // size)
    tried = [theirs(*sizes, rate) for rate in RATES]
    take_turns(tried, [log[: TRIED * BATCH // size]])
    rate = RATES[int(np.argmin([np.nansum([t.logloss for t in side.tally.read()]) for side in tried]))]
    described = f"the same network as written first, Adam {rate:g}, {'{:,} ids, {:,} pairs'.format(*sizes)}"
    real, first = ours(), theirs(*sizes, rate)
    take_turns([real, first], pieces(log, piece))
    yield Figure(what=f"learned and predicted, every block on, {size} a step", unit="examples/s", ours=real.rate, baseline=described,
                 theirs=first.rate, budget=">= 3; >= 6,000 examples/s")  # fmt: skip
    yield Figure(what="… by the wall clock", unit="examples/s", ours=real.wall, baseline=described, theirs=first.wall)
    again, large = ours(), theirs(*CATALOG, rate)
    take_turns([again, large], pieces(log, piece)[:PIECES])
    yield Figure(what="the same beside tables of a larger catalog", unit="examples/s", ours=again.rate,
                 baseline=f"… {'{:,} ids, {:,} pairs'.format(*CATALOG)}", theirs=large.rate)  # fmt: skip
    for task, metrics, first_metrics in zip(TASKS, real.tally.read(), first.tally.read(), strict=True):
        yield Figure(
            what=f"NE of {task}, {size} a step", unit="", ours=metrics.ne, baseline=described, theirs=first_metrics.ne, budget="<= 1.002"
        )


def blocks(log: Sequence[Step]) -> Iterator[Figure]:
    """Every block on, and each off by itself."""
    sides = {name: ours(msgspec.structs.replace(ModelSettings(), **off)) for name, off in BLOCKS.items()}
    whole = ours()
    take_turns([whole, *sides.values()], pieces(log, PIECE)[:PIECES])
    for name, side in sides.items():
        yield Figure(what=f"without {name}", unit="examples/s", ours=side.rate, baseline="every block on", theirs=whole.rate)


def light(log: Sequence[Step]) -> Iterator[Figure]:
    """The light configuration, and attention with experts, in steps of 256, against DIN alone."""
    small, attending, plain = ours(LIGHT), ours(ATTENDING), plain_din(log)
    take_turns([small, attending, plain], pieces(log, PIECE * BATCH // LARGE)[:PIECES])
    described = "DIN in plain torch: 1 task, 8 ids and 20 behaviours, numbered beforehand"
    yield Figure(what=f"light: the linear path, 5 tasks, {LARGE} a step", unit="examples/s", ours=small.rate, baseline=described,
                 theirs=plain.rate, budget=">= 1; >= 18,000 examples/s")  # fmt: skip
    yield Figure(what="with attention over 100 behaviours and experts", unit="examples/s", ours=attending.rate, baseline=described,
                 theirs=plain.rate)  # fmt: skip


def plain_din(of: Sequence[Step]) -> Side:
    """Its ids are numbered here, before any clock runs."""
    made = {id(step): of_records(step.records) for step in of}
    known = np.unique(np.concatenate([np.zeros(1, np.uint64), *(b.fields.ravel() for b in made.values())]))
    ready = {key: (np.searchsorted(known, b.fields), b.labels[:, 0].copy()) for key, b in made.items()}
    net = obvious.PlainDIN(len(known))

    def learn(step: Step) -> Array:
        return np.repeat(net.step(*ready[id(step)])[:, None].astype(np.float64), len(TASKS), 1)  # it knows one

    return Side(learn)


def measures(log: Sequence[Step]) -> Iterator[Figure]:
    """Each measure of speed off."""
    off = {
        "keys looked up and rows gathered wherever they occur": ours(of=EveryOccurrence),
        "torch.optim.Adam, parameter by parameter": ours(of=Unflattened),
        "features built row by row in Python": ours(batch=obvious.batch),
        "a user's half, the histories, copied to each row": ours(batch=own_halves),
        "attention over empty places of histories, too": with_other(behaviour_attention, "_sparse", everywhere),
        "products of fields in both orders and short rows, pooled behind the filters": with_other(CIN, "forward", unfolded),
    }
    whole = ours()
    take_turns([whole, *off.values()], pieces(log, PIECE)[:PIECES])
    for name, side in off.items():
        yield Figure(what="every measure of speed on", unit="examples/s", ours=whole.rate, baseline=name, theirs=side.rate)
    two = _threads(2)
    one = _threads(1)
    take_turns([one, two], pieces(log, max(1, PIECE // 4))[: PIECES // 2])  # short: beside other work a step on two threads can take 2 s
    devices.use_threads(1)
    yield Figure(what="two threads, by the wall clock", unit="examples/s", ours=two.wall, baseline="one thread", theirs=one.wall)


def _threads(n: int) -> Side:
    side = ours()

    def learn(step: Step) -> Array:
        devices.use_threads(n)
        return side.learn(step)

    return Side(learn)


def dense_steps(log: Sequence[Step]) -> Iterator[Figure]:
    """In the small steps of little traffic."""
    rare, often = ours(), ours(msgspec.structs.replace(ModelSettings(), dense_batch=1))
    take_turns([rare, often], pieces(log, PIECE * BATCH // SMALL)[:PIECES])
    yield Figure(what=f"steps of {SMALL} examples, dense ones of 64", unit="examples/s", ours=rare.rate,
                 baseline=f"a dense step of Adam every {SMALL}", theirs=often.rate)  # fmt: skip


def cuda(log: Sequence[Step]) -> Iterator[Figure]:
    """Steps a second on the GPU, and what bounds them: launches of kernels, each at least an empty one's time, and bytes that must move.

    Bytes at the least: Adam reads six and writes four buffers of the dense parameters, and each forward and backward reads them once;
    the bandwidth is that of a large copy on this device.
    """
    name = torch.cuda.get_device_name()
    fast, slow = _side(Trainer(ModelSettings(), "cuda")), ours()
    take_turns([slow, fast], pieces(log, PIECE)[:PIECES])
    described = f"learned and predicted on {name}, by the wall clock"
    yield Figure(what=described, unit="examples/s", ours=fast.wall, baseline="on one CPU thread", theirs=slow.wall)
    trainer = Trainer(ModelSettings(), "cuda")
    batches = [(of_records(step.records, step.compared), step.now_ms) for step in log[: 4 * PIECE]]
    for batch, now_ms in batches[:PIECE]:
        trainer.step(batch, now_ms)
    timed = batches[PIECE : 3 * PIECE]
    torch.cuda.synchronize()
    began = time.perf_counter()
    for batch, now_ms in timed:
        trainer.step(batch, now_ms)
    torch.cuda.synchronize()
    wall = (time.perf_counter() - began) / len(timed)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for batch, now_ms in batches[3 * PIECE :]:
            trainer.step(batch, now_ms)
        torch.cuda.synchronize()
    events = profile.key_averages()
    busy = sum(e.self_device_time_total for e in events) * 1e-6 / PIECE
    launches = sum(e.count for e in events) / PIECE
    yield Figure(what=f"a step on {name}", unit="ms", ours=wall * 1e3, baseline=f"its {launches:,.0f} kernels alone", theirs=busy * 1e3)
    moved = 12 * 4 * sum(p.numel() for p in trainer.state.ranker.parameters())
    bytes_s, launches_s = moved / _bandwidth(), launches * _empty_launch_s()
    yield Figure(what="its kernels", unit="ms", ours=busy * 1e3, baseline=f"{moved / 1e6:,.1f} MB at the copy's bandwidth",
                 theirs=bytes_s * 1e3)  # fmt: skip
    bound = "bytes" if bytes_s > launches_s else f"{launches:,.0f} empty launches"
    yield Figure(what="share of the bound", unit="", ours=max(bytes_s, launches_s) / wall, baseline=f"the larger: {bound}", theirs=1.0,
                 budget=">= 0.5")  # fmt: skip


def _empty_launch_s(n: int = 2_000) -> float:
    """Of a kernel that does nothing to speak of, one after another."""
    one = torch.zeros(1, device="cuda")
    best = float("inf")
    for _ in range(5):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(n):
            one.zero_()
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - began) / n)
    return best


def _bandwidth() -> float:
    """Bytes a second that a large copy reads and writes."""
    source = torch.zeros(1 << 28, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * source.numel() / best
