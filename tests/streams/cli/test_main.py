"""The entry point: what it imports, and whose packages it finds."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT


def test_help_imports_neither_torch_nor_faust() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from streams.cli.main import segue\n"
        "assert CliRunner().invoke(segue, ['--help']).exit_code == 0\n"
        "print(sorted({'torch', 'faust', 'numpy', 'kafka'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_package_of_another_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "replay").mkdir()
    (tmp_path / "replay" / "__init__.py").touch()
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; from streams.cli.main import stranger; print(stranger())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"the package `replay` comes from {tmp_path}, not from {ROOT} (the library replay-rec")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from streams.cli.main import stranger; print(stranger())"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path.parent, capture_output=True, text=True, check=True).stdout == "None\n"
