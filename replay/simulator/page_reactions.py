"""How a listener reads a page of modules.

From the top: the first LOOKS items of a module, which is what a screen shows of it, then the module below. Whoever reaches the bottom
begins again at the top, with the next items of each. After every item they go on with the world's attention, and look at `slots` of
them at most: a page of any shape is looked at as much as a list is, and only what is looked at differs. What is done with an item
that is looked at is what `reactions.react` says of lists.

All that is looked at is played or skipped, so acts alone tell how far a page was read; one impression a page, of the deepest place
that was looked at, says it also where acts are lost, and that the page was on a screen at all.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from replay.simulator.reactions import Reaction, event, looked, react
from replay.simulator.world import Session, World
from streams.core.join.events import Action, Event, Exposure

LOOKS = 2  # of a module before the next one: five modules are then as long as a list of ten


class Place(NamedTuple):
    """An item in a page."""

    module: str
    position: int  # within its module
    item: int


Page = Sequence[Sequence[Place]]  # by module


class Read(NamedTuple):
    """How a page was read."""

    looked: list[Place]  # in the order of looking
    acts: list[Reaction]  # `position` is a place in `looked`


def path(page: Page, looks: int = LOOKS) -> list[Place]:
    """All places of a page in the order in which it is read."""
    most = max((len(module) for module in page), default=0)
    return [place for first in range(0, most, looks) for module in page for place in module[first : first + looks]]


def read(world: World, session: Session, page: Page, ts: int, pace: float | None = None) -> Read:
    """What the listener does with a page shown at ts. Nothing is observed yet."""
    way = path(page)
    acts = react(world, session, [place.item for place in way], ts, pace)
    return Read(way[: looked(world.settings, session, len(way))], acts)


def records(world: World, session: Session, page: Page, read: Read, name: str, request_id: str) -> list[Event]:
    """Acts, and one impression, as records in time order."""

    def record(reaction: Reaction, suffix: int | str) -> Event:
        place = read.looked[reaction.position]
        return event(world, session, reaction._replace(position=place.position), f"{name}-{suffix}", request_id, module=place.module)

    out = [record(reaction, n) for n, reaction in enumerate(read.acts)]
    if read.looked:
        order = [place.item for module in page for place in module]
        deepest = max(range(len(read.looked)), key=lambda n: order.index(read.looked[n].item))
        left_ms = next(
            reaction.ts for reaction in read.acts if reaction.position == deepest and reaction.action in (Action.PLAY, Action.SKIP)
        )
        out.append(record(Reaction(left_ms, deepest, read.looked[deepest].item, Action.IMPRESSION), "i"))
    return sorted(out, key=lambda record: record.ts)


def of_slots(world: World, exposure: Exposure | None) -> list[list[Place]]:
    """The page that an exposure shows; none of None."""
    out: dict[str, list[Place]] = {}
    for slot in exposure.slots if exposure is not None else ():
        module = slot.module or ""
        out.setdefault(module, []).append(Place(module, slot.position, world.index[slot.item_id]))
    return list(out.values())
