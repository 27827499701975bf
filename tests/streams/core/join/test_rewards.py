"""What lists earn whose strategy was chosen: once, when all of a list has closed, by hand. `test_join` holds the same to loops."""
from __future__ import annotations

import msgspec
import pytest

from online_model.features import Closed, Example, Reward
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, ArmDraw, Event, ExposedItem, Exposure, Tick
from streams.core.join.items import Item
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived, Outgoing
from streams.core.join.rewards import RewardSettings
from streams.core.join.settings import PartitionSettings
from streams.core.state.tables import Tables

MINUTE = 60_000
START = 1_700_000_000_000
CHOICE = ArmDraw(surface="page", arms=("tail", "fixed"), propensities=(0.2, 0.8), segment=3, activity=2.5, domain=9)
MONEY = {"a": 0.01, "b": 0.02, "c": 0.04, "d": 0.08}


def page(
    minute: float = 0, items: str = "abcd", strategy: str | None = "tail", choice: ArmDraw | None = CHOICE, **more: object
) -> Exposure:
    slots = tuple(ExposedItem(item_id=item, position=n % 2, module=f"m{n // 2}", monetization=MONEY[item]) for n, item in enumerate(items))
    shown = Exposure(ts=START + int(minute * MINUTE), user_id="u", request_id="r", slots=slots, strategy=strategy, arm_draw=choice)
    return msgspec.structs.replace(shown, **more)


def act(minute: float, action: str, item: str, request: str | None = "r", user: str = "u", **more: object) -> Event:
    return Event(
        ts=START + int(minute * MINUTE),
        user_id=user,
        item_id=item,
        action=Action(action),
        request_id=request,
        **more,  # type: ignore[arg-type]
    )


def other(minute: float) -> Event:
    """Time goes on."""
    return act(minute, "skip", "z", None, "v")


def run(
    *records: Event | Exposure | Tick, settings: PartitionSettings | None = None, catalog: Catalog | None = None
) -> tuple[Partition, list[Outgoing]]:
    partition = Partition(settings or PartitionSettings(), Tables.over(), catalog or Catalog())
    return partition, partition.apply([Arrived(n, 0, r.ts or START, r, f"id{n}") for n, r in enumerate(records)]).examples


def rewards(out: list[Outgoing]) -> list[Reward]:
    return [o.record for o in out if isinstance(o.record, Reward)]


# min  0 page (a b | c d)   1 b seen   2 a played whole   3 c collected   4 b skipped   11 another's: it has closed   15 d shared
#      utility .5 + 2 - .5 = 2 of 4; looked at: a b c; d lies below, and its share came too late
def test_a_page_earns_what_its_acts_are_worth_and_what_was_looked_at_once_it_has_closed() -> None:
    partition, out = run(
        page(), act(1, "impression", "b"), act(2, "play", "a", full=True), act(3, "collect", "c"), act(4, "skip", "b"), other(11),
        act(15, "share", "d"), other(30), Tick(last=True), settings=PartitionSettings(reward=RewardSettings(experience_full=4.0)),
    )  # fmt: skip
    (reward,) = rewards(out)
    assert reward == Reward(
        id=keys.uncached("request", "r"), ts=START + 11 * MINUTE, shown_ms=START, user=keys.key("user", "u"), surface="page",
        strategy="tail", arms=["tail", "fixed"], chances=[0.2, 0.8], segment=3, activity=2.5, domain=9, experience=0.5,
        revenue=pytest.approx(0.01 + 0.02 + 0.04), seen=True,
    )  # fmt: skip
    assert [type(o.record) for o in out if o.offset == 5] == [Example, Closed, Reward, Example]  # of d and, last, of the other's skip
    assert partition.progress.counted["late_rewards"] == 1


@pytest.mark.parametrize(
    ("acts", "experience", "revenue", "seen"),
    [
        ([], 0.0, 0.0, False),
        ([("impression", "c")], 0.0, 0.07, True),  # a, b, c were passed
        ([("play", "b")], 0.0, 0.03, True),  # a partial play has no label, but somebody looked
        ([("uncollect", "d")], 0.0, 0.15, True),
        ([("dislike", "a")], 0.0, 0.01, True),  # -4: not below 0
        ([("share", "a"), ("collect", "b")], 1.0, 0.03, True),  # 4 of 2: not above 1
        ([("impression", "z"), ("collect", "y")], 0.0, 0.0, False),  # of the same request, but no place of the page
    ],
)
def test_experience_and_revenue_by_hand(acts: list[tuple[str, str]], experience: float, revenue: float, seen: bool) -> None:
    _, out = run(page(), *[act(1, action, item) for action, item in acts], Tick(last=True))
    (reward,) = rewards(out)
    assert (reward.experience, reward.revenue, reward.seen) == (experience, pytest.approx(revenue), seen)


def test_a_strategy_that_the_request_named_earns_nothing_and_its_list_keeps_nothing_of_it() -> None:
    partition, out = run(page(choice=None), act(1, "collect", "a"), Tick(last=True))
    assert rewards(out) == []
    assert "late_rewards" not in partition.progress.counted


# min  0 collect c (the exposure is slow)   1 page   11 c's act has waited and joined
def test_acts_that_waited_for_the_page_are_seen_and_earn() -> None:
    _, out = run(act(0, "collect", "c"), page(1), Tick(last=True))
    (reward,) = rewards(out)
    assert (reward.experience, reward.revenue, reward.seen) == (1.0, pytest.approx(0.07), True)


