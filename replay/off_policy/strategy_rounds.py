"""What a log says of strategies: which one made a list or a page, with which chance, and what that earned.

A round is a list or page whose exposure says how its strategy was chosen (`choice`) and that was on a screen. The log runs through the
very partition that runs live, and what was earned is what it says (`Reward`: experience and revenue, streams/core/join/rewards.py). A list
whose request named its strategy is no round, and neither is one that nothing is known of: no act, no impression came.
Shapes: N rounds, A arms.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from online_model.features import Reward
from replay.log_rows import LogError, LogRow
from replay.prequential import CLOSING, of_file
from streams.core.join.catalog import Catalog
from streams.core.join.events import Event, Exposure, Record, Rejected
from streams.core.join.items import Item
from streams.core.join.labels import interpret
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived, Effects
from streams.core.join.settings import PartitionSettings
from streams.core.state.tables import Tables

Array = np.ndarray

REWARDS = ("experience", "revenue")
SURE = 1e-6  # of a sum of chances, as where rewards are made
_TOLD = 1_000  # rows between two words on how far it is


@dataclass(slots=True)
class StrategyRounds:
    """Rounds of one surface, in the order in which they closed."""

    surface: str
    arms: list[str]  # in the order in which choices name them
    arm: Array  # int [N], a place in `arms`
    chances: Array  # float [N, A], as logged; NaN where an arm could not be chosen
    position: Array  # int [N]: the segment
    activity: Array  # float [N], what the segment follows from: acts so far, decayed,
    domain: list[int]  # and the key of the domain that most of them are in
    vectors: list[tuple[float, ...]]  # what the ranker knew of the user; empty where the choice did not look at it
    experience: Array  # float [N]
    revenue: Array  # float [N]
    ts: Array  # int [N], when it was shown
    unseen: int  # that were on no screen as far as is known
    named: int  # whose request named the strategy, of all surfaces
    acts: int
    unjoined: int
    late: int  # acts on lists of which had been said what they earned
    rejected: int
    bad: dict[str, tuple[int, int]]  # what is wrong with choices -> how often, line of the first

    def reward(self, name: str) -> Array:
        """[N]"""
        return self.experience if name == "experience" else self.revenue

    @property
    def propensity(self) -> Array:
        return self.chances[np.arange(len(self.arm)), self.arm]

    @property
    def above(self) -> Array:
        return self.propensity

    @property
    def request(self) -> Array:
        return np.arange(len(self.arm))

    @property
    def request_ids(self) -> list[str]:
        return [""] * len(self.arm)

    @property
    def listed(self) -> Array:
        return np.zeros(len(self.arm), bool)

    @property
    def order(self) -> Array:
        return np.arange(len(self.arm))

    @property
    def marginal(self) -> bool:
        return False

    @property
    def coverage(self) -> float:
        return 1.0

    @property
    def join_rate(self) -> float:
        return 1 - self.unjoined / self.acts if self.acts else 1.0

    def complaint(self) -> str | None:
        """Why strategies can't be judged at all; None where they can."""
        if self.bad:
            each = ", ".join(f"{what} ({n:,} rows, first in line {line:,})" for what, (n, line) in sorted(self.bad.items()))
            return f"choices that can't be how a strategy was chosen: {each}; the others can't be trusted then, mend the source"
        if len(self.arm):
            return None
        if self.unseen:
            return f"none of {self.unseen:,} lists was on a screen as far as is known: no act and no impression names their requests"
        named = f": {self.named:,} lists name a strategy, but not the chance it had" if self.named else ""
        return f"no exposure says how its strategy was chosen (`choice`){named}"


