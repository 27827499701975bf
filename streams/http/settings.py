"""Where the worker's service and the learner's exporter listen, and how much they accept."""
from __future__ import annotations

import ipaddress
from typing import Annotated

import msgspec
from msgspec import Meta

from bandit.settings import BanditSettings
from online_model.model_settings import ModelSettings
from streams.core.join.settings import EventSettings, PartitionSettings
from streams.core.serving.pages import PageSettings
from streams.core.serving.recommend import RecommendSettings
from streams.kafka_io.topics import TopicSettings
from streams.worker.settings import ReplicaSettings

Port = Annotated[int, Meta(ge=0, le=65_535)]
Token = Annotated[str, Meta(pattern=r"\A[!-~]*\Z")]  # printable ASCII without spaces: it travels in a header


def loopback(host: str) -> bool:
    """Whether only this machine can reach the host.

    >>> loopback("127.0.0.1"), loopback("::1"), loopback("localhost"), loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_token(host: str, token: str, section: str) -> None:
    """Raise ValueError where others could reach the address without a token."""
    if not token and not loopback(host):
        raise ValueError(f"host is {host}, which others can reach, and token is empty; set {section}.token, or {section}.host=127.0.0.1")


class ExporterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the learner's metrics are (a worker's are at its service)."""

    host: str = "127.0.0.1"  # loopback; any other host needs a token
    port: Port = 8081  # 0: any free one; the learner runs without metrics where it is taken
    token: Token = ""  # bearer token that every request must carry; "" = none, on loopback only

    def __post_init__(self) -> None:
        require_token(self.host, self.token, "exporter")


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where a worker's service listens, and how much it accepts at once."""

    host: str = "127.0.0.1"  # loopback; any other host needs a token
    port: Port = 8080  # 0: any free one
    token: Token = ""  # bearer token that every request must carry; "" = none, on loopback only
    max_body_bytes: Annotated[int, Meta(ge=1)] = 1 << 20  # of one request, else 413; as much as one record of `events` may have
    max_in_flight: Annotated[int, Meta(ge=1)] = 64  # requests at once, else 429; a slate takes about 10 ms: the last waits under 1 s
    explained_requests: Annotated[int, Meta(ge=0)] = 1_000  # newest ones that /v1/explain and a repeated request_id find. 0: none
    explained_bytes: Annotated[int, Meta(ge=0)] = 32 << 20  # of explanations, packed (a slate of 10: about 10 KB), and of answers again
    served_is_seen: bool = True  # False: what was served counts from its impression on, or from an act on it or below it in its slate
    acknowledged_within_s: Annotated[float, Meta(gt=0)] = 2.0  # by Kafka; beyond: 503, and slates leave with the flag `unlogged`

    def __post_init__(self) -> None:
        require_token(self.host, self.token, "service")


class ServingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a worker's service is configured by."""

    topics: TopicSettings = TopicSettings()
    events: EventSettings = EventSettings()
    partition: PartitionSettings = PartitionSettings()
    service: ServiceSettings = ServiceSettings()
    recommend: RecommendSettings = RecommendSettings()
    pages: PageSettings = PageSettings()
    bandit: BanditSettings = BanditSettings()
    replica: ReplicaSettings = ReplicaSettings()
    model: ModelSettings = ModelSettings()
