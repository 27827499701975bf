"""The documentation: whole, without a network, and of the very structs that take and give."""
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from streams.core.join.events import ArmDraw
from streams.core.serving.explain import ExplainedItem, Explanation
from streams.core.serving.pages import Module, Page, PageRequest
from streams.core.serving.recommend import Slate, SlateRequest
from streams.http.accept import Taken, catalog, events
from streams.http.contracts import documentation, openapi
from streams.http.entrance import Problem
from streams.http.exporter import route
from tests.test_house import documented

DOCUMENT = openapi()


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_every_reference_leads_somewhere_and_every_schema_is_led_to() -> None:
    schemas = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(references(DOCUMENT)) == schemas


@pytest.mark.parametrize("struct", [SlateRequest, Slate, PageRequest, Page, Module, ArmDraw, Explanation, ExplainedItem, Taken, Problem])
def test_fields_are_those_of_the_struct(struct: type[msgspec.Struct]) -> None:
    assert set(DOCUMENT["components"]["schemas"][struct.__name__]["properties"]) == set(struct.__struct_encode_fields__)


def test_the_reference_lists_every_path_and_no_other_and_each_is_a_label_of_the_metrics() -> None:
    paths = {f"{method.upper()} {path}" for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert set(documented("HTTP")) == paths | {"GET /docs", "GET /docs/openapi.json"}
    for path in paths | {"GET /docs", "GET /docs/openapi.json"}:
        assert route(path.split()[1]) == path.split()[1]


def test_ids_in_paths_have_their_bounds() -> None:
    for operation, name, longest in (("get /v1/explain/{request_id}", "request_id", 64), ("delete /v1/items/{item_id}", "item_id", 256)):
        method, path = operation.split()
        (parameter,) = DOCUMENT["paths"][path][method]["parameters"]
        assert (parameter["name"], parameter["schema"]["minLength"], parameter["schema"]["maxLength"]) == (name, 1, longest)


def test_bounds_are_told() -> None:
    user = DOCUMENT["components"]["schemas"]["Event"]["properties"]["user_id"]
    assert (user["minLength"], user["maxLength"]) == (1, 256)  # DESIGN section 3
    assert set(DOCUMENT["components"]["schemas"]["Action"]["enum"]) >= {"play", "skip", "collect", "share", "dislike", "uncollect"}


def test_every_field_says_what_it_means_and_every_operation_is_named_by_an_identifier() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    silent = [
        f"{name}.{field}" for name, s in schemas.items() for field, kind in s.get("properties", {}).items() if "description" not in kind
    ]
    assert silent == []
    names = [what["operationId"] for methods in DOCUMENT["paths"].values() for what in methods.values()]
    assert all(name.isidentifier() for name in names) and len(set(names)) == len(names)


def test_enums_and_bounds_of_requests_are_told() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    k, flags, source = schemas["SlateRequest"]["properties"]["k"], schemas["Flag"]["enum"], schemas["SlateItem"]["properties"]["source"]
    assert (k["minimum"], k["maximum"]) == (1, 200) and {"cold", "stale_rows"} <= set(flags) and "co-listened" in source["enum"]
    assert schemas["SlateRequest"]["properties"]["gamma_item"]["anyOf"][0] == {"type": "number", "minimum": -1.0, "maximum": 1.5}


def test_examples_are_taken() -> None:
    def example(method: str, path: str) -> bytes:
        return json.dumps(DOCUMENT["paths"][path][method]["requestBody"]["content"]["application/json"]["example"]).encode()

    assert not events(example("post", "/v1/events")).rejected
    assert not catalog(example("put", "/v1/items")).rejected
    assert msgspec.json.decode(example("post", "/v1/recommendations"), type=SlateRequest).user_id == "ada"
    assert msgspec.json.decode(example("post", "/v1/pages"), type=PageRequest).modules == 3


class Links(HTMLParser):
    """What a page fetches, where it leads, what can be led to; and which tags were not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.leads: set[str] = set()
        self.ids: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "src" or (tag == "link" and name == "href"):
                self.fetched.append(value or "")
            if tag == "a" and name == "href":
                self.leads.add(value or "")
            if name == "id":
                self.ids.add(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole_in_itself() -> None:
    page = documentation().html.decode()
    links = Links()
    links.feed(page)
    assert links.open == []
    assert links.fetched == [] and "<script" not in page and "@import" not in page and "url(" not in page
    assert {lead[1:] for lead in links.leads if lead.startswith("#")} <= links.ids
    assert {lead for lead in links.leads if not lead.startswith("#")} == {"/docs/openapi.json"}


def test_page_tells_every_path_field_and_status() -> None:
    text = re.sub(r"<[^>]*>", " ", documentation().html.decode())
    for path, methods in DOCUMENT["paths"].items():
        for method, what in methods.items():
            assert f"{method.upper()} {path}" in text
            assert all(status in text for status in what["responses"])
    for schema in DOCUMENT["components"]["schemas"].values():
        assert all(field in text for field in schema.get("properties", {}))
