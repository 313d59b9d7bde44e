"""What images leave out of wheels."""

from __future__ import annotations

import pytest

from builder.left_out import NOTHING, LeftOut


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("pandas/tests", "pandas/tests/test_a.py"),
        ("pandas/tests", "pandas/tests/io/__pycache__/test_a.cpython-311.pyc"),
        ("scipy/*/tests", "scipy/io/tests/data/a.mat"),
        ("nvidia/*/lib/libx.so.*", "nvidia/cu13/lib/libx.so.12"),
        ("torch/bin/protoc*", "torch/bin/protoc"),
        ("numpy/*/tests/test_*", "numpy/ma/tests/test_core.py"),
    ],
)
def test_a_pattern_holds_a_file_and_all_of_a_folder(pattern: str, path: str) -> None:
    assert LeftOut.of([pattern]).holds(path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("pandas/tests", "pandas/testsuite/a.py"),
        ("pandas/tests", "other/pandas/tests/a.py"),
        ("scipy/*/tests", "scipy/tests/a.py"),
        ("scipy/*/tests", "scipy/io/arff/tests/a.py"),
        ("scipy/*/tests", "scipy/.io/tests/a.py"),
        ("nvidia/*/lib/libx.so.*", "nvidia/cu13/lib/libxMg.so.12"),
        ("a.b/c", "aXb/c"),
    ],
)
def test_it_holds_nothing_else(pattern: str, path: str) -> None:
    assert not LeftOut.of([pattern]).holds(path)


def test_without_a_pattern_all_is_wanted() -> None:
    assert not NOTHING.holds("")
    assert not NOTHING.holds("pandas/tests/a.py")


def test_the_order_of_patterns_decides_nothing() -> None:
    assert LeftOut.of(["b/c", "a/b"]) == LeftOut.of(["a/b", "b/c"])
    assert LeftOut.of(["b/c", "a/b"]).holds("b/c")
