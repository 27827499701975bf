"""Checkpoints: what goes in comes out; nothing broken is taken for whole; a crash at any point leaves one to load."""
from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from online_model import checkpoint
from online_model.checkpoint import (
    ARRAYS,
    KEEP,
    MANIFEST,
    META,
    Checkpoint,
    Conditions,
    Corrupt,
    Incompatible,
    load,
    load_newest,
    name_of,
    names,
    save,
)

FILES = (ARRAYS, META, MANIFEST)


def state(i: int) -> dict[str, np.ndarray]:
    return {"rows": np.arange(1_000, dtype=np.float32) + i, "keys": np.array([i, 2**64 - 1], np.uint64)}


def saved(root: Path, *offsets: int) -> None:
    for offset in offsets:
        save(root, name_of(1, offset), state(offset), {"offset": offset})


def newest(root: Path) -> Checkpoint:
    found = load_newest(root)
    assert found is not None
    assert found.meta["offset"] == int(found.name[-16:])
    np.testing.assert_array_equal(found.arrays["rows"], state(found.meta["offset"])["rows"])
    return found


def content(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


# --- what goes in comes out

dtypes = st.sampled_from(["<f4", "<f8", "<u8", "<i8", "<i4", "u1", "?"])
arrays = st.dictionaries(
    st.text("abc.", min_size=1, max_size=6),
    dtypes.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))),
    max_size=4,
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays, st.dictionaries(st.text(max_size=4), plain, max_size=4))
def test_what_goes_in_comes_out(tmp_path: Path, tensors: dict[str, np.ndarray], meta: dict[str, object]) -> None:
    back = load(save(tmp_path, name_of(0, 0), tensors, meta))
    assert back.meta == meta
    assert back.arrays.keys() == tensors.keys()
    for name, array in tensors.items():
        assert (back.arrays[name].dtype, back.arrays[name].shape) == (array.dtype, array.shape)
        assert back.arrays[name].tobytes() == array.tobytes()


def test_arrays_that_do_not_lie_straight_in_memory_keep_their_elements(tmp_path: Path) -> None:
    table = np.arange(12, dtype=np.int64).reshape(3, 4)
    views = {"transposed": table.T, "every_other": table[:, ::2], "backwards": table[::-1], "fortran": np.asfortranarray(table)}
    back = load(save(tmp_path, name_of(0, 0), views, {})).arrays
    for name, view in views.items():
        np.testing.assert_array_equal(back[name], view, err_msg=name)


def test_equal_states_are_equal_bytes_in_any_order_of_their_parts(tmp_path: Path) -> None:
    one = save(tmp_path / "a", name_of(0, 1), state(1), {"x": 1, "y": {"b": 2, "a": 3}})
    other = save(tmp_path / "b", name_of(0, 1), dict(reversed(state(1).items())), {"y": {"a": 3, "b": 2}, "x": 1})
    assert content(one) == content(other)


def test_loaded_arrays_can_be_learned_into(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    newest(tmp_path).arrays["rows"] += 1
    assert newest(tmp_path).arrays["rows"][0] == 1  # the file is as it was


def test_what_a_checkpoint_cannot_hold_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"arrays \['rows'\]"):
        save(tmp_path, name_of(0, 0), {"rows": np.zeros(2, [("a", "<i4")])}, {})
    with pytest.raises(ValueError, match="plain values"):
        save(tmp_path, name_of(0, 0), {}, {"generator": 2**100})
    with pytest.raises(ValueError, match="plain values"):
        save(tmp_path, name_of(0, 0), {}, {"generator": object()})
    with pytest.raises(ValueError, match="name_of"):
        save(tmp_path, "../elsewhere", {}, {})
    assert list(tmp_path.iterdir()) == []
    assert load_newest(tmp_path) is None


# --- which one


def test_names_sort_by_epoch_then_offset() -> None:
    pairs = [(0, 0), (0, 9), (0, 10), (2, 5), (10, 0)]
    assert sorted(name_of(*pair) for pair in reversed(pairs)) == [name_of(*pair) for pair in pairs]
    with pytest.raises(ValueError, match=">= 0"):
        name_of(-1, 0)


