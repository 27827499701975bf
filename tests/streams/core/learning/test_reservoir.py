"""The reservoir: bounded, drawn by hash, weighed back to the tiers' shares, up to date, for dense layers alone, restorable."""
from __future__ import annotations

import msgspec
import numpy as np
import pytest

from online_model.batch import of_records
from online_model.features import Example, Reversal, Tick
from online_model.pairs import tiers
from online_model.trainer import Trainer
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.learning.reservoir import LIFE_MS, Reservoir
from streams.core.serving.surfaces import default_strategy_bandit
from tests.streams.core.learning.test_learn import COLLECT, FULL, SMALL, T0, example, numbered, reversal

DAY = 86_400_000
TIER_MASKS, SHARES = (0, FULL, COLLECT), (0.7, 0.25, 0.05)  # tiers 0, 2, 3


def stream(n: int, every_ms: int, seed: int = 1) -> list[Example]:
    rng = np.random.default_rng(seed)
    masks = rng.choice(TIER_MASKS, n, p=SHARES)
    return [example(int(rng.integers(1, 2**60)), i * every_ms, int(masks[i])) for i in range(n)]


def tier(row: Example) -> int:
    return int(tiers(np.array([row.labels]))[0])


def test_it_holds_what_it_may_and_of_a_week() -> None:
    made = Reservoir(slots=50)
    rows = stream(20_000, 30 * DAY // 20_000)
    made.add(rows)
    assert [len(kept) for kept in made.kept] == [50, 0, 50, 50]
    ages = np.array([rows[-1].ts - row.ts for row in made.kept[0]]) / DAY
    assert 4 < ages.mean() < 11  # exponential with a mean of 7 days, cut at 30: 6.6, standard error .9
    drawn = made.draw(9_000, 0.25, 1, rows[-1].ts)
    assert drawn and all(row.ts >= rows[-1].ts - LIFE_MS for row in drawn)


def test_tiers_are_drawn_alike_and_weigh_as_they_came() -> None:
    made = Reservoir()
    made.add(stream(8_000, 100))
    drawn = made.draw(27_000, 0.1, 3, T0)
    assert len(drawn) == 3_000  # a tenth of 30,000
    by_tier = {t: [row for row in drawn if tier(row) == t] for t in (0, 2, 3)}
    for t, share in zip(by_tier, SHARES, strict=True):
        assert len(by_tier[t]) == pytest.approx(1_000, abs=110)  # 4 standard errors
        weight = sum(1 / row.sampling_rate for row in by_tier[t]) / sum(1 / row.sampling_rate for row in drawn)
        assert weight == pytest.approx(share, abs=4 * share * (0.04**2 + 1 / (8_000 * share)) ** 0.5)
    assert sum(1 / row.sampling_rate for row in drawn) == pytest.approx(3_000, rel=0.06)  # as many rows as there are, on the whole


def test_a_tier_that_is_mostly_old_weighs_as_it_came_all_the_same() -> None:
    """Of a rare tier most of what is kept is older than a week, and is not drawn: the rest stands for all of it."""
    rng, made, hours = np.random.default_rng(4), Reservoir(), 15 * 7 * 24
    for hour in range(hours):
        common = [example(int(key), hour * 3_600_000, 0) for key in rng.integers(1, 2**60, 40)]
        rare = [example(int(rng.integers(1, 2**60)), hour * 3_600_000, COLLECT)] if hour % 2 else []
        made.add([*common, *rare])
    now = T0 + hours * 3_600_000
    ages = np.array([now - row.ts for row in made.kept[3]])
    assert len(ages) == 512 and (ages > LIFE_MS).mean() > 0.5
    drawn = made.draw(27_000, 0.1, 3, now)
    assert len(drawn) == 3_000 and all(row.ts >= now - LIFE_MS for row in drawn)
    weight = sum(1 / row.sampling_rate for row in drawn if tier(row) == 3) / sum(1 / row.sampling_rate for row in drawn)
    assert weight == pytest.approx(0.5 / 40.5, rel=0.15)  # 4 standard errors of half of 3,000


def test_what_is_owed_is_drawn_in_the_end_and_another_version_draws_others() -> None:
    made = Reservoir()
    made.add(stream(500, 100))
    assert sum(len(made.draw(4, 0.1, version, T0)) for version in range(90)) == 40
    one, two, three = (made.draw(90, 0.5, version, T0) for version in (1, 1, 2))
    assert one == two != three


def test_labels_follow_reversals_and_the_weight_stays() -> None:
    made = Reservoir()
    made.add([example(1, 0, FULL), example(2, 0, 0), reversal(1, 5), Reversal(9, T0, 0, 1, 1, 1.0, example(9).features)])
    assert [row.labels for row in made.kept[2]] == [FULL | COLLECT] and made.kept[3] == []
    made.add([reversal(1, 6, sign=-1)])
    assert [row.labels for row in made.kept[2]] == [FULL]


def test_only_dense_layers_learn_from_it() -> None:
    made = Trainer(SMALL)
    made.step(of_records([example(n, n, FULL) for n in range(9)]), T0)
    before = made.arrays()
    made.rehearse(of_records(stream(5, 10)))
    after = made.arrays()
    assert {name for name in after if not np.array_equal(before[name], after[name])} == {"dense.sum", "dense.n"}
    made.rehearse(of_records(stream(60, 10)))
    assert not np.array_equal(made.arrays()["weights"], before["weights"])


def test_a_killed_learner_with_a_reservoir_goes_on_to_the_same_bytes() -> None:
    records = [*stream(60, 60), Tick(T0 + 10_000, True)]
    chosen = LearnerSettings(micro_batch_examples=4, reservoir_share=0.2, drift_reaction=True)
    whole, first, second = (Learner(chosen, Trainer(SMALL), default_strategy_bandit()) for _ in range(3))
    whole.apply(0, numbered(records))
    first.apply(0, numbered(records[:31]))
    second.load(first.arrays(), msgspec.msgpack.decode(msgspec.msgpack.encode(first.meta())))
    second.apply(0, numbered(records))
    assert second.digest() == whole.digest()
    assert whole.counted["rehearsed"] == 14  # one beside four, fifteen times; the first time there was nothing
    plain = Learner(LearnerSettings(micro_batch_examples=4), Trainer(SMALL), default_strategy_bandit())
    plain.apply(0, numbered(records))
    assert plain.digest()["trainer"] != whole.digest()["trainer"]
    with pytest.raises(ValueError, match="reservoir_share"):
        msgspec.convert({"reservoir_share": 1.0}, LearnerSettings)
