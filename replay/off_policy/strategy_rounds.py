"""Strategies that a log drew: which one made a slate or a page, with which propensity, and what that earned.

A round is a slate or page whose exposure says how its strategy was drawn (`choice`) and that was on a screen. The log runs through the
partition that runs live, and its `Reward` is what was earned (experience and revenue, streams/core/join/rewards.py). A slate whose request
named its strategy is no round; nor is one without any act or impression, since it may never have been on a screen.
Shapes: N rounds, A arms.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from online_model.features import Reward
from replay.log_rows import DRAWN, LogError
from replay.off_policy.log_pass import observed
from replay.off_policy.rounds import Errors, LoggedRounds, count, listed, reach
from replay.prequential import Numbered
from streams.core.join.events import Event, Exposure, Rejected
from streams.core.join.items import Item
from streams.core.join.labels import interpret
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived, Effects
from streams.core.join.rewards import draw_error
from streams.core.join.settings import PartitionSettings

Array = np.ndarray

REWARDS = ("experience", "revenue")


@dataclass(slots=True, kw_only=True)
class StrategyRounds(LoggedRounds):
    """Rounds of one surface in the order in which they closed; each is its own request, without an id.

    `arms`: in the order in which choices name them; `position`: the segment; `late`: acts on slates whose reward was out already.
    """

    surface: str
    propensities: Array  # float [N, A], as logged; NaN where an arm could not be drawn
    activity: Array  # float [N], what the segment follows from: acts so far, decayed,
    domain: list[int]  # and the key of the domain that most of them are in
    vectors: list[tuple[float, ...]]  # the ranker's vector of the user; empty where the draw did not use it
    experience: Array  # float [N]
    revenue: Array  # float [N]

    @property
    def coverage(self) -> float:
        """1: a round without a propensity is none."""
        return 1.0

    def add_arm(self, name: str) -> None:
        """Add a strategy that was never drawn."""
        self.arms.append(name)
        self.propensities = np.concatenate([self.propensities, np.full((len(self.arm), 1), np.nan)], 1)

    def reward(self, name: str) -> Array:
        """Float [N]."""
        return self.experience if name == "experience" else self.revenue

    def complaint(self) -> str | None:
        """Why the log supports no estimate at all; None where it may."""
        if self.bad:
            return f"`choice` can't be how a strategy was drawn: {listed(self.bad)}; the others can't be trusted then, mend the source"
        if len(self.arm):
            return None
        if self.unseen:
            return f"none of {self.unseen:,} lists was on a screen as far as is known: no act and no impression names their requests"
        named = f": {self.named:,} lists name a strategy, but not its propensity" if self.named else ""
        return f"no exposure says how its strategy was drawn (`choice`){named}"


@dataclass(slots=True)
class StrategyReader:
    """Collects rewards while a partition takes a log (`log_pass.py`)."""

    settings: PartitionSettings
    rewards: list[Reward] = field(default_factory=list)
    named: int = 0
    acts: int = 0
    rejected: int = 0
    bad: Errors = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)  # by the partition

    def observe(self, line: int, arrived: Arrived, effects: Effects, partition: Partition) -> None:
        """A record and its effects; see `LogObserver`."""
        record = arrived.record
        self.counted = partition.progress.counted
        self.rewards += [out.record for out in effects.examples if isinstance(out.record, Reward)]
        if isinstance(record, Rejected):
            self.rejected += 1
            if "$.choice" in record.detail:
                count(self.bad, "a propensity that is none", line)
        elif effects.dead:
            self.rejected += 1
        elif isinstance(record, Event):
            labels = interpret(record, self.settings)
            self.acts += labels.resolving or labels.undo
        elif isinstance(record, Exposure):
            self.named += record.arm_draw is None and record.strategy not in (None, DRAWN)
            if error := draw_error(record):
                count(self.bad, error, line)

    def surfaces(self) -> list[str]:
        """Those with draws, the most frequent first."""
        return [surface for surface, _ in Counter(reward.surface for reward in self.rewards).most_common()]

    def rounds(self, surface: str) -> StrategyRounds:
        """All rounds of a surface."""
        rewards = [reward for reward in self.rewards if reward.surface == surface]
        seen = [reward for reward in rewards if reward.seen]
        arms = list(dict.fromkeys(name for reward in rewards for name in reward.arms))
        place = {name: at for at, name in enumerate(arms)}
        propensities = np.full((len(seen), len(arms)), np.nan)
        for row, reward in zip(propensities, seen, strict=True):
            row[[place[name] for name in reward.arms]] = reward.chances
        arm, n = np.array([place[reward.strategy] for reward in seen], np.int64), len(seen)
        each = np.arange(n)
        propensity = propensities[each, arm]
        return StrategyRounds(
            surface=surface, arms=arms, arm=arm, propensities=propensities, propensity=propensity, conditional_propensity=propensity,
            request=each, request_ids=[""] * n, listed=np.zeros(n, bool), order=each,
            position=np.array([reward.segment for reward in seen], np.int64), activity=np.array([reward.activity for reward in seen]),
            domain=[reward.domain for reward in seen], vectors=[tuple(reward.vector) for reward in seen],
            experience=np.array([reward.experience for reward in seen], float),
            revenue=np.array([reward.revenue for reward in seen], float), ts=np.array([reward.shown_ms for reward in seen], np.int64),
            rounded=self.counted.get("rounded_propensities", 0), unseen=len(rewards) - n, named=self.named,
            acts=self.acts, unjoined=self.counted.get("unjoined", 0),
            late=self.counted.get("late_rewards", 0), rejected=self.rejected, bad=self.bad,
        )  # fmt: skip


def read(
    arrivals: Iterable[Numbered], settings: PartitionSettings, items: dict[str, Item], surface: str | None,
    progress: Callable[[int, int], None],
) -> StrategyRounds:  # fmt: skip
    """The rounds of a log, of the surface named or else of the only one that it has. Raises LogError where it has several."""
    reader = StrategyReader(settings)
    mostly_rejected = observed(arrivals, settings, reader, items.values(), progress)
    surfaces = reader.surfaces()
    if surface is None and len(surfaces) > 1:
        named = " and ".join(f"{each}s" for each in surfaces)
        raise LogError(f"the log has draws of {named}; pass --surface {surfaces[0]}, or another of them")
    rounds = reader.rounds(surface or (surfaces or ["page"])[0])
    rounds.mostly_rejected = mostly_rejected
    return rounds


def prospects(reader: StrategyReader) -> Iterator[str]:
    """What a log supports about other strategies, and what it doesn't, in lines for people."""
    surfaces = reader.surfaces()
    for surface in surfaces or ["page"]:
        rounds = reader.rounds(surface)
        if complaint := rounds.complaint():
            yield f"strategies: no: {complaint}"
            return
        n, drawn = len(rounds.arm), np.bincount(rounds.arm, minlength=len(rounds.arms))
        least = float(np.nanmin(rounds.propensities))
        weights = f"weights reach {reach(float(rounds.propensity.min()))}"
        yield f"strategies: {n:,} {surface}s whose strategy was drawn; propensities sum to 1, the least {least:.4g}; {weights}"
        yield f"strategies of a {surface}: " + ", ".join(f"{arm} {k:,}" for arm, k in zip(rounds.arms, drawn.tolist(), strict=True))
        if not drawn.all():
            never = ", ".join(arm for arm, k in zip(rounds.arms, drawn.tolist(), strict=True) if not k)
            yield f"strategies of a {surface} that were never drawn: {never}; of them it says nothing"
        if rounds.unseen:
            share = rounds.unseen / (n + rounds.unseen)
            yield f"{share:.1%} of {n + rounds.unseen:,} {surface}s were on no screen as far as is known, and are left out"
    if reader.named:
        yield f"strategies: of {reader.named:,} lists the request named the strategy; it has no propensity, and they are left out"
