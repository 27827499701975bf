from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from replay.simulator.open_loop import LogSettings, draw_slate, later, mixture, records, simulate_log, write_items, write_log
from replay.simulator.world import SCENES, Session, World, WorldSettings
from streams.core.join.decode import decode
from streams.core.join.events import Action, Event, Exposure
from streams.core.join.items import Item


def test_same_seed_same_bytes_another_seed_others_and_a_short_log_begins_a_long_one() -> None:
    long, again, other = (list(simulate_log(WorldSettings(), 4_000, seed)) for seed in (5, 5, 6))
    assert long == again and long != other
    assert list(simulate_log(WorldSettings(), 900, 5)) == long[:900]
    assert list(simulate_log(WorldSettings(), 0, 5)) == []


def test_every_line_decodes_in_time_order_with_an_id_of_its_own() -> None:
    lines = list(simulate_log(WorldSettings(), 20_000, 1))
    assert len(lines) == 20_000
    ids, last, kinds = set(), 0, defaultdict(int)
    known = {item.item_id for item in World(WorldSettings(), 1).catalog()}
    requests: dict[str, Exposure] = {}
    for line in lines:
        (record,) = decode(line)
        assert isinstance(record, Event | Exposure) and msgspec.json.encode(record) + b"\n" == line
        assert record.ts >= last and record.event_id
        ids.add(record.event_id)
        last = record.ts
        if isinstance(record, Exposure):
            requests[record.request_id] = record
            assert [slot.position for slot in record.slots] == list(range(10))
            assert len({slot.item_id for slot in record.slots} & known) == 10
            kinds["exposure"] += 1
        else:
            kinds[record.action.value + ("+" if record.also else "")] += 1
            if record.request_id:  # an act names the slot that it was shown in, and comes after it
                assert requests[record.request_id].slots[record.position or 0].item_id == record.item_id
    assert len(ids) == 20_000
    for kind in ("exposure", "play", "play+", "skip", "skip+", "impression+", "collect", "dislike"):
        assert kinds[kind] > 20, kind


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=60), st.floats(0, 1), st.data())
def test_propensities_sum_to_one_over_what_is_left_and_never_fall_below_the_uniform_share(
    popularity: list[float], explore: float, data: st.DataObject
) -> None:
    left = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=len(popularity), max_size=len(popularity))))
    left[0] = 1.0
    p = mixture(np.array(popularity), left, explore)
    assert p.sum() == pytest.approx(1.0, abs=1e-12)
    assert (p[left == 0] == 0).all() and (p[left == 1] >= explore / left.sum() - 1e-15).all()


def test_mixture_by_hand() -> None:
    # popularity + 1 = 1, 3, 4; the last is taken: .8 * (1/4, 3/4) + .2 * (1/2, 1/2)
    assert mixture(np.array([0.0, 2.0, 3.0]), np.array([1.0, 1.0, 0.0]), 0.2).tolist() == pytest.approx([0.3, 0.7, 0.0])
    places, chance = draw_slate(np.array([5.0]), 0.5, 10, np.random.default_rng(1))
    assert (places, chance) == ([0], [1.0])


def test_slots_are_drawn_as_often_as_their_propensities_say() -> None:
    popularity, rng = np.array([0.0, 1.0, 9.0]), np.random.default_rng(1)
    drawn = np.array([draw_slate(popularity, 0.3, 3, rng)[0] for _ in range(20_000)])
    truth = mixture(popularity, np.ones(3), 0.3)
    assert np.abs(np.bincount(drawn[:, 0]) / 20_000 - truth).max() < 4 * 0.5 / math.sqrt(20_000)
    after = drawn[drawn[:, 0] == 2, 1]  # the second slot, where the first was item 2
    assert np.mean(after == 1) == pytest.approx(0.7 * 2 / 3 + 0.3 / 2, abs=4 * 0.5 / math.sqrt(len(after)))


def test_logged_propensities_are_what_the_log_itself_says_they_must_be() -> None:
    """Popularity is summed anew from the log's own events: nothing hidden is needed to check the policy."""
    settings = WorldSettings(items=80, listeners=50)
    world = World(settings, 2)  # only for what is available when
    good: dict[str, list[int]] = defaultdict(list)
    exposures, inverse, available = 0, [], []
    for record in records(World(settings, 2), 4_000, 2, LogSettings(explore=0.25)):
        if isinstance(record, Event):
            if {record.action, *record.also} & {Action.PLAY, Action.COLLECT, Action.SHARE}:
                good[record.item_id].append(record.ts)
            continue
        exposures += 1
        items = [world.item_ids[i] for i in world.available(world.domain[record.domain or ""], record.ts)]
        weight = {i: 1 + sum(0.5 ** ((record.ts - ts) / 86_400_000) for ts in good[i]) for i in items}
        inverse.append(1 / (record.slots[0].propensity or 0))
        available.append(len(items))
        for slot in record.slots:
            truth = 0.75 * weight[slot.item_id] / sum(weight.values()) + 0.25 / len(weight)
            assert slot.propensity == pytest.approx(truth, rel=1e-9)
            assert slot.popularity[0] == pytest.approx(weight[slot.item_id] - 1, abs=1e-9)
            del weight[slot.item_id]
    # the mean of 1 / propensity is the number of items to choose from
    assert exposures > 250
    assert np.mean(np.array(inverse) - available) == pytest.approx(0, abs=4 * np.std(np.array(inverse) - available) / math.sqrt(exposures))


