"""A client of a running service: slates, pages and their explanations, as `segue recommend` and `segue page` show them."""
from __future__ import annotations

import http.client
import time
from typing import NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from streams.core.lookup.similar import SimilarItems, SimilarRequest
from streams.core.serving.explain import Explanation
from streams.core.serving.pages import Page, PageRequest
from streams.core.serving.recommend import Slate, SlateRequest
from streams.http.batch import BatchRequest, BatchSlates
from streams.http.entrance import Problem
from streams.http.settings import ServiceSettings

T = TypeVar("T")
TIMEOUT_S = 10.0
AGAIN_S = 0.25  # between two tries, where the service may be waited for


class Place(NamedTuple):
    """The address of a service, and its token."""

    url: str
    token: str  # empty: none is asked for


class Unanswered(RuntimeError):
    """No answer, or an error instead of the slate; the message says what to do."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status  # of the answer; 0: there was none


class NoAddress(ValueError):
    """The given address of the service is no HTTP address; the command line prints it and ends with 2."""


def at(settings: ServiceSettings) -> str:
    """The address of the service of these settings, for a client on its machine.

    >>> at(ServiceSettings(host="0.0.0.0", token="secret", port=80))
    'http://127.0.0.1:80'
    """
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def recommend(place: Place, request: SlateRequest, wait_s: float = 0.0) -> Slate:
    """The slate. `wait_s`: how long a service may take to be there and ready."""
    return _waited(place, "/v1/recommendations", msgspec.json.encode(request), Slate, wait_s)


def recommend_batch(place: Place, request: BatchRequest, wait_s: float = 0.0) -> BatchSlates:
    """Lists of many users; parameters and errors as of `recommend`, but for what is wrong with one user's list."""
    return _waited(place, "/v1/recommendations:batch", msgspec.json.encode(request), BatchSlates, wait_s)


def page(place: Place, request: PageRequest, wait_s: float = 0.0) -> Page:
    """The page; parameters and errors as of `recommend`."""
    return _waited(place, "/v1/pages", msgspec.json.encode(request), Page, wait_s)


def similar(place: Place, request: SimilarRequest, wait_s: float = 0.0) -> SimilarItems:
    """Similar items; parameters and errors as of `recommend`."""
    return _waited(place, "/v1/similar", msgspec.json.encode(request), SimilarItems, wait_s)


def explain(place: Place, request_id: str) -> Explanation:
    """Why a slate or a page that the service has just made is as it is."""
    return _asked(place, "GET", f"/v1/explain/{quote(request_id, safe='')}", b"", Explanation)


def _waited(place: Place, path: str, body: bytes, kind: type[T], wait_s: float) -> T:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return _asked(place, "POST", path, body, kind)
        except Unanswered as error:
            if error.status not in (0, 503) or time.monotonic() > deadline:
                raise
        time.sleep(AGAIN_S)


def _asked(place: Place, method: str, path: str, body: bytes, kind: type[T]) -> T:
    url, token = place
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NoAddress(f"--url {url}: expected http://HOST:PORT")
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.hostname, parts.port, timeout=TIMEOUT_S)
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request(method, f"{parts.path.rstrip('/')}{path}", body, headers)
        response = connection.getresponse()
        status, content = response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        way = "start one with `segue worker`, or name yours with --url"
        raise Unanswered(f"no service answers at {url} ({str(error) or type(error).__name__}); {way}", 0) from error
    finally:
        connection.close()
    try:
        if status == 200:
            return msgspec.json.decode(content, type=kind)
        problem = msgspec.json.decode(content, type=Problem)
    except msgspec.DecodeError as error:
        raise Unanswered(f"{url} answered {status}, but not as Segue does; name Segue's service with --url", status) from error
    raise Unanswered(f"{url} answered {status}: {problem.error} ({problem.where}); {problem.what_to_do}", status)
