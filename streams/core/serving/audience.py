"""Who a user is to the choice among strategies: how active, and mostly in which domain."""
from __future__ import annotations

from streams.core.join.features_view import FeatureView
from streams.core.state.rows import UserState


def standing(state: UserState | None, view: FeatureView, ts: int) -> tuple[float, int]:
    """(Acts so far, decayed to `ts`; the key of the domain that most of them are in, 0 where there is none).

    What was only shown is no act. Of domains with as many acts the one shown more often, of these the one changed last.
    """
    if state is None:
        return 0.0, 0
    acts = max(0.0, sum(view.scopes.read(state.counts, ts)[1:]))
    best, most = 0, (0.0, 0.0)
    for domain, row in state.by_domain.items():
        shown, *labels = view.scopes.read(row, ts)
        if (sum(labels), shown) >= most:
            best, most = domain, (sum(labels), shown)
    return acts, best
