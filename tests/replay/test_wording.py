"""An error says what, where, what was found, what to do."""
from __future__ import annotations

from replay.wording import message
from streams.core.join.events import Reason


def test_a_detail_without_a_place_keeps_its_reason_and_one_with_a_place_gets_what_was_found() -> None:
    assert message(Reason.MALFORMED, "5 cells where the header has 4", b"") == "malformed: 5 cells where the header has 4"
    said = message(Reason.WRONG_TYPE, "Expected `str`, got `float` - at `$.user_id`", b'{"user_id":9007199254740993.0}')
    assert said.startswith("$.user_id: expected str, got 9007199254740992.0; a whole number below 2^53")
