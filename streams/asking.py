"""Asking a running service for a list, as `segue recommend` does."""
from __future__ import annotations

import http.client
import time
from urllib.parse import urlsplit

import msgspec

from streams.core.recommend import Answer, Request
from streams.entrance import Problem, ServiceSettings

TIMEOUT_S = 10.0
AGAIN_S = 0.25  # between two tries, where the service may be waited for


class Unanswered(RuntimeError):
    """Nobody answered, or not with a list; the message says what to do."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status  # of the answer; 0: there was none


def at(settings: ServiceSettings) -> str:
    """Where the service of these settings is, for somebody on its machine."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def recommend(url: str, token: str, request: Request, wait_s: float = 0.0) -> Answer:
    """The list. `wait_s`: how long a service may take to be there and ready."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return _recommend(url, token, request)
        except Unanswered as error:
            if error.status not in (0, 503) or time.monotonic() > deadline:
                raise
        time.sleep(AGAIN_S)


def _recommend(url: str, token: str, request: Request) -> Answer:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"--url {url}: expected http://HOST:PORT")
    made = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = made(parts.hostname, parts.port, timeout=TIMEOUT_S)
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request("POST", f"{parts.path.rstrip('/')}/v1/recommendations", msgspec.json.encode(request), headers)
        response = connection.getresponse()
        status, body = response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        way = "start one with `segue worker`, or name yours with --url"
        raise Unanswered(f"no service answers at {url} ({str(error) or type(error).__name__}); {way}", 0) from error
    finally:
        connection.close()
    try:
        if status == 200:
            return msgspec.json.decode(body, type=Answer)
        problem = msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError as error:
        raise Unanswered(f"{url} answered {status}, but not as Segue does; name Segue's service with --url", status) from error
    raise Unanswered(f"{url} answered {status}: {problem.error} ({problem.where}); {problem.what_to_do}", status)
