"""What a run over a log is asked to do, and the settings that it shares with the live system. Plain values: no import of torch."""
from __future__ import annotations

from pathlib import Path

import msgspec

from bandit.settings import BanditSettings
from online_model.model_settings import ModelSettings
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import LearnerSettings
from streams.core.serving.pages import PageSettings
from streams.core.serving.recommend import RecommendSettings


class CoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that a run over a log shares with the live system."""

    partition: PartitionSettings = PartitionSettings()
    learner: LearnerSettings = LearnerSettings()
    model: ModelSettings = ModelSettings()
    recommend: RecommendSettings = RecommendSettings()
    pages: PageSettings = PageSettings()
    bandit: BanditSettings = BanditSettings()
    threads: int = 1  # of torch


class ReplayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay measures besides the metrics of its one model."""

    partition: int = 0  # number of the partition of `events`
    since_ms: int | None = None  # also measure the exposures from then on by themselves
    ablate: tuple[str, ...] = ()  # blocks: beside all on, a model with each of these switched off
    freshness: bool = False  # replicas whose parameters are published at intervals
    gammas: tuple[float, ...] = ()  # shares of popularity's part to take away
    next_k: int | None = None  # ask for a slate of so many just before a play
    next_every: int = 20  # such plays to one question: the 152,749 of 30Music then take a minute and a half
    yardsticks: bool = False  # with `next_k`, also orders that take 2 ms a question and hold the log in memory
    as_logged: bool = False  # drawn negatives stay as the log has them; else a share is of candidates, see `suited/retrieved.py`
    as_live: bool = False  # steps end where they would live; else they wait for a span that suits the log's pace
    remembers_as_live: bool = False  # half-lives and expiry are those of the settings; else they suit how seldom items come again
    predictions: Path | None = None  # a file for every exposure that is scored, with what was predicted of it
    device: str = "cpu"


class EvaluateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which policy is evaluated off-policy, and how. None: as the level or the log determines."""

    policy: str
    level: str | None = None  # what the policy chooses: items or strategies
    surface: str | None = None  # that strategies make: page or list
    estimators: tuple[str, ...] | None = None
    reward: str | None = None
    q_hat: str | None = None  # the model of the reward
    as_live: bool = False  # as in a replay: of the ranker, where it is the model of the reward
    remembers_as_live: bool = False  # as in a replay
    seed: int = 1
