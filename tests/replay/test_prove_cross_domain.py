"""Towers that hear of each other order a sparse domain better where tastes are related, and no worse where they are not."""
from __future__ import annotations

import pytest

from replay import prove_cross_domain
from replay.claims import table
from replay.prove import prove
from replay.prove_cross_domain import DOMAINS, GROUPS, SHARES, WORLDS, Sizes, world

SMALL = Sizes(events=4_000, users=30, newcomers=5, items=20)


def test_the_log_has_its_shares_and_tastes_their_chances() -> None:
    log = world(1, Sizes(), related=True)
    for d, share in enumerate(SHARES):
        assert (log.domain == d).mean() == pytest.approx(share, abs=0.01)
        at = log.domain == d
        assert log.liked[at].mean() == pytest.approx(log.chance[d].mean(), abs=0.04)
    strangers = set(range(Sizes().users)) - set(log.user[log.domain == DOMAINS.index("sparse")].tolist())
    assert strangers == set(range(Sizes().users - Sizes().newcomers, Sizes().users))
    later = log.user == log.user[0]
    assert log.been[later].sum(1).tolist() == list(range(later.sum()))  # each exposure before it counts once


def test_every_group_of_both_worlds_is_judged() -> None:
    found = prove_cross_domain.figures(1, SMALL)
    assert len(found) == len(WORLDS) * 2 * len(GROUPS)
    assert all(0 < found[f"related {form} {d}"] < 1 for form in ("apart", "crossed") for d in GROUPS)


@pytest.mark.prove
def test_cross_domain_over_ten_seeds() -> None:
    """MODEL.md section 5: lift of .02 in the sparse domain, dense not worse by .002, nothing lost where tastes are independent."""
    found = prove("cross-domain", range(1, 11))
    print(table(found))
    assert found.passed
