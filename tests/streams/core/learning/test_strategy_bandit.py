"""The choice among strategies: it is its policies', it outlives restarts and other arms, and a copy answers as the learner does."""
from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bandit.policy import Policy
from bandit.segments import SEGMENTS
from bandit.settings import BanditSettings
from online_model import checkpoint
from online_model.adwin import Adwin
from online_model.features import Reward
from streams.core.join.events import ArmDraw
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.pages import PageSettings
from streams.core.serving.recommend import RecommendSettings
from streams.core.serving.surfaces import arms, by_default

ARMS = {"page": ("blend-0", "tail", "fixed"), "list": ("ranked", "explore")}
RATE = {"blend-0": 0.05, "tail": 0.1, "fixed": 0.02, "ranked": 0.05, "explore": 0.3}
FLOOR = BanditSettings(revenue_floor=0.2, floor_rounds=100)


def reward(surface: str, strategy: str, n: int = 0, /, **more: object) -> Reward:
    arms = list(ARMS[surface])
    fields = {
        "id": n, "ts": n, "shown_ms": n, "user": n, "surface": surface, "strategy": strategy, "arms": arms,
        "chances": [1 / len(arms)] * len(arms), "segment": n % SEGMENTS, "activity": float(n % 7), "domain": n % 5, "experience": 0.5,
        "revenue": 0.1, "seen": True,
    }  # fmt: skip
    return Reward(**fields | more)  # type: ignore[arg-type]


def rounds(strategy_bandit: StrategyBandit, n: int, seed: int, batch: int = 50) -> list[tuple[str, float]]:
    """Users come, are chosen for, and what came of it is learned in batches; what was chosen, and its chance."""
    rng, out, waiting = np.random.default_rng(seed), list[tuple[str, float]](), list[Reward]()
    for at in range(n):
        surface = "page" if rng.random() < 0.7 else "list"
        activity, domain = float(rng.integers(0, 40)), int(rng.integers(1, 6))
        name, choice = strategy_bandit.choose(surface, activity, domain, float(rng.random()))
        out.append((name, choice.propensities[choice.arms.index(name)]))
        liked = (rng.random() < RATE[name] + 0.3 * (at > n / 2 and name == "fixed")) * rng.random()
        waiting.append(Reward(
            at, at, at, at, surface, name, list(choice.arms), list(choice.propensities), choice.segment, activity, domain, float(liked),
            float(rng.random()), bool(rng.random() < 0.9),
        ))  # fmt: skip
        if len(waiting) == batch:
            strategy_bandit.learn(waiting)
            waiting = []
    return out


def ask(strategy_bandit: StrategyBandit, n: int, seed: int) -> list[tuple[str, ArmDraw]]:
    rng = np.random.default_rng(seed)
    users = [(float(rng.integers(0, 40)), int(rng.integers(1, 6)), float(rng.random())) for _ in range(n)]
    return [strategy_bandit.choose("page" if at % 2 else "list", *user) for at, user in enumerate(users)]


def test_before_the_first_reward_all_have_equal_chances_and_the_number_picks_one() -> None:
    strategy_bandit = StrategyBandit(ARMS, BanditSettings())
    name, choice = strategy_bandit.choose("page", 3.0, 7, 0.5)
    assert (name, choice.arms, choice.segment, choice.activity, choice.domain) == ("tail", ARMS["page"], 3, 3.0, 7)
    assert choice.propensities == pytest.approx([1 / 3] * 3, abs=1e-12)
    assert [strategy_bandit.choose("list", 0.0, 0, u)[0] for u in (0.0, 0.49, 0.51, 0.999)] == ["ranked", "ranked", "explore", "explore"]
    # Beta(20 * .05, 20 * .95), Beta(20 * .025, 20 * .975): pessimistic, half of what is expected (MODEL.md section 6).
    assert np.array(choice.experience) == pytest.approx(np.array([(0.05, 0.05 * 0.95 / 21)] * 3))
    assert np.array(choice.revenue) == pytest.approx(np.array([(0.025, 0.025 * 0.975 / 21)] * 3))


@pytest.mark.parametrize("settings", [BanditSettings(), FLOOR])
@pytest.mark.prove
def test_half_a_million_choices_are_as_frequent_as_what_is_logged_with_each(settings: BanditSettings) -> None:
    """In four segments; both settings together are 10^6."""
    strategy_bandit, rng, n = StrategyBandit(ARMS, settings), np.random.default_rng(4), 500_000
    rounds(strategy_bandit, 2_000, 3)
    users = [(float(activity), domain) for activity in (0, 20) for domain in (1, 4)]
    drawn = {user: dict.fromkeys(ARMS["page"], 0) for user in users}
    logged = {user: strategy_bandit.choose("page", *user, 0.0)[1].propensities for user in users}
    for who, uniform in zip(rng.integers(0, 4, n).tolist(), rng.random(n).tolist(), strict=True):
        name, choice = strategy_bandit.choose("page", *users[who], uniform)
        drawn[users[who]][name] += 1
        assert choice.propensities is logged[users[who]] or choice.propensities == logged[users[who]]
    for user, counts in drawn.items():
        assert sum(logged[user]) == pytest.approx(1, abs=1e-9)
        seen = [counts[arm] for arm in ARMS["page"]]
        assert stats.chisquare(seen, [sum(seen) * chance for chance in logged[user]]).pvalue > 0.001
    assert len({strategy_bandit.choose("page", *user, 0.0)[1].segment for user in users}) > 1


