"""The one file: that it is whole, plain, for Python 3.8, and always the same."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

from builder.render import doctor
from builder.render.doctor import Bundle, CannotBundleError, bundled

ROW = {
    "id": "some", "summary": "a row", "status": "good", "cuda": "12.1", "driver": "525.60.13", "low": 53,
    "high": None, "torch": "9.9.9", "ctranslate2": "9.9.9", "python": "3.11",
}  # fmt: skip
TEXT = bundled([ROW])
TREE = ast.parse(TEXT)
TOO_NEW = {
    "removeprefix", "removesuffix", "is_relative_to", "cache", "pairwise", "batched", "readlink", "unparse",
    "hardlink_to", "tomllib", "graphlib", "zoneinfo", "UTC", "StrEnum", "TypeAlias", "ParamSpec", "Self",
    "override", "bit_count", "add_note", "ExceptionGroup", "stdlib_module_names",
}  # fmt: skip
"""Names of the standard library that Python 3.8 has not."""


def strings(tree: ast.AST) -> list[str]:
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def child() -> str:
    [found] = [text for text in strings(TREE) if text.endswith("\n\nmain()\n")]
    return found


def not_evaluated(tree: ast.AST) -> set[ast.AST]:
    """All that stands in annotations, which nobody evaluates."""
    homes: list[ast.AST | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg):
            homes.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            homes.append(node.returns)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            homes.append(node)
    return {part for home in homes if home for part in ast.walk(home)}


def faults(text: str) -> list[str]:
    """What Python 3.8 has not, in a source."""
    tree = ast.parse(text, feature_version=(3, 8))
    hidden = not_evaluated(tree)
    found = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if node not in hidden
        and isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"list", "dict", "tuple", "set", "frozenset", "type", "Mapping"}
        and isinstance(node.ctx, ast.Load)
    ]
    found += [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in TOO_NEW)
        or (isinstance(node, ast.keyword) and node.arg in {"strict", "encoding_errors", "process_group"})
        or isinstance(node, ast.Match | ast.TryStar)
    ]
    return found


@pytest.mark.parametrize("part", ["doctor", "child"])
def test_it_is_for_python_3_8(part: str) -> None:
    assert faults({"doctor": TEXT, "child": child()}[part]) == []


@pytest.mark.parametrize(
    "newer",
    [
        "x = list[int]",
        "import functools\nfunctools.cache(f)",
        "zip(a, b, strict=True)",
        "'a'.removeprefix('b')",
    ],
)
def test_what_is_newer_would_be_found(newer: str) -> None:
    assert faults(newer) != []


def test_syntax_that_is_newer_would_be_found() -> None:
    with pytest.raises(SyntaxError):
        faults("match x:\n    case 1: pass")
    assert faults("from __future__ import annotations\ndef f(x: list[int] | None) -> tuple[int]: ...") == []


@pytest.mark.parametrize("part", ["doctor", "child"])
def test_it_needs_the_standard_library_alone(part: str) -> None:
    tree = ast.parse({"doctor": TEXT, "child": child()}[part])
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add((node.module or "").split(".")[0])
    assert roots - {"__future__"} <= sys.stdlib_module_names
    assert not roots & {"builder", "importlib"} or part == "child"


def test_nothing_in_it_is_executed_from_text_or_hidden() -> None:
    calls = {
        node.func.id
        for node in ast.walk(TREE)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"exec", "eval", "compile", "__import__"}
    assert "base64" not in TEXT
    assert max(map(len, TEXT.splitlines())) < 400


def test_it_does_not_ask_for_its_own_file_where_it_has_none() -> None:
    names = [node.id for node in ast.walk(TREE) if isinstance(node, ast.Name)]
    assert "__file__" not in names


def test_it_says_what_it_is_and_that_it_is_generated() -> None:
    assert "do not edit" in (ast.get_docstring(TREE) or "")
    assert "python doctor.py" in (ast.get_docstring(TREE) or "")


def test_every_name_in_it_is_defined_once() -> None:
    names = [
        node.name
        for node in TREE.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
    ]
    assert len(names) > 150
    assert len(names) == len(set(names))


def test_what_the_doctor_does_not_use_is_left_out() -> None:
    assert "def names_held(" in TEXT
    for unused in ("def linked_files(", "UNRESOLVED", "class Alternatives", "def side_by_side"):
        assert unused not in TEXT


def test_comments_and_docstrings_come_along() -> None:
    assert "# Its own children hold the pipes too" in TEXT or "which hold the pipes too" in TEXT
    assert "# A handle is glibc's link_map" in child()


def test_rows_rules_and_tables_are_in_it() -> None:
    values = {
        node.targets[0].id: node.value
        for node in TREE.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert ast.literal_eval(values["ROWS"]) == (ROW,)
    assert ast.literal_eval(values["MINIMUM_DRIVER"])["12"] == "525.60.13"
    assert {rule["id"] for rule in ast.literal_eval(values["COMBINATIONS"])["rules"]} > {
        "pyannote-3-and-hub-1"
    }


def test_it_is_the_same_every_time() -> None:
    assert bundled([ROW]) == TEXT
    assert bundled([]) != TEXT


def test_the_committed_file_is_this_doctor_with_its_rows() -> None:
    """Whether its rows are the present ones is `cuvee render --check`'s business."""
    committed = doctor.FILE.read_text(encoding="utf-8")
    [rows] = [
        ast.literal_eval(node.value)
        for node in ast.parse(committed).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROWS"
    ]
    assert bundled(rows) == committed


