"""Settings, checkpoints and the doctor on the command line."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from online_model import checkpoint
from streams.cli.main import segue


def call(*arguments: str) -> Result:
    return CliRunner().invoke(segue, arguments)


def test_config_says_where_a_value_came_from() -> None:
    told = json.loads(call("config", "--set", "partition.history_limit=7", "--json").stdout)
    assert told["partition.history_limit"] == {"value": 7, "source": "--set partition.history_limit=7"}
    assert told["topics.prefix"] == {"value": "segue", "source": "default"}


def test_no_checkpoint_is_an_empty_list(tmp_path: Path) -> None:
    done = call("checkpoint", "--root", str(tmp_path), "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {})


def test_a_damaged_checkpoint_is_told_from_a_whole_one_and_is_a_no(tmp_path: Path) -> None:
    for offset in (1, 2):
        checkpoint.save(tmp_path, checkpoint.name_of(0, offset), {"w": np.ones(3, np.float32)}, {})
    assert call("checkpoint", "--root", str(tmp_path)).exit_code == 0
    first, second = checkpoint.names(tmp_path)
    arrays = next(path for path in (tmp_path / second).iterdir() if path.suffix == ".safetensors")
    arrays.write_bytes(arrays.read_bytes()[:-1] + b"\x00")
    done = call("checkpoint", "--root", str(tmp_path), "--json")
    states = json.loads(done.stdout)
    assert done.exit_code == 1 and states[first] == "whole" and states[second] != "whole"
