"""A log whose pages were made by strategies that a policy drew: what each earns is known.

Three arms in two segments; a page has three slots. Its first item is played to the end at the arm's rate (worth .5: experience 1/4 with
`experience_full` = 2), and seen always, so that revenue is what the first item brings: .1, .2, .4 by arm.
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

ARMS = ("blend-0", "tail", "explore")
RATES = np.array([[0.2, 0.4, 0.6], [0.5, 0.3, 0.1]])  # by segment
CHANCES = np.array([[0.5, 0.3, 0.2], [0.3, 0.4, 0.3]])
REVENUE = (0.1, 0.2, 0.4)
FULL = 0.25  # experience of one full play
T = 1_704_067_200_000


def records(n: int, seed: int = 1) -> list[dict[str, Any]]:
    """Page after page, ten seconds apart, each with an impression or a play of its first item."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for at in range(n):
        segment = int(rng.integers(2))
        arm = int(rng.choice(3, p=CHANCES[segment]))
        played = bool(rng.random() < RATES[segment, arm])
        ts, user, request = T + 10_000 * at, f"u{at}", f"r{at}"
        slots = [{"item_id": f"i{arm}{k}", "position": k, "module": "m", "monetization": REVENUE[arm]} for k in range(3)]
        choice = {
            "surface": "page", "arms": ARMS, "chances": CHANCES[segment].tolist(), "segment": segment,
            "activity": 2.0**segment, "domain": 7 + segment,
        }  # fmt: skip
        rows.append({
            "kind": "exposure", "event_id": f"x{at}", "ts": ts, "user_id": user, "request_id": request, "strategy": ARMS[arm],
            "slots": slots, "choice": choice,
        })  # fmt: skip
        act = {"action": "play", "full": True} if played else {"action": "impression"}
        rows.append({"event_id": f"a{at}", "ts": ts + 1, "user_id": user, "item_id": f"i{arm}0", "request_id": request} | act)
    return rows


def written(path: Path, change: Callable[[list[dict[str, Any]]], None] = lambda rows: None, *, n: int) -> str:
    """As JSON lines."""
    rows = records(n)
    change(rows)
    path.write_bytes(b"\n".join(map(msgspec.json.encode, rows)) + b"\n")
    return str(path)
