"""A process ends in time when it is asked to, wherever it stands."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tests.paths import ROOT

NEVER_STARTS = """
import asyncio
from streams.kafka_io import app

class Waiting:
    app = None
    async def start(self):
        print("starting", flush=True)
        await asyncio.Event().wait()  # for a broker that does not come
    async def stop(self):
        print("stopped", flush=True)

app.STOP_S = 0.5
app.run(Waiting)
"""


def test_asked_to_stop_while_it_starts_a_process_ends_as_in_a_kill() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", NEVER_STARTS], env=environment, stdout=subprocess.PIPE, text=True) as made:
        try:
            assert made.stdout is not None and made.stdout.readline() == "starting\n"
            time.sleep(0.1)
            made.send_signal(signal.SIGTERM)
            assert made.wait(30) == 0
            assert made.stdout.read() == ""  # nothing to settle: what has not begun is not stopped
        finally:
            made.kill()
