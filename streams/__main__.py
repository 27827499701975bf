"""`python -m streams` is `segue`."""
from __future__ import annotations

from streams.cli.main import main

main()
