"""A page is read from the top, and looked at as much as a list is."""
from __future__ import annotations

import itertools

import msgspec

from replay.simulator.page_reactions import Place, of_slots, path, read, records
from replay.simulator.reactions import react
from replay.simulator.world import World, WorldSettings
from streams.core.join.decode import decode
from streams.core.join.events import Action, ExposedItem, Exposure


def page(world: World, domain: int, ts: int, modules: int, per_module: int) -> list[list[Place]]:
    items = world.available(domain, ts).tolist()
    return [[Place(f"m{m}", n, items[m * per_module + n]) for n in range(per_module)] for m in range(modules)]


def test_a_page_is_read_two_items_a_module_then_the_module_below_then_again_from_the_top() -> None:
    pages = [[Place("a", n, n) for n in range(5)], [Place("b", 0, 10)], [Place("c", n, 20 + n) for n in range(4)]]
    assert [place.item for place in path(pages)] == [0, 1, 10, 20, 21, 2, 3, 22, 23, 4]
    assert path([]) == path([[]]) == []


def test_a_page_is_a_list_in_the_order_of_reading() -> None:
    world = World(WorldSettings(), 1)
    depths = set()
    for session in itertools.islice(world.sessions(1), 200):
        for modules, per_module in ((3, 4), (4, 3)):  # looked at alike, whatever the shape
            shown = page(world, session.domain, session.ts, modules, per_module)
            found = read(world, session, shown, session.ts)
            assert found.acts == react(world, session, [place.item for place in path(shown)], session.ts)
            seen = {act.position for act in found.acts if act.action in (Action.PLAY, Action.SKIP)}
            assert seen == set(range(len(found.looked)))
            assert found.looked == path(shown)[: len(found.looked)]
            depths.add((session.index, len(found.looked)))
    assert len(depths) == 200
    assert {depth for _, depth in depths} == set(range(1, 11))


def test_records_say_where_in_the_page_and_one_impression_how_deep() -> None:
    world = World(WorldSettings(), 2)
    for session in itertools.islice(world.sessions(2), 100):
        shown = page(world, session.domain, session.ts, 3, 4)
        found = read(world, session, shown, session.ts)
        made = records(world, session, shown, found, "e", "r")
        assert [record.ts for record in made] == sorted(record.ts for record in made)
        assert decode(msgspec.json.encode(made)) == made
        assert len({record.event_id for record in made}) == len(made) == len(found.acts) + 1
        where = {place.item: place for module in shown for place in module}
        for record in made:
            place = where[world.index[record.item_id]]
            assert (record.module, record.position, record.request_id) == (place.module, place.position, "r")
        (impression,) = (record for record in made if record.action is Action.IMPRESSION)
        order = [place.item for module in shown for place in module]
        assert world.index[impression.item_id] == max((place.item for place in found.looked), key=order.index)


def test_a_page_of_an_exposure_has_its_modules_in_order() -> None:
    world = World(WorldSettings(), 1)
    slots = tuple(
        ExposedItem(item_id=world.item_ids[i], position=n, module=name) for i, n, name in ((5, 0, "new"), (6, 1, "new"), (7, 0, "popular"))
    )
    exposure = Exposure(ts=1, user_id="u", request_id="r", slots=slots)
    assert of_slots(world, exposure) == [[Place("new", 0, 5), Place("new", 1, 6)], [Place("popular", 0, 7)]]
    assert of_slots(world, None) == []
