"""The service without a broker: what it has handlers for, and what it says before a worker is there (more in tests/integration)."""
from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from streams.http.contracts import PATHS, Health, Readiness, openapi
from streams.http.entrance import Refusal
from streams.http.service import Service
from streams.http.settings import ServiceSettings, ServingSettings


@pytest.fixture
def service() -> Any:
    made = Service(ServingSettings(service=ServiceSettings(port=0)))
    made._worker = SimpleNamespace(  # type: ignore[assignment]
        catalog={}, catalog_reader=SimpleNamespace(reader=SimpleNamespace(caught_up=asyncio.Event())),
        ingest=SimpleNamespace(owned={}, catching_up=dict), stalled=lambda: ["a flush"], log_ends=SimpleNamespace(silent=False),
    )  # fmt: skip
    yield made
    made._socket.close()


def test_every_operation_of_the_documentation_has_a_handler_and_no_other_has(service: Service) -> None:
    documented = {f"{method.upper()} {path}" for path, methods in openapi()["paths"].items() for method in methods}
    routes = service._routes()
    routed = {f"{method} {route.path_format}" for route in routes for method in (route.methods or set()) - {"HEAD"}}
    assert routed == documented | {"GET /docs", "GET /docs/openapi.json"}
    assert {route.path_format for route in routes} == set(PATHS)


def test_before_the_catalog_and_partitions_are_there_it_is_not_ready_and_says_what_it_waits_for(service: Service) -> None:
    response = asyncio.run(service._readyz(Request({"type": "http"})))
    readiness = msgspec.json.decode(response.body, type=Readiness)
    assert (response.status_code, readiness.waiting_for) == (503, ["the catalog", "partitions of events"])
    with pytest.raises(Refusal, match="owns no partition of events yet"):
        service._partition(None)
    with pytest.raises(Refusal, match="and this worker owns none"):
        service._partition("ada")


def test_a_worker_that_stands_still_is_not_alive_and_says_in_what(service: Service) -> None:
    response = asyncio.run(service._healthz(Request({"type": "http"})))
    assert (response.status_code, msgspec.json.decode(response.body, type=Health).stalled) == (503, ["a flush"])


def test_while_kafka_is_silent_health_says_so_and_asks_for_no_restart() -> None:
    """A restart would wait for Kafka too, and serve nobody meanwhile."""
    assert Health.of([], kafka_silent=False) == Health(alive=True, stalled=[], waiting_for=[])
    assert Health.of(["a flush"], kafka_silent=False) == Health(alive=False, stalled=["a flush"], waiting_for=[])
    assert Health.of(["a flush"], kafka_silent=True) == Health(alive=True, stalled=["a flush"], waiting_for=["Kafka"])


def test_address_is_known_at_once(service: Service) -> None:
    assert service.url == f"http://127.0.0.1:{service.address[1]}" and service.address[1] > 0
