"""Thompson sampling over strategies: probabilities that are computed, choices that are drawn from just these, and what they earned.

The probability of an arm is that of its posterior sample being the best, with a share of uniform choices. Because the choice is drawn
from the computed probabilities and not from samples, what is logged is the policy that acted (MODEL.md section 6). Where revenue weighs
something, experience + weight * revenue has no distribution in closed form: an arm is then the Gaussian of the same mean and
variance, for the choice and for the log alike. Linear arms know users by a vector, too; of whom they have none, segments tell, by
Gaussian arms. Shapes: N rounds, G segments, K arms, V numbers of a vector.
"""
from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from bandit import arms, quadrature
from bandit.drift import ArmDrift, DetectorType
from bandit.floor import Floor
from bandit.linear import VECTOR, LinearArms
from bandit.retired import RetiredArms, joined, taken
from bandit.settings import BanditSettings
from bandit.slates import pick

Array = np.ndarray

_SUCCESSES = 50.0  # an arm, that a segment's memory must hold


class Learned(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the arrays of a checkpoint mean."""

    names: tuple[str, ...]  # of the arms, in their order
    segments: int
    arms: str  # settings that what is learned depends on
    revenue_most: float
    retired: dict[str, int] = {}  # arms that left the grid, in their order: rounds since


class Policy:
    """Posteriors of all segments, the probabilities they give, and how rewards move them."""

    def __init__(self, names: Sequence[str], segments: int, settings: BanditSettings, detector: DetectorType) -> None:
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"at least two arms of different names, not {list(names)}")
        self.names, self.segments, self.settings = tuple(names), segments, settings
        self.arms = arms.empty(segments, len(names))
        weighs = settings.revenue_floor > 0 or settings.revenue_weight > 0
        watched = ("experience", "revenue") if weighs else ("experience",)  # what a choice depends on; one alarm, shared among them
        alarm = settings.alarm / len(watched)
        self.drift = {objective: ArmDrift(segments, len(names), alarm, detector) for objective in watched if alarm}
        self.floor = Floor(settings)
        self.version = 0  # of all that probabilities depend on
        self.memory = max(settings.memory_rounds, _SUCCESSES * len(names) / settings.experience_rate)
        self._rates = np.array([settings.experience_rate, settings.revenue_rate])
        linear = settings.arms == "linear"
        self.linear = LinearArms(segments, len(names), self._rates, settings.prior_rounds) if linear else None
        self.retired = RetiredArms({}, {})
        self._probabilities: dict[int, tuple[int, Array]] = {}

    def probabilities(self, segment: int, vector: Sequence[float] = ()) -> Array:
        """Probability [K] that an arm is drawn; without a vector computed once a version."""
        if self.linear is not None and len(vector) == VECTOR:
            best = quadrature.gaussian(*self._score(self.posteriors(segment, vector)))
            return quadrature.with_exploration(best[:, 0], self.settings.explore)
        version, probabilities = self._probabilities.get(segment, (-1, None))
        if probabilities is None or version != self.version:
            probabilities = quadrature.with_exploration(self.best(segment), self.settings.explore)
            self._probabilities[segment] = (self.version, probabilities)
        return probabilities

    def best(self, segment: int) -> Array:
        """Probability [K] that an arm is the best, before exploring."""
        if self._beta():
            a, b = self.arms.beta(segment, self._rates, self.settings.prior_rounds)
            return quadrature.beta(a[arms.EXPERIENCE], b[arms.EXPERIENCE])[:, 0]
        return quadrature.gaussian(*self._score(self.posteriors(segment)))[:, 0]

    def posteriors(self, segment: int, vector: Sequence[float] = ()) -> tuple[Array, Array]:
        """Mean and variance [2, K] of what an arm earns; of revenue as a share of revenue_most. `vector` [V]: of who
        asks, for linear arms; of another length, it is not looked at."""
        if self.linear is not None and len(vector) == VECTOR:
            return self.linear.posteriors(segment, np.asarray(vector, float))
        moments = self.arms.moments if self.settings.arms == "beta" else self.arms.gaussian
        return moments(segment, self._rates, self.settings.prior_rounds)

    def draws(self, segment: int, n: int, rng: np.random.Generator) -> Array:
        """Posterior samples [n, K] of what `best` compares."""
        if self._beta():
            a, b = self.arms.beta(segment, self._rates, self.settings.prior_rounds)
            return rng.beta(a[arms.EXPERIENCE], b[arms.EXPERIENCE], (n, len(self.names)))
        return rng.normal(*self._score(self.posteriors(segment)), (n, len(self.names)))

    def choose(self, segment: Array, uniform: Array) -> tuple[Array, Array]:
        """Segments [N], numbers [N] in [0, 1) -> arms [N], and the propensity of each [N]."""
        probabilities = self._table(segment)
        arm = pick(probabilities, uniform)
        return arm, probabilities[np.arange(len(arm)), arm]

    def learn(
        self, segment: Array, arm: Array, experience: Array, revenue: Array, vectors: Sequence[Sequence[float]] = ()
    ) -> list[int]:  # fmt: skip
        """Joined rounds [N], oldest first; segments in which something changed, whose counts were cut before these came in.

        `vectors`: one a round, of V numbers where there is one; other arms than linear ones don't look at them.
        """
        if not len(segment):
            return []
        s = self.settings
        if not (np.isfinite(experience).all() and np.isfinite(revenue).all()):
            raise ValueError("a reward is not a finite number")
        experience, revenue = np.clip(experience, 0.0, 1.0), np.clip(revenue, 0.0, s.revenue_most)
        rewards = np.stack([experience, revenue / s.revenue_most])
        seen = {"experience": rewards[arms.EXPERIENCE], "revenue": rewards[arms.REVENUE]}
        changed = sorted({g for objective, drift in self.drift.items() for g in drift.update(segment, arm, seen[objective])})
        for g in changed:
            self.arms.retain(g, s.retain_after_drift)
        self.retired.retain(changed, s.retain_after_drift)
        self.arms.add(segment, arm, rewards, self.memory)
        self.retired.fade(segment, self.memory, s.retired_rounds)
        if self.linear is not None:
            if changed:
                self.linear.retain(s.retain_after_drift)
            with_vector = [n for n, vector in enumerate(vectors) if len(vector) == VECTOR]
            if with_vector:
                known = np.array([vectors[n] for n in with_vector], float)
                self.linear.add(segment[with_vector], known, arm[with_vector], rewards[:, with_vector], s.linear_memory_rounds)
                self.retired.fade_linear(len(with_vector), s.linear_memory_rounds)
        self.floor.update(revenue)
        self.version += 1
        return changed

    def arrays(self) -> dict[str, Array]:
        """What probabilities depend on: enough for a replica to draw by."""
        linear = {f"linear.{name}": array for name, array in self.linear.arrays().items()} if self.linear is not None else {}
        return linear | {
            "won": self.arms.won.copy(),
            "lost": self.arms.lost.copy(),
            "squares": self.arms.squares.copy(),
            "floor": self.floor.array(),
            "version": np.array(self.version),
        }

    def learned(self) -> Learned:
        """What the arrays mean."""
        s = self.settings
        return Learned(names=self.names, segments=self.segments, arms=s.arms, revenue_most=s.revenue_most, retired=self.retired.rounds)

    def checkpoint(self) -> dict[str, Array]:
        """Everything; `learned` says what it means."""
        drift = {f"drift.{objective}.{name}": a for objective, drift in self.drift.items() for name, a in drift.arrays().items()}
        return self.arrays() | drift | {f"retired.{name}": array for name, array in self.retired.arrays().items()}

    def load(self, arrays: dict[str, Array], learned: Learned) -> None:
        """What `checkpoint` (or, of the same arms, `arrays`) gave. Arms of the same name keep what they learned, new ones begin.

        What arms learned that are in the grid no more is kept for `retired_rounds`.
        """
        current = self.learned()
        for name in ("segments", "arms", "revenue_most"):
            before, now = getattr(learned, name), getattr(current, name)
            if before != now:
                raise ValueError(f"bandit.{name} was {before!r} when this was learned and is {now!r} now; set it back, or begin anew")
        retired = _below("retired.", arrays)
        rounds = dict.fromkeys(learned.names, 0) | (learned.retired if retired else {})
        sums = joined(arrays, retired)
        places = {name: k for k, name in enumerate(rounds)}
        kept = [k for k, name in enumerate(self.names) if name in places]
        if not kept:
            raise ValueError(f"none of the arms {list(self.names)} is among those learned, {list(rounds)}; name one, or begin anew")
        kept_from = [places[self.names[k]] for k in kept]
        self.arms = arms.empty(self.segments, len(self.names))
        for own, name in ((self.arms.won, "won"), (self.arms.lost, "lost"), (self.arms.squares, "squares")):
            own[:, :, kept] = sums[name][:, :, kept_from]
        if self.linear is not None:
            self.linear.load(_below("linear.", sums), kept_from, kept)
        active = {name: k for k, name in enumerate(learned.names)}
        for objective, drift in self.drift.items():
            if saved := _below(f"drift.{objective}.", arrays):
                drift.load(saved, [active.get(name) for name in self.names])
        left = {name: n for name, n in rounds.items() if name not in self.names and n < self.settings.retired_rounds}
        self.retired = RetiredArms(left, taken(sums, [places[name] for name in left]))
        self.floor.load(arrays["floor"])
        self.version = int(arrays["version"])
        self._probabilities.clear()

    def _table(self, segment: Array) -> Array:
        segments, row = np.unique(segment, return_inverse=True)
        return np.array([self.probabilities(g) for g in segments.tolist()]).reshape(len(segments), len(self.names))[row]

    def _beta(self) -> bool:
        return self.settings.arms == "beta" and self.floor.weight == 0.0

    def _score(self, posteriors: tuple[Array, Array]) -> tuple[Array, Array]:
        """Mean and standard deviation [K] of experience + weight * revenue."""
        mean, variance = posteriors
        weight = np.array([1.0, self.floor.weight])
        return weight @ mean, np.sqrt(weight**2 @ variance)


def _below(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
