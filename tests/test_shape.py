"""The shape of the house: rooms, files and functions of a readable size, names of the field, docstrings, examples that run."""
from __future__ import annotations

import ast
import doctest
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from streams.cli.frame import PACKAGES
from tests.paths import ROOT

MOST_FILES, MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS, LEAST_EXAMPLES = 16, 400, 60, 7, 5
FLAT = {"bandit", "online_model"}  # a block from a paper is a file: flat rooms stay flat

# What may be larger than the house allows, each with its reason. Nothing else may.
EXCEPTIONS: dict[str, str] = {}

# Words of everyday speech that the field has a term for. `list` is a builtin, a `slot` is a position and a `weight` may weigh: whether
# those three are meant so, readers see.
NEVER = frozenset(
    "answer Made Asked Ranked Shown shown Slot Act act said chance above stands_for Choosing Chosen Rewarded Shelf Shelves Gate followers "
    "Pass Found Hearsay haste been agents teaching standing asking model_updates Marks Mark judge Rival Copy".split()
)
ON_THE_WIRE = frozenset({"model_updates"})  # names of topics and fields that are out keep their spelling

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    """Every Python file of the four packages and the benchmarks."""
    return sorted(path for package in (*PACKAGES, "benchmarks") for path in (ROOT / package).rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[tuple[str, Function]]:
    """Every function of a file, as `file:Class.function`."""

    def inside(node: ast.AST, at: str) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{at}{child.name}", child
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from inside(child, f"{at}{child.name}.")
            elif not isinstance(child, ast.expr):
                yield from inside(child, at)

    yield from inside(tree(path), f"{name(path)}:")


def parameters(function: Function) -> int:
    """How many a caller can give, `self` aside."""
    of = function.args
    given = [*of.posonlyargs, *of.args, *of.kwonlyargs]
    return len(given) - (bool(given) and given[0].arg in ("self", "cls"))


def test_no_folder_file_or_function_is_larger_than_a_reader_can_hold() -> None:
    folders = Counter(name(path.parent) for path in sources())
    large = {folder: n for folder, n in folders.items() if n > MOST_FILES and folder not in FLAT}
    large |= {name(path): n for path in sources() if (n := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES}
    for path in sources():
        for at, function in functions(path):
            lines = (function.end_lineno or 0) - function.lineno + 1
            if lines > MOST_FUNCTION_LINES or parameters(function) > MOST_PARAMETERS:
                large[at] = max(lines, parameters(function))
    assert large.keys() == EXCEPTIONS.keys()


def identifiers(path: Path) -> Iterator[tuple[str, int]]:
    """Every name that a file binds or uses, leading underscores aside, with its line."""
    for node in ast.walk(tree(path)):
        match node:
            case ast.Name(id=found) | ast.Attribute(attr=found) | ast.arg(arg=found) | ast.keyword(arg=str(found)):
                yield found.strip("_"), node.lineno
            case ast.FunctionDef(name=found) | ast.AsyncFunctionDef(name=found) | ast.ClassDef(name=found):
                yield found.strip("_"), node.lineno
            case ast.alias(name=found, asname=other):
                yield (other or found).split(".")[-1].strip("_"), node.lineno


def test_no_identifier_is_a_word_that_the_field_does_not_use() -> None:
    found = [f"{name(path)}:{line}: {word}" for path in sources() for word, line in identifiers(path) if word in NEVER - ON_THE_WIRE]
    assert found == []


def test_everything_public_says_what_it_is() -> None:
    silent = [name(path) for path in sources() if not ast.get_docstring(tree(path))]
    for path in sources():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node):
                silent.append(f"{name(path)}:{node.name}")
        for at, function in functions(path):
            steps = at.split(":")[1].split(".")
            nested = len(steps) > 2 or (len(steps) == 2 and not _is_class(path, steps[0]))
            if not nested and not any(step.startswith("_") for step in steps) and not ast.get_docstring(function):
                silent.append(at)
    assert silent == []


def _is_class(path: Path, of: str) -> bool:
    return any(isinstance(node, ast.ClassDef) and node.name == of for node in tree(path).body)


ROOMS = {  # of the layer table, by the paths that belong to them
    "online_model": ("online_model",),
    "bandit": ("bandit",),
    "streams/core": ("streams/core",),
    "streams": ("streams/kafka_io", "streams/worker", "streams/learner", "streams/http", "streams/demo", "streams/cli"),
    "replay": ("replay",),
}


@pytest.mark.parametrize("room", ROOMS)
def test_examples_of_a_room_run_and_are_at_least_five(room: str) -> None:
    ran = 0
    for path in (path for folder in ROOMS[room] for path in sorted((ROOT / folder).rglob("*.py"))):
        if ">>>" in path.read_text(encoding="utf-8"):
            module = importlib.import_module(name(path).removesuffix(".py").replace("/", "."))
            assert not doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed, path
            ran += sum(bool(test.examples) for test in doctest.DocTestFinder(exclude_empty=True).find(module))
    assert ran >= LEAST_EXAMPLES


def test_every_source_file_has_its_mirror_in_the_tests() -> None:
    missing = [
        name(path) for path in sources()
        if path.name not in ("__init__.py", "__main__.py")
        and not (ROOT / "tests" / path.relative_to(ROOT).parent / f"test_{path.name}").is_file()
    ]  # fmt: skip
    assert missing == []


def test_words_that_are_never_used_are_words() -> None:
    assert all(re.fullmatch(r"\w+", word) for word in NEVER)
