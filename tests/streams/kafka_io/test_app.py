"""A process ends in time when it is asked to, wherever it stands; one whose slot another takes says who it was."""
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from streams.kafka_io.app import PROCESS, Membership, SlotTakenError, with_slot
from streams.kafka_io.topics import FaustSettings
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


def member(instance: str, process: str | None) -> dict[str, Any]:
    """As Kafka describes one; while its group rebalances it tells nothing of the process."""
    return {"group_instance_id": instance, "member_metadata": "" if process is None else {"topics": [], "user_data": process}}


@pytest.mark.parametrize(
    ("joined", "members", "fenced"),
    [
        (True, [member("x-worker-a", PROCESS), member("x-worker-b", "host:1:ab")], False),
        (True, [member("x-worker-a", "host:1:ab")], True),
        (False, [member("x-worker-a", "host:1:ab")], False),  # its predecessor, which was killed
        (True, [member("x-worker-a", None)], False),
        (True, [member("x-worker-a", "")], False),  # of an earlier version
        (True, [], False),  # a broker that stood still for longer than the session has dropped it
    ],
)
def test_a_member_is_fenced_where_another_process_is_in_its_slot_since(joined: bool, members: list[dict[str, Any]], fenced: bool) -> None:
    made = Membership("127.0.0.1:1", "x-worker", "a", joined=joined)
    made._members = lambda: members  # type: ignore[method-assign]
    if fenced:
        with pytest.raises(SlotTakenError, match="host:1:ab joined x-worker as slot 'a', which is this process's"):
            asyncio.run(made.check())
    else:
        asyncio.run(made.check())


def test_a_slot_that_is_set_stays_and_the_default_one_differs_by_host_and_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = [with_slot(FaustSettings(), folder).slot for folder in ("run/state", "run/../run/state", "other")]
    assert slots[0] == slots[1] != slots[2]
    monkeypatch.setattr("socket.gethostname", lambda: "another.host")
    assert with_slot(FaustSettings(), "run/state").slot not in slots
    assert with_slot(FaustSettings(slot="7"), "run/state").slot == "7"