def test_a_choice_says_by_what_it_was_made_and_its_chances_sum_to_1() -> None:
    strategy_bandit = StrategyBandit(ARMS, FLOOR)
    rounds(strategy_bandit, 600, 1)
    for _, choice in ask(strategy_bandit, 40, 2):
        policy = strategy_bandit.policies[choice.surface]
        assert sum(choice.propensities) == pytest.approx(1, abs=1e-9)
        assert list(choice.propensities) == policy.probabilities(choice.segment).tolist()
        assert (choice.version, choice.revenue_weight) == (policy.version, policy.floor.weight)
        said = np.stack([choice.experience, choice.revenue])  # [2, K, 2]
        assert said.transpose(2, 0, 1).tolist() == np.stack(policy.posteriors(choice.segment)).tolist()
        assert choice.segment == strategy_bandit.segments.segment_of(choice.activity, choice.domain)


def test_posteriors_are_those_of_a_policy_that_was_fed_directly() -> None:
    rng, settings = np.random.default_rng(3), BanditSettings(revenue_weight=0.5)
    strategy_bandit, policies = (
        StrategyBandit(ARMS, settings),
        {surface: Policy(names, SEGMENTS, settings, Adwin) for surface, names in ARMS.items()},
    )
    for _ in range(20):
        batch = []
        for n in range(40):
            surface = str(rng.choice(list(ARMS)))
            name = str(rng.choice(ARMS[surface]))
            earned = {"experience": float(rng.random()), "revenue": float(rng.random() * 2)}
            batch.append(reward(surface, name, n, segment=int(rng.integers(12)), **earned))
        strategy_bandit.learn(batch)
        for surface, policy in policies.items():
            mine = [r for r in batch if r.surface == surface]
            policy.learn(
                np.array([r.segment for r in mine]), np.array([ARMS[surface].index(r.strategy) for r in mine]),
                np.array([r.experience for r in mine]), np.array([r.revenue for r in mine]),
            )  # fmt: skip
    for surface, policy in policies.items():
        for segment in range(SEGMENTS):
            assert strategy_bandit.policies[surface].probabilities(segment).tolist() == policy.probabilities(segment).tolist()


def test_linear_arms_look_at_the_user_and_a_copy_and_a_restart_do_so_alike() -> None:
    rng, linear = np.random.default_rng(5), BanditSettings(arms="linear")
    one, strategy_bandit = np.eye(32)[0], StrategyBandit(ARMS, linear)
    for at in range(0, 6_000, 50):
        batch = []
        for n in range(at, at + 50):
            sign, strategy = 1 if rng.random() < 0.5 else -1, ARMS["page"][n % 3]
            liked = 0.8 * ((sign > 0) == (strategy == "tail"))
            batch.append(reward("page", strategy, n, vector=(sign * one).tolist(), experience=float(rng.random() < liked)))
        strategy_bandit.learn(batch)
    assert strategy_bandit.uses_vector("page")
    assert not StrategyBandit(ARMS, BanditSettings()).uses_vector("page")
    name, choice = strategy_bandit.choose("page", 3.0, 7, 0.5, one.tolist())
    assert (name, choice.vector) == ("tail", tuple(one.tolist()))
    assert choice.propensities[1] > 0.9 > 0.1 > strategy_bandit.choose("page", 3.0, 7, 0.5, (-one).tolist())[1].propensities[1]
    policy = strategy_bandit.policies["page"]
    assert list(choice.propensities) == policy.probabilities(choice.segment, one.tolist()).tolist()
    said = np.stack([choice.experience, choice.revenue])  # [2, K, 2]
    assert said.transpose(2, 0, 1).tolist() == np.stack(policy.posteriors(choice.segment, one.tolist())).tolist()
    assert strategy_bandit.choose("page", 3.0, 7, 0.5)[1].vector == ()
    copy, again = StrategyBandit(ARMS, linear), StrategyBandit(ARMS, linear)
    copy.load_copy(strategy_bandit.copy_bytes())
    again.load(strategy_bandit.arrays(), strategy_bandit.meta())
    for who in rng.normal(0, 0.2, (20, 32)).tolist():
        wanted = strategy_bandit.choose("page", 3.0, 7, 0.3, who)
        assert copy.choose("page", 3.0, 7, 0.3, who) == again.choose("page", 3.0, 7, 0.3, who) == wanted


