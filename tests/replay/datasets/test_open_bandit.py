"""One logged place of a page is one impression with its propensity."""
from __future__ import annotations

from pathlib import Path

import pytest

from replay import logs
from replay.datasets import open_bandit
from streams.core.join.decode import decode
from streams.core.join.events import Action, Event, Reason, Rejected

HEAD = ",timestamp,item_id,position,click,propensity_score," + ",".join(
    [*(f"user_feature_{k}" for k in range(4)), "user-item_affinity_0", "user-item_affinity_1"]
)


def log(folder: Path, *rows: str, name: str = "men_random.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    return path


def test_row_is_an_impression_and_a_click_a_play(tmp_path: Path) -> None:
    shown, clicked = open_bandit.rows(
        log(
            tmp_path,
            "0,2019-11-24 00:03:13.442536+00:00,1,3,0,0.25,a,b,c,d,0.0,2.5",
            "1,2019-11-24 00:03:14+00:00,0,1,1,0.5,a,b,c,d,1.0,0.0",
        )
    )
    (event,) = decode(shown.raw)
    assert event == Event(
        event_id=event.event_id,
        ts=1_574_553_793_442,  # date -u -d '2019-11-24 00:03:13' +%s = 1574553793
        user_id="a-b-c-d",
        item_id="1",
        action=Action.IMPRESSION,
        position=3,
        propensity=0.25,
        strategy="random",
        context={"user.feature_0": "a", "user.feature_1": "b", "user.feature_2": "c", "user.feature_3": "d", "affinity": 2.5},
    )
    play = decode(clicked.raw)[0]
    assert isinstance(play, Event) and play.also == (Action.PLAY,) and play.full is True


def test_row_that_cannot_be_read_is_rejected(tmp_path: Path) -> None:
    (read,) = open_bandit.rows(log(tmp_path, "0,yesterday,1,3,0,0.25,a,b,c,d,0.0,2.5"))
    (rejected,) = decode(read.raw)
    assert isinstance(rejected, Rejected) and rejected.reason is Reason.WRONG_TYPE


@pytest.mark.real_log
def test_public_log_is_in_order_and_uniform(data_dir: Path) -> None:
    log = data_dir / "open-bandit" / "men_random.csv.gz"
    events = [decode(row.raw)[0] for row in logs.read([log], logs.Format.OPEN_BANDIT, logs.Columns())]
    assert len(events) == 10_000
    assert {event.propensity for event in events} == {1 / 34}
    assert sum(event.also == (Action.PLAY,) for event in events) == 46
    assert len(list(logs.items([log], logs.Format.OPEN_BANDIT))) == 34
