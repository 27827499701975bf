"""Ids that are not UTF-8: refused, named and counted in every format; no two of them become one."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import polars
import pytest
from click.testing import CliRunner, Result

from replay import logs
from replay.log_rows import Columns, LogError
from replay.logs import Format
from streams.cli.main import segue
from streams.core.join.decode import decode
from streams.core.join.events import EARLIEST_TS, Event, Reason, Rejected
from streams.core.join.items import decode as decode_items
from streams.http import accept

T = 1_704_067_200_000
BAD = [
    b"caf\xe9",
    b"caf\xea",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc3",
    b"\xf4\x90\x80\x80",
    b"\xc0\xaf",
]  # Latin-1, a surrogate, cut, too large, too long


def call(*arguments: str) -> Result:
    return CliRunner().invoke(segue, arguments)


def csv(path: Path, *users: bytes) -> Path:
    rows = [b"%d,%b,i,play" % (T + n, user) for n, user in enumerate(users)]
    path.write_bytes(b"\n".join([b"ts,user_id,item_id,action", *rows]) + b"\n")
    return path


def json_lines(path: Path, *users: bytes, field: bytes = b"user_id") -> Path:
    rows = [b'{"ts":%d,"%b":"%b","item_id":"i","action":"play"}' % (T + n, field, user) for n, user in enumerate(users)]
    path.write_bytes(b"\n".join(rows))
    return path


def parquet(path: Path, *users: bytes) -> Path:
    """Ids in a column of bytes, as writers without logical types leave them."""
    n = len(users)
    columns: dict[str, Any] = {"ts": [T + at for at in range(n)], "user_id": list(users), "item_id": ["i"] * n, "action": ["play"] * n}
    polars.DataFrame(columns).write_parquet(path)
    return path


MAPPED = Columns(fields={"user_id": "who"})
READ = {
    "csv": lambda folder, *users: logs.read([csv(folder / "log.csv", *users)], Format.CSV, Columns()),
    "jsonl": lambda folder, *users: logs.read([json_lines(folder / "log.jsonl", *users)], Format.JSONL, Columns()),
    "jsonl, mapped": lambda folder, *users: logs.read([json_lines(folder / "log.jsonl", *users, field=b"who")], Format.JSONL, MAPPED),
    "parquet": lambda folder, *users: logs.read([parquet(folder / "log.parquet", *users)], Format.PARQUET, Columns()),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("form", READ)
def test_an_id_that_is_not_utf8_is_rejected_and_its_neighbours_are_not(tmp_path: Path, form: str, bad: bytes) -> None:
    good = "café ✓ \\ \U0001f3b5".replace("\\", "" if "json" in form else "\\").encode()
    found = [record for row in READ[form](tmp_path, good, bad, b"u") for record in decode(row.raw, EARLIEST_TS)]
    first, rejected, last = found
    assert isinstance(first, Event) and first.user_id.encode() == good and isinstance(last, Event)
    assert isinstance(rejected, Rejected) and rejected.reason is Reason.MALFORMED
    assert rejected.detail.startswith("not UTF-8: byte 0x") and rejected.detail.endswith(" - at `$.user_id`")
    assert bad in rejected.raw


def test_bytes_that_are_not_utf8_in_a_column_that_is_no_field_are_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"ts,user_id,item_id,action,note\xe9\n%d,u,i,play,caf\xe9\n" % T)
    (row,) = logs.read([path], Format.CSV, Columns())
    assert isinstance(decode(row.raw, EARLIEST_TS)[0], Event)


def test_the_line_and_the_field_are_named_and_counted(tmp_path: Path) -> None:
    log = str(csv(tmp_path / "log.csv", b"u", b"caf\xe9", b"caf\xea"))
    said = call("validate", log, "--format", "csv")
    assert said.exit_code == 1
    assert 'log.csv:3: $.user_id: not UTF-8: byte 0xe9, got "caf\\\\xe9"; save it as UTF-8' in said.stdout
    found = json.loads(call("replay", log, "--format", "csv", "--json").stdout)
    assert (found["events"], found["rejected"]) == (1, {"malformed": 2})
    assert [(each["line"], each["detail"]) for each in found["rejections"]] == [
        (3, "not UTF-8: byte 0xe9 - at `$.user_id`"), (4, "not UTF-8: byte 0xea - at `$.user_id`"),
    ]  # fmt: skip


def test_a_field_deep_in_a_record_is_named_and_an_escape_beside_it_is_not() -> None:
    slots = b'[{"item_id":"a","position":0},{"item_id":"\xe9","position":1}]'
    raw = b'{"ts":%d,"user_id":"caf\\u00e9","request_id":"r","kind":"exposure","slots":' + slots + b"}"
    (found,) = decode(raw % T)
    assert isinstance(found, Rejected) and found.detail == "not UTF-8: byte 0xe9 - at `$.slots[1].item_id`"
    (item,) = decode_items(b'{"item_id":"\xe9"}')
    assert isinstance(item, Rejected) and item.detail == "not UTF-8: byte 0xe9 - at `$.item_id`"


def test_over_http_it_is_refused_by_name() -> None:
    raw = b'{"ts":%d,"user_id":"\xe9","item_id":"i","action":"play"}' % T
    with pytest.raises(accept.Unusable, match=r"malformed: not UTF-8: byte 0xe9 - at `\$\.user_id`"):
        accept.events(raw)
    with pytest.raises(accept.Unusable, match=r"not UTF-8: byte 0xe9 - at `\$\.item_id`"):
        accept.catalog(b'{"item_id":"\xe9"}')


def test_open_bandit_rejects_the_row_and_refuses_the_side_file(tmp_path: Path) -> None:
    head = "timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user_feature_2,user_feature_3"
    row = b"2019-11-24 00:00:00+00:00,1,1,0,0.5,a,b,c,%b"
    path = tmp_path / "men.csv"
    path.write_bytes(b"\n".join([head.encode(), row % b"d", row % b"\xe9"]))
    first, second = (decode(each.raw, EARLIEST_TS)[0] for each in logs.read([path], Format.OPEN_BANDIT, Columns()))
    assert isinstance(first, Event) and isinstance(second, Rejected) and second.detail.startswith("not UTF-8: byte 0xe9 behind ")
    (tmp_path / "item_context.csv").write_bytes(b"item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3\n1,0,\xe9,b,c\n")
    with pytest.raises(LogError, match=r"item_context\.csv:2: not UTF-8: byte 0xe9"):
        list(logs.items([path], Format.OPEN_BANDIT))


def test_amazon_rejects_the_line(tmp_path: Path) -> None:
    (tmp_path / "abe_map_item_50.json").write_bytes(msgspec.json.encode({"x": (0, 0), "y": (1, 0)}))
    path = tmp_path / "abe_50_preprocessed.txt"
    path.write_bytes(b"\xe9 0|1000000000\nv 1|1000000000\n")
    found = [decode(row.raw, EARLIEST_TS)[0] for row in logs.read([path], Format.AMAZON_CROSS_DOMAIN, Columns())]
    assert [isinstance(each, Rejected) for each in found] == [True, False, False]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_policy_file_is_refused_with_its_line(tmp_path: Path, suffix: str) -> None:
    policy = tmp_path / f"policy.{suffix}"
    rows = [b"item_id,probability", b"i\xe9,1"] if suffix == "csv" else [b"", b'{"item_id":"i\xe9","probability":1}']
    policy.write_bytes(b"\n".join(rows))
    done = call("evaluate", str(csv(tmp_path / "log.csv", b"u")), "--format", "csv", "--policy", str(policy), "--q-hat", "cross-fitted")
    assert done.exit_code == 2 and f"policy.{suffix}:2: " in done.stderr, done.output
