"""Records on their way: there until the state has them, bounded, and what is forgotten is said."""
from __future__ import annotations

from streams.core.join.events import Action, Event, ExposedItem, Exposure
from streams.core.join.keys import key
from streams.worker.unapplied import LAST, UnappliedRecords


def play(user: str, item: str, ts: int = 1_000) -> Event:
    return Event(ts=ts, user_id=user, item_id=item, action=Action.PLAY, context={"mood": "x" * 200})


def slate(user: str, *items: str, ts: int = 1_000) -> Exposure:
    return Exposure(ts=ts, user_id=user, request_id="r", slots=tuple(ExposedItem(item_id=i, position=n) for n, i in enumerate(items)))


def items(records: UnappliedRecords, user: str) -> list[str]:
    told = [arrived.record for arrived in records.of(key("user", user))]
    return [
        i for r in told for i in ([r.item_id] if isinstance(r, Event) else [s.item_id for s in r.slots] if isinstance(r, Exposure) else [])
    ]


def test_a_record_is_there_until_the_state_has_its_place_and_a_users_order_is_kept() -> None:
    records = UnappliedRecords((4, LAST))
    served = records.put(slate("ada", "a", "b"), 1_000)
    records.put(play("ada", "c"), 1_001, (7, 0))
    records.put(play("ada", "d"), 1_001, (7, 1))
    records.put(play("bob", "e"), 1_001, (4, 3))  # the state was faster
    assert (items(records, "ada"), items(records, "bob"), len(records)) == (["a", "b", "c", "d"], [], 3)
    records.applied = 7, 0
    assert items(records, "ada") == ["a", "b", "d"]  # the slate has no place yet
    served.place = 6, 0
    assert items(records, "ada") == ["d"]
    records.applied = 7, LAST
    assert (items(records, "ada"), len(records), records.forgotten) == ([], 0, 0)


def test_two_records_never_share_an_id_and_nothing_large_is_kept() -> None:
    records = UnappliedRecords()
    for n in range(20):
        records.put(play("ada", f"i{n % 2}"), 1_000)
    arrived = records.of(key("user", "ada"))
    assert len({one.default_id for one in arrived}) == 20
    assert all(isinstance(one.record, Event) and one.record.context == {} for one in arrived)


def test_of_a_user_the_newest_that_show_as_much_as_a_state_remembers_are_kept() -> None:
    records = UnappliedRecords(remembered=300)
    for n in range(7):
        records.put(slate("ada", *(f"{n}-{m}" for m in range(100)), ts=n), n)
    assert [i.split("-")[0] for i in items(records, "ada")[::100]] == ["4", "5", "6"]
    assert records.forgot(key("user", "ada"), 2) and not records.forgot(key("user", "ada"), 3)
    assert not records.forgot(key("user", "bob"), 0) and records.forgotten == 4


def test_all_users_together_are_bounded_and_what_the_state_has_goes_first() -> None:
    records = UnappliedRecords(most=2_000)
    for n in range(1_500):
        records.put(play(f"has-{n}", "i", ts=n), n, (n, 0))
    records.applied = 1_499, LAST
    for n in range(1_500):
        records.put(play(f"u{n}", "i", ts=10_000 + n), n, (n + 1_500, 0))
    assert (records.forgotten, len(records)) == (0, 1_500)
    for n in range(1_500, 4_000):
        records.put(play(f"u{n}", "i", ts=10_000 + n), n, (n + 1_500, 0))
        assert len(records._users) <= 2_000
    gone = records.forgotten
    assert len(records) == 4_000 - gone and gone > 0
    assert items(records, "u3999") == ["i"] and items(records, "u0") == []
    assert records.forgot(key("user", "anybody"), 10_000 + gone - 2) and not records.forgot(key("user", "anybody"), 10_000 + gone - 1)


def test_a_record_that_has_no_place_yet_is_swept_by_nothing_but_the_bound() -> None:
    records = UnappliedRecords(most=1_100)
    records.put(slate("ada", "a"), 0)
    for n in range(5_000):
        records.applied = n, LAST
        records.put(play("bob", "i"), n, (n, 0))
        records.put(play(f"u{n}", "i"), n, (n + 1, 0))
    assert items(records, "ada") == ["a"] and records.forgotten == 0
