"""Times of a replay: that each is of what it says, on logs too small to say anything."""
from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import replay
from replay.evidence import tables


def test_processes_run_the_command_and_stand_beside_what_they_rest_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(replay, "_took", lambda command: float(ran.append(command) or len(ran)))
    short, long = replay.processes(tmp_path, 30, 60)
    assert (short.what, long.what) == ("segue replay of 30 rows, to its table", "segue replay of 60 rows")
    assert [command[1] for command in ran] == ["-c", "-m", "-m", "-m"] and ran[2] + ["--light"] == ran[3]
    assert {short.ours, short.theirs, long.ours, long.theirs} == {1.0, 2.0, 3.0, 4.0}
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 60


@pytest.mark.real_log
@pytest.mark.prove
def test_own_steps_predict_as_live_ones_do_in_a_share_of_their_time(data_dir: Path) -> None:
    """2,000 rows: few enough to be quick, too few for the bound on AUC. `make bench ARGS="replay --rows 94784"` holds it."""
    time, *figures = replay.steps(data_dir / replay.KUAIRAND, 2_000)
    for figure in (time, *figures):
        print(f"{figure.what}: {figure.ours:.4g} for {figure.theirs:.4g} {figure.baseline}; {figure.budget}")
    assert time.ratio < 1
    assert {figure.what for figure in figures} >= {"… AUC of skip", "… AUC of full_play"} and tables.FEW_POSITIVES == 100
