"""Users are forgotten a stated time after their last act, by event time: whoever comes back in time is known, whoever doesn't is not."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event, ExposedItem, Exposure, Tick
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.state.digest import digest
from streams.core.state.rows import UserState
from streams.core.state.tables import Tables
from tests.streams.core.join.test_partition import Stored

MINUTE, HOUR = 60_000, 3_600_000
START = 1_700_000_040_000  # the beginning of a minute
HALF_A_DAY = PartitionSettings(user_expire_d=0.5, join_retention_ms=2 * HOUR)
EXPIRE = 12 * HOUR


def act(ms: int, user: str = "u", action: Action = Action.PLAY, item: str = "i") -> Arrived:
    event = Event(ts=START + ms, user_id=user, item_id=item, action=action, full=True)
    return Arrived(ms, 0, event.ts, event, f"{ms}-{user}")


def tick(ms: int) -> Arrived:
    return Arrived(ms, 0, START + ms, Tick(ts=START + ms), "")


def known(partition: Partition, *users: str) -> list[bool]:
    return [partition.user(keys.key("user", user)) is not None for user in users]


def partition(tables: Tables | None = None, settings: PartitionSettings = HALF_A_DAY) -> Partition:
    return Partition(settings, tables or Tables.over(), Catalog())


#  ms    0 act ──────────── 12 h, still known ── a minute of event time begins: forgotten
def test_a_user_is_known_up_to_the_last_moment_and_forgotten_at_the_next_minute() -> None:
    one = partition()
    one.apply([act(1), tick(1 + EXPIRE)])
    assert known(one, "u") == [True]
    one.apply([tick(MINUTE + EXPIRE)])
    assert known(one, "u") == [False]
    assert one.progress.counted["expired_users"] == 1


def test_every_act_and_every_served_list_begins_the_time_anew() -> None:
    one = partition()
    for hours in range(0, 60, 11):
        one.apply([act(hours * HOUR, "often"), act(hours * HOUR, "skips", Action.SKIP)])
        served = Exposure(ts=START + hours * HOUR, user_id="asks", request_id=f"r{hours}", slots=(ExposedItem(item_id="i", position=0),))
        one.apply([Arrived(hours * HOUR, 1, served.ts, served, f"{hours}")])
    one.apply([act(0, "late", item="j")])  # refused
    assert known(one, "often", "skips", "asks", "late") == [True, True, True, False]
    one.apply([tick(68 * HOUR)])
    assert not any(known(one, "often", "skips", "asks"))
    assert list(one.tables.users.rows()) == []


def test_who_comes_back_too_late_begins_anew() -> None:
    one, new = partition(), partition()
    one.apply([act(0, item="old"), act(EXPIRE + MINUTE)])
    new.apply([act(EXPIRE + MINUTE)])
    found, wanted = (p.user(keys.key("user", "u")) for p in (one, new))
    assert found is not None and found.histories == wanted.histories  # type: ignore[union-attr]


def test_another_setting_holds_from_the_next_minute_on() -> None:
    stored: dict[str, Stored] = {}
    tables = [Tables.over(lambda name: stored.setdefault(name, Stored())) for _ in range(3)]
    _write(partition(tables[0], PartitionSettings()), [act(0), act(30 * HOUR, "v")], stored)
    _write(two := partition(tables[1], PartitionSettings(user_expire_d=1.0)), [tick(31 * HOUR)], stored)
    assert known(two, "u", "v") == [False, True]
    _write(three := partition(tables[2], PartitionSettings()), [tick(300 * HOUR)], stored)
    assert known(three, "v") == [True]


def test_the_newest_act_is_read_off_the_state_whatever_it_was() -> None:
    assert UserState().last_ms == -1
    for last in set(Action) - {Action.IMPRESSION}:  # that of what was shown already says nothing new
        one = partition()
        one.apply([act(0), act(MINUTE, action=Action.COLLECT), act(2 * MINUTE, action=last)])
        state = one.user(keys.key("user", "u"))
        assert state is not None and state.last_ms == START + 2 * MINUTE


def _write(of: Partition, records: list[Arrived], stored: dict[str, Stored]) -> None:
    of.apply(records)
    for name, table in of.tables.named().items():
        for key, raw in table.writes():
            stored[name].rows.pop(key, None) if raw is None else stored[name].rows.update({key: raw})
        table.settle()


steps = st.lists(st.tuples(st.integers(0, 9 * 60), st.sampled_from("uvwxyz")), min_size=1, max_size=40)


@given(steps, st.integers(1, 5))
def test_states_are_those_of_who_acted_within_the_time_resident_stored_and_restarted_alike(acts: list[tuple[int, str]], size: int) -> None:
    now, last, records = 0, dict[str, int](), list[Arrived]()
    for wait, user in acts:
        if (now + wait * MINUTE) // MINUTE > now // MINUTE:
            last = {u: at for u, at in last.items() if now + wait * MINUTE - at <= EXPIRE}
        now += wait * MINUTE
        last[user] = now
        records.append(act(now, user))
    resident = partition()
    for record in records:
        resident.apply([record])
    assert {user for user in "uvwxyz" if known(resident, user) == [True]} == set(last)
    stored: dict[str, Stored] = {}
    for at in range(0, len(records), size):
        _write(partition(Tables.over(lambda name: stored.setdefault(name, Stored()))), records[at : at + size], stored)
    assert digest({name: family.rows.items() for name, family in stored.items()}) == digest(
        {name: table.rows() for name, table in resident.tables.named().items()}
    )
    timers = [key for key in stored["pending"].rows if key[:1] == b"u"]
    assert len(timers) == len(stored["users"].rows) == len(last)
