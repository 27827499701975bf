"""`segue run`: a broker, a worker, the learner and simulated listeners on this machine, watched, and stopped together.

Start, in this order: broker, topics, catalog, worker and learner (child processes with their settings in a file), and
the listeners, once the service answers with a model. The figures of a run begin there: they include the warm-up, not
the start of the processes. Stop: the listeners; a closing tick, so that join windows end as at the end of a log; wait
until everything is learned and served from; worker and learner; broker. The folder of the run, and its topics on a
broker of others, are removed at the end, unless something went wrong or the folder was named.

A signal skips the closing. Nothing outlives a run that is killed outright: see `children`.
"""
from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
from aiokafka.errors import KafkaError

from streams import children
from streams.children import Child
from streams.clock import now_ms
from streams.core.join.items import Item
from streams.core.serving.surfaces import Varieties
from streams.demo.listeners import Activity, Listeners, Surface
from streams.demo.panel import Facts, show
from streams.demo.readings import Readings
from streams.demo.summary import Summary, figures, lag, learned
from streams.http.contracts import Readiness
from streams.interrupts import Interrupted, Signals
from streams.kafka_io import topics
from streams.kafka_io.broker import EmbeddedBroker, free_ports
from streams.kafka_io.send import send_closing, send_items
from streams.settings import Loaded, Settings, changed, toml, values

JOIN_WINDOW_MS = 20_000  # so that a minute shows examples of every kind; listeners are paced to it
STATUS_S = 1.0  # between two status reports of worker and learner
START_S = 90.0  # of worker and learner, until the service answers with a model; 8 s is normal
SETTLE_S = 20.0  # of the closing; 3 s is normal
QUIET_S = 0.5  # before the closing tick: by then requests under way when the listeners stopped have ended
UNSEEN_MS = 500  # a status record may not yet count what came so shortly before it
SAVE_S = 10.0  # of worker and learner, where the run has gone its whole time: more than they allow themselves
ASK_S = 10.0  # for the question to Kafka what was committed
CHILDREN_STOP_S = 5.0  # together with the broker's: within the 10 s that Ctrl-C may take
BROKER_STOP_S = 3.0
WATCH_S = 0.1


class RunError(RuntimeError):
    """The run broke; the message says what broke, and where its output is."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one run does."""

    settings: Settings
    embedded: bool  # a broker of our own; else that of the settings
    folder: Path  # for all that the run writes; must not be there yet
    keep: bool  # leave it there
    seconds: float | None  # None: until a signal
    events_per_s: float  # of the listeners
    page_share: float  # of the listeners' visits that are to a page
    seed: int  # of the listeners, for panel and summary


class Audience(NamedTuple):
    """The listeners and the items of their world; `replay` has them, `cli` brings them here."""

    items: list[Item]
    lists: Surface[Any]
    pages: Surface[Any]
    variety: Callable[[], Varieties]  # of what they were served so far


def settings_for(loaded: Loaded, stamp: str, port: int = 0) -> tuple[Settings, bool]:
    """The settings of a run, and whether the broker is to be our own. What was set stays as it was set, but for what
    `_placed` says; `port` is the service's, 0: any."""
    given = {value.key for value in loaded.values if value.source != "default"}
    defaults = {
        "topics.prefix": f"segue-run-{stamp}",  # on a broker of others, simulated listeners must not be among real ones
        "topics.partitions": 1,  # one worker
        "partition.join_window_ms": JOIN_WINDOW_MS,
        "service.port": port,
        "exporter.port": 0,
    }
    chosen = {key: value for key, value in defaults.items() if key not in given or (key == "service.port" and port)}
    return changed(loaded.settings, chosen), "topics.bootstrap" not in given


