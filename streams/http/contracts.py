"""What the service takes and gives, as OpenAPI made from the very structs that decode and encode it, and as a page.

The page is whole in itself: it needs no network, no script, no foreign style sheet.
"""
from __future__ import annotations

import json
from html import escape
from importlib import metadata
from typing import Annotated, Any, NamedTuple

import msgspec

from streams.core.join.events import Event, Exposure
from streams.core.join.items import Item
from streams.core.json_fields import about
from streams.core.lookup.known_item import KnownItem
from streams.core.lookup.known_user import KnownUser
from streams.core.lookup.similar import SimilarItems, SimilarRequest
from streams.core.serving.explain import Explanation
from streams.core.serving.pages import Page, PageRequest
from streams.core.serving.recommend import Slate, SlateRequest
from streams.core.serving.requests import FLAGS
from streams.http.accept import Taken
from streams.http.batch import BatchRequest, BatchSlates
from streams.http.entrance import Problem
from streams.http.router import LONGEST


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Does the process get on with its work? 503 where it does not, though Kafka answers: a restart may mend it."""

    alive: Annotated[bool, about("false: it stands still, though Kafka answers; a restart may mend it")]
    stalled: Annotated[list[str], about("what has taken longer than it may")]
    waiting_for: Annotated[list[str], about("Kafka, where it does not answer: a restart mends nothing then")]

    @classmethod
    def of(cls, stalled: list[str], kafka_silent: bool) -> Health:
        """Of a process where this stalls."""
        return cls(alive=kafka_silent or not stalled, stalled=stalled, waiting_for=["Kafka"] if kafka_silent else [])


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Can this worker answer? Without a model it can: popularity orders then, and answers are flagged `cold`."""

    ready: Annotated[bool, about("it can answer; without a model too")]
    waiting_for: Annotated[list[str], about("what it still reads")]
    catalog_items: Annotated[int, about("in the catalog")]
    partitions: Annotated[list[int], about("of `events`, owned by this worker: it answers for their users")]
    catching_up: Annotated[dict[int, int], about("of these, those whose state is far behind the log, with the records to go")]
    model_version: Annotated[int | None, about("that answers; null: none yet")]


class Operation(NamedTuple):
    """A method of a path."""

    name: str  # an identifier: generated clients name their functions by it
    method: str
    path: str
    summary: str
    gives: dict[int, tuple[str, type | None]]  # status -> (what it says, type of the body)
    takes: tuple[type, ...] = ()  # one of these as the body; empty: no body
    many: bool = False  # or an array of them
    example: Any = None
    about: str = ""


_REFUSED: dict[int, tuple[str, type | None]] = {
    400: ("The body can't be used, or has a field that nobody reads.", Problem),
    413: ("The body is too large, as it is or unpacked.", Problem),
    415: ("The body's content-encoding is not taken.", Problem),
}  # fmt: skip
_REUSED: dict[int, tuple[str, type | None]] = {409: ("The request id is that of a list (or page) of this user.", Problem)}
_BUSY: dict[int, tuple[str, type | None]] = {
    429: ("Too many requests are under way.", Problem), 503: ("Not now; `retry-after` says when.", Problem),
}  # fmt: skip
_ACCEPTED = ("The accepted ones are in Kafka; what was rejected, by its place; what fields nobody reads.", Taken)