@pytest.mark.parametrize(
    ("slope", "n", "near"), [(0.5, 15_000, 0.1), *(pytest.param(s, 40_000, 0.06, marks=pytest.mark.prove) for s in (0.0, 0.5, 1.0))]
)
def test_logistic_regression_finds_the_true_popularity_slope_in_the_log(slope: float, n: int, near: float) -> None:
    """Play or skip of every seen slot, on popularity summed from the log and on the rest of the utility (a world without conformity)."""
    settings = WorldSettings(conformity=slope, mood=0.0)
    rest = World(msgspec.structs.replace(settings, conformity=0.0), 3)
    counts: dict[int, tuple[float, int]] = {}

    def heat(items: np.ndarray, ts: int) -> np.ndarray:
        found = [counts.get(i, (0.0, ts)) for i in items.tolist()]
        return np.log1p([value * 0.5 ** ((ts - then) / 86_400_000) for value, then in found])

    rows: dict[tuple[str, int], list[float]] = {}
    labels: dict[tuple[str, int], bool] = {}
    for record in records(World(settings, 3), n, 3, LogSettings(single=0.0, organic=0.0)):
        if isinstance(record, Event):
            if record.action in (Action.PLAY, Action.SKIP):
                labels[record.request_id or "", record.position or 0] = record.action is Action.PLAY
            if {record.action, *record.also} & {Action.PLAY, Action.COLLECT, Action.SHARE}:
                item = rest.index[record.item_id]
                value, then = counts.get(item, (0.0, record.ts))
                counts[item] = (value * 0.5 ** ((record.ts - then) / 86_400_000) + 1, record.ts)
            rest.observe(record)
            continue
        domain = rest.domain[record.domain or ""]
        session = Session(
            index=0, ts=record.ts, listener=rest.listener[record.user_id], domain=domain, scene=SCENES.index(str(record.context["scene"])),
            mood=0.0, noise=np.empty((0, 0)), context=record.context,
        )  # fmt: skip
        items = np.array([rest.index[slot.item_id] for slot in record.slots])
        rise = heat(items, record.ts) - heat(rest.available(domain, record.ts), record.ts).mean()
        for at, (x, v) in enumerate(zip(rise, rest.utility(session, items, record.ts), strict=True)):
            rows[record.request_id, at] = [x, v]
    keys = list(labels)
    fit = LogisticRegression(C=np.inf).fit(np.array([rows[k] for k in keys]), [labels[k] for k in keys])
    (found, rest_found), (intercept,) = fit.coef_[0], fit.intercept_
    print(f"slope {found:.3f}, {slope} is true; rest {rest_found:.3f}, 1 is true; intercept {intercept:.3f}, .4 is true")
    assert fit.coef_[0, 0] == pytest.approx(slope, abs=near)
    assert fit.coef_[0, 1] == pytest.approx(1.0, abs=near)
    assert fit.intercept_[0] == pytest.approx(0.4, abs=near)  # -skip_bias


def test_log_and_catalog_are_written_as_lines(tmp_path: Path) -> None:
    settings = WorldSettings(items=50, listeners=20)
    assert write_log(tmp_path / "log.jsonl", settings, 300, 7) == 300
    assert (tmp_path / "log.jsonl").read_bytes() == b"".join(simulate_log(settings, 300, 7))
    assert write_items(tmp_path / "items.jsonl", settings, 7) == 50
    items = [msgspec.json.decode(line, type=Item) for line in (tmp_path / "items.jsonl").read_bytes().splitlines()]
    assert items == World(settings, 7).catalog()


def test_a_negative_length_and_shares_beyond_one_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        next(simulate_log(WorldSettings(), -1, 1))
    with pytest.raises(ValueError, match="shares"):
        LogSettings(explore=1.5)


def test_a_log_that_is_to_end_at_a_time_is_the_same_log_later_and_so_is_its_catalog(tmp_path: Path) -> None:
    settings, until = WorldSettings(items=50, listeners=20), 1_764_460_800_123
    ms = later(settings, 300, 7, until)
    first, moved = (list(map(json.loads, simulate_log(settings, 300, 7, later_ms=by))) for by in (0, ms))
    assert moved[-1]["ts"] == until == max(record["ts"] for record in moved)
    assert [record | {"ts": record["ts"] + ms} for record in first] == moved
    write_items(tmp_path / "items.jsonl", settings, 7, ms)
    items = list(map(json.loads, (tmp_path / "items.jsonl").read_text().splitlines()))
    for item, before in zip(items, msgspec.to_builtins(World(settings, 7).catalog()), strict=True):
        times = {name: before[name] + ms for name in ("published_ts", "expires_ts") if name in before}
        assert item == before | {"categories": list(before["categories"])} | times
    assert later(settings, 0, 7, until) == 0
