"""Compressed bodies: what Python's own gzip makes is read, within the bound, and everything else is refused by name."""
from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.http.encodings import FRAMES, DamagedError, TooLargeError, UnknownEncodingError, unpacked

WHOLE = gzip.compress(b"whole")


def zstd(data: bytes) -> bytes:
    """Packed by polars, an independent writer of zstd; it packs lines."""
    out = io.BytesIO()
    polars.DataFrame({"line": [data.decode()]}).write_csv(out, include_header=False, quote_style="never", compression="zstd")
    return out.getvalue()


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.sampled_from(["gzip", "GZIP", " x-gzip"]))
def test_frames_of_gzip_are_their_contents_and_one_byte_less_than_that_is_too_little(parts: list[bytes], name: str) -> None:
    whole = b"".join(parts)
    body = b"".join(gzip.compress(part) for part in parts)
    assert unpacked(body, name, len(whole)) == whole
    if whole:
        with pytest.raises(TooLargeError):
            unpacked(body, name, len(whole) - 1)


def test_zstd_is_read_within_the_bound_and_what_is_cut_off_is_damaged() -> None:
    lines = "\n".join(f'{{"item_id": "i{n}"}}' for n in range(20_000)).encode()
    body = zstd(lines) + zstd(b"more")
    assert len(body) < len(lines) / 10
    assert unpacked(body, "zstd", len(lines) + 6) == lines + b"\nmore\n"
    with pytest.raises(TooLargeError):
        unpacked(body, "ZSTD", len(lines))
    for bad in (body[:-3], b"{}", WHOLE):
        with pytest.raises(DamagedError, match="zstd"):
            unpacked(bad, "zstd", 1 << 20)


def test_a_bomb_costs_no_more_than_its_bound() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    body = b"".join(bomb.compress(b"0" * (1 << 20)) for _ in range(100)) + bomb.flush()
    tracemalloc.start()
    for many in (body, gzip.compress(b"") * (FRAMES + 1), gzip.compress(b"") * 50_000):
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        with pytest.raises((TooLargeError, DamagedError)):
            unpacked(many, "gzip", 1 << 20)
        assert tracemalloc.get_traced_memory()[1] - before < 8 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("body", [b"{}", WHOLE[:-3], WHOLE + b"more", zlib.compress(b"not gzip")], ids=["json", "cut", "more", "zlib"])
def test_a_body_that_is_not_what_it_says_is_damaged(body: bytes) -> None:
    with pytest.raises(DamagedError, match="gzip"):
        unpacked(body, "gzip", 1_000)


def test_other_encodings_are_refused_by_name_and_none_is_none() -> None:
    for name in ("br", "deflate", "gzip, gzip", "zst"):
        with pytest.raises(UnknownEncodingError, match=name):
            unpacked(b"x", name, 10)
    assert unpacked(b"x", "", 0) == unpacked(b"x", "identity", 0) == b"x" and unpacked(b"", "gzip", 0) == b""
