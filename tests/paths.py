"""Where the project stands, for tests that run it as a process or read its files."""
from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
