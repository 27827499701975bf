"""Where the service and the exporter may listen, and which bounds are refused."""
from __future__ import annotations

import msgspec
import pytest

from streams.http.settings import ExporterSettings, ServiceSettings, loopback

KEY = "right"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8", "0.0.0.0", "::", "", "10.0.0.1", "example.org"])  # noqa: S104
def test_only_loopback_may_do_without_a_token(host: str) -> None:
    local = host in ("127.0.0.1", "localhost", "::1", "127.8.8.8")
    assert loopback(host) is local
    for settings in (ServiceSettings, ExporterSettings):
        if local:
            settings(host=host)
        else:
            with pytest.raises(ValueError, match="token is empty"):
                settings(host=host)
        settings(host=host, token=KEY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("token", "a b"), ("token", "ä"), ("token", "a\n"), ("port", 65_536), ("port", -1), ("max_body_bytes", 0), ("max_in_flight", 0),
        ("acknowledged_within_s", 0.0), ("explained_requests", -1), ("explained_bytes", -1),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(name: str, value: object) -> None:
    for kind in (ServiceSettings, ExporterSettings) if name in ExporterSettings.__struct_fields__ else (ServiceSettings,):
        with pytest.raises(msgspec.ValidationError, match=rf"`\$\.{name}`"):
            msgspec.convert({name: value}, kind)
