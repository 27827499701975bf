"""The pages of the contract: their tables are the fields of the structs, and the session in them goes as they say.

`REMAKE_GOLDEN=1` writes the tables anew.
"""
from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from online_model.features import TASKS, Example, Reversal
from streams.http.contracts import openapi
from streams.kafka_io.topics import TopicSettings
from tests.faults.harness import example_records
from tests.integration.test_service import exposures, now_ms, serving, taken, until
from tests.paths import ROOT

PAGES = [ROOT / "docs" / f"{name}.md" for name in ("events", "exposures", "items", "requests")]
BLOCK = re.compile(r"<!-- fields: (\w+)(?: - (\w+))? -->\n(.*?)<!-- end -->", re.DOTALL)
SCHEMAS = openapi()["components"]["schemas"]
BOUNDS = {
    "minLength": "≥ {} long", "maxLength": "≤ {} long", "minimum": "≥ {}", "maximum": "≤ {}", "maxItems": "≤ {}", "maxProperties": "≤ {}",
}  # fmt: skip


def kind(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return " \\| ".join(f"`{value}`" for value in SCHEMAS[name]["enum"]) if "enum" in SCHEMAS[name] else name
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind(one) for one in schema["anyOf"]))
    inside = schema.get("items") or schema.get("additionalProperties")
    bounds = ", ".join(words.format(f"{schema[bound]:,}") for bound, words in BOUNDS.items() if bound in schema)
    return f"{schema.get('type', 'anything')}{f' of {kind(inside)}' if inside else ''}{f' ({bounds})' if bounds else ''}"


def fields(name: str) -> dict[str, str]:
    """Rows of a struct's table by field."""
    if name == "ServingRequest":  # what the two requests have in common
        return {field: row for field, row in fields("SlateRequest").items() if fields("PageRequest").get(field) == row}
    schema, rows = SCHEMAS[name], {}
    for field, of in schema["properties"].items():
        default = "needed" if field in schema.get("required", ()) else f"`{json.dumps(of['default'])}`" if "default" in of else ""
        rows[field] = f"| `{field}` | {kind(of)} | {default} | {of['description']} |\n"
    return rows


def table(name: str, without: str | None) -> str:
    left_out = fields(without) if without else {}
    rows = "".join(row for field, row in fields(name).items() if field not in left_out)
    return f"\n| field | type | default | meaning |\n| --- | --- | --- | --- |\n{rows}\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_of_the_contract_are_the_fields_of_its_structs(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    made = BLOCK.sub(lambda m: f"<!-- fields: {m[1]}{f' - {m[2]}' if m[2] else ''} -->\n{table(m[1], m[2])}<!-- end -->", text)
    if os.environ.get("REMAKE_GOLDEN"):
        page.write_text(made, encoding="utf-8")
    assert BLOCK.search(text) and page.read_text(encoding="utf-8") == made


def test_every_struct_that_goes_over_http_has_its_table_but_what_explains_and_what_tells_of_the_worker() -> None:
    told = {name for page in PAGES for name, _, _ in BLOCK.findall(page.read_text(encoding="utf-8"))}
    elsewhere = {"Explanation", "ExplainedItem", "ScoreTerm", "Attention", "Behaviour", "Health", "Readiness"}
    assert told - {"ServingRequest"} == {name for name, s in SCHEMAS.items() if "properties" in s} - elsewhere


@pytest.mark.broker
def test_the_session_goes_as_the_page_says_and_its_play_is_learned_once_with_what_was_taken_back(
    topic_settings: Callable[[int], TopicSettings], tmp_path: Path
) -> None:
    """The page's requests in order, an hour's `ts` brought to now; then what the learner gets of them."""
    topics, session = topic_settings(1), (ROOT / "docs" / "session.md").read_text(encoding="utf-8")
    steps = re.findall(r"```http\n(\w+) (\S+)\n(.*?)```\s+```json\n(.*?)```", session, re.DOTALL)
    assert len(steps) == session.count("```http") >= 8
    times = sorted(int(ts) for ts in re.findall(r'"ts": (\d+)', session))

    async def main() -> None:
        async with serving(topics, tmp_path) as (worker, _, client):
            later = now_ms() + 1_000 - times[0]  # the acts come after the list
            lists = []
            for method, path, body, wanted in steps:
                moved = re.sub(r'"ts": (\d+)', lambda m: f'"ts": {int(m[1]) + later}', body)
                async with client.request(method, path, data=moved.encode()) as answer:
                    told = await answer.json()
                    assert answer.status in (200, 202) and told == told | json.loads(wanted), told
                if path == "/v1/items":
                    await until(lambda: len(worker.catalog) == 4)
                if path == "/v1/recommendations":
                    lists.append(told)
            assert lists[0] == lists[1] and len(lists[0]["items"]) == 4
            await until(lambda: taken(worker) == 5 and taken(worker, "rejected:duplicate") == 1)
            assert len(await asyncio.to_thread(exposures, topics)) == 1
            assert taken(worker, "impressions") == 2 and taken(worker, "unjoined") == 0

    asyncio.run(main())
    learned = [record for record in example_records(topics)[0] if isinstance(record, Example | Reversal)]
    play, collect, undo = learned
    assert isinstance(play, Example) and play.labels == 1 << TASKS.index("full_play")
    changes = [(r.id, TASKS[r.task], r.sign) for r in (collect, undo) if isinstance(r, Reversal)]
    assert changes == [(play.id, "collect", 1), (play.id, "collect", -1)]