def test_rewards_one_by_one_are_those_of_a_batch_where_nothing_drifts() -> None:
    batch = [reward("page", ARMS["page"][n % 3], n, experience=n % 4 / 4, seen=n % 9 != 0) for n in range(120)]
    whole, singly = (StrategyBandit(ARMS, BanditSettings(alarm=0.0)) for _ in range(2))
    counts = whole.learn(batch)
    each = [singly.learn([r]) for r in batch]
    assert counts == {name: sum(c[name] for c in each) for name in counts}
    assert counts == {"learned": 106, "unseen": 14, "unknown_strategy": 0, "alarms": 0}  # 120 / 9, rounded up
    for name, array in whole.arrays().items():
        if not name.endswith("version"):
            assert singly.arrays()[name] == pytest.approx(array, rel=1e-12), name


@pytest.mark.parametrize(
    ("odd", "counted"),
    [
        ({"seen": False}, "unseen"),
        ({"strategy": "of-yesterday"}, "unknown_strategy"),
        ({"surface": "screen"}, "unknown_strategy"),
        ({"segment": SEGMENTS}, "unknown_strategy"),
    ],
)
def test_what_is_unseen_or_unknown_is_counted_and_changes_no_posterior(odd: dict[str, object], counted: str) -> None:
    strategy_bandit = StrategyBandit(ARMS, BanditSettings())
    counts = strategy_bandit.learn([reward("page", "tail", **odd)])
    assert counts == dict.fromkeys(counts, 0) | {counted: 1}
    assert strategy_bandit.version == 0
    assert {name: n for of in strategy_bandit.counted.values() for name, n in of.items() if n} == (
        {} if odd.get("surface") else {counted: 1}
    )


@pytest.mark.parametrize("n", [1_000, pytest.param(5_000, marks=pytest.mark.prove)])
@pytest.mark.parametrize("settings", [BanditSettings(), BanditSettings(arms="gaussian"), FLOOR])
def test_after_many_rounds_and_a_restart_from_the_disk_the_next_choices_are_a_twins(
    settings: BanditSettings, n: int, tmp_path: Path
) -> None:
    stopped = StrategyBandit(ARMS, settings)
    rounds(stopped, n, 5)
    checkpoint.save(tmp_path, checkpoint.name_of(1, 1), stopped.arrays(), {"choosing": stopped.meta()})
    found = checkpoint.load_newest(tmp_path)
    assert found is not None
    restored = StrategyBandit(ARMS, settings)
    restored.load(found.arrays, found.meta["choosing"])
    assert ask(restored, 100, 6) == ask(stopped, 100, 6)
    assert rounds(restored, 200, 7) == rounds(stopped, 200, 7)  # and learns on as it: windows of drift, too
    assert (restored.counted, restored.version) == (stopped.counted, stopped.version)


def test_a_copy_that_takes_what_the_learner_gives_out_answers_as_it() -> None:
    learner, copy = StrategyBandit(ARMS, FLOOR), StrategyBandit(ARMS, BanditSettings(revenue_floor=0.2, floor_rounds=100, alarm=0.0))
    assert ask(copy, 20, 1) == ask(learner, 20, 1)
    for n in range(5):
        rounds(learner, 300, n)
        assert ask(copy, 50, n) != ask(learner, 50, n)
        copy.load_copy(learner.copy_bytes())
        assert ask(copy, 50, n) == ask(learner, 50, n)
        assert copy.version == learner.version
    assert len(learner.copy_bytes()) < 2 * 3 * 12 * 5 * 8 + 2_500  # won, lost, squares of five arms, and the users' activity


def test_arms_of_the_same_name_keep_what_they_learned_and_others_begin() -> None:
    before = StrategyBandit(ARMS, BanditSettings(revenue_weight=0.5))
    rounds(before, 2_000, 1)
    now = {"page": ("fixed", "new", "tail"), "list": ARMS["list"]}
    after = StrategyBandit(now, BanditSettings(revenue_weight=0.5, arms="beta"))
    after.load(before.arrays(), before.meta())
    for segment in range(SEGMENTS):
        old, new = (c.expected("page", segment, ("fixed", "tail", "new")) for c in (before, after))
        assert new[:, :2] == pytest.approx(old[:, :2])
    copied = StrategyBandit(now, BanditSettings(revenue_weight=0.5))
    copied.load_copy(before.copy_bytes())  # a worker that was started before the learner
    assert ask(copied, 50, 2) == ask(after, 50, 2)
    assert ask(after, 50, 2)[0::2] == ask(before, 50, 2)[0::2]  # the other surface's are as they were