# How it is made


def modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **sources: str) -> Bundle:
    """A package of ours that consists of these modules."""
    package = tmp_path / "builder"
    package.mkdir()
    for name, source in sources.items():
        (package / f"{name}.py").write_text(f'"""Module {name}."""\n{source}', encoding="utf-8")
    monkeypatch.setattr(doctor, "PACKAGE", package)
    return Bundle()


def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **sources: str) -> dict[str, Any]:
    """What the one file defines, once it is run."""
    modules(monkeypatch, tmp_path, **sources)
    text = doctor._concatenated([("builder.main", "main")])
    space: dict[str, Any] = {}
    exec(compile(text, "bundle", "exec"), space)  # noqa: S102 - it is the thing under test
    return space


def test_names_that_two_modules_have_get_their_modules_in_front(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    space = made(
        monkeypatch,
        tmp_path,
        one="def _help(): return 1\ndef read(): return _help()\n",
        two="def _help(): return 2\ndef read(): return _help()\n",
        main="from builder import one\nfrom builder.two import read\ndef main(): return one.read(), read()\n",
    )
    assert space["main"]() == (1, 2)
    assert {"one_read", "two_read", "_one_help", "_two_help"} <= set(space)


def test_relative_imports_are_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    space = made(
        monkeypatch,
        tmp_path,
        one="LIMIT = 3\ndef read(): return LIMIT\n",
        main="from . import one\nfrom .one import LIMIT as most\ndef main(): return one.read() + one.LIMIT\n",
    )
    assert space["main"]() == 6


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (
            {
                "one": "def read(): return 1\n",
                "main": "from builder import one\ndef main(): return f'{one.read()}'\n",
            },
            "inside an f-string",
        ),
        (
            {
                "one": "def read(): return 1\n",
                "main": "from builder import one\ndef main(one_read=5): return one.read() + one_read\n",
            },
            "are the file's names",
        ),
        (
            {
                "one": "from json import loads\ndef read(): return loads('1')\n",
                "main": "from pickle import loads\nfrom builder.one import read\n"
                "def main(): return read(), loads\n",
            },
            "is something else elsewhere",
        ),
        ({"main": "def print(): return 1\ndef main(): return print()\n"}, "there twice"),
    ],
)
def test_what_cannot_be_put_into_one_file_safely_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sources: dict[str, str], words: str
) -> None:
    with pytest.raises(CannotBundleError, match=words):
        made(monkeypatch, tmp_path, **sources)
