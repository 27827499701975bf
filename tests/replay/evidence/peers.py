"""What other systems predict of KuaiRand's developers' log, into a file for `against.py`.

They run in an environment of their own, never the project's, with Vowpal Wabbit, river, torch, scikit-learn and polars in it, by the
comparison's own code: a folder with its `prepare`, `logs`, `peers` and `peers_torch`. Labels, rows and side files are those that Segue
has of the log. Every system predicts each row before it learns it, once over the whole log, and once more with nothing learned from the
last 30 %.

    python tests/replay/evidence/peers.py COMPARISON LOGS peers.npz
"""
from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

FILES = ("log_standard_4_25_to_4_30_pure.csv.gz", "video_features_basic_pure.csv.gz", "user_features_pure.csv.gz")
SYSTEMS = {
    "rates": "pop-item+user+position", "vw": "vw-q-ui", "vw3": "vw-q-user\u00d73", "river": "river-lr-adagrad-ui",
    "din": "torch-din-adagrad-256",
}  # fmt: skip
FROZEN = 0.7
TAIL = ("skip", "full_play", "collect")  # the rest has too few positives there


def main(comparison: Path, logs_at: Path, out: Path) -> None:
    """Takes about five minutes a system and task."""
    sys.path.insert(0, str(comparison))
    import logs  # of the comparison, as the next ones
    import peers
    import peers_torch  # noqa: F401  (its systems name themselves to `peers`)
    import polars as pl
    import prepare

    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            (Path(folder) / name).symlink_to((logs_at / name).resolve())
        raw = pl.read_csv(Path(folder) / FILES[0]).unique(maintain_order=True).sort("time_ms", maintain_order=True)
        table = prepare.kuairand(Path(folder))
        assert (table["ts"] == raw["time_ms"]).all()
        labels = {
            "skip": 1 - raw["is_click"], "full_play": raw["long_view"], "collect": raw["is_like"], "share": raw["is_forward"],
            "dislike": raw["is_hate"],
        }  # fmt: skip
        table = table.drop([name for name in table.columns if name.startswith("label_")])
        table.with_columns(**{f"label_{task}": label for task, label in labels.items()}).write_parquet(Path(folder) / "log.parquet")
        log: Any = logs.load(str(Path(folder) / "log.parquet"))
        found = {"ts": table["ts"].to_numpy()}
        for task in labels:
            found[f"label:{task}"] = log.labels[task].astype(float)
            for short, name in SYSTEMS.items():
                log.learn_until = None
                found[f"pass:{short}:{task}"] = np.asarray(peers.PEERS[name](log, task)[0], float)
                if task in TAIL:
                    log.learn_until = cut = int(FROZEN * len(log))
                    frozen = np.asarray(peers.PEERS[name](log, task)[0], float).copy()
                    frozen[:cut] = np.nan
                    found[f"frozen:{short}:{task}"] = frozen
                print(task, short, file=sys.stderr, flush=True)
    np.savez(out, **found)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
