"""The launcher runs on Python 3.9 with the standard library, wherever its folder is copied to."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import builder.launcher
from builder.launcher import __main__, running

FOLDER = Path(builder.launcher.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))
IMPORTED_BY_NAME = {"faster_whisper", "faster_whisper.audio", "torch", "numpy", "yaml", "pyannote.audio"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_python_3_9(file: Path) -> None:
    ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 9))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_imports_itself_and_the_standard_library(file: Path) -> None:
    allowed = {"cuvee", "builder"} if file.stem == "example" else set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").split(".")[0] in sys.stdlib_module_names | allowed


def test_nothing_in_it_forks() -> None:
    for file in FILES:
        names = {
            node.attr
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute)
        }
        assert not names & {"fork", "forkpty", "multiprocessing"}, file


def test_a_side_is_started_with_the_word_that_is_understood() -> None:
    assert running.FLAG == __main__.SIDE