@dataclass(slots=True)
class Reader:
    """Looks on while a partition takes a log."""

    settings: PartitionSettings
    rewards: list[Reward] = field(default_factory=list)
    named: int = 0
    acts: int = 0
    rejected: int = 0
    bad: dict[str, tuple[int, int]] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)  # by the partition

    def take(self, line: int, record: Record | Rejected, effects: Effects) -> None:
        """A record, and what came of it."""
        self.rewards += [out.record for out in effects.examples if isinstance(out.record, Reward)]
        if isinstance(record, Rejected):
            self.rejected += 1
            if "$.choice" in record.detail:
                self._count("a chance that is none", line)
        elif effects.dead:
            self.rejected += 1
        elif isinstance(record, Event):
            said = interpret(record, self.settings)
            self.acts += bool(said.resolving or said.undo or said.mask)
        elif isinstance(record, Exposure):
            self.named += record.arm_draw is None and record.strategy is not None
            if wrong := _wrong(record):
                self._count(wrong, line)

    def surfaces(self) -> list[str]:
        """With choices, the most used first."""
        met = [reward.surface for reward in self.rewards]
        return sorted(set(met), key=lambda surface: -met.count(surface))

    def close(self, partition: Partition) -> None:
        """The log is over: everything that waits for its join window closes."""
        end = Arrived(1 << 62, 0, 0, CLOSING, "")
        self.take(0, end.record, partition.apply([end]))
        self.counted = dict(partition.progress.counted)

    def rounds(self, surface: str) -> StrategyRounds:
        """All of a surface that was taken."""
        every = [reward for reward in self.rewards if reward.surface == surface]
        seen = [reward for reward in every if reward.seen]
        arms = list(dict.fromkeys(name for reward in every for name in reward.arms))
        place = {name: at for at, name in enumerate(arms)}
        chances = np.full((len(seen), len(arms)), np.nan)
        for row, reward in zip(chances, seen, strict=True):
            row[[place[name] for name in reward.arms]] = reward.chances
        return StrategyRounds(
            surface=surface, arms=arms, arm=np.array([place[reward.strategy] for reward in seen], np.int64), chances=chances,
            position=np.array([reward.segment for reward in seen], np.int64), activity=np.array([reward.activity for reward in seen]),
            domain=[reward.domain for reward in seen], vectors=[tuple(reward.vector) for reward in seen],
            experience=np.array([reward.experience for reward in seen], float),
            revenue=np.array([reward.revenue for reward in seen], float), ts=np.array([reward.shown_ms for reward in seen], np.int64),
            unseen=len(every) - len(seen), named=self.named, acts=self.acts, unjoined=self.counted.get("unjoined", 0),
            late=self.counted.get("late_rewards", 0), rejected=self.rejected, bad=self.bad,
        )  # fmt: skip

    def _count(self, what: str, line: int) -> None:
        n, first = self.bad.get(what, (0, line))
        self.bad[what] = (n + 1, first)


def _wrong(exposure: Exposure) -> str | None:
    """What is wrong with a choice, so that no reward is made of it."""
    choice = exposure.arm_draw
    if choice is None:
        return None
    if not len(set(choice.arms)) == len(choice.arms) == len(choice.propensities):
        return "arms that are not one to a chance"
    if exposure.strategy not in choice.arms:
        return "a strategy that is not among its arms"
    if abs(sum(choice.propensities) - 1) > SURE:
        return "chances that don't sum to 1"
    if choice.propensities[choice.arms.index(exposure.strategy)] == 0:
        return "a strategy of chance 0"
    return None


def drive(rows: Iterable[LogRow], reader: Reader, items: dict[str, Item], told: Callable[[int, int], None]) -> None:
    """Let a partition take a whole log."""
    catalog = Catalog()
    for item in items.values():
        catalog.put(item)
    partition = Partition(reader.settings, Tables.over(), catalog)
    for number, (line, arrived) in enumerate(of_file(rows), 1):
        reader.take(line, arrived.record, partition.apply([arrived]))
        if number % _TOLD == 0:
            told(number, -1)
            for table in partition.tables.named().values():
                table.settle()
    reader.close(partition)


def read(
    rows: Iterable[LogRow], settings: PartitionSettings, items: dict[str, Item], surface: str | None, told: Callable[[int, int], None]
) -> StrategyRounds:
    """The rounds of a log, of the surface named or else of the only one that it has."""
    reader = Reader(settings)
    drive(rows, reader, items, told)
    met = reader.surfaces()
    if surface is None and len(met) > 1:
        raise LogError(f"the log has choices of {' and '.join(f'{each}s' for each in met)}; pass --surface {met[0]}, or another of them")
    return reader.rounds(surface or (met or ["page"])[0])


def prospects(reader: Reader) -> Iterator[str]:
    """What a log can answer about other strategies, and what not."""
    surfaces = reader.surfaces()
    for surface in surfaces or ["page"]:
        rounds = reader.rounds(surface)
        if complaint := rounds.complaint():
            yield f"strategies: no: {complaint}"
            return
        n, shown = len(rounds.arm), np.bincount(rounds.arm, minlength=len(rounds.arms))
        least = float(np.nanmin(rounds.chances))
        reach = f"weights reach {1 / rounds.propensity.min():,.4g}"
        yield f"strategies: {n:,} {surface}s whose strategy was drawn; chances sum to 1, the least {least:.4g}; {reach}"
        yield f"strategies of a {surface}: " + ", ".join(f"{arm} {k:,}" for arm, k in zip(rounds.arms, shown.tolist(), strict=True))
        if not shown.all():
            never = ", ".join(arm for arm, k in zip(rounds.arms, shown.tolist(), strict=True) if not k)
            yield f"strategies of a {surface} that were never drawn: {never}; of them it says nothing"
        if rounds.unseen:
            share = rounds.unseen / (n + rounds.unseen)
            yield f"{share:.1%} of {n + rounds.unseen:,} {surface}s were on no screen as far as is known, and are left out"
    if reader.named:
        yield f"strategies: of {reader.named:,} lists the request named the strategy; it had no chance, and they are left out"
