"""Faust's consumer, twice as fast: one small change to a pinned version, made only where its source is the known one.

`Consumer._drain_messages` gives every message to its callback through `wait_first(callback(message), suspended.wait())`:
two tasks a message, half of all CPU (kafka/README: 73 -> 36 us a message). The callback nearly always ends without
blocking. So it is started in place; only where it blocks, the rest of it goes the old way. This pays only with a large
`stream_buffer_maxsize`: else pausing and resuming partitions costs as much.
"""
from __future__ import annotations

import inspect
import types
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any

import faust
import xxhash
from faust.transport.consumer import Consumer as AnyConsumer
from faust.transport.drivers.aiokafka import Consumer
from mode import Service

VERSION = "0.15.3"
KNOWN = {  # functions that this rests on, by the hash of their source
    "faust.transport.consumer.Consumer._drain_messages": (AnyConsumer._drain_messages, "b8a56f6a5bbf3af1"),
    "mode.Service.wait_first": (Service.wait_first, "c3950d8bac4ccf26"),
}


class DrainedConsumer(Consumer):
    """A consumer whose callbacks start in place."""

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:
        """As Faust's own; for (callback, suspended) the callback is first run up to where it blocks."""
        if len(coros) != 2 or self.suspend_flow.is_set() or timeout is not None:
            return await super().wait_first(*coros, timeout=timeout)
        callback, suspended = coros
        try:
            waits_for = callback.send(None)
        except BaseException as end:  # noqa: BLE001 - whatever it is, the other coroutine must be closed
            suspended.close()
            if isinstance(end, StopIteration):
                return None  # the caller ignores it
            raise
        return await super().wait_first(_continue(callback, waits_for), suspended)


async def _continue(started: Coroutine[Any, Any, Any], waits_for: Any) -> Any:
    """The rest of a coroutine that has been started and waits."""
    return await _rest(started, waits_for)


@types.coroutine
def _rest(started: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    while True:
        try:
            result = yield waits_for
        except GeneratorExit:
            started.close()
            raise
        except BaseException as error:  # noqa: BLE001 - whatever is thrown in belongs to the coroutine
            step = partial(started.throw, error)
        else:
            step = partial(started.send, result)
        try:
            waits_for = step()
        except StopIteration as ended:
            return ended.value


def unknown() -> list[str]:
    """What differs from the code that the change is made for, a line each; empty: it may be used."""
    out = [] if faust.__version__ == VERSION else [f"faust-streaming is {faust.__version__}, not {VERSION}"]
    for name, (function, wanted) in KNOWN.items():
        found = source_hash(function)
        if found != wanted:
            out.append(f"{name} is not the known one ({found})")
    return out


def source_hash(function: Any) -> str:
    """xxh3-64 of a function's source text, as hex."""
    return xxhash.xxh3_64_hexdigest(inspect.getsource(function).encode())
