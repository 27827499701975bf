"""`make bench ARGS="ingest --json"`: run all benchmarks, or those named."""
from __future__ import annotations

import argparse
import importlib
import sys

import msgspec
from rich.console import Console

from benchmarks.figure import Figure, table

ROWS = 2_000  # all 94,784 take most of an hour by live steps
NAMES = ("ingest", "learning", "policy", "recommend", "replay", "serving", "store_size")


def main() -> None:
    """Names on the command line choose; figures go to stdout when all are there."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; none: all")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"of KuaiRand's log that `replay` compares steps on  [default: {ROWS:,}]")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {sorted(unknown)[0]!r}; there are {', '.join(NAMES)}")
    figures: list[Figure] = []
    for name in chosen.names or NAMES:
        measure = importlib.import_module(f"benchmarks.{name}").measure
        for figure in measure(chosen.rows) if name == "replay" else measure():
            figures.append(figure)
            sys.stderr.write(f"{figure.what}: {figure.ours:,.4g} {figure.unit}\n")
    if chosen.json:
        sys.stdout.write(msgspec.json.encode([msgspec.structs.asdict(f) | {"ratio": f.ratio} for f in figures]).decode() + "\n")
    else:
        Console().print(table(figures))


main()
