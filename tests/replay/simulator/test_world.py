from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from replay.simulator.world import DAY_MS, Domain, Session, World, WorldSettings
from streams.core.join.events import Action, Event
from streams.core.join.keys import HOUR_MS


def play(world: World, item: int, ts: int, listener: int = 0, action: Action = Action.PLAY) -> Event:
    return Event(ts=ts, user_id=world.user_ids[listener], item_id=world.item_ids[item], action=action)


def first(world: World, n: int, seed: int = 1) -> list[Session]:
    return list(itertools.islice(world.sessions(seed), n))


def test_same_seed_same_world_and_arrivals_another_seed_others() -> None:
    one, two, other = (World(WorldSettings(), seed) for seed in (3, 3, 4))
    assert one.catalog() == two.catalog() != other.catalog()
    assert one.taste.tobytes() == two.taste.tobytes() != other.taste.tobytes()
    arrivals = [[(s.ts, s.listener, s.noise.tobytes()) for s in first(world, 700)] for world in (one, two)]
    assert arrivals[0] == arrivals[1]
    assert [s.ts for s in first(one, 10, seed=1)] != [s.ts for s in first(one, 10, seed=2)]


def test_popularity_is_the_sum_of_halving_counts_in_any_order() -> None:
    # MODEL.md section 4, H = 1 h: events at 0, 1 h, 2 h read at 2 h: 1.75; a late one at 1/2 h: 2.103553390593274
    world = World(WorldSettings(popularity_half_life_h=1.0), 1)
    start, item = world.settings.start_ms, np.array([7])
    for hours in (0, 1, 2):
        world.observe(play(world, 7, start + hours * HOUR_MS))
    assert world.popularity(item, start + 2 * HOUR_MS)[0] == pytest.approx(1.75, abs=1e-12)
    world.observe(play(world, 7, start + HOUR_MS // 2))
    assert world.popularity(item, start + 2 * HOUR_MS)[0] == pytest.approx(2.103553390593274, abs=1e-12)
    world.observe(play(world, 7, start + 2 * HOUR_MS, action=Action.SKIP))
    assert world.popularity(item, start + 3 * HOUR_MS)[0] == pytest.approx(2.103553390593274 / 2, abs=1e-12)


def test_conformity_is_the_slope_on_centred_log_popularity() -> None:
    plain, conforming = (World(WorldSettings(conformity=c), 1) for c in (0.0, 0.8))
    session = next(s for s in plain.sessions(1) if s.domain == 0)
    ts = session.ts + 1_000
    items = plain.available(0, ts)
    for world in (plain, conforming):
        for n, item in enumerate(items[:20].tolist()):
            for _ in range(n):
                world.observe(play(world, item, ts, listener=(session.listener + 1) % 400))
    heat = np.zeros(len(items))
    heat[:20] = np.log1p(np.arange(20))
    difference = conforming.utility(session, items, ts) - plain.utility(session, items, ts)
    np.testing.assert_allclose(difference, 0.8 * (heat - heat.mean()), atol=1e-9)


def test_an_own_play_satiates_and_half_of_it_is_left_after_a_half_life() -> None:
    world = World(WorldSettings(conformity=0.0, curiosity=1e-9, drift_per_day=0.0), 1)
    session = next(s for s in world.sessions(1) if s.domain == 0)
    item = world.available(0, session.ts)[:1]
    before = world.utility(session, item, session.ts)[0]
    world.observe(play(world, int(item[0]), session.ts, session.listener))
    assert before - world.utility(session, item, session.ts)[0] == pytest.approx(0.15, abs=1e-6)
    assert before - world.utility(session, item, session.ts + DAY_MS)[0] == pytest.approx(0.075, abs=1e-6)


def test_a_familiar_category_is_worth_less_to_the_curious() -> None:
    world = World(WorldSettings(conformity=0.0, satiation=0.0, drift_per_day=0.0), 1)
    session = next(s for s in world.sessions(1) if s.domain == 0)
    items = world.available(0, session.ts)
    before = world.utility(session, items, session.ts)
    heard = int(items[0])
    world.observe(play(world, heard, session.ts, session.listener))
    fall = before - world.utility(session, items, session.ts)
    same = world.item_category[items] == world.item_category[heard]
    np.testing.assert_allclose(fall[same], world.curiosity[session.listener], atol=1e-12)  # from novelty 1 to 0
    np.testing.assert_allclose(fall[~same], 0.0, atol=1e-12)


def test_taste_in_a_domain_is_a_rotation_of_the_common_taste_and_noise_undoes_it() -> None:
    shared, unrelated = (World(WorldSettings(domain_noise=noise, drift_per_day=0.0, listeners=2_000), 1) for noise in (0.0, 1.0))
    ts = shared.settings.start_ms

    def tastes(world: World, domain: int) -> np.ndarray:
        return np.array([world.taste_at(u, domain, ts) for u in range(2_000)])

    np.testing.assert_allclose(tastes(shared, 0) @ tastes(shared, 0).T, tastes(shared, 2) @ tastes(shared, 2).T, atol=1e-9)
    back = tastes(unrelated, 2) @ unrelated.rotation[2]
    assert abs(np.corrcoef(back.ravel(), unrelated.taste[:, 0].ravel())[0, 1]) < 4 / np.sqrt(16_000)


def test_taste_turns_slowly_by_the_stated_angle_and_switches_at_once_for_the_stated_share() -> None:
    world = World(WorldSettings(domain_noise=0.0, drift_per_day=0.1), 1)
    start = world.settings.start_ms
    # after pi/2 / 0.1 days it has arrived where drift leads
    arrived = world.taste_at(5, 0, start + int(np.pi / 2 / 0.1 * DAY_MS))
    np.testing.assert_allclose(arrived, world.rotation[0] @ world.taste[5, 1], atol=1e-6)

    moved = World(WorldSettings(listeners=4_000, switch_days=(2.0,), switch_share=0.3, drift_per_day=0.0), 1)
    before, after = start + 2 * DAY_MS - 1, start + 2 * DAY_MS
    jumps = [not np.allclose(moved.taste_at(u, 0, before), moved.taste_at(u, 0, after)) for u in range(4_000)]
    assert np.mean(jumps) == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 4_000))


