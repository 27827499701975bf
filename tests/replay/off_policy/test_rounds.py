"""What becomes a round, and which act belongs to which.

request r:  exposure a, b ── play b ── collect b (within the window) ── collect a (after it: late)
no request: impression c ── play c;  play d (nobody showed it)
"""
from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from online_model.features import Closed
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from replay import prequential
from replay.log_rows import LogRow
from replay.off_policy.rounds import Rounds, read
from streams.core.join.catalog import Catalog
from streams.core.join.items import Item
from streams.core.join.labels import FULL_PLAY, LABELS
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.serving.surfaces import default_strategy_bandit
from streams.core.state.tables import Tables

T = 1_704_067_200_000
WINDOW = PartitionSettings().join_window_ms


def taken(*records: dict[str, Any], catalog: dict[str, Item] | None = None) -> Rounds:
    rows = [LogRow(n, msgspec.json.encode({"event_id": f"e{n}", "user_id": "u"} | record), None) for n, record in enumerate(records, 1)]
    return read(prequential.of_file(rows), PartitionSettings(), catalog or {}, lambda *_: None)


def exposure(ts: int, request: str, *slots: tuple[str, float | None], **more: object) -> dict[str, Any]:
    shown = [{"item_id": item, "position": at, "propensity": p} for at, (item, p) in enumerate(slots)]
    return {"kind": "exposure", "ts": ts, "request_id": request, "slots": shown} | more


def act(ts: int, item: str, action: str, **more: object) -> dict[str, Any]:
    return {"ts": ts, "item_id": item, "action": action} | more


def test_acts_of_a_list_and_of_an_impression() -> None:
    found = taken(
        exposure(T, "r", ("a", 0.5), ("b", 0.25)),
        act(T + 1, "b", "play", request_id="r", full=True),
        act(T + 2, "c", "impression", propensity=0.1),
        act(T + 3, "c", "play"),
        act(T + 4, "d", "play"),
        act(T + 5, "b", "collect"),
        act(T + WINDOW + 1, "a", "collect", request_id="r"),
    )
    assert [found.arms[at] for at in found.arm] == ["a", "b", "c"]
    assert found.propensity.tolist() == [0.5, 0.25, 0.1]
    assert found.request.tolist() == [0, 0, 1] and found.listed.tolist() == [True, True, False]
    assert found.reward("full_play").tolist() == [0, 1, 0]
    assert found.reward("play").tolist() == [0, 1, 1]
    assert found.reward("collect").tolist() == [0, 1, 0]
    assert (found.acts, found.unjoined, found.late, found.coverage) == (5, 1, 1, 1.0)


def test_an_undo_takes_the_collect_back_and_an_act_may_come_before_its_exposure() -> None:
    found = taken(
        act(T + 1, "a", "play", request_id="r", full=True),
        exposure(T, "r", ("a", 0.5), ("b", 0.25)),
        act(T + 2, "b", "collect", request_id="r"),
        act(T + 3, "b", "uncollect", request_id="r"),
    )
    assert found.reward("full_play").tolist() == [1, 0] and found.reward("collect").tolist() == [0, 0]
    assert found.join_rate == 1.0


def test_an_act_of_no_request_is_not_about_what_is_shown_later() -> None:
    found = taken(
        act(T, "a", "play", full=True),  # found by the listener alone
        exposure(T + 5, "r", ("a", 0.5), ("b", 0.25)),
        act(T + 6, "b", "play", full=True),
    )
    assert found.reward("full_play").tolist() == [0, 1]
    assert (found.acts, found.unjoined) == (2, 1)


def test_propensities_of_slots_with_a_source_hold_whatever_stands_above() -> None:
    plain = exposure(T, "r", ("a", 0.5), ("b", 0.25))
    assert not taken(plain).marginal
    assert taken(plain | {"slots": [slot | {"source": "explore"} for slot in plain["slots"]]}).marginal


def test_a_slot_of_segues_whose_propensity_is_null_has_none_and_is_no_mistake() -> None:
    shown = exposure(T, "r", ("a", 0.5), ("b", None), ("c", 1.0))
    for slot, given_above in zip(shown["slots"], (0.5, 0.25, 1.0), strict=True):
        slot |= {"source": "explore", "propensity_given_above": given_above}
    found = taken(shown)
    assert np.isnan(found.propensity[1]) and found.propensity[[0, 2]].tolist() == [0.5, 1.0]
    assert found.conditional_propensity.tolist() == [0.5, 0.25, 1.0]
    assert not found.bad and found.missing == (1, 1) and found.coverage == pytest.approx(2 / 3)


def test_what_is_given_above_is_within_a_module_and_its_first_slot_brings_the_module() -> None:
    page = exposure(T, "r", ("a", 0.5), ("b", 0.25), ("c", 0.5))
    for slot, (module, position, given, chance) in zip(
        page["slots"], [("m", 0, 0.5, 0.75), ("m", 1, 0.125, 0.75), ("n", 0, 0.25, 0.5)], strict=True
    ):
        more = {"propensity_given_above": given, "module_propensity": chance, "source": "popular"}
        slot |= {"module": module, "position": position} | more
    found = taken(page)
    assert (found.propensity.tolist(), found.conditional_propensity.tolist()) == ([0.5, 0.25, 0.5], [0.375, 0.125, 0.125])
    plain = taken(exposure(T, "r", ("a", 0.5), ("b", None)))  # of another system: each given what stands above
    assert plain.conditional_propensity[0] == 0.5 and np.isnan(plain.conditional_propensity[1])