@pytest.mark.parametrize(
    ("arms", "settings", "named"),
    [
        (ARMS, BanditSettings(arms="gaussian"), r"a page \(pages.revenue_blends\) .* bandit.arms was 'beta' .* 'gaussian'"),
        (ARMS, BanditSettings(revenue_most=2.0), r"bandit.revenue_most was 1.0 when this was learned and is 2.0 now"),
        (ARMS | {"list": ("x", "y")}, BanditSettings(), r"a list \(recommend.chosen\) .* none of the arms \['x', 'y'\]"),
    ],
)
def test_what_does_not_fit_what_was_learned_is_refused_by_the_name_of_its_setting(
    arms: dict[str, Sequence[str]], settings: BanditSettings, named: str
) -> None:
    before, after = StrategyBandit(ARMS, BanditSettings()), StrategyBandit(arms, settings)
    after.load(before.arrays(), before.meta())
    after.load_copy(before.copy_bytes())  # as long as nothing is learned
    before.learn([reward("page", "tail"), reward("list", "ranked")])
    with pytest.raises(ValueError, match=named):
        after.load(before.arrays(), before.meta())
    with pytest.raises(ValueError, match=named):
        after.load_copy(before.copy_bytes())


def test_windows_that_river_wrote_start_anew_are_counted_and_nothing_else_changes() -> None:
    """Checkpoints of before our own detector name a version of river, and hold its windows in bytes of its own."""
    before, after, again = (StrategyBandit(ARMS, BanditSettings()) for _ in range(3))
    rounds(before, 1_000, 1)
    arrays, windows = before.arrays(), 0
    for name, array in arrays.items():
        if name.endswith(".bytes"):
            arrays[name] = array[::-1]  # river's bytes are none that could be read
        if name.endswith(".lengths"):
            windows += int((array > 0).sum())
    assert after.load(arrays, before.meta() | {"river": "0.26.1"}) == windows > 20
    assert ask(after, 50, 2) == ask(before, 50, 2)
    drift = after.policies["page"].drift["experience"]
    assert {d.width for row in drift.detectors for d in row} == {0}
    assert drift.alarms.tolist() == before.policies["page"].drift["experience"].alarms.tolist()
    assert again.load(before.arrays(), before.meta()) == 0  # today's are read
    assert [d.width for d in again.policies["page"].drift["experience"].detectors[0]] == [
        d.width for d in before.policies["page"].drift["experience"].detectors[0]
    ]


def test_surfaces_and_numbers_of_arms_are_checked() -> None:
    with pytest.raises(ValueError, match="a surface is one of"):
        StrategyBandit({"screen": ("a", "b")}, BanditSettings())
    with pytest.raises(ValueError, match="page: 13 strategies"):
        StrategyBandit({"page": [f"a{n}" for n in range(13)]}, BanditSettings())


def test_arms_are_what_the_settings_name() -> None:
    assert by_default() == {
        "page": ("blend-0", "blend-0.25", "blend-0.5", "blend-0.75", "tail", "explore", "fixed"), "list": RecommendSettings().chosen
    }  # fmt: skip
    of = arms(PageSettings(revenue_blends=(0.0,)), RecommendSettings(chosen=("ranked", "popular")))
    assert of == {"page": ("blend-0", "tail", "explore", "fixed"), "list": ("ranked", "popular")}


def test_a_partition_and_the_settings_load_neither_scipy_nor_river_nor_torch() -> None:
    loaded = "print(sorted({'scipy', 'river', 'torch'} & set(sys.modules)))"
    code = f"import sys, streams.settings, streams.core.join.partition, streams.core.learning.learn; {loaded}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - our own words
    assert found.stdout.strip() == "[]"


def test_the_chances_of_late_are_the_mean_of_those_that_were_logged() -> None:
    strategy_bandit = StrategyBandit(ARMS, BanditSettings())
    assert strategy_bandit.recent_probabilities("page") == {}
    strategy_bandit.learn([reward("page", "tail", chances=[0.2, 0.5, 0.3]), reward("page", "fixed", chances=[0.4, 0.1, 0.5])])
    kept = 0.999  # the older of the two
    wanted = [(kept * a + b) / (kept + 1) for a, b in ((0.2, 0.4), (0.5, 0.1), (0.3, 0.5))]
    assert strategy_bandit.recent_probabilities("page") == pytest.approx(dict(zip(ARMS["page"], wanted, strict=True)))
    other = StrategyBandit({"page": ("fixed", "new"), "list": ARMS["list"]}, BanditSettings())
    other.load(strategy_bandit.arrays(), strategy_bandit.meta())
    assert other.recent_probabilities("page") == pytest.approx({"fixed": wanted[2], "new": 0.0})