def test_sessions_come_at_the_stated_rate_in_the_stated_domains_and_hours() -> None:
    # the mean of the day's swing over listeners' peak hours is 1, so the rate is that of the settings
    world = World(WorldSettings(listeners=3_000), 1)
    sessions = first(world, 30_000)
    assert all(a.ts <= b.ts for a, b in itertools.pairwise(sessions))
    days = (sessions[-1].ts - world.settings.start_ms) / DAY_MS
    assert len(sessions) / days == pytest.approx(15_000, rel=0.05)
    shares = np.bincount([s.domain for s in sessions], minlength=4) / len(sessions)
    np.testing.assert_allclose(shares, [0.70, 0.20, 0.08, 0.02], atol=0.02)
    hours = np.bincount([s.ts // HOUR_MS % 24 for s in sessions], minlength=24)
    assert hours[19:22].sum() > 2 * hours[7:10].sum()  # peaks are drawn around 20 h


def test_activity_is_heavy_tailed_as_a_lognormal_is() -> None:
    # share of the top tenth of a lognormal with sigma .8: 1 - Phi(Phi^-1(.9) - .8)
    activity = np.sort(World(WorldSettings(listeners=20_000), 1).activity)[::-1]
    assert activity[:2_000].sum() == pytest.approx(1 - norm.cdf(norm.ppf(0.9) - 0.8), abs=0.02)


def test_items_of_a_category_and_of_an_artist_are_alike() -> None:
    world = World(WorldSettings(items=2_000), 1)
    songs = np.flatnonzero(world.item_domain == 0)
    alike = world.vectors[songs] @ world.vectors[songs].T
    category = world.item_category[songs][:, None] == world.item_category[songs]
    artist = world.item_artist[songs][:, None] == world.item_artist[songs]
    off = ~np.eye(len(songs), dtype=bool)
    # vectors are sqrt(.65) category + sqrt(.2) artist + sqrt(.15) own, so cosines are about .65, .85 and 0
    assert alike[category & ~artist].mean() == pytest.approx(0.65, abs=0.1)
    assert alike[category & artist & off].mean() == pytest.approx(0.85, abs=0.1)
    assert abs(alike[~category & ~artist].mean()) < 0.1


def test_only_born_and_unexpired_items_are_available() -> None:
    world = World(WorldSettings(), 1)
    catalog = {item.item_id: item for item in world.catalog()}
    seen = set()
    for day in range(0, 15, 2):
        ts = world.settings.start_ms + day * DAY_MS
        for domain, name in enumerate(("song", "video", "longform", "live")):
            for i in world.available(domain, ts).tolist():
                item = catalog[world.item_ids[i]]
                assert item.domain == name and (item.published_ts or 0) <= ts < (item.expires_ts or 1 << 62)
                seen.add(i)
    assert len(catalog) == 400 and len(seen) > 395
    births = [item.published_ts or 0 for item in world.catalog()]
    assert births == sorted(births)
    assert np.mean(np.array(births) > world.settings.start_ms) == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 400))


@pytest.mark.parametrize("bad", [{"listeners": 0}, {"items": 3}, {"domains": ()}, {"pace": 0.0}, {"domain_noise": 1.5}, {"attention": 0.0}])
def test_a_world_that_cannot_be_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be|need"):
        WorldSettings(**bad)  # type: ignore[arg-type]


def test_a_world_of_one_domain_and_one_listener_stands() -> None:
    tiny = WorldSettings(listeners=1, items=1, domains=(Domain(name="song", sessions=1.0, items=1.0, duration_s=60.0),))
    world = World(tiny, 1)
    session = first(world, 1)[0]
    assert world.utility(session, np.array([0]), session.ts).shape == (1,)


def test_what_an_exposure_is_worth_goes_by_category_and_not_by_quality() -> None:
    world = World(WorldSettings(items=40_000, listeners=1), 1)
    category = world.item_domain * world.settings.categories + world.item_category
    means = np.array([world.monetization[category == c].mean() for c in range(4 * world.settings.categories)])
    # gamma(2, .005) of mean .01 by a lognormal of mean 1 and variance exp(.25) - 1: 32 categories
    assert means.mean() == pytest.approx(0.01, abs=4 * 0.01 * np.sqrt(np.expm1(0.25) / 32))
    assert np.std(np.log(means)) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(64))
    assert abs(np.corrcoef(world.monetization, world.quality)[0, 1]) < 4 / np.sqrt(40_000)
    assert (world.monetization >= 0).all()
