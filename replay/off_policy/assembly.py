"""`segue evaluate`: reads the rounds of a log, the policy that is evaluated on them and the model of the reward, and estimates."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from replay.off_policy import rounds as item_rounds
from replay.off_policy import strategy_policies, strategy_rounds
from replay.off_policy.estimation import ITEMS, Settings
from replay.off_policy.evaluate import LEVELS, Evaluation, strategies
from replay.off_policy.evaluate import evaluate as items_evaluated
from replay.options import CoreSettings, EvaluateOptions
from replay.prequential import Numbered
from replay.suited import memory, pace
from streams.core.join.items import Item

Array = np.ndarray


def evaluate(
    arrivals: Callable[[], Iterable[Numbered]], catalog: Iterable[Item], settings: CoreSettings, options: EvaluateOptions,
    progress: Callable[[int, int], None],
) -> Evaluation:  # fmt: skip
    """Estimate what a policy would have earned on a log; `arrivals` reads it anew each time.

    Raises LogError at a policy, an estimator or a log that can't be used.
    """
    level = options.level or ("strategies" if options.policy.startswith(strategy_policies.ONLY) else "items")
    reward, q_hat = LEVELS[level]
    chosen = Settings(
        policy=options.policy, reward=options.reward or reward, q_hat=options.q_hat or q_hat, seed=options.seed,
        estimators=options.estimators or ITEMS,
    )  # fmt: skip
    items = {item.item_id: item for item in catalog}
    if level == "strategies":
        rounds = strategy_rounds.read(arrivals(), settings.partition, items, options.surface, progress)
        return strategies(rounds, strategy_policies.target_policy(options.policy, rounds, settings.bandit), chosen)

    s = settings if options.remembers_as_live else memory.suited(settings, arrivals())

    def ranker(*asked: Any) -> tuple[Array, Array]:
        from replay.off_policy.ranker_model import RankerModel  # loads torch, which strategies and refused logs do without

        learner = s.learner if options.as_live else pace.suited(s.learner, arrivals())
        return RankerModel(arrivals, items, s.partition, learner, s.model, s.threads, progress).predicted(*asked)

    return items_evaluated(item_rounds.read(arrivals(), s.partition, items, progress), chosen, ranker)
