"""State <-> directory: safetensors for arrays, MessagePack for the rest, a manifest with checksums. No pickle.

A checkpoint is a directory of three files under one root:

    <root>/<name>/arrays.safetensors   arrays by name
    <root>/<name>/meta.msgpack         everything else, and the conditions it was made under
    <root>/<name>/manifest             length and xxh3 of both, and its own

`name_of(epoch, offset)` sorts as it was written, so the newest is the last. Nothing here reads a clock.
"""
from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xxhash
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

FORMAT = 7  # of the directory; another one is refused by name
KEEP = 3  # newest checkpoints that stay
ARRAYS, META, MANIFEST = "arrays.safetensors", "meta.msgpack", "manifest"
LIBRARIES = ("numpy", "scipy", "torch", "river", "msgspec", "safetensors", "xxhash", "segue")

_CHUNK = 1 << 22
_NAME = re.compile(r"\d{12}-\d{16}")
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class Corrupt(Exception):
    """A checkpoint that can't be trusted; the message names the file."""


class Incompatible(ValueError):
    """A whole checkpoint that doesn't fit what runs now; the message names what differs."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What decides, beside the records, which bytes come out: compared at load."""

    versions: dict[str, str] = {}
    device: str = "cpu"
    threads: int = 1
    settings: dict[str, Any] = {}


class _File(msgspec.Struct, frozen=True):
    bytes: int
    xxh3_128: str


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    files: dict[str, _File]


class _Meta(msgspec.Struct, frozen=True, kw_only=True):
    meta: dict[str, Any]
    conditions: Conditions


@dataclass(slots=True)
class Checkpoint:
    """A checkpoint that was read whole."""

    path: Path
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    conditions: Conditions
    refused: tuple[str, ...] = ()  # why newer ones were passed over

    @property
    def name(self) -> str:
        """Of its directory, which sorts as checkpoints were written."""
        return self.path.name

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays whose names begin with `prefix`, by the rest of their names."""
        return {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}


def name_of(epoch: int, offset: int) -> str:
    """The directory's name: sorts by epoch, then by offset."""
    if not (0 <= epoch < 10**12 and 0 <= offset < 10**16):
        raise ValueError(f"a checkpoint is named by an epoch and an offset >= 0, got {epoch} and {offset}")
    return f"{epoch:012d}-{offset:016d}"


def names(root: Path) -> list[str]:
    """Checkpoints under the root, oldest first, whole or not; what is still being written isn't one."""
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if _NAME.fullmatch(entry.name) and entry.is_dir())


def versions() -> dict[str, str]:
    """Of Python, the machine's kind and the libraries that compute or store state."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue  # run from a clone, or without torch
    return found


def save(
    root: Path, name: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], conditions: Conditions | None = None, keep: int = KEEP
) -> Path:
    """Write a checkpoint; when this returns, it survives the loss of power. In this order:

    1. write both files and the manifest into a directory beside, each flushed to the disk, then that directory;
    2. rename it to its name (one already there, of an earlier run, is set aside first and put back by `load_newest`
       if the process dies between the two renames);
    3. flush the root; 4. remove the oldest beyond `keep`, and what a process that died left half written.

    Raises OSError (disk full, say) and leaves what was there as it was.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"a checkpoint's name comes from name_of(epoch, offset), got {name!r}")
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    root.mkdir(parents=True, exist_ok=True)
    _recover(root)
    part, aside, final = root / f".{name}.part", root / f".{name}.old", root / name
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        _write_arrays(part / ARRAYS, arrays)
        conditions = conditions or Conditions()
        stamped = msgspec.structs.replace(conditions, versions=versions() | conditions.versions)
        _write(part / META, _packed(meta, stamped))
        files = {file: _digest(part / file) for file in (ARRAYS, META)}
        _write(part / MANIFEST, _sealed(msgspec.json.encode(_Manifest(format=FORMAT, files=files), order="deterministic")))
        _flush(part)
        if final.exists():
            os.rename(final, aside)
        os.rename(part, final)
    except BaseException:
        _recover(root)
        shutil.rmtree(part, ignore_errors=True)
        raise
    _flush(root)
    shutil.rmtree(aside, ignore_errors=True)
    for leftover in root.glob(".*.part"):  # of a process that died
        if leftover.name < part.name:
            shutil.rmtree(leftover, ignore_errors=True)
    for old in names(root)[:-keep]:
        if old != name:
            shutil.rmtree(root / old, ignore_errors=True)
    return final


