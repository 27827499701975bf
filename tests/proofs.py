"""What `make prove` found, written into benchmarks/RESULTS.md: a section a proof, with its figures, commit and machine.

The figures are what the test prints. A run of some proofs replaces their sections and leaves the others as they are.
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
_SECTION = re.compile(r"^## (\S+)\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


class Proofs:
    """Collects reports of tests; registered for runs that choose the proofs."""

    def __init__(self) -> None:
        self.sections: dict[str, str] = {}

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
    return f"## {_name(report.nodeid)}\n\n{report.outcome} in {report.duration:.0f} s; {where}\n{figures}\n"


def merged(there: str, sections: dict[str, str]) -> str:
    """The page with these sections, beside those of other tests that it held."""
    kept = {m.group(1): m.group(0) for m in _SECTION.finditer(there)} | sections
    return HEAD + "\n" + "".join(kept[name].rstrip("\n") + "\n\n" for name in sorted(kept)).rstrip("\n") + "\n"


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