# min  0 a and b seen   1 the page of just these comes   11 they have closed
def test_a_page_that_comes_behind_its_impressions_was_seen() -> None:
    _, out = run(act(0, "impression", "a"), act(0, "impression", "b"), page(1, "ab"), other(11), Tick(last=True))
    assert [(r.revenue, r.seen, r.ts - START) for r in rewards(out)] == [(pytest.approx(0.03), True, 11 * MINUTE)]
    _, out = run(act(0, "impression", "a"), act(0, "impression", "b"), other(11), page(12, "ab"), Tick(last=True))
    assert [(r.revenue, r.seen, r.ts - START) for r in rewards(out)] == [(pytest.approx(0.03), True, 12 * MINUTE)]  # closed before


# min  0 page   5 d shown once more, and e   9 skip of x: waits   11 a to d have closed, e not   16 e has, x's skip not   20 all have
def test_a_list_that_goes_on_earns_once_at_its_very_end() -> None:
    records = [page(), act(5, "impression", "e"), act(9, "skip", "x"), other(11), other(16)]
    _, out = run(*records)
    assert rewards(out) == []
    partition, out = run(*records, other(20), act(21, "collect", "a"), Tick(last=True))
    assert [(r.ts - START, r.experience, r.seen) for r in rewards(out)] == [(20 * MINUTE, 0.0, False)]
    assert (partition.progress.counted["late_rewards"], partition.progress.counted["unjoined"]) == (1, 1)


def test_an_exposure_that_comes_twice_earns_once() -> None:
    _, out = run(page(), page(2, strategy="fixed"), other(13), page(14), Tick(last=True))
    assert [r.strategy for r in rewards(out)] == ["tail"]


def test_what_an_exposure_does_not_say_of_monetization_the_catalog_does_and_else_nothing() -> None:
    catalog = Catalog()
    for item, money in (("a", 5.0), ("b", 7.0)):
        catalog.put(Item(item_id=item, monetization=money))
    slots = [
        ExposedItem(item_id=item, position=n, monetization=said) for n, (item, said) in enumerate([("a", 0.0), ("b", None), ("c", None)])
    ]
    _, out = run(page(slots=(*slots, slots[1])), act(1, "skip", "c"), Tick(last=True), catalog=catalog)
    assert [r.revenue for r in rewards(out)] == [7.0]
    slots = [ExposedItem(item_id=item, position=0, monetization=said) for item, said in (("a", -3.0), ("b", 1.0))]
    _, out = run(page(slots=tuple(slots)), act(1, "skip", "b"), Tick(last=True))
    assert [r.revenue for r in rewards(out)] == [0.0]  # not below


@pytest.mark.parametrize(
    "wrong",
    [
        {"strategy": None}, {"strategy": "other"}, {"propensities": (0.2, 0.7)}, {"propensities": (1.0,)}, {"propensities": (0.0, 1.0)},
        {"arms": ("tail", "tail")}, {"arms": ()}, {"domain": 1 << 64}, {"segment": 1 << 64},
    ],
)  # fmt: skip
def test_a_choice_that_cannot_have_been_is_counted_and_earns_nothing(wrong: dict[str, object]) -> None:
    shown = page(**wrong) if "strategy" in wrong else page(choice=msgspec.structs.replace(CHOICE, **wrong))
    partition, out = run(shown, act(1, "collect", "a"), Tick(last=True))
    assert rewards(out) == []
    assert partition.progress.counted["unusable_choices"] == 1


# min  0 page   9 act on x: waits to 19   10 + 1 ms a to d have closed; retention 12: forgotten, though the list still waits
def test_a_list_that_is_forgotten_before_it_has_closed_earns_what_it_has() -> None:
    shorter = PartitionSettings(join_retention_ms=12 * MINUTE)
    _, out = run(page(), act(1, "share", "a"), act(9, "skip", "x"), other(13), Tick(last=True), settings=shorter)
    assert [(r.ts - START, r.experience, r.seen) for r in rewards(out)] == [(13 * MINUTE, 1.0, True)]


def test_what_waits_of_a_choice_is_16_bytes_a_place_and_little_beside() -> None:
    def waiting(items: str, choice: ArmDraw | None) -> int:
        partition, _ = run(page(items=items, choice=choice))
        return sum(len(row) for key, row in partition.tables.pending.rows() if key[:1] == b"l")

    four, three = (waiting(items, CHOICE) - waiting(items, None) for items in ("abcd", "abc"))
    assert four - three == 16
    # In place of False: "page", "tail", its arms and their chances, activity, time; lengths and small numbers a byte or two each.
    rest = 4 * 16 + (5 + 5 + 5 + 6 + 1) + (2 + 16) + 9 + 9 + 1 + 1 + 1 + 2 + 2
    assert four == rest + 2  # where linear arms choose, 8 bytes for each number that they look at
    assert waiting("abcd", msgspec.structs.replace(CHOICE, vector=(0.5,) * 4)) - waiting("abcd", CHOICE) == 4 * 8


def test_settings_of_rewards_are_checked() -> None:
    with pytest.raises(ValueError, match="experience_full"):
        msgspec.convert({"experience_full": 0.0}, RewardSettings)