OPERATIONS = (
    Operation(
        "recommend", "post", "/v1/recommendations", "A ranked list",
        {200: ("The list. Its exposure is in Kafka, but for guests and empty lists.", Slate), **_REFUSED, **_REUSED, **_BUSY},
        (SlateRequest,), False,
        {"user_id": "ada", "k": 3, "domain": "song", "weights": {"skip": -1.0}, "gamma_item": 0.5},
        f"`flags` say what to know of a list: {'; '.join(f'`{flag}`: {meaning}' for flag, meaning in FLAGS.items())}. "
        "Where there is a catalog, of `candidates` those that it does not hold are left out, unless `unknown` is `allow`. "
        "With `strategy` `auto` one of `recommend.chosen` is drawn, by what each has earned.",
    ),
    Operation(
        "recommend_batch", "post", "/v1/recommendations:batch", "Lists for up to 1,000 users",
        {200: ("Every user's list, or what was wrong with it.", BatchSlates), **_REFUSED, **_BUSY}, (BatchRequest,), False,
        {"user_ids": ["ada", "ben"], "request": {"k": 5, "domain": "song"}},
        "Each user is answered as by a request of their own: each list is an exposure. Users of another worker's partition have a problem "
        "that says so.",
    ),
    Operation(
        "page", "post", "/v1/pages", "A page: modules in order, each with its list",
        {200: ("The page. Its exposure is in Kafka, but for guests and empty pages.", Page), **_REFUSED, **_REUSED, **_BUSY},
        (PageRequest,), False,
        {"user_id": "ada", "modules": 3, "per_module": 4, "context": {"device": "car"}},
        "Modules are the user's likely categories, ordered by a strategy. Where the request names none, one is drawn by what each has "
        "earned with users like this one: `chances` are those that it was drawn with, all strategies' together 1. `flags` as of a list.",
    ),
    Operation(
        "similar", "post", "/v1/similar", "Items that are similar to others",
        {200: ("The items, the most similar first. Nothing is written down.", SimilarItems), **_REFUSED, **_BUSY}, (SimilarRequest,), False,
        {"items": ["so-what"], "k": 5, "filter": {"categories": {"any": ["jazz"]}}},
        "By co-listening: what listeners took within an hour after the items, by its share of all that came next. `flags` as of a list.",
    ),
    Operation(
        "explain", "get", "/v1/explain/{request_id}", "Why a list or a page is as it is",
        {
            200: ("By item, what its score was made of, and what the model saw of the user.", Explanation),
            400: ("The id can't be used.", Problem), 404: ("Not one of the last lists and pages of this worker.", Problem), **_BUSY,
        },
        about="Each worker remembers the last `service.explained_requests` lists and pages that it made. The numbers are those that "
        "ordered them; which behaviours the attention weighed is computed when asked, by the model of that moment: `moved_on` says that "
        "it is another. A guest's behaviours are kept nowhere, so nothing is told of them. `choice` tells every strategy's chance, and "
        "what each was thought to earn.",
    ),
    Operation(
        "send_events", "post", "/v1/events", "Take events in", {202: _ACCEPTED, **_REFUSED, **_BUSY}, (Event, Exposure), True,
        [{"ts": 1_700_000_000_000, "user_id": "ada", "item_id": "so-what", "action": "play", "played_ms": 540_000, "duration_ms": 562_000}],
        "With an `event_id` an event may be sent again: the second arrival is dropped.",
    ),
    Operation(
        "put_items", "put", "/v1/items", "Put items into the catalog", {200: _ACCEPTED, **_REFUSED, **_BUSY}, (Item,), True,
        [{"item_id": "so-what", "domain": "song", "artist_id": "miles-davis", "categories": ["jazz"], "duration_ms": 562_000}],
        "An item replaces the one of its id.",
    ),
    Operation(
        "delete_item", "delete", "/v1/items/{item_id}", "Take an item out of the catalog",
        {204: ("Its tombstone is in Kafka; the item is in no list of this worker from then on.", None), 400: _REFUSED[400], **_BUSY},
    ),
    Operation(
        "known_item", "get", "/v1/items/{item_id}", "What is known of an item",
        {
            200: ("Its catalog fields, how popular it is, whether it may be shown and why not.", KnownItem),
            400: _REFUSED[400], 404: ("Neither the catalog nor any event has it.", Problem), **_BUSY,
        },
    ),
    Operation(
        "known_user", "get", "/v1/users/{user_id}", "What is known of a user",
        {
            200: ("Counts, last acts, categories and domains, in words where the catalog has them.", KnownUser),
            400: _REFUSED[400], 404: ("Nothing is known of the user.", Problem), **_BUSY,
        },
        about="The worker that owns the user's partition tells it; another one says 503 and which partition that is.",
    ),
    Operation("health", "get", "/healthz", "Alive?", {200: ("Yes.", Health), 503: ("It stands still; restart it.", Health)}),
    Operation("readiness", "get", "/readyz", "Ready?", {200: ("Yes.", Readiness), 503: ("Not yet.", Readiness)}),
    Operation("metrics", "get", "/metrics", "Metrics, as Prometheus reads them", {200: ("Text.", str)}),
)  # fmt: skip
PATHS = (*(operation.path for operation in OPERATIONS), "/docs", "/docs/openapi.json")


class Documentation(NamedTuple):
    """The same in two forms: for programs, and for people."""

    openapi: bytes
    html: bytes


def documentation() -> Documentation:
    """Both forms."""
    document = openapi()
    return Documentation(msgspec.json.encode(document), _html(document).encode())


def openapi() -> dict[str, Any]:
    """OpenAPI 3.1, whose schemas are JSON Schema as msgspec gives it."""
    types = dict.fromkeys(kind for o in OPERATIONS for kind in (*o.takes, *(gives for _, gives in o.gives.values())) if kind is not None)
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(types, schemas, strict=True))
    components["Exposure"]["properties"]["kind"]["description"] = "tells it from an event"
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Segue", "version": metadata.version("segue"), "description": metadata.metadata("segue")["Summary"]},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "`service.token`, where one is set"}},
        },
        "security": [{"token": []}, {}],
    }


