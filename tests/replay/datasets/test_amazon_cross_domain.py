"""One review becomes a list of drawn items around it, and a collect in that list."""
from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from replay import logs
from replay.datasets import amazon_cross_domain
from replay.log_rows import LogError
from streams.core.join.decode import decode
from streams.core.join.events import Action, Event, Exposure, Reason, Rejected

MAP = {f"B{k}": [k, 0] for k in range(1, 8)} | {f"E{k}": [k, 1] for k in range(8, 16)}


def log(folder: Path, *users: str, name: str = "abe_50_preprocessed.txt") -> Path:
    with gzip.open(folder / "abe_map_item_50.json.gz", "wt") as file:
        json.dump(MAP, file)
    path = folder / name
    path.write_text("\n".join(users) + "\n")
    return path


def records(path: Path) -> list[Exposure | Event]:
    out = [decode(row.raw)[0] for row in amazon_cross_domain.rows(path)]
    assert all(isinstance(record, Exposure | Event) for record in out)
    return [record for record in out if isinstance(record, Exposure | Event)]


def test_interactions_of_all_users_come_in_time_order_each_as_a_list_and_a_collect(tmp_path: Path) -> None:
    # user 7: item 9 on day 1, item 2 on day 3; user 8: item 9 on day 2
    found = records(log(tmp_path, "7 9|86400 2|259200", "8 9|172800"))
    exposures, acts = found[::2], found[1::2]
    assert [(e.user_id, e.ts, e.domain, e.request_id) for e in exposures] == [
        ("7", 86_400_000, "electronics", "r0"), ("8", 172_800_000, "electronics", "r1"), ("7", 259_200_000, "beauty", "r2"),
    ]  # fmt: skip
    assert acts == [
        Event(event_id=f"c{n}", ts=e.ts, user_id=e.user_id, item_id=item, action=Action.COLLECT, domain=e.domain, request_id=e.request_id)
        for n, (e, item) in enumerate(zip(exposures, ("E9", "E9", "B2"), strict=True))
    ]
    for exposure, act in zip(exposures, acts, strict=True):
        assert isinstance(exposure, Exposure) and isinstance(act, Event)
        shown = [slot.item_id for slot in exposure.slots]
        assert shown.count(act.item_id) == 1 and len(set(shown)) == len(shown)
        assert all(item in MAP and item[0] == act.item_id[0] for item in shown)
        assert [slot.position for slot in exposure.slots] == list(range(1, len(shown) + 1))
    assert len({record.event_id for record in found}) == len(found)


def test_interactions_of_one_day_keep_the_order_of_the_file_and_are_spread_over_it(tmp_path: Path) -> None:
    # three on day 1: at 0, 8 and 16 o'clock; one on day 2, at 0
    acts = records(log(tmp_path, "1 3|86400 9|86400", "2 1|86400 2|172800"))[1::2]
    assert [(a.user_id, a.item_id, a.ts // 3_600_000) for a in acts if isinstance(a, Event)] == [
        ("1", "B3", 24), ("1", "E9", 32), ("2", "B1", 40), ("2", "B2", 48),
    ]  # fmt: skip


def test_what_cannot_be_read_is_rejected_with_its_line(tmp_path: Path) -> None:
    rows = list(amazon_cross_domain.rows(log(tmp_path, "1 3|86400 soon", "2 99|86400", "3 1|86400")))
    assert [row.line for row in rows] == [1, 2, 1, 1, 3, 3]
    for row in rows[:2]:
        (rejected,) = decode(row.raw)
        assert isinstance(rejected, Rejected) and rejected.reason in (Reason.MALFORMED, Reason.WRONG_TYPE)


def test_catalog_is_the_map(tmp_path: Path) -> None:
    path = log(tmp_path, "1 3|86400")
    assert {item.item_id: item.domain for item in amazon_cross_domain.items(path)} == {
        item: ("beauty", "electronics")[domain] for item, (_, domain) in MAP.items()
    }


def test_log_of_another_name_or_without_its_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="beside it"):
        list(amazon_cross_domain.rows(log(tmp_path, "1 3|86400", name="x.txt")))
    path = log(tmp_path, "1 3|86400")
    (tmp_path / "abe_map_item_50.json.gz").write_bytes(gzip.compress(b'{"a": 1}'))
    with pytest.raises(LogError, match="not a map of items"):
        list(amazon_cross_domain.rows(path))


@pytest.mark.real_log
@pytest.mark.prove
def test_public_log_has_as_many_interactions_as_its_readme_says(data_dir: Path) -> None:
    log = data_dir / "amazon-beauty-electronics" / "abe_50_preprocessed.txt.gz"
    found = [decode(row.raw)[0] for row in logs.read([log], logs.Format.AMAZON_CROSS_DOMAIN, logs.Columns())]
    acts = [record for record in found if isinstance(record, Event)]
    lists = [record for record in found if isinstance(record, Exposure)]
    assert len(acts) == len(lists) == 114_129 and len({act.user_id for act in acts}) == 4_474
    assert sum(act.domain == "beauty" for act in acts) == 50_329
    assert sum(len(record.slots) == 5 for record in lists) > 114_000
    assert len(list(logs.items([log], logs.Format.AMAZON_CROSS_DOMAIN))) == 24_567
