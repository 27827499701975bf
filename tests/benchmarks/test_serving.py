"""What the serving benchmark reads of a worker: a metric by its whole name, and nothing where nobody listens."""
from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from benchmarks import serving

PAGE = b"""# HELP segue_records_total records
segue_records_total{partition="0",what="events"} 4e3
segue_model_version_seconds 9
segue_model_version 12
"""


class Metrics(BaseHTTPRequestHandler):
    """Answers every request with the same page."""

    def do_GET(self) -> None:
        """The page."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    """A server on a free port, where the benchmark looks for the worker."""
    with HTTPServer(("127.0.0.1", 0), Metrics) as server:
        monkeypatch.setattr(serving, "PORT", server.server_port)
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_metric_is_read_by_its_whole_name_and_labels(worker: HTTPServer) -> None:
    assert serving._figure("segue_model_version") == 12
    assert serving._events() == 4_000
    assert serving._figure("segue_model") == -1


def test_where_nobody_listens_there_is_no_figure(worker: HTTPServer) -> None:
    worker.shutdown()
    worker.server_close()
    assert serving._figure("segue_model_version") == -1


def test_waiting_ends_when_it_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    times, states = iter(range(0, 1_000, 50)), iter([False, True])
    monkeypatch.setattr("benchmarks.serving.time.sleep", lambda s: None)
    monkeypatch.setattr("benchmarks.serving.time.monotonic", lambda: next(times))
    serving._wait(lambda: next(states))
    with pytest.raises(TimeoutError, match="120 s"):
        serving._wait(lambda: False)
