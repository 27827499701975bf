"""Where the public logs lie. No test skips for want of them: the marker `real_log` leaves them out."""
from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = (ROOT / os.environ.get("REAL_LOGS", "../shared/data")).resolve()
KUAIRAND = FOLDER / "kuairand-pure" / "log_standard_4_25_to_4_30_pure.csv.gz"
OPEN_BANDIT = FOLDER / "open-bandit" / "men_random.csv.gz"