def run(plan: Plan, audience: Audience, say: Callable[[str], None]) -> Summary:
    """Start, run and stop everything. `say` gets lines about the start; then the panel takes over. Raises RunError and Interrupted."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is gone is reported once, by us
    with Signals() as signals:
        plan.folder.mkdir(parents=True)
        broker = EmbeddedBroker(plan.folder / "kafka") if plan.embedded else None
        settings, created, succeeded = plan.settings, list[str](), False
        try:
            if broker is not None:
                say("Kafka starts …")
                broker.start()
                settings = changed(settings, {"topics.bootstrap": broker.bootstrap})
            settings = _placed(settings, plan)
            created = topics.create(settings.topics, topics.PATIENCE)
            summary = asyncio.run(_Live(plan, settings, broker, signals).run(audience, say))
            succeeded = True
            return summary
        finally:
            signals.ignore()
            if succeeded and broker is None and created:
                topics.delete(settings.topics, created, topics.PATIENCE)
            if broker is not None:
                broker.stop(BROKER_STOP_S)
            if (succeeded or signals.seen) and not plan.keep:
                shutil.rmtree(plan.folder, ignore_errors=True)


def _placed(s: Settings, plan: Plan) -> Settings:
    """Settings of worker and learner: everything they write is in the folder, and they answer on this machine alone."""
    checkpoints = str(plan.folder / "checkpoints")
    free = free_ports(2)
    placed = {
        "stores.data_dir": str(plan.folder / "state"),
        "learner_process.checkpoint_dir": checkpoints,
        "replica.checkpoint_dir": checkpoints,
        "service.host": "127.0.0.1",
        "service.port": s.service.port or free[0],
        "service.token": "",
        "exporter.host": "127.0.0.1",
        "exporter.port": s.exporter.port or free[1],
        "exporter.token": "",
        "status.every_s": STATUS_S,
    }
    return changed(s, placed)


class _Live:
    """A run while its processes are up: it starts them, listens, closes, and sums up."""

    def __init__(self, plan: Plan, settings: Settings, broker: EmbeddedBroker | None, signals: Signals) -> None:
        self._plan, self._settings, self._broker, self._signals = plan, settings, broker, signals
        self._topics = settings.topics
        self._facts = Facts(
            http=f"http://{settings.service.host}:{settings.service.port}",
            learner=f"http://{settings.exporter.host}:{settings.exporter.port}",
            kafka=settings.topics.bootstrap, prefix=settings.topics.prefix, folder=str(plan.folder),
            join_window_s=settings.partition.join_window_ms / 1000, events_per_s=plan.events_per_s, seed=plan.seed, seconds=plan.seconds,
        )  # fmt: skip
        self._readings = Readings()
        self._children: list[Child] = []
        self._tasks: list[asyncio.Task[Any]] = []  # follow, listen and show: none may end by itself
        self._stop = asyncio.Event()

    async def run(self, audience: Audience, say: Callable[[str], None]) -> Summary:
        loop = asyncio.get_running_loop()
        self._signals.handle_with(lambda: loop.call_soon_threadsafe(self._stop.set))
        try:
            return await self._run(audience, say)
        finally:
            self._signals.ignore()  # the loop closes soon
            await _cancelled(self._tasks)
            await asyncio.to_thread(children.stop, self._children, CHILDREN_STOP_S)

    async def _run(self, audience: Audience, say: Callable[[str], None]) -> Summary:
        began = time.monotonic()
        say(f"Kafka answers at {self._facts.kafka}; worker and learner start …")
        await send_items(self._topics, audience.items)
        self._start()
        self._tasks.append(asyncio.create_task(self._readings.follow(self._topics)))
        if not await self._finished(self._ready()):
            raise Interrupted("stopped before the service was there")
        say(
            f"the service answers at {self._facts.http}, its documentation at /docs; the output of the processes is in {self._facts.folder}"
        )

        plan, over = self._plan, asyncio.Event()
        listeners = Listeners(audience.lists, audience.pages, plan.events_per_s, plan.page_share)
        listening = asyncio.create_task(listeners.run(self._facts.http, over))
        listened = time.monotonic()
        ended: list[float] = []

        def passed() -> float:
            return (ended[0] if ended else time.monotonic()) - listened

        self._tasks += [listening, asyncio.create_task(show(self._facts, self._readings, listeners.activity, passed, audience.variety))]
        complete = await self._finished(_pause(plan.seconds))
        ended.append(time.monotonic())
        self._tasks.remove(listening)
        over.set()
        await listening
        self._readings.variety = audience.variety()
        complete = complete and await self._finished(self._close())
        return await self._sum_up(listeners.activity, complete, passed(), listened - began)

    async def _sum_up(self, activity: Activity, complete: bool, seconds: float, start_seconds: float) -> Summary:
        """Stop worker and learner (the learner saves), then ask Kafka and the checkpoint, not the processes."""
        await _cancelled(self._tasks)
        await asyncio.to_thread(children.stop, self._children, SAVE_S if complete else CHILDREN_STOP_S)
        behind, metrics = None, None
        if complete:
            try:
                async with asyncio.timeout(ASK_S):
                    behind = await lag(self._topics)
            except (TimeoutError, KafkaError) as error:
                why = str(error) or f"no answer within {ASK_S:.0f} s"
                raise RunError(f"Kafka at {self._facts.kafka} did not report what was committed: {why}") from error
            metrics = await asyncio.to_thread(learned, Path(self._settings.learner_process.checkpoint_dir))
        return figures(
            self._readings, activity, metrics, seconds, complete=complete, start_seconds=round(start_seconds, 3), lag=behind,
            join_window_s=self._facts.join_window_s, seed=self._plan.seed,
        )  # fmt: skip

    def _start(self) -> None:
        """Worker and learner, as anyone would start them: `segue worker --config run/…/segue.toml`."""
        folder = self._plan.folder
        config = folder / "segue.toml"
        config.write_text(toml(values(self._settings, "segue run")), encoding="utf-8")
        (folder / "tmp").mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SEGUE_")}
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])  # ours, wherever the command was called
        environment["TMPDIR"] = str(folder / "tmp")
        environment["OMP_NUM_THREADS"] = "1"  # several processes share the cores
        for name in ("worker", "learner"):
            command = [sys.executable, "-P", "-m", "streams", name, "--config", str(config)]
            self._children.append(Child(name, command, folder / f"{name}.log", environment))

    async def _ready(self) -> None:
        """Until the service is ready and a model serves."""
        try:
            async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
                while not await _has_model(session, f"{self._facts.http}/readyz"):
                    await asyncio.sleep(WATCH_S)
        except TimeoutError:
            endings = "\n".join(f"the {child.name} {child.ending}" for child in self._children)
            raise RunError(f"the service at {self._facts.http} was not ready within {START_S:.0f} s\n{endings}") from None

    async def _close(self) -> None:
        """Send a closing tick, then wait until all is taken in, learned and served from."""
        r = self._readings
        await asyncio.sleep(QUIET_S)
        await send_closing(self._topics)
        try:
            async with asyncio.timeout(SETTLE_S):
                since = now_ms() + UNSEEN_MS
                await self._reported(
                    lambda: all(w.at_ms > since and not any(p.lag for p in w.partitions.values()) for w in r.workers.values())
                )
                since = now_ms() + UNSEEN_MS
                await self._reported(lambda: r.learner is not None and r.learner.at_ms > since and r.learner.lag == 0)
                since = now_ms() + UNSEEN_MS
                await self._reported(lambda: all(w.at_ms > since for w in r.workers.values()) and r.unmeasured == 0)
                while await lag(self._topics):  # what is in the states is committed a little later
                    await asyncio.sleep(WATCH_S)
        except (TimeoutError, KafkaError):
            pass  # lag and unlearned feedback of the summary show it

    async def _reported(self, condition: Callable[[], bool]) -> None:
        """Until the status records that have come satisfy the condition."""
        while not condition():
            self._readings.news.clear()
            await self._readings.news.wait()

    async def _finished(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether the work was done before a signal came. Raises where a process died, or one of the tasks ended."""
        task = asyncio.create_task(work)
        try:
            while True:
                await asyncio.wait({task, *self._tasks}, timeout=WATCH_S, return_when=asyncio.FIRST_COMPLETED)
                self._check()
                if task.done():
                    task.result()
                    return True
                if self._stop.is_set():
                    return False
        finally:
            await _cancelled([task])

    def _check(self) -> None:
        """Raise RunError where a process or a task has ended."""
        for child in self._children:
            if not child.alive:
                raise RunError(f"the {child.name} {child.ending}")
        if self._broker is not None and self._broker.pid is None:
            raise RunError(f"Kafka ended; its output is in {self._broker.log_file}")
        for task in self._tasks:
            if task.done():
                task.result()
                raise RunError("a part of the run ended by itself")


async def _has_model(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether the service reports that it is ready and that a model serves."""
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=2.0)) as response:
            return response.status == 200 and _readiness(await response.read()).model_version is not None
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def _pause(seconds: float | None) -> None:
    if seconds is None:
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(seconds)


async def _cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


_readiness = msgspec.json.Decoder(Readiness).decode
