"""A crowd in front of a service: it requests as listeners do, and reacts to what it knows of the response."""
from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest

from replay.simulator.crowd import LAST, Crowd, Request
from replay.simulator.world import World, WorldSettings
from streams.core.join.events import Action, Event
from streams.core.serving.recommend import ALL


def test_a_crowd_asks_as_listeners_do_and_reacts_to_what_the_response_says() -> None:
    world = World(WorldSettings(slots=3, attention=1.0), 1)
    crowd, now = Crowd(world, 1, k=4, pace=200.0), world.settings.start_ms + 5_000
    ids = set()
    for n in range(50):
        body, session = crowd.ask(now)
        ask = msgspec.json.decode(body, type=Request)
        assert ask == Request(
            user_id=world.user_ids[session.listener],
            k=4,
            domain=world.settings.domains[session.domain].name,
            context=session.context,
        )
        known = [world.item_ids[i] for i in world.available(session.domain, now)[:3]]
        items = [{"item_id": item, "position": p, "score": 0.5} for p, item in enumerate(["of another world", *known])]
        acts = crowd.react(session, msgspec.json.encode({"request_id": f"r{n}", "items": items, "flags": []}), now)
        assert {act.position for act in acts} == {1, 2, 3}
        for act in acts:
            assert act.request_id == f"r{n}" and act.user_id == ask.user_id and act.ts > now
            assert act.item_id == items[act.position or 0]["item_id"]
            ids.add(act.event_id)
        firsts = [act for act in acts if act.action in (Action.PLAY, Action.SKIP)]
        assert max(act.ts for act in firsts) - now < 20_000  # inside the join window of `segue run`
    assert len(ids) > 150
    assert world.popularity(np.arange(400), now + 60_000).sum() > 0


def test_a_crowd_tells_how_varied_the_last_pages_of_each_strategy_were() -> None:
    """Against a loop over what was looked at: five slots of each page, since all go on."""
    world = World(WorldSettings(slots=5, attention=1.0), 1)
    crowd, now = Crowd(world, 1, pace=200.0), world.settings.start_ms + 5_000
    told: dict[str, list[tuple[int, list[int], list[Event]]]] = {"tail": [], "fixed": []}
    for n in range(2 * LAST + 40):
        _, session = crowd.ask_page(now)
        strategy = "tail" if n % 4 else "fixed"
        at = np.random.default_rng(n).permutation(world.available(session.domain, now))[:5].tolist()
        modules = [{"name": "m", "items": [{"item_id": world.item_ids[i]} for i in at]}]
        acts = crowd.react_page(session, msgspec.json.encode({"request_id": f"r{n}", "strategy": strategy, "modules": modules}), now)
        told[strategy].append((session.listener, at, acts))
    assert crowd.variety().keys() == {"page"} and list(crowd.variety()["page"]) == [ALL, "fixed", "tail"]
    for strategy, pages in told.items():
        found, last = crowd.variety()["page"][strategy], pages[-LAST:]
        by_user: dict[int, set[int]] = {}
        for listener, at, _ in last:
            by_user.setdefault(listener, set()).update(at)
        kinds = [len({(world.item_domain[i], world.item_category[i]) for i in items}) for items in by_user.values()]
        pairs = [len(a & b) / len(a | b) for a, b in itertools.combinations(by_user.values(), 2)]
        done = [{act.action, *act.also} for _, _, acts in last for act in acts]
        plays, dislikes = (sum(action in each for each in done) for action in (Action.PLAY, Action.DISLIKE))
        assert found.impressions == len(last) == min(len(pages), LAST)
        assert found.categories_per_user == pytest.approx(np.mean(kinds)) and found.overlap == pytest.approx(np.mean(pairs))
        assert found.distinct_items == len(set().union(*by_user.values()))
        assert found.dislikes_per_1000_plays == pytest.approx(1_000 * dislikes / plays)


def test_a_crowd_asks_for_pages_and_reacts_to_what_it_knows_of_them() -> None:
    world = World(WorldSettings(slots=5, attention=1.0), 1)
    crowd, now = Crowd(world, 1, pace=200.0), world.settings.start_ms + 5_000
    ids = set()
    for n in range(50):
        body, session = crowd.ask_page(now)
        ask = msgspec.json.decode(body, type=Request)
        assert b'"k"' not in body  # how large a page is, the service decides
        assert (ask.user_id, ask.context) == (world.user_ids[session.listener], session.context)
        assert ask.domain == world.settings.domains[session.domain].name
        known = [world.item_ids[i] for i in world.available(session.domain, now)[:7]]
        rows = {"popular": ["of another world", *known[:4]], "category:a": known[4:]}
        modules = [{"name": name, "items": [{"item_id": i, "position": p} for p, i in enumerate(items)]} for name, items in rows.items()]
        acts = crowd.react_page(session, msgspec.json.encode({"request_id": f"r{n}", "modules": modules, "flags": []}), now)
        # three known items of the first module, then two of the second: five slots are looked at
        looked = {("popular", 1), ("popular", 2), ("popular", 3), ("category:a", 0), ("category:a", 1)}
        assert {(act.module, act.position) for act in acts} == looked
        (impression,) = (act for act in acts if act.action is Action.IMPRESSION)
        assert (impression.module, impression.position) == ("category:a", 1)
        for act in acts:
            assert act.request_id == f"r{n}" and act.user_id == ask.user_id and act.ts > now
            assert act.item_id == rows[act.module or ""][act.position or 0]
            ids.add(act.event_id)
        assert max(act.ts for act in acts if act.action in (Action.PLAY, Action.SKIP)) - now < 20_000  # inside `segue run`'s join window
    assert len(ids) > 250
    assert world.popularity(np.arange(400), now + 60_000).sum() > 0
