"""Wire structs: every field's bounds hold at both ends and not beyond."""
from __future__ import annotations

from typing import Any

import msgspec
import pytest

from streams.core.join.decode import decode
from streams.core.join.events import ArmDraw, Event, ExposedItem, Exposure, LogBegin, Reason, Tick
from tests.streams.core.join.test_decode import DAY, SLOT, check, event, exposure

# Field, what is accepted (both ends), what is one beyond.
TEXT64, TEXT256 = (["x", "x" * 64, "长" * 64], ["", "x" * 65]), (["x", "x" * 256, "长" * 256], ["", "x" * 257])
LENGTH = ([0, 7 * DAY], [-1, 7 * DAY + 1])
TIME = ([0, 4_102_444_800_000], [-1, 4_102_444_800_001])
PLACE = ([0, 10_000], [-1, 10_001])
CHANCE = ([0, 0.0, 1, 1.0, 5e-324, 1.0000000000000002, 1.000001], [-5e-324, 1.0000010000000002])
CONTEXT: tuple[list[Any], list[Any]] = (
    [{}, {str(n): n for n in range(64)}, {"x" * 64: "x" * 256}, {"a": ""}, {"a": -(10**400)}, {"a": 1e308}],
    [{str(n): n for n in range(65)}, {"": 1}, {"x" * 65: 1}, {"a": "x" * 257}],
)
BOUNDS: dict[str, tuple[list[Any], list[Any]]] = {
    "ts": TIME, "user_id": TEXT256, "item_id": TEXT256, "event_id": TEXT64, "also": ([[], ["play"] * 7], [["play"] * 8]),
    "played_ms": LENGTH, "duration_ms": LENGTH, "domain": TEXT64, "request_id": TEXT64, "position": PLACE, "module": TEXT64,
    "strategy": TEXT64, "propensity": CHANCE, "context": CONTEXT, "full": ([True, False, None], []), "action": (["share"], []),
}  # fmt: skip
EXPOSURE_BOUNDS: dict[str, tuple[list[Any], list[Any]]] = {
    "ts": TIME, "user_id": TEXT256, "request_id": TEXT64, "event_id": TEXT64, "domain": TEXT64, "strategy": TEXT64, "context": CONTEXT,
    "slots": ([[], [SLOT] * 200], [[SLOT] * 201]), "choice": ([None], []),
    "seen": ([True, False], []), "model_version": ([0], []), "model_age_ms": ([0], []),
}  # fmt: skip
CHOICE: dict[str, Any] = {"surface": "page", "arms": ["a", "b"], "chances": [0.25, 0.75], "segment": 1}
CHOICE_BOUNDS: dict[str, tuple[list[Any], list[Any]]] = {
    "surface": (["page", "list"], []), "arms": ([["x" * 64] * 12], [["x"] * 13, [""], ["x" * 65]]), "segment": ([0], [-1]),
    "chances": ([[0.0] * 12, [1.0]], [[0.1] * 13, [-0.1], [1.1]]), "activity": ([0.0], [-0.1]), "domain": ([0, 2**64 - 1], [-1]),
    "version": ([0], [-1]), "revenue_weight": ([0.0], []), "experience": ([[[0.1, 0.2]] * 12], [[[0.1, 0.2]] * 13]),
    "revenue": ([[[0.1, 0.2]] * 12], [[[0.1, 0.2]] * 13]), "vector": ([[], [-0.5] * 64], [[0.5] * 65]),
}  # fmt: skip
SLOT_BOUNDS: dict[str, tuple[list[Any], list[Any]]] = {
    "item_id": TEXT256, "position": PLACE, "propensity": CHANCE, "score": ([-1e9, None], []), "source": TEXT64, "module": TEXT64,
    "module_propensity": CHANCE, "propensity_given_above": CHANCE, "popularity": ([[], [0.5] * 8], [[0.5] * 9]),
    "monetization": ([-1.0, 0.0, 1e9, None], []),
}  # fmt: skip


def test_every_field_of_the_wire_has_its_bounds_tested() -> None:
    assert set(BOUNDS) == {field.encode_name for field in msgspec.structs.fields(Event)}
    assert set(EXPOSURE_BOUNDS) == {field.encode_name for field in msgspec.structs.fields(Exposure)}
    assert set(SLOT_BOUNDS) == {field.encode_name for field in msgspec.structs.fields(ExposedItem)}
    assert set(CHOICE_BOUNDS) == {field.encode_name for field in msgspec.structs.fields(ArmDraw)}


@pytest.mark.parametrize("field", BOUNDS)
def test_bounds_of_an_event_hold_at_both_ends_and_not_beyond(field: str) -> None:
    inside, beyond = BOUNDS[field]
    for value in inside:
        (found,) = decode(event(**{field: value}))
        assert isinstance(found, Event)
        assert msgspec.to_builtins(getattr(found, field)) == (tuple(value) if isinstance(value, list) else value)
    for value in beyond:
        check(decode(event(**{field: value}))[0], event(**{field: value}), Reason.OUT_OF_BOUNDS, f"$.{field}")


@pytest.mark.parametrize("field", EXPOSURE_BOUNDS)
def test_bounds_of_an_exposure_hold_at_both_ends_and_not_beyond(field: str) -> None:
    inside, beyond = EXPOSURE_BOUNDS[field]
    for value in inside:
        assert isinstance(decode(exposure(**{field: value}))[0], Exposure)
    for value in beyond:
        check(decode(exposure(**{field: value}))[0], exposure(**{field: value}), Reason.OUT_OF_BOUNDS, f"$.{field}")


@pytest.mark.parametrize("field", SLOT_BOUNDS)
def test_bounds_of_a_slot_hold_at_both_ends_and_not_beyond(field: str) -> None:
    inside, beyond = SLOT_BOUNDS[field]
    for value in inside:
        assert isinstance(decode(exposure(slots=[SLOT | {field: value}]))[0], Exposure)
    for value in beyond:
        raw = exposure(slots=[SLOT, SLOT | {field: value}])
        check(decode(raw)[0], raw, Reason.OUT_OF_BOUNDS, f"$.slots[1].{field}")


@pytest.mark.parametrize("field", CHOICE_BOUNDS)
def test_bounds_of_a_choice_hold_at_both_ends_and_not_beyond(field: str) -> None:
    inside, beyond = CHOICE_BOUNDS[field]
    for value in inside:
        assert isinstance(decode(exposure(choice=CHOICE | {field: value}))[0], Exposure)
    for value in beyond:
        raw = exposure(choice=CHOICE | {field: value})
        check(decode(raw)[0], raw, Reason.OUT_OF_BOUNDS, f"$.choice.{field}")
    raw = exposure(choice=CHOICE | {"surface": "screen"})
    check(decode(raw)[0], raw, Reason.WRONG_TYPE, "$.choice.surface")


def test_ticks_and_the_begin_of_a_log_are_read_within_their_bounds() -> None:
    assert decode(b'[{"kind":"tick"},{"kind":"tick","ts":5,"last":true},{"kind":"log-begin","ts":0}]') == [
        Tick(ts=0, last=False), Tick(ts=5, last=True), LogBegin(ts=0, source=""),
    ]  # fmt: skip
    for raw, path in (
        (b'{"kind":"tick","ts":-1}', "$.ts"),
        (b'{"kind":"log-begin","ts":4102444800001}', "$.ts"),
        (b'{"kind":"log-begin","ts":0,"source":"%b"}' % (b"x" * 257), "$.source"),
    ):
        check(decode(raw)[0], raw, Reason.OUT_OF_BOUNDS, path)
