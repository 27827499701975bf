"""A worker or a learner as a process of its own, that says on stdout how far it is, every 20 ms:

    python -m tests.faults.process worker|learner SETTINGS.json

Lines are JSON: `flushes` and `unsent` (outbox rows not acknowledged) of a worker, `applied` of a learner. On SIGUSR1 it writes to
stderr where its threads and its tasks are: so that a process that stands still says why.
"""
from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

EVERY_S = 0.02


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _write_stacks() -> None:
    for task in asyncio.all_tasks():
        task.print_stack(limit=6, file=sys.stderr)
    sys.stderr.flush()


def _on_signal() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _write_stacks)
    faulthandler.register(signal.SIGUSR1, chain=True)  # also where the loop itself stands still


def _worker(settings: bytes) -> None:
    from streams.worker.process import Worker, run_worker
    from streams.worker.settings import WorkerSettings

    async def tell(worker: Worker) -> None:
        _on_signal()
        while True:
            owned = list(worker.ingest.owned.values())
            _say(
                flushes=worker.ingest.flushes, unsent=worker.ingest.unsent, stored={o.number: o.store.stored for o in owned},
                ended=bool(owned) and all(o.core.progress.watermark_ms >= 0 and not o.core.progress.in_log for o in owned),
                torch="torch" in sys.modules, lag={o.number: worker.lag(o) for o in owned}, silent=worker.log_ends.silent,
            )  # fmt: skip
            await asyncio.sleep(EVERY_S)

    run_worker(msgspec.json.decode(settings, type=WorkerSettings), [tell])


def _learner(settings: bytes) -> None:
    from streams.learner.process import LearnerProcess, run_learner
    from streams.learner.settings import LearningSettings

    async def tell(process: LearnerProcess) -> None:
        _on_signal()
        while True:
            t = process.loop
            _say(applied=t.applied, checkpoints=t.checkpoints.written, turns=t.turns, version=t.learner.version if t.learner else -1)
            await asyncio.sleep(EVERY_S)

    run_learner(msgspec.json.decode(settings, type=LearningSettings), [tell])


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    {"worker": _worker, "learner": _learner}[sys.argv[1]](Path(sys.argv[2]).read_bytes())
