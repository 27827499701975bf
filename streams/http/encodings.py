"""Bodies that come compressed, unpacked within a bound: a kilobyte may unpack to a gigabyte."""
from __future__ import annotations

import sys
import zlib
from importlib import import_module
from typing import Any

_ZSTD: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
_DAMAGED = (zlib.error, _ZSTD.ZstdError, EOFError)
GZIP = 16 + zlib.MAX_WBITS  # of zlib: a header and a trailer of gzip
FRAMES = 100  # of one body: each is read from a copy of what follows it
KNOWN = ("gzip", "zstd")


class UnknownEncodingError(ValueError):
    """A content-encoding that is not unpacked here; the message names it."""


class DamagedError(ValueError):
    """A body that is not what its content-encoding says; the message is how."""


class TooLargeError(ValueError):
    """A body that unpacks to more than it may."""


def unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """A body of at most `most` bytes, by its header content-encoding. Frames may follow each other.

    Raises UnknownEncodingError, DamagedError and TooLargeError.

    >>> import gzip
    >>> unpacked(gzip.compress(b"one") + gzip.compress(b", two"), "gzip", 100)
    b'one, two'
    """
    name = encoding.strip().lower()
    name = "gzip" if name == "x-gzip" else name  # RFC 9110, 8.4.1.3
    if name in ("", "identity") or not body:
        return body
    if name not in KNOWN:
        raise UnknownEncodingError(f"a body with content-encoding {encoding[:64]!r} is not taken")
    parts: list[bytes] = []
    size = 0
    for _ in range(FRAMES):
        frame: Any = _ZSTD.ZstdDecompressor() if name == "zstd" else zlib.decompressobj(GZIP)
        try:
            parts.append(frame.decompress(body, most - size + 1))
        except _DAMAGED as error:
            raise DamagedError(f"the body is no {name}: {error}") from None
        size += len(parts[-1])
        if size > most:
            raise TooLargeError
        if not frame.eof:
            raise DamagedError(f"the body ends before its {name} does")
        body = frame.unused_data
        if not body:
            return b"".join(parts)
    raise DamagedError(f"the body is more than {FRAMES} frames of {name}")