def test_one_event_may_be_a_whole_round_and_a_repetition_is_none() -> None:
    whole = act(T, "a", "impression", also=["play"], full=True, propensity=0.3, event_id="same")
    found = taken(whole, whole, act(T + 1, "b", "play", propensity=0.2))
    assert found.reward("play").tolist() == [1, 1] and found.propensity.tolist() == [0.3, 0.2]


def test_arms_are_those_of_the_log_and_of_the_catalog() -> None:
    catalog = {"z": Item(item_id="z", domain="song", published_ts=7), "a": Item(item_id="a", domain="song", hidden=True)}
    found = taken(act(T, "a", "impression", propensity=0.3, domain="video"), catalog=catalog)
    assert (found.arms, found.domains) == (["a", "z"], ["song", "song"])
    assert found.published.tolist() == [-np.inf, 7] and found.expires.tolist() == [-np.inf, np.inf]


@pytest.mark.parametrize(("value", "what"), [(0, "0"), (1.5, "below 0 or above 1"), (None, "no number"), ("x", "no number")])
def test_propensities_that_are_none_are_counted_with_their_line(value: object, what: str) -> None:
    found = taken(act(T, "a", "impression", propensity=0.3), act(T, "b", "impression", propensity=value))
    assert found.bad == {f"`propensity` is {what}": (1, 2)}


def test_a_log_with_rejects_undo_and_strays_has_the_events_and_labels_of_replay() -> None:
    """What replay dead-letters is counted nowhere, and what an exposure closes with in replay is its label here.

    t (min)  0 exposure a b ─ 1 play b ─ 1 again (duplicate) ─ 2 collect a ─ 3 uncollect a ─ 4 skip of another request (unjoined)
             5 collect b, a day ahead of its arrival (future) ─ past lateness: impression c ─ collect a of minute 2 (late)
    """
    settings = PartitionSettings()
    late = settings.allowed_lateness_ms + 600_000
    minute = 60_000
    log: list[tuple[dict[str, Any], int | None]] = [
        (exposure(T, "r", ("a", 0.5), ("b", 0.25)), None),
        (act(T + minute, "b", "play", request_id="r", full=True, event_id="twice"), None),
        (act(T + minute, "b", "play", request_id="r", full=True, event_id="twice"), None),
        (act(T + 2 * minute, "a", "collect", request_id="r"), None),
        (act(T + 3 * minute, "a", "uncollect", request_id="r"), None),
        (act(T + 4 * minute, "a", "skip", request_id="nobody's"), None),
        (act(T + 5 * minute + 86_400_000, "b", "collect", request_id="r"), T + 5 * minute),
        (act(T + late, "c", "impression", propensity=0.1), None),
        (act(T + 2 * minute, "b", "share", request_id="r"), None),
    ]
    rows = [
        LogRow(n, msgspec.json.encode({"event_id": f"e{n}", "user_id": "u"} | record), arrival)
        for n, (record, arrival) in enumerate(log, 1)
    ]
    found = read(prequential.of_file(rows), settings, {}, lambda *_: None)
    closed: list[Closed] = []
    learner = Learner(LearnerSettings(), Trainer(ModelSettings(), "cpu"), default_strategy_bandit())
    result = prequential.run(
        prequential.of_file(rows), Partition(settings, Tables.over(), Catalog()), learner, closing=True,
        also=lambda _, records: closed.extend(out.record for out in records if isinstance(out.record, Closed)),
    )  # fmt: skip
    assert (result.rejected, result.merged, found.rejected) == ({"future": 1, "late": 1}, {"duplicate": 1}, 3)
    assert (result.events, result.counted["unjoined"]) == (6, 1) and (found.acts, found.unjoined, found.late) == (4, 1, 0)
    assert [found.arms[at] for at in found.arm] == ["a", "b", "c"]
    labels = [label & LABELS for each in closed for label in each.labels]
    assert sum(len(each.ids) for each in closed) == result.examples == 3
    assert (found.labels & LABELS).tolist() == labels == [0, FULL_PLAY, 0]


def test_an_impression_after_the_act_that_implied_it_is_one_round() -> None:
    """As live: the play stands for its impression until that is reported; both are one exposure."""
    found = taken(act(T, "a", "play", full=True), act(T + 1, "a", "impression", propensity=0.5))
    assert (found.propensity.tolist(), found.reward("full_play").tolist(), found.unjoined) == ([0.5], [1.0], 0)


def test_requests_of_two_users_with_one_id_are_two() -> None:
    found = taken(exposure(T, "r", ("a", 0.5)), exposure(T, "r", ("a", 0.5), user_id="other"))
    assert found.request.tolist() == [0, 1] and found.request_ids == ["r", "r"]
