"""What the actions of one event mean together (tiers and families: MODEL.md sections 1 and 2)."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model import history
from online_model.features import TASKS
from streams.core.join.events import Action, Event
from streams.core.join.labels import Feedback, interpret
from streams.core.join.settings import PartitionSettings

IM, P, S, C, SH, D, U = (
    Action.IMPRESSION, Action.PLAY, Action.SKIP, Action.COLLECT, Action.SHARE, Action.DISLIKE, Action.UNCOLLECT,
)  # fmt: skip
SETTINGS = PartitionSettings()


def of(*actions: Action, **more: object) -> Feedback:
    return interpret(Event(ts=0, user_id="u", item_id="i", action=actions[0], also=actions[1:], **more), SETTINGS)  # type: ignore[arg-type]


def said(found: Feedback) -> tuple[set[str], int, int]:
    return {task for bit, task in enumerate(TASKS) if found.mask >> bit & 1}, found.positive, found.negative


@pytest.mark.parametrize(
    ("actions", "labels", "positive", "negative"),
    [
        ((IM,), set(), 0, 0),
        ((P,), set(), history.PARTIAL_PLAY, 0),  # of unknown ratio: partial
        ((S,), {"skip"}, 0, history.SKIP),
        ((C,), {"collect"}, history.COLLECT, 0),
        ((SH,), {"share"}, history.SHARE, 0),
        ((D,), {"dislike"}, 0, history.DISLIKE),
        ((U,), set(), 0, 0),
        ((IM, P, C, SH), {"collect", "share"}, history.COLLECT, 0),  # one row a family: the collect, which an undo must find
        ((P, SH), {"share"}, history.SHARE, 0),
        ((IM, S, D), {"skip", "dislike"}, 0, history.DISLIKE),
        ((IM, P, S), {"skip"}, history.PARTIAL_PLAY, history.SKIP),
        ((C, U), set(), 0, 0),  # what is left is not collected
        ((U, P, C), set(), history.PARTIAL_PLAY, 0),
    ],
)
def test_actions_set_labels_and_enter_histories(actions: tuple[Action, ...], labels: set[str], positive: int, negative: int) -> None:
    assert said(of(*actions)) == (labels, positive, negative)


@pytest.mark.parametrize(
    ("more", "labels", "positive"),
    [
        ({"played_ms": 899, "duration_ms": 1000}, set(), history.PARTIAL_PLAY),
        ({"played_ms": 900, "duration_ms": 1000}, {"full_play"}, history.FULL_PLAY),
        ({"played_ms": 5000, "duration_ms": 1000}, {"full_play"}, history.FULL_PLAY),  # heard five times
        ({"played_ms": 300, "duration_ms": 1000}, set(), history.PARTIAL_PLAY),
        ({"played_ms": 299, "duration_ms": 1000}, set(), 0),
        ({"played_ms": 0, "duration_ms": 1000}, set(), 0),
        ({"played_ms": 900, "duration_ms": 0}, set(), history.PARTIAL_PLAY),  # no length: unknown
        ({"played_ms": 900}, set(), history.PARTIAL_PLAY),
        ({"duration_ms": 1000}, set(), history.PARTIAL_PLAY),
        ({"full": True}, {"full_play"}, history.FULL_PLAY),
        ({"full": True, "played_ms": 0, "duration_ms": 1000}, {"full_play"}, history.FULL_PLAY),
        ({"full": False, "played_ms": 1000, "duration_ms": 1000}, set(), history.PARTIAL_PLAY),
        ({"full": False, "played_ms": 1, "duration_ms": 1000}, set(), 0),
    ],
)
def test_a_play_is_full_partial_or_nothing(more: dict[str, object], labels: set[str], positive: int) -> None:
    assert said(of(P, **more)) == (labels, positive, 0)
    assert said(of(S, **more)) == ({"skip"}, 0, history.SKIP)  # of a play only


def test_which_acts_resolve_are_popular_come_late_or_take_back() -> None:
    table = {a: (m.impression, m.resolving, m.delayed, m.undo, bool(m.popular)) for a in Action for m in (of(a),)}
    assert table == {
        IM: (True, False, False, False, False),
        P: (False, True, False, False, True),
        S: (False, True, False, False, False),
        C: (False, True, True, False, True),
        SH: (False, True, True, False, True),
        D: (False, True, True, False, False),
        U: (False, False, True, True, False),
    }
    assert of(C, P).delayed is False  # a play belongs to what is shown now


@given(st.lists(st.sampled_from(list(Action)), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_order_and_repetition_of_actions_say_nothing(actions: list[Action], random: object) -> None:
    other = [*actions[: 8 - len(actions)], *actions]
    random.shuffle(other)  # type: ignore[attr-defined]
    assert of(*other) == of(*actions)


@given(st.floats(0.01, 1.0), st.floats(0.01, 1.0), st.integers(0, 2000), st.integers(1, 1000))
def test_the_ratios_are_settings(one: float, other: float, played: int, length: int) -> None:
    partial, full = sorted((one, other))
    event = Event(ts=0, user_id="u", item_id="i", action=P, played_ms=played, duration_ms=length)
    found = interpret(event, PartitionSettings(partial_play_ratio=partial, full_play_ratio=full)).positive
    ratio = played / length
    assert found == (history.FULL_PLAY if ratio >= full else history.PARTIAL_PLAY if ratio >= partial else 0)
