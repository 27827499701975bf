"""For whom: thirds of listeners, places of domains."""
from __future__ import annotations

import numpy as np
import pytest

from bandit import segments
from bandit.segments import Segments

SONG, VIDEO, BOOK, PODCAST = 4, 7, 1 << 63, 2  # keys


def test_thirds_of_listeners_are_about_a_third_each() -> None:
    rng, seen = np.random.default_rng(1), Segments()
    activity = rng.lognormal(3, 1.5, 9_000)
    seen.update(activity, [SONG] * 9_000)
    third = np.array([seen.segment_of(a, SONG) // segments.DOMAINS for a in activity])
    assert np.bincount(third) / 9_000 == pytest.approx([1 / 3] * 3, abs=0.05)
    assert (np.diff(third[np.argsort(activity)]) >= 0).all()


def test_the_first_domains_have_places_of_their_own_and_all_others_one() -> None:
    seen = Segments()
    seen.update(np.ones(5), [SONG, VIDEO, SONG, BOOK, PODCAST])
    at = [seen.segment_of(0, key) % segments.DOMAINS for key in (SONG, VIDEO, BOOK, PODCAST, 9)]
    assert at == [0, 1, 2, 3, 3]
    assert 0 <= seen.segment_of(1e12, SONG) < segments.SEGMENTS


def test_nobody_met_yet_is_in_the_first_third_and_a_batch_is_one_by_one() -> None:
    assert Segments().segment_of(100, SONG) == segments.DOMAINS - 1
    activity = np.random.default_rng(2).integers(0, 500, 50).astype(float)
    whole, single = Segments(), Segments()
    whole.update(activity, [SONG] * 50)
    for one in np.split(activity, 50):
        single.update(one, [SONG])
    assert whole.counts == pytest.approx(single.counts, abs=1e-12)
