"""Lists that explore by belief: what may be better than it looks comes to the front, as often as the exposure says."""
from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from online_model.batch import Batch
from online_model.features import FIELDS, TASKS
from online_model.trainer import Prediction
from streams.core.join.items import Item
from streams.core.serving.model_view import Predict
from streams.core.serving.recommend import Preset, RecommendSettings
from tests.streams.core.serving.test_recommend import START, House, k, said

NAMES = ["known-good", "known-bad", "unknown", "plain"]
RATE = {"known-good": 0.3, "known-bad": 0.25, "unknown": 0.25, "plain": 0.2}
FULL_PLAY = TASKS.index("full_play")
BY_BELIEF = RecommendSettings(explore_share=1.0, explore_by="belief", explore_floor=0.2)


def house(settings: RecommendSettings) -> House:
    return House([Item(item_id=name, published_ts=START) for name in NAMES], settings)


def believing(certain: float = 1e-6) -> Predict:
    """Rates by name; all is certain but what is unknown."""
    names = {k(name): name for name in NAMES}

    def predict(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        of = [names[key] for key in batch.fields[:, FIELDS.index("item")].tolist()]
        out = np.zeros((len(batch), len(TASKS)), np.float32)
        out[:, FULL_PLAY] = [RATE[name] for name in of]
        belief = np.zeros((len(batch), 2, len(TASKS)), np.float32)
        belief[:, 1, FULL_PLAY] = [1.0 if name == "unknown" else certain for name in of]
        return replace(said(out), belief=belief)

    return predict


@pytest.mark.parametrize("settings", [BY_BELIEF, RecommendSettings(presets={"try": Preset(explore_share=1.0, explore_by="belief")})])
def test_the_first_place_is_taken_as_often_as_its_propensity_says(settings: RecommendSettings) -> None:
    made, strategy, n = house(settings), "try" if settings.presets else None, 400
    seen, chance = Counter[str](), dict[str, float]()
    for seed in range(n):
        slate, exposure = made.ask(believing(), user_id="u", k=3, seed=seed, request_id=f"r{seed}", strategy=strategy)
        assert exposure is not None and len({slot.item_id for slot in exposure.slots}) == 3
        first = exposure.slots[0]
        seen[first.item_id] += 1
        assert first.conditional_propensity == first.propensity == chance.setdefault(first.item_id, first.propensity or 0.0)
        assert [slot.propensity for slot in exposure.slots[1:]] == [None, None] and "no_propensity" in slate.flags
    assert sum(chance.values()) == pytest.approx(1.0, abs=0.02)
    often = [name for name in chance if chance[name] * n >= 5]
    counts, expected = [seen[name] for name in often], np.array([chance[name] for name in often])
    assert stats.chisquare(counts, expected / expected.sum() * sum(counts)).pvalue > 1e-3
    assert seen["unknown"] > 2 * seen["known-bad"] and seen["known-good"] > seen["unknown"]


def test_without_beliefs_or_share_nothing_changes() -> None:
    certain = house(replace_share(0.0))
    slate, _ = certain.ask(believing(), user_id="u", k=4)
    assert [item.item_id for item in slate.items] == ["known-good", *(i.item_id for i in slate.items[1:3]), "plain"]
    assert [item.propensity for item in slate.items] == [1.0] * 4

    def unbelieving(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        return replace(believing()(batch, gamma_user, gamma_item), belief=np.zeros((len(batch), 0, len(TASKS)), np.float32))

    uniform, by_belief = house(RecommendSettings(explore_share=0.5)), house(RecommendSettings(explore_share=0.5, explore_by="belief"))
    for seed in range(20):
        request = {"user_id": "u", "k": 3, "seed": seed}
        assert uniform.ask(unbelieving, **request)[1] == by_belief.ask(unbelieving, **request)[1]


def replace_share(share: float) -> RecommendSettings:
    return RecommendSettings(explore_share=share, explore_by="belief")
