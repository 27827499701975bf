"""A replay remembers as long as suits how seldom items come again in its log."""
from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from replay.log_rows import Columns
from replay.logs import Format, read
from replay.options import CoreSettings
from replay.prequential import Numbered, of_file
from replay.suited.memory import LOOKED_AT, note, suited
from streams.cli.main import segue
from streams.core.join.events import Action, Event, Reason, Rejected
from streams.core.join.records import Arrived

T, HOUR_MS, DAY_MS = 1_704_067_200_000, 3_600_000, 86_400_000
LIVE = CoreSettings()


def acts(count: int, span_ms: int, items: int, action: str = "play") -> list[Numbered]:
    rows = [Event(ts=T + n * span_ms // (count - 1), user_id="u", item_id=f"i{n % items}", action=Action(action)) for n in range(count)]
    return [(n, Arrived(n, 0, row.ts, row, "")) for n, row in enumerate(rows)]


@pytest.mark.parametrize(("log", "half_life_h", "expire_d"), [
    ([], 168.0, 14.0),
    (acts(5_000, 6 * DAY_MS, 2_000), 168.0, 14.0),  # an item comes again in 2.4 days
    (acts(5_000, 60 * DAY_MS, 1_000), 288.0, 36.0),  # in 12 days
    (acts(LOOKED_AT, 8 * HOUR_MS, 2_300), 168.0, 14.0),  # short videos: in 4 hours
    (acts(5_000, 3 * 365 * DAY_MS, 1_000), 1_440.0, 400.0),  # ratings over years: in 219 days
    (acts(50, 3 * 365 * DAY_MS, 50), 1_440.0, 400.0),  # never
    (acts(100, 1_000 * DAY_MS, 5, "impression"), 168.0, 14.0),  # nobody acted
], ids=["empty", "days", "weeks", "hours", "years", "once", "no acts"])  # fmt: skip
def test_rates_halve_as_items_come_again_and_no_sooner_than_live(log: list[Numbered], half_life_h: float, expire_d: float) -> None:
    found = suited(LIVE, log)
    assert (found.partition.rate_half_life_h, found.model.expire_d) == pytest.approx((half_life_h, expire_d))
    others = msgspec.structs.replace(found, partition=LIVE.partition, model=LIVE.model)
    assert others == LIVE


def test_what_is_rejected_and_what_comes_later_says_nothing_and_a_longer_memory_stays() -> None:
    bad = (0, Arrived(0, 0, 0, Rejected(Reason.MALFORMED, "", b""), ""))
    assert suited(LIVE, [bad, *acts(LOOKED_AT, 8 * HOUR_MS, 100), *acts(2, 9_000 * DAY_MS, 2)]) == LIVE
    late = [Event(ts=T + 700 * DAY_MS + n, user_id="u", item_id=f"i{n}", action=Action.PLAY) for n in range(10)]
    paused = [(n, Arrived(n, 0, act.ts, act, "")) for n, act in enumerate(late)]
    assert suited(LIVE, [*acts(400, DAY_MS, 100), *paused]) == LIVE  # a pause of the log is none of its items
    model = msgspec.structs.replace(LIVE.model, expire_d=1_000.0)
    assert suited(msgspec.structs.replace(LIVE, model=model), acts(9, 900 * DAY_MS, 9)).model.expire_d == 1_000.0


def test_it_is_said_and_not_done_where_somebody_has_set_it(tmp_path: Path) -> None:
    rows = [
        {"ts": T + n * DAY_MS, "user_id": f"u{n % 5}", "item_id": f"i{n % 20}", "action": "impression", "also": ["play"]} for n in range(60)
    ]
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(map(json.dumps, rows)))
    small = [part for name in ("deep=false", "causal=false", "pairs=0") for part in ("--set", f"model.{name}")]

    def told(*options: str) -> list[str]:
        done = CliRunner().invoke(segue, ["replay", str(log), "--format", "jsonl", "--json", *small, *options], catch_exceptions=False)
        return [line for line in json.loads(done.stdout)["notes"] if line.startswith("Rates halve in")]

    wanted = suited(LIVE, acts(60, 59 * DAY_MS, 20))
    assert wanted.partition.rate_half_life_h == pytest.approx(24 * 59 / 3)
    assert told() == note(LIVE, wanted)
    assert told("--as-live") == told("--set", "model.expire_d=30") == []
    seen = CliRunner().invoke(segue, ["inspect", str(log)], catch_exceptions=False).output
    assert "live, set partition.rate_half_life_h=472 and model.expire_d=59" in seen


def _reviews(data_dir: Path, tmp_path: Path) -> Path:
    """Of every fifth user of 13 years of reviews: what was reviewed, in order of time."""
    rows = []
    with gzip.open(data_dir / "amazon-beauty-electronics" / "abe_50_preprocessed.txt.gz", "rt") as lines:
        for line in islice(lines, None, None, 5):
            user, *acts = line.split()
            rows += [(int(act.partition("|")[2]), user, act.partition("|")[0]) for act in acts]
    log = tmp_path / "reviews.csv"
    log.write_text("time,user_id,item_id\n" + "".join(f"{ts},{user},{item}\n" for ts, user, item in sorted(rows)))
    return log


@pytest.mark.prove
@pytest.mark.real_log
def test_on_reviews_of_years_it_beats_what_is_remembered_live(data_dir: Path, tmp_path: Path) -> None:
    log = _reviews(data_dir, tmp_path)
    found: dict[str, dict[str, float]] = {}
    for name, options in {"live": ["--set", "model.expire_d=14"], "suited": []}.items():
        call = f"replay {log} --format csv --time s --map ts=time --const action=play --next 20 --json".split()
        told = json.loads(CliRunner().invoke(segue, [*call, *options], catch_exceptions=False).stdout)
        found[name] = figures = told["metrics"]["full_play"]
        print(f"{name}: AUC {figures['auc']:.4f}, NE {figures['ne']:.4f}, COPC {figures['copc']:.3f}, {figures['n']:,.0f} exposures")
    assert found["suited"]["auc"] >= found["live"]["auc"] + 0.0185
    assert found["suited"]["ne"] < found["live"]["ne"]


@pytest.mark.real_log
def test_on_short_videos_of_days_it_is_as_live(data_dir: Path) -> None:
    log = data_dir / "kuairand-pure" / "log_standard_4_25_to_4_30_pure.csv.gz"
    assert suited(LIVE, of_file(read([log], Format.KUAIRAND, Columns()))) == LIVE