def test_the_newest_is_loaded_and_the_newest_few_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, *range(6))
    assert names(tmp_path) == [name_of(1, i) for i in range(6 - KEEP, 6)]
    assert newest(tmp_path).meta == {"offset": 5}


def test_one_just_written_is_never_removed_though_older_ones_have_higher_names(tmp_path: Path) -> None:
    saved(tmp_path, 7, 8, 9)
    saved(tmp_path, 3)  # after a roll-back
    assert names(tmp_path) == [name_of(1, i) for i in (3, 7, 8, 9)]


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_newest(tmp_path) is None
    assert load_newest(tmp_path / "absent") is None
    assert names(tmp_path / "absent") == []


def test_saving_again_under_a_name_replaces_it(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    save(tmp_path, name_of(1, 2), state(2), {"offset": 2, "again": True})
    assert newest(tmp_path).meta == {"offset": 2, "again": True}
    assert [p.name for p in sorted(tmp_path.iterdir())] == [name_of(1, 1), name_of(1, 2)]


# --- faults


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", [truncate, flip, grow, empty, Path.unlink])
def test_a_damaged_file_is_named_and_the_previous_checkpoint_is_used(tmp_path: Path, file: str, damage: Callable[[Path], None]) -> None:
    saved(tmp_path, 1, 2)
    broken = tmp_path / name_of(1, 2) / file
    damage(broken)
    with pytest.raises(Corrupt) as error:
        load(broken.parent)
    assert str(broken) in str(error.value)
    found = newest(tmp_path)
    assert found.meta == {"offset": 1}
    assert found.refused == (str(error.value),)


def test_no_flipped_bit_of_any_file_goes_unseen(tmp_path: Path) -> None:
    path = save(tmp_path, name_of(0, 0), {"a": np.arange(4.0)}, {"b": 1}, Conditions(versions=dict.fromkeys(checkpoint.versions(), "1")))
    for file in FILES:
        whole = (path / file).read_bytes()
        for bit in range(0, 8 * len(whole), 5):  # 5 is prime to 8: every byte, every bit in turn
            spoilt = bytearray(whole)
            spoilt[bit // 8] ^= 1 << bit % 8
            (path / file).write_bytes(spoilt)
            with pytest.raises(Corrupt):
                load(path)
        (path / file).write_bytes(whole)
    assert load(path).meta == {"b": 1}


def test_state_never_starts_anew_in_silence(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    for name in names(tmp_path):
        flip(tmp_path / name / META)
    with pytest.raises(Corrupt, match="no checkpoint is whole; remove the directory to start anew") as error:
        load_newest(tmp_path)
    assert all(name in str(error.value) for name in names(tmp_path))


def test_files_of_two_checkpoints_do_not_mix(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    shutil.copy(tmp_path / name_of(1, 1) / ARRAYS, tmp_path / name_of(1, 2) / ARRAYS)
    assert newest(tmp_path).meta == {"offset": 1}


_KILLED = """
import os, sys
from pathlib import Path
from online_model import checkpoint
from tests.online_model.test_checkpoint import saved
calls = {"fsync": 0, "rename": 0}
def dying(name):
    real = getattr(os, name)
    def call(*args):
        calls[name] += 1
        if (name, calls[name]) == (sys.argv[2], int(sys.argv[3])):
            os._exit(9)
        return real(*args)
    setattr(os, name, call)
dying("fsync"), dying("rename")
saved(Path(sys.argv[1]), int(sys.argv[4]))
"""


@pytest.mark.parametrize(
    ("call", "which", "offset", "expected"),
    [
        ("fsync", 1, 3, 2),  # arrays written
        ("fsync", 2, 3, 2),  # meta written
        ("fsync", 3, 3, 2),  # manifest written
        ("fsync", 4, 3, 2),  # all files on the disk
        ("rename", 1, 3, 2),  # all but named
        ("fsync", 5, 3, 3),  # named: from here on it is there
        ("rename", 1, 2, 2),  # the same name again: before the old one is set aside
        ("rename", 2, 2, 2),  # the old one set aside, the new one not yet named
        ("fsync", 5, 2, 2),
    ],
)
def test_a_process_killed_at_any_step_leaves_a_whole_checkpoint(tmp_path: Path, call: str, which: int, offset: int, expected: int) -> None:
    saved(tmp_path, 1, 2)
    command = [sys.executable, "-c", _KILLED, str(tmp_path), call, str(which), str(offset)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=60, check=False)
    assert done.returncode == 9
    found = newest(tmp_path)
    assert (found.meta, found.refused) == ({"offset": expected}, ())
    saved(tmp_path, 4)  # the next one works, and clears what the dead process left
    assert newest(tmp_path).meta == {"offset": 4}
    assert [p.name for p in tmp_path.iterdir() if p.name not in names(tmp_path)] == []


def test_a_file_that_may_not_grow_is_an_error_that_names_it_and_the_previous_stays(tmp_path: Path) -> None:
    """The kernel refuses the write (RLIMIT_FSIZE: EFBIG), as a full disk does."""
    saved(tmp_path, 1)
    before = content(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(OSError, match=ARRAYS):
            saved(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert content(tmp_path) == before
    assert newest(tmp_path).meta == {"offset": 1}


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_disk_that_is_full_at_a_flush_leaves_the_previous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    saved(tmp_path, 1, 2)
    before, real, calls = content(tmp_path), os.fsync, iter(range(1, 100))

    def full(descriptor: int) -> None:
        if next(calls) == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        saved(tmp_path, 3)
    assert content(tmp_path) == before


# --- conditions


def test_conditions_are_recorded_with_the_versions_of_what_computes(tmp_path: Path) -> None:
    conditions = Conditions(device="NVIDIA H100", threads=2, settings={"model": {"rate": 0.05}})
    back = load(save(tmp_path, name_of(0, 0), {}, {}, conditions)).conditions
    assert (back.device, back.threads, back.settings) == ("NVIDIA H100", 2, {"model": {"rate": 0.05}})
    assert back.versions["numpy"] == np.__version__
    assert {"python", "machine", "torch"} <= back.versions.keys()


def test_differences_are_listed_and_fixed_ones_refused_by_name() -> None:
    before = Conditions(versions={"numpy": "2.0"}, threads=1, settings={"model": {"dim": 16, "rate": 0.1, "pairs": (1, 2)}, "window_ms": 5})
    after = Conditions(versions={"numpy": "2.1"}, threads=2, settings={"model": {"dim": 16, "rate": 0.2, "pairs": [1, 2]}, "late_ms": 7})
    listed = [
        "settings.late_ms: (not set) -> 7",
        "settings.model.rate: 0.1 -> 0.2",
        "settings.window_ms: 5 -> (not set)",
        "threads: 1 -> 2",
        "versions.numpy: 2.0 -> 2.1",
    ]
    assert checkpoint.differences(before, after, fixed=("settings.model.dim", "settings.mod")) == listed
    assert checkpoint.differences(before, before, fixed=("settings",)) == []
    with pytest.raises(Incompatible, match=r"settings\.model\.rate: 0\.1 -> 0\.2$"):
        checkpoint.differences(before, after, fixed=("settings.model",))


def test_another_format_is_refused_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, 1)
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    saved(tmp_path, 2)
    monkeypatch.undo()
    with pytest.raises(Incompatible, match=f"format {checkpoint.FORMAT + 1}, this version reads {checkpoint.FORMAT}"):
        load_newest(tmp_path)


def test_arrays_under_a_prefix_have_the_rest_of_their_names() -> None:
    arrays = {name: np.zeros(1) for name in ("a.x", "a.b.y", "ab.z")}
    found = checkpoint.Checkpoint(Path("c"), arrays, {}, checkpoint.Conditions())
    assert {name: array is arrays[f"a.{name}"] for name, array in found.under("a.").items()} == {"x": True, "b.y": True}
