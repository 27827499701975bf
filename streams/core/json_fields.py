"""A JSON object against the fields of a struct: numbers where text is wanted, and fields that the struct does not have.

An id that JSON gives as a number is the same id as its decimal text: 17, 17.0 and "17". A float that is no integer, or of 2^53 and
more, says no id: several integers would be the same float.
"""
from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

EXACT = 1 << 53  # below it, every integer has a float of its own
LONGEST = 64  # characters of an unknown field's name that are quoted
# What fields are called elsewhere, by what they are called here.
ELSEWHERE = {
    "k": ("limit", "count", "n", "size", "top_k", "num_results"), "ts": ("timestamp", "time", "event_time", "created_at"),
    "user_id": ("user", "uid", "listener"), "item_id": ("item", "id", "track", "track_id", "song_id", "video_id", "content_id"),
    "action": ("type", "event", "event_type"), "artist_id": ("artist", "author", "author_id", "creator_id"),
    "categories": ("category", "genre", "genres", "tag", "tags"), "duration_ms": ("duration", "length"),
    "played_ms": ("played", "listened_ms", "watch_time"), "published_ts": ("published_at", "release_date"),
    "candidates": ("items", "item_ids", "candidate_ids"), "exclude": ("exclude_ids", "blacklist", "seen_items"),
    "plays": ("history", "events"), "dry_run": ("preview", "no_log"),
}  # fmt: skip
_MEANT = {other: name for name, others in ELSEWHERE.items() for other in others}
_NUMBER_FOR_TEXT = re.compile(r"Expected `str( \| null)?`, got `(int|float)`")

T = TypeVar("T")
Part = inspect.Type


def about(description: str, one_of: Iterable[str] = ()) -> msgspec.Meta:
    """What a field means, for whoever reads the documentation of its struct; and what it is one of, where its type does not say so."""
    return msgspec.Meta(description=description, extra_json_schema={"enum": list(one_of)} if one_of else None)


def reader(kind: type[T]) -> Callable[[bytes], T]:
    """A decoder of a struct that takes numbers for text. It raises what msgspec raises.

    >>> class Play(msgspec.Struct):
    ...     user_id: str
    >>> reader(Play)(b'{"user_id": 17}'), reader(Play)(b'{"user_id": 17.0}')
    (Play(user_id='17'), Play(user_id='17'))
    """
    decode = msgspec.json.Decoder(kind).decode

    def read(raw: bytes) -> T:
        try:
            return decode(raw)
        except msgspec.ValidationError as error:
            if not _NUMBER_FOR_TEXT.match(str(error)):
                raise
        return msgspec.convert(with_text(msgspec.json.decode(raw), inspect.type_info(kind)), kind)

    return read


def with_text(value: Any, kind: Part) -> Any:
    """A decoded JSON value in which numbers are text where the type wants text and no number."""
    parts = _parts(kind)
    if isinstance(value, int | float) and not isinstance(value, bool):
        wants_text = any(isinstance(p, inspect.StrType) for p in parts) and not any(_numeric(p) for p in parts)
        return _text(value) if wants_text else value
    for part in parts:
        if isinstance(part, inspect.StructType) and isinstance(value, dict):
            fields = _fields(part.cls)
            return {name: with_text(inside, fields[name]) if name in fields else inside for name, inside in value.items()}
        if isinstance(part, inspect.VarTupleType | inspect.ListType) and isinstance(value, list):
            return [with_text(one, part.item_type) for one in value]
    return value


def unknown(value: object, kind: type[msgspec.Struct], at: str = "$") -> Iterator[str]:
    """The path of each field of a decoded JSON value that a struct, or one inside of it, does not have. Elements of arrays: `[...]`.

    >>> class Play(msgspec.Struct):
    ...     user_id: str
    >>> list(unknown({"user_id": "ada", "trackId": 1}, Play))
    ['$.trackId']
    """
    if not isinstance(value, dict):
        return
    known, nested = _fields(kind), _nested(kind)
    if value.keys() <= known.keys() and nested.keys().isdisjoint(value):
        return  # as almost always
    for name in value:
        if name not in known:
            yield f"{at}.{_quoted(name)}"
    for name, inside in nested.items():
        if name in value:
            several = isinstance(value[name], list)
            for one in value[name] if several else [value[name]]:
                yield from unknown(one, inside, f"{at}.{name}{'[...]' if several else ''}")


def meant(path: str, kind: type[msgspec.Struct]) -> str | None:
    """The field of a struct that an unknown one may stand for.

    >>> class Play(msgspec.Struct):
    ...     user_id: str
    ...     played_ms: int
    >>> meant("$.userId", Play), meant("$.watch_time", Play), meant("$.weather", Play)
    ('user_id', 'played_ms', None)
    """
    name = path.rpartition(".")[2]
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()
    nested = {inside for one in _nested(kind).values() for inside in _fields(one)} if "[...]" in path else set()
    known = nested or set(_fields(kind))
    if snake in known:
        return snake
    if _MEANT.get(snake) in known:
        return _MEANT[snake]
    return next(iter(difflib.get_close_matches(snake, sorted(known), 1, 0.75)), None)


def _text(value: float) -> float | str:
    if isinstance(value, int):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < EXACT else value


def _quoted(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}…"


def _numeric(part: Part) -> bool:
    return isinstance(part, inspect.IntType | inspect.FloatType)


def _parts(kind: Part) -> list[Part]:
    """What a type is one of, descriptions aside."""
    if isinstance(kind, inspect.Metadata):
        return _parts(kind.type)
    if isinstance(kind, inspect.UnionType):
        return [part for one in kind.types for part in _parts(one)]
    return [kind]


@cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, Part]:
    """Fields of a struct by their names in JSON, with their types; its tag is one."""
    info = inspect.type_info(kind)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{kind} is no struct")
    fields: dict[str, Part] = {field.encode_name: field.type for field in info.fields}
    return fields if info.tag_field is None else {info.tag_field: inspect.LiteralType((str(info.tag),)), **fields}


@cache
def _nested(kind: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """Fields that hold a struct, or an array of structs."""
    out = {}
    for name, field in _fields(kind).items():
        for part in _parts(field):
            for one in _parts(part.item_type) if isinstance(part, inspect.VarTupleType | inspect.ListType) else [part]:
                if isinstance(one, inspect.StructType):
                    out[name] = one.cls
    return out
