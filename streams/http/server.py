"""An ASGI application on a socket, inside of a loop that has signals and a life of its own."""
from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

CONNECTIONS = 1_000  # open at once; beyond it uvicorn answers 503 by itself
ENDING_S = 3.0  # for requests that are under way when the process is to end


class CantListen(RuntimeError):
    """The address can't be had; the message says what to do."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: the process has its own handlers."""
        yield


def bind(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket; port 0 is any free one. `setting` is the section that host and port are in."""
    # asyncio sends small parts at once (TCP_NODELAY) only where a socket names its protocol: else each answer waits 40 ms.
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(512)
        return bound
    except OSError as error:
        bound.close()
        raise CantListen(f"{host}:{port}: {error.strerror or error}; set {setting}.host and {setting}.port (0 = any free port)") from error


def address(bound: socket.socket) -> tuple[str, int]:
    """Host and port."""
    host, port = bound.getsockname()[:2]
    return host, port


async def serve(app: ASGIApp, bound: socket.socket) -> None:
    """Answer until cancelled; then take nothing new, and end what is under way."""
    config = uvicorn.Config(
        app, http="h11", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False, proxy_headers=False,
        limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=int(ENDING_S),
    )  # fmt: skip
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        await asyncio.shield(running)
    finally:
        server.should_exit = True
        await running
        bound.close()
