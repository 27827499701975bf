"""What `make prove` found, written into benchmarks/RESULTS.md: a section a proof, with its figures, commit and machine.

The figures are what the test prints. A run of some proofs replaces their sections and leaves the others as they are. What did not
hold stands under one heading at the end, *Not met*, with its reason. A run says first which proofs it takes, and how long each took.
"""
from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.paths import ROOT

RESULTS = ROOT / "benchmarks" / "RESULTS.md"
HEAD = """# What was proven

Written by `make prove`: each section is one test, with what it printed, and says when, on which commit and on which machine it ran.
"""
NOT_MET = "# Not met"
REASONS = {  # why a proof that did not hold at its last run did not
    "faults/test_kills.py::test_five_kills_of_a_learner_on_the_long_log": (
        "The state is that of an undisturbed learner. Two of five starts took longer than the 5 s allowed, on two slow cores."
    ),
    "replay/evidence/test_acceptance.py::test_every_task_is_ranked_and_calibrated_as_well_as_by_the_strongest_alternative": (
        "One line: skip's AUC within users on the frozen last 30 % is .0037 below Vowpal Wabbit's, with an interval that holds 0."
    ),
    "replay/proofs/test_first_feedback.py::test_first_feedback_over_ten_seeds": (
        "A rare taste is not found within 40 exposures: songs of a category that all others skip start too low for what few plays add."
    ),
}
_SECTION = re.compile(r"^## (\S+)\n.*?(?=^##? |\Z)", re.MULTILINE | re.DOTALL)
_OUTCOME = re.compile(r"^(passed|failed) in (\d+) s", re.MULTILINE)


class Proofs:
    """Collects reports of tests; registered for runs that choose the proofs."""

    def __init__(self) -> None:
        self.sections: dict[str, str] = {}

    def pytest_report_collectionfinish(self, items: list[pytest.Item]) -> list[str]:
        """The proofs of this run, each with how long it took the last time."""
        took = durations(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        return [f"  {took.get(_name(item.nodeid), '      –')}  {_name(item.nodeid)}" for item in items]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            self.sections[_name(report.nodeid)] = section(report, _where())

    def pytest_sessionfinish(self) -> None:
        if not self.sections:
            return
        there = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
        RESULTS.write_text(merged(there, self.sections), encoding="utf-8")


def section(report: pytest.TestReport, where: str) -> str:
    """One proof as Markdown."""
    printed = report.capstdout.strip()
    figures = f"\n```\n{printed}\n```\n" if printed else ""
    name = _name(report.nodeid)
    reason = f"\n{REASONS.get(name) or _message(report)}\n" if report.failed else ""
    return f"## {name}\n\n{report.outcome} in {report.duration:.0f} s; {where}\n{reason}{figures}\n"


def _message(report: pytest.TestReport) -> str:
    """The first line of what did not hold."""
    return report.longreprtext.strip().splitlines()[-1][:300]


def merged(there: str, sections: dict[str, str]) -> str:
    """The page with these sections, beside those of other tests that it held."""
    kept = {m.group(1): m.group(0) for m in _SECTION.finditer(there)} | sections
    held = {name: text for name, text in kept.items() if not _failed(text)}
    out = HEAD + "\n" + _listed(held)
    return out + f"\n{NOT_MET}\n\n" + _listed({name: kept[name] for name in kept.keys() - held.keys()}) if len(held) < len(kept) else out


def durations(page: str) -> dict[str, str]:
    """How long each proof on the page took, by name."""
    return {m.group(1): f"{int(found[2]):5d} s" for m in _SECTION.finditer(page) if (found := _OUTCOME.search(m.group(0)))}


def _failed(text: str) -> bool:
    found = _OUTCOME.search(text)
    return found is not None and found[1] == "failed"


def _listed(sections: dict[str, str]) -> str:
    return "\n".join(sections[name].rstrip("\n") + "\n" for name in sorted(sections))


def _name(nodeid: str) -> str:
    return nodeid.removeprefix("tests/").replace(" ", "_")


def _where() -> str:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "faust-streaming", "rocksdict", "numpy"))
    return f"{now}, commit {_commit()}, {cores} cores of {_processor()}, Python {platform.python_version()}, {versions}"


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S607

    changed = [line for line in git("status", "--porcelain").splitlines() if not line.endswith(str(RESULTS.relative_to(ROOT)))]
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else platform.machine()
