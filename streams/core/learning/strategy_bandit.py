"""The strategy bandit: draws a strategy for a user, and learns from its rewards. One is in the learner, one in each replica that serves.

A surface (module pages, plain lists) has a policy of its own; segments of users are common to both. Before the first reward all
strategies of a surface have equal propensities. What replicas draw by leaves the learner as bytes, whole, since it is small.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from bandit.segments import SEGMENTS, Segments
from bandit.settings import BanditSettings
from online_model.adwin import Adwin
from online_model.features import Reward
from streams.core.join.events import MAX_ARMS, ArmDraw
from streams.core.learning.checkpoint_arrays import below, prefixed

Array = np.ndarray

SURFACES = ("page", "list")
SET_BY = {"page": "pages.revenue_blends", "list": "recommend.chosen"}  # settings that name the strategies
RECENT = 1_000.0  # rounds that figures of what was chosen lately go back
COUNTED = ("learned", "unseen", "unknown_strategy", "alarms")


@dataclass(slots=True)
class _Table:
    """The propensities of one segment, and the draw that logs them, until the posteriors change."""

    version: int
    propensities: Array  # [1, K]
    choice: ArmDraw


class _ReplicaState(msgspec.Struct, frozen=True, array_like=True):
    """What the draws of a replica depend on."""

    counts: bytes  # of segments
    domains: list[int]
    surfaces: dict[str, tuple[dict[str, Any], dict[str, tuple[bytes, list[int]]]]]  # what the arrays mean, the arrays


class StrategyBandit:
    """Posteriors of all surfaces, choices by them, and how rewards move them. `arms`: names by surface."""

    def __init__(self, arms: Mapping[str, Sequence[str]], settings: BanditSettings) -> None:
        from bandit.policy import Policy  # scipy: only where there is something to choose

        for surface, names in arms.items():
            if surface not in SURFACES:
                raise ValueError(f"a surface is one of {list(SURFACES)}, not {surface!r}")
            if len(names) > MAX_ARMS:
                raise ValueError(f"{surface}: {len(names)} strategies; with more than {MAX_ARMS}, each would learn too little")
        self.policies = {surface: Policy(names, SEGMENTS, settings, Adwin) for surface, names in arms.items()}
        self.segments = Segments()
        self.counted = {surface: dict.fromkeys(COUNTED, 0) for surface in arms}  # what became of rewards so far
        self._acted = {surface: np.zeros(len(names) + 1) for surface, names in arms.items()}  # fading sums of propensities, and of rounds
        self._places = {surface: {name: k for k, name in enumerate(names)} for surface, names in arms.items()}
        self._tables: dict[tuple[str, int], _Table] = {}

    @property
    def version(self) -> int:
        """Grows with whatever changes a choice."""
        return sum(policy.version for policy in self.policies.values())

    def uses_vector(self, surface: str) -> bool:
        """Whether its choices depend on what the ranker knows of a user."""
        return self.policies[surface].linear is not None

    def choose(self, surface: str, activity: float, domain: int, uniform: float, vector: Sequence[float] = ()) -> tuple[str, ArmDraw]:
        """A strategy for a user, drawn by a number in [0, 1) from the propensities that are returned with it.

        `vector`: what the ranker knows of the user, where choices look at it; empty where it knows nothing yet.
        """
        from bandit.slates import pick

        segment = self.segments.segment_of(activity, domain)
        table = self._draw_table(surface, segment, tuple(vector)) if len(vector) else self._table(surface, segment)
        arm = int(pick(table.propensities, np.array([uniform]))[0])
        choice = msgspec.structs.replace(table.choice, activity=activity, domain=domain)
        return choice.arms[arm], choice

    def recent_probabilities(self, surface: str) -> dict[str, float]:
        """Mean propensity of each strategy over the last rounds that were learned; empty where there are none."""
        *sums, rounds = self._acted[surface].tolist()
        return {name: mean_sum / rounds for name, mean_sum in zip(self.policies[surface].names, sums, strict=True)} if rounds else {}

    def expected(self, surface: str, segment: int, names: Sequence[str]) -> Array:
        """What arms are thought to earn [2, K]: experience, and revenue in its own unit. Of what is no arm: as of a new one."""
        policy, segment = self.policies[surface], min(segment, SEGMENTS - 1)
        s = policy.settings
        means, prior = policy.posteriors(segment)[0], np.array([s.experience_rate, s.revenue_rate]) / 2
        columns = [prior if (k := self.arm_of(surface, name)) is None else means[:, k] for name in names]
        return np.stack(columns, 1) * np.array([[1.0], [s.revenue_most]])

    def arm_of(self, surface: str, strategy: str) -> int | None:
        """Which arm a strategy is; None where it is none."""
        return self._places.get(surface, {}).get(strategy)

    def learn(self, rewards: Sequence[Reward]) -> dict[str, int]:
        """Take in what was earned, oldest first. Of what was not on a screen nothing is known, and nothing is learned."""
        counts = dict.fromkeys(COUNTED, 0)
        counts["unknown_strategy"] = sum(r.surface not in self.policies for r in rewards)
        for surface in self.policies:
            found = self._learn(surface, [r for r in rewards if r.surface == surface])
            for name, n in zip(COUNTED, found, strict=True):
                counts[name] += n
                self.counted[surface][name] += n
        on_screen = [r for r in rewards if r.seen]
        if on_screen:
            self.segments.update(np.array([r.activity for r in on_screen]), [r.domain for r in on_screen])
        return counts

    def _learn(self, surface: str, rewards: Sequence[Reward]) -> tuple[int, int, int, int]:
        seen = [r for r in rewards if r.seen]
        placed = [(self.arm_of(surface, r.strategy), r) for r in seen if 0 <= r.segment < SEGMENTS]
        known = [(arm, r) for arm, r in placed if arm is not None]
        if not known:
            return 0, len(rewards) - len(seen), len(seen), 0
        changed = self.policies[surface].learn(
            np.array([r.segment for _, r in known]), np.array([arm for arm, _ in known]),
            np.array([r.experience for _, r in known], float), np.array([r.revenue for _, r in known], float),
            [r.vector for _, r in known],
        )  # fmt: skip
        places, kept = self._places[surface], (1 - 1 / RECENT) ** np.arange(len(known) + 1.0)[::-1]
        acted = np.zeros((len(known), len(places) + 1))
        acted[:, -1] = 1.0
        for row, (_, reward) in zip(acted, known, strict=True):
            for name, propensity in zip(reward.arms, reward.chances, strict=True):
                if name in places:
                    row[places[name]] = propensity
        self._acted[surface] = kept[0] * self._acted[surface] + kept[1:] @ acted
        return len(known), len(rewards) - len(seen), len(seen) - len(known), len(changed)

    def arrays(self) -> dict[str, Array]:
        """All arrays of a checkpoint."""
        out = prefixed("segments.", self.segments.arrays())
        for surface, policy in self.policies.items():
            out |= prefixed(f"{surface}.", policy.checkpoint())
        return out

    def meta(self) -> dict[str, Any]:
        """The rest of a checkpoint."""
        learned = {surface: msgspec.to_builtins(p.learned()) for surface, p in self.policies.items()}
        counted = {surface: dict(counts) for surface, counts in self.counted.items()}
        acted = {surface: dict(zip((*p.names, ""), self._acted[surface].tolist(), strict=True)) for surface, p in self.policies.items()}
        return {"learned": learned, "counted": counted, "acted": acted}

    def load(self, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> int:
        """Restore a checkpoint. Arms of the same name keep what they learned, others start new, as does a surface that it lacks.

        Returns how many drift windows start anew: all of a checkpoint whose `meta` names a version of river, which wrote them then.
        """
        restarted = 0
        for surface, learned in meta["learned"].items():
            own = below(f"{surface}.", arrays)
            old = {n: a for n, a in own.items() if "river" in meta and n.startswith("drift.") and n.endswith(".lengths")}
            restarted += sum(int((lengths > 0).sum()) for lengths in old.values())
            self._load(surface, own | {name: np.zeros_like(lengths) for name, lengths in old.items()}, learned)
        self.segments.load(below("segments.", arrays))
        self.counted |= {surface: dict(counts) for surface, counts in meta["counted"].items() if surface in self.counted}
        for surface, policy in self.policies.items():
            acted = meta["acted"].get(surface, {})
            self._acted[surface] = np.array([acted.get(name, 0.0) for name in (*policy.names, "")])
        return restarted

    def copy_bytes(self) -> bytes:
        """What draws depend on, for replicas: the arms' sums without the windows of drift."""
        surfaces = {
            surface: (msgspec.to_builtins(p.learned()), {n: (a.astype("<f8").tobytes(), list(a.shape)) for n, a in p.arrays().items()})
            for surface, p in self.policies.items()
        }
        return msgspec.msgpack.encode(_ReplicaState(self.segments.counts.astype("<f8").tobytes(), self.segments.domains, surfaces))

    def load_copy(self, raw: bytes) -> None:
        """Draw as the bandit that gave these `copy_bytes`."""
        replica = msgspec.msgpack.decode(raw, type=_ReplicaState)
        for surface, (learned, packed) in replica.surfaces.items():
            self._load(surface, {n: np.frombuffer(data, "<f8").reshape(shape).copy() for n, (data, shape) in packed.items()}, learned)
        self.segments.load({"counts": np.frombuffer(replica.counts, "<f8"), "domains": np.array(replica.domains, np.uint64)})

    def _load(self, surface: str, arrays: dict[str, Array], learned: Any) -> None:
        from bandit.policy import Learned

        policy = self.policies.get(surface)
        if policy is None or (not arrays["version"] and not policy.version):
            return  # nothing was learned
        try:
            policy.load(arrays, msgspec.convert(learned, Learned))
        except ValueError as error:
            raise ValueError(f"what was learned of the strategies of a {surface} ({SET_BY[surface]}) doesn't fit: {error}") from error
        for key in [key for key in self._tables if key[0] == surface]:
            del self._tables[key]

    def _table(self, surface: str, segment: int) -> _Table:
        policy = self.policies[surface]
        table = self._tables.get((surface, segment))
        if table is None or table.version != policy.version:
            table = self._tables[surface, segment] = self._draw_table(surface, segment, ())
        return table

    def _draw_table(self, surface: str, segment: int, vector: tuple[float, ...]) -> _Table:
        policy = self.policies[surface]
        propensities = policy.probabilities(segment, vector)
        mean, variance = policy.posteriors(segment, vector)
        experience, revenue = (tuple(map(tuple, moments.tolist())) for moments in np.stack([mean, variance], 2))
        choice = ArmDraw(
            surface="page" if surface == "page" else "list", arms=policy.names, propensities=tuple(propensities.tolist()), segment=segment,
            version=policy.version, revenue_weight=policy.floor.weight, experience=experience, revenue=revenue, vector=vector,
        )  # fmt: skip
        return _Table(policy.version, propensities[None], choice)