def load(path: Path) -> Checkpoint:
    """Read one checkpoint. Raises `Corrupt` naming the file, or `Incompatible` for another format."""
    manifest = _manifest(path / MANIFEST)
    for file in (ARRAYS, META):
        if file not in manifest.files:
            raise Corrupt(f"{path / MANIFEST}: doesn't list {file}")
        if not (path / file).is_file():
            raise Corrupt(f"{path / file}: missing")
        expected, found = manifest.files[file], _digest(path / file)
        if found != expected:
            wanted, got = (f"{f.bytes:,} bytes of xxh3 {f.xxh3_128}" for f in (expected, found))
            raise Corrupt(f"{path / file}: expected {wanted}, found {got}")
    try:
        arrays = load_file(path / ARRAYS)
        meta = msgspec.msgpack.decode((path / META).read_bytes(), type=_Meta)
    except (SafetensorError, msgspec.DecodeError) as error:
        raise Corrupt(f"{path}: checksums match, but a file can't be decoded: {error}") from error
    return Checkpoint(path, arrays, meta.meta, meta.conditions)


def load_newest(root: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole; None if there is none at all.

    Corrupt newer ones are passed over and named in `refused`. If every one is corrupt, `Corrupt`: state that was
    there must not silently start anew.
    """
    _recover(root)
    refused: list[str] = []
    for name in reversed(names(root)):
        try:
            found = load(root / name)
        except Corrupt as error:
            refused.append(str(error))
            continue
        found.refused = tuple(refused)
        return found
    if refused:
        raise Corrupt(f"{root}: no checkpoint is whole; remove the directory to start anew. " + "; ".join(refused))
    return None


def changes(before: Any, after: Any, defaults: Any = None) -> dict[str, str]:
    """What differs between two trees (structs, mappings), a line each by its name. What `before` lacks was as in `defaults`.

    >>> changes({"deep": {"layers": (32, 32), "rate": 0.1}}, {"deep": {"layers": [32, 32], "rate": 0.2, "new": 1}}, {"deep": {"new": 1}})
    {'deep.rate': 'deep.rate: 0.1 -> 0.2'}
    """
    was, now, default = (_flat(msgspec.msgpack.decode(_encode(tree or {}))) for tree in (before, after, defaults))
    was, absent = default | was, "(not set)"  # all as read back: no tuples
    return {
        name: f"{name}: {was.get(name, absent)} -> {now.get(name, absent)}"
        for name in sorted(was.keys() | now.keys())
        if was.get(name, absent) != now.get(name, absent)
    }


def differences(saved: Conditions, now: Conditions, fixed: Collection[str] = (), defaults: Mapping[str, Any] | None = None) -> list[str]:
    """What changed since the checkpoint, a line each: `threads: 1 -> 2`, `settings.model.row_rate: 0.05 -> 0.1`.

    `defaults`: of settings, for those that the checkpoint lacks since it is older than they are.
    Raises `Incompatible` if a name in `fixed`, or one below it (`settings.model`), is among the changes.
    """
    changed = changes(saved, now, {"settings": defaults or {}})
    wrong = [line for name, line in changed.items() if any(name == f or name.startswith(f + ".") for f in fixed)]
    if wrong:
        raise Incompatible("the checkpoint was made with other settings, set them back or start anew: " + "; ".join(wrong))
    return list(changed.values())


def _recover(root: Path) -> None:
    """Put back what `save` had set aside when it stopped between its two renames; later than that, it is not needed."""
    if not root.is_dir():
        return
    for aside in root.glob(".*.old"):
        final = root / aside.name[1 : -len(".old")]
        if final.exists():
            shutil.rmtree(aside, ignore_errors=True)
        elif _NAME.fullmatch(final.name):
            os.rename(aside, final)


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    # safetensors writes the memory of an array, not its elements: a transposed one would come back scrambled
    straight = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    try:
        save_file(straight, path)
    except SafetensorError as error:
        bad = [name for name, array in straight.items() if array.dtype.hasobject or array.dtype.kind not in "biufc"]
        if bad:
            raise ValueError(f"arrays {bad} are of a kind that a checkpoint can't hold: {error}") from error
        raise OSError(f"{path}: {error}") from error
    _flush(path)


def _packed(meta: Mapping[str, Any], conditions: Conditions) -> bytes:
    try:
        return _encode(_Meta(meta=dict(meta), conditions=conditions))
    except (TypeError, OverflowError) as error:
        raise ValueError(f"meta of a checkpoint must be plain values (integers up to 64 bits): {error}") from error


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _flush(path)


def _flush(path: Path) -> None:
    """What was written to a file, or into a directory, is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> _File:
    digest, size = xxhash.xxh3_128(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return _File(size, digest.hexdigest())


def _sealed(body: bytes) -> bytes:
    return body + b"\n" + xxhash.xxh3_128_hexdigest(body).encode() + b"\n"


def _manifest(path: Path) -> _Manifest:
    if not path.is_file():
        raise Corrupt(f"{path}: missing")
    data = path.read_bytes()
    body = data.split(b"\n", 1)[0]
    if _sealed(body) != data:
        raise Corrupt(f"{path}: doesn't match its own checksum")
    manifest = msgspec.json.decode(body, type=_Manifest)
    if manifest.format != FORMAT:
        raise Incompatible(f"{path}: format {manifest.format}, this version reads {FORMAT}; use the version that wrote it")
    return manifest


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out
