"""Rows find their exposures, and a reward its depth; each reads back what it was written as."""
from __future__ import annotations

import struct

import msgspec
import pytest

from streams.core.state.rows import PendingExposure, PendingReward, PendingSlate, Progress, UserPart, UserState


def exposure(item: int) -> PendingExposure:
    return PendingExposure(
        id=item + 100, item=item, shown_ms=5, fields=b"f", item_features=b"i", related=b"r", counts=b"2", popularity=b"p", age_s=1.5,
        followed=0.25, artist_feedback=b"a",
    )  # fmt: skip


def reward(*items: int) -> PendingReward:
    return PendingReward("list", "a", ["a", "b"], b"", 0, 0.0, 0, 5, struct.pack(f"<{len(items)}Q", *items), b"")


@pytest.mark.parametrize(("observed", "depth"), [((), 0), ((8,), 2), ((9, 8), 3), ((4,), 0), ((4, 7), 1)])
def test_the_depth_is_that_of_the_lowest_position_observed(observed: tuple[int, ...], depth: int) -> None:
    slate = PendingSlate(pending_reward=reward(7, 8, 9))
    for item in observed:
        slate.observe(item)
    assert isinstance(slate.pending_reward, PendingReward)
    assert slate.pending_reward.depth == depth


@pytest.mark.parametrize("pending_reward", [False, True])
def test_a_slate_without_a_pending_reward_observes_nothing(pending_reward: bool) -> None:
    slate = PendingSlate(pending_reward=pending_reward)
    slate.observe(7)
    assert slate.pending_reward is pending_reward


def test_a_slate_finds_the_exposure_of_an_item_and_reads_back_as_it_was() -> None:
    slate = PendingSlate(exposures=[exposure(7), exposure(8)], pending_reward=reward(7, 8))
    found = slate.exposure(8)
    assert found is not None and found.id == 108
    assert slate.exposure(9) is None
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(slate), type=PendingSlate) == slate


def test_features_join_the_users_half_and_the_items() -> None:
    part = UserPart(user=1, context=b"c", user_attributes=b"u", positive=b"+", negative=b"-", domains=b"d", counts=b"1", play_times=b"t")
    features = exposure(7).features(part)
    assert (features.counts, features.fields, features.context, features.user_attributes) == (b"12", b"f", b"c", b"u")
    assert (features.positive, features.negative, features.domains, features.related) == (b"+", b"-", b"d", b"r")
    assert (features.item_features, features.popularity, features.age_s, features.shown_ms, features.followed) == (b"i", b"p", 1.5, 5, 0.25)
    assert (features.artist_feedback, features.play_times) == (b"a", b"t")


def test_what_a_user_liked_is_the_positive_family_of_each_domain_in_order() -> None:
    assert UserState(histories={4: (b"a", b"x"), 2: (b"b", b"")}).liked == [b"a", b"b"]


def test_a_counter_that_nothing_was_added_to_is_absent() -> None:
    progress = Progress(counted={"events": 2})
    progress.count("events")
    progress.count("unjoined", 3)
    assert progress.counted == {"events": 3, "unjoined": 3}
    assert Progress().counted == {}  # each has its own