def _described(operation: Operation, schema_of: dict[type, dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {"summary": operation.summary, "operationId": operation.name, "responses": {}}
    if operation.about:
        out["description"] = operation.about
    for name, longest in LONGEST.items():
        if f"{{{name}}}" in operation.path:
            identity = {"type": "string", "minLength": 1, "maxLength": longest}
            out["parameters"] = [{"name": name, "in": "path", "required": True, "schema": identity}]
    if operation.takes:
        one, *others = (schema_of[kind] for kind in operation.takes)
        schema = one
        if operation.many:
            schema = {"oneOf": [one, *others, {"type": "array", "items": {"oneOf": [one, *others]} if others else one}]}
        out["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema, "example": operation.example}}}
    gives = dict(operation.gives)
    if operation.path.startswith("/v1/") or operation.path == "/metrics":
        gives[401] = ("No token, or another one.", Problem)
    for status, (says, kind) in sorted(gives.items()):
        media = "text/plain" if kind is str else "application/json"
        content = {"content": {media: {"schema": schema_of[kind]}}} if kind is not None else {}
        out["responses"][str(status)] = {"description": says} | content
    return out


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}td,th{border-top:1px solid #ddd;padding:.3rem .6rem;text-align:left;"
    "vertical-align:top}code,pre{font:14px/1.4 ui-monospace,monospace;background:#f5f5f5}pre{padding:.7rem;overflow-x:auto}"
    "h2{margin-top:2.5rem}a{color:#05a}"
)


def _html(document: dict[str, Any]) -> str:
    parts = [f"<h1>Segue {escape(document['info']['version'])}</h1><p><a href='/docs/openapi.json'>/docs/openapi.json</a></p>"]
    for path, methods in document["paths"].items():
        for method, what in methods.items():
            says = f"{what['summary']}. {what.get('description', '')}"
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{_text(says)}</p>")
            content = what.get("requestBody", {}).get("content", {}).get("application/json")
            if content is not None:
                example = escape(json.dumps(content["example"], indent=1))
                parts.append(f"<p>Takes {_kind(content['schema'])}, for example</p><pre>{example}</pre>")
            rows = "".join(
                f"<tr><td>{status}</td><td>{_text(response['description'])}</td><td>{_gives(response)}</td></tr>"
                for status, response in what["responses"].items()
            )
            parts.append(f"<table><tr><th>status</th><th>says</th><th>gives</th></tr>{rows}</table>")
    for name, schema in document["components"]["schemas"].items():
        parts.append(f"<h2 id='{escape(name)}'>{escape(name)}</h2><p>{_text(schema.get('description', ''))}</p>")
        needed = set(schema.get("required", ()))
        rows = "".join(
            f"<tr><td><code>{escape(field)}</code></td><td>{_kind(kind)}</td><td>{_default(kind, field in needed)}</td>"
            f"<td>{_text(kind.get('description', ''))}</td></tr>"
            for field, kind in schema.get("properties", {}).items()
        )
        if rows:
            parts.append(f"<table><tr><th>field</th><th>type</th><th></th><th>meaning</th></tr>{rows}</table>")
    head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>Segue</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>"


def _text(words: str) -> str:
    """Plain text, `code` in backticks."""
    return "".join(f"<code>{escape(part)}</code>" if n % 2 else escape(part) for n, part in enumerate(words.split("`")))


def _gives(response: dict[str, Any]) -> str:
    return "".join(_kind(content["schema"]) for content in response.get("content", {}).values())


def _default(schema: dict[str, Any], needed: bool) -> str:
    if needed:
        return "needed"
    return f"default <code>{escape(json.dumps(schema['default']))}</code>" if "default" in schema else ""


_BOUNDS = {"minLength": "≥ {} long", "maxLength": "≤ {} long", "minimum": "≥ {}", "maximum": "≤ {}", "maxItems": "≤ {} of them",
           "maxProperties": "≤ {} of them"}  # fmt: skip


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    if "enum" in schema:
        return "one of " + ", ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_kind(one) for one in schema[several])
    inside = schema.get("items") or schema.get("additionalProperties")
    of = _kind(inside) if inside else ""
    bounds = ", ".join(words.format(f"{schema[bound]:,}") for bound, words in _BOUNDS.items() if bound in schema)
    kind = escape(str(schema.get("type", "anything")))
    return f"{kind}{f' of {of}' if of else ''}{f' ({bounds})' if bounds else ''}"
