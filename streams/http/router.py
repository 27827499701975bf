"""From a request to its handler, and from what a handler raises to the one shape of an error: Starlette, behind `Entrance`.

Handlers are untyped. A framework whose handlers are typed decodes the bodies itself: it refuses an array for one bad element,
answers in its own words, and (Litestar 2.25, tried) its OpenAPI has no bounds of array elements and map keys, and no docstrings.
"""
from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from starlette.applications import Starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streams.http.entrance import Refusal

LONGEST = {"item_id": 256, "user_id": 256, "request_id": 64}  # characters of an id in a path

log = logging.getLogger(__name__)


class _Id(PathConvertor):
    regex = "(?s:.+)"  # slashes and, unlike in `path`, line ends; never empty


register_url_convertor("id", _Id())


def application(routes: Sequence[Route]) -> Starlette:
    """Routes behind one way to answer errors. An id ends a path, as `/v1/items/{item_id:id}`."""
    return Starlette(routes=routes, exception_handlers=dict.fromkeys((Refusal, HTTPException, Exception), _refused))


def path_id(request: Request) -> str:
    """The id at the end of the path."""
    ((name, value),) = request.path_params.items()
    try:
        unquote_to_bytes(request["raw_path"]).decode()  # in `path` the server has replaced what is not UTF-8
    except UnicodeDecodeError:
        raise Refusal(400, "the id is not UTF-8", "the path", "percent-encode its UTF-8 bytes") from None
    if len(value) > LONGEST[name]:
        way = f"send an id behind {request['path'].removesuffix(value)}"
        raise Refusal(400, f"the id has {len(value):,} characters, and may have 1 to {LONGEST[name]}", "the path", way)
    return str(value)


async def _refused(request: Request, error: Exception) -> Response:
    """A refusal, what Starlette can't route, or a mistake of ours, whose traceback the server logs."""
    if isinstance(error, HTTPException):
        what = f"{error.detail}: {request.method} {request['path'][:256]}"
        refusal = Refusal(error.status_code, what, "the path", "GET /docs lists what there is")
        refusal.headers |= error.headers or {}
    elif isinstance(error, Refusal):
        refusal = error
    else:
        log.error("%s %s failed", request.method, request["path"])
        refusal = Refusal(500, "the service failed; its log says why", "the service", "tell its operator the time of this answer")
    return refusal.response()
