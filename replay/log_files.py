"""Files of a log as they lie: plain, packed (gzip, zstd, bzip2, xz), in a zip archive, in a folder, or named by a pattern.

A file in an archive has the path `ARCHIVE/NAME`, as if the archive were a folder. How a file is packed is told by its first bytes.
"""
from __future__ import annotations

import bz2
import fnmatch
import glob
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO, cast

from replay.meter import meter

GZIP, BZIP2, XZ, ZSTD, ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zX", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
SKIPPABLE = b"\x50\x2a\x4d\x18"  # a frame of zstd with no data, as pzstd writes it first
NAMES = {GZIP: "gzip", BZIP2: "bzip2", XZ: "xz", ZSTD: "zstd", SKIPPABLE: "zstd", ZIP: "zip"}
SUFFIXES = (".gz", ".zst", ".bz2", ".xz")  # of packed files, behind the name of what is packed
UTF16 = (b"\xff\xfe", b"\xfe\xff")
BATCH_LINES = 65_536


class LogError(ValueError):
    """A log that can't be used as asked; the command line prints it and ends with 2."""


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines of a file, unpacked, numbered from 1, without their ends."""
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            if number == 1 and line[:2] in UTF16:
                raise LogError(f"{path}: the text is UTF-16; save it as UTF-8")
            yield number, line.rstrip(b"\r\n")


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a side file as text, without a mark of byte order. Raises LogError at one that is not UTF-8."""
    for number, line in lines(path):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise LogError(f"{path}:{number}: not UTF-8: byte {line[error.start]:#x} behind {error.start:,} others") from None


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked. Raises LogError where what is packed is damaged."""
    packing = b""
    with ExitStack() as stack:
        try:
            file = _bytes(path, stack)
            head = file.read(4)
            file.seek(0)
            packing = next((magic for magic in NAMES if head.startswith(magic)), b"")
            if packing not in (ZSTD, SKIPPABLE):  # polars reads those: where it is, nobody knows
                stack.enter_context(meter().reading(path, file.tell))
            yield stack.enter_context(_unpacked(file, packing, path))
        except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            raise LogError(f"{path}: the {NAMES.get(packing, 'zip')} file is damaged: {error}; download it again") from None
        except OSError as error:
            if error.errno is None:  # so bzip2 complains of its data
                raise LogError(f"{path}: the {NAMES.get(packing, 'packed')} file is damaged: {error}; download it again") from None
            raise


def archive_of(path: Path) -> Path | None:
    """The zip archive that a file lies in, where it does not lie in a folder."""
    return None if path.exists() else next((parent for parent in path.parents if parent.is_file()), None)


def files(paths: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """The files that `paths` stand for: a folder's or an archive's are those named like one of `names`, in the order of their paths.

    A path that is not there may be a pattern (`logs/2024-*.csv`). Raises LogError where one stands for no file.
    """
    return [file for path in paths for file in _files(path, names)]


def beside(log: Path, *names: str) -> Path | None:
    """A side file in the log's folder or archive, plain or gzipped; names may hold `*`."""
    archive = archive_of(log)
    for name in names:
        found = [] if archive else sorted(log.parent.glob(name)) + sorted(log.parent.glob(name + ".gz"))
        if archive:
            found = [file for file in members(archive) if file.parent == log.parent and fnmatch.fnmatchcase(_unpacked_name(file), name)]
        if found:
            return found[0]
    return None


def sizes(found: Sequence[Path]) -> dict[Path, int]:
    """Bytes of files as they lie; in an archive, unpacked."""
    out: dict[Path, int] = {}
    for archive, inside in groupby(found, archive_of):
        if archive is None:
            out |= {path: path.stat().st_size for path in inside}
        else:
            with zipfile.ZipFile(archive) as zipped:
                out |= {path: zipped.getinfo(path.relative_to(archive).as_posix()).file_size for path in inside}
    return out


def members(archive: Path) -> list[Path]:
    """The files in an archive."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            return sorted(archive / each.filename for each in zipped.infolist() if not each.is_dir())
    except zipfile.BadZipFile as error:
        raise LogError(f"{archive}: the zip file is damaged: {error}; download it again") from None


def _files(path: Path, names: Sequence[str]) -> list[Path]:
    if path.is_dir():
        there = sorted(file for file in path.rglob("*") if file.is_file())
    elif path.is_file():
        with path.open("rb") as file:
            if file.read(4) != ZIP:
                return [path]
        there = members(path)
    elif archive_of(path):
        return [path]
    elif found := sorted(glob.glob(str(path), recursive=True)):
        return files([Path(each) for each in found], names)
    else:
        raise LogError(f"{path}: no such file, and no pattern that matches one")
    hidden = [any(part.startswith((".", "__")) for part in file.relative_to(path).parts) for file in there]
    visible = [file for file, is_hidden in zip(there, hidden, strict=True) if not is_hidden]
    found_here = [file for file in visible if any(fnmatch.fnmatchcase(_unpacked_name(file).lower(), name) for name in names)]
    if not found_here:
        has = ", ".join(file.name for file in visible[:8]) or "nothing"
        raise LogError(f"{path}: no file in it is named {' or '.join(names)}; it has {has}")
    return found_here


def _unpacked_name(file: Path) -> str:
    return file.stem if file.suffix in SUFFIXES else file.name


def _bytes(path: Path, stack: ExitStack) -> IO[bytes]:
    archive = archive_of(path)
    if archive is None:
        return stack.enter_context(path.open("rb"))
    zipped = stack.enter_context(zipfile.ZipFile(archive))
    name = path.relative_to(archive).as_posix()
    try:
        return stack.enter_context(zipped.open(name))
    except KeyError:
        raise LogError(f"{archive}: it has no file {name}") from None
    except RuntimeError as error:  # a password
        raise LogError(f"{path}: {error}; unpack it first") from None


def _unpacked(file: IO[bytes], packing: bytes, path: Path) -> IO[bytes]:
    if packing == GZIP:
        return cast(IO[bytes], gzip.open(file))
    if packing == BZIP2:
        return bz2.open(file)
    if packing == XZ:
        return lzma.open(file)
    if packing in (ZSTD, SKIPPABLE):
        return io.BufferedReader(_ZstdLines(file, path), 1 << 20)
    if packing == ZIP:
        raise LogError(f"{path}: an archive; name one of its files, as in {path}/NAME")
    return file


def _without_skippable(packed: bytes) -> bytes:
    """What polars takes: the first frame holds data."""
    while packed[:4] == SKIPPABLE:
        packed = packed[8 + int.from_bytes(packed[4:8], "little") :]
    return packed


class _ZstdLines(io.RawIOBase):
    """The lines of a zstd file, which polars unpacks."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        import polars

        source: Path | bytes = path
        if not path.is_file() or file.read(4) == SKIPPABLE:
            file.seek(0)
            source = _without_skippable(file.read())
        self._batches = polars.scan_lines(source).collect_batches(chunk_size=BATCH_LINES)
        self._path = path
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """The next bytes."""
        import polars

        while not self._rest:
            try:
                batch = next(self._batches, None)
            except polars.exceptions.ComputeError as error:
                raise LogError(f"{self._path}: {error}; what is not UTF-8 can be rejected row by row once the file is unpacked") from None
            if batch is None:
                return 0
            self._rest = memoryview("".join(f"{line}\n" for line in batch["line"]).encode())
        n = min(len(buffer), len(self._rest))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n
