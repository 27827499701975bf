"""What a learner runs by: read by its loop, its checkpoints and its process."""
from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from bandit.settings import BanditSettings
from online_model.model_settings import ModelSettings
from streams.core.join.rewards import RewardSettings
from streams.core.learning.learn import LearnerSettings
from streams.core.serving.recommend import Preset
from streams.core.serving.surfaces import by_default
from streams.kafka_io.topics import FaustSettings, TopicSettings


class LearnerProcessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the learner runs; what it learns by is in `learner` and `model`."""

    checkpoint_dir: str = "run/checkpoints"
    checkpoint_every_s: Annotated[float, Meta(gt=0)] = 30.0  # what a restart has to learn again at most
    keep: Annotated[int, Meta(ge=1)] = 3  # newest checkpoints that stay
    dense_every_s: Annotated[float, Meta(ge=0)] = 1.0  # dense parameters are published this often; rows with every delta
    device: str = "auto"  # auto: cuda where there is one
    threads: Annotated[int, Meta(ge=1)] = 1  # of torch; part of what makes a rerun give the same bytes
    accept_loss: bool = False  # go on where `examples` no longer holds what the state needs
    stall_s: float = 120.0  # learning or a checkpoint that takes longer ends the process


class LearningSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All that a learner runs by."""

    topics: TopicSettings = TopicSettings()
    learner: LearnerSettings = LearnerSettings()
    model: ModelSettings = ModelSettings()
    bandit: BanditSettings = BanditSettings()
    arms: dict[str, tuple[str, ...]] = msgspec.field(default_factory=by_default)  # strategies to choose among, by surface
    reward: RewardSettings = RewardSettings()  # by which workers compute the rewards of strategies
    presets: dict[str, Preset] = {}  # the strategies of these names
    process: LearnerProcessSettings = LearnerProcessSettings()
    faust: FaustSettings = FaustSettings()
