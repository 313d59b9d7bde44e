"""The shell of the Dockerfile and the direct engine mean the same by a pattern."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.left_out import LeftOut

FILES = (
    "nvidia/cu13/lib/libx.so.12",
    "nvidia/cu13/lib/libxMg.so.12",
    "pandas/tests/io/test_a.py",
    "pandas/testsuite/a.py",
    "scipy/.io/tests/a.py",
    "scipy/io/arff/tests/a.py",
    "scipy/io/tests/a.py",
    "scipy/tests/a.py",
    "torch/bin/protoc-3",
)


@pytest.mark.parametrize(
    "patterns",
    [
        ["nvidia/*/lib/libx.so.*"],
        ["pandas/tests", "scipy/*/tests"],
        ["scipy/*/*/tests", "torch/bin/protoc*"],
        ["scipy/*"],
        ["nothing/*/here"],
    ],
)
def test_what_a_shell_deletes_is_what_is_left_out(patterns: list[str], tmp_path: Path) -> None:
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    subprocess.run(["sh", "-c", f"rm -rf {' '.join(patterns)}"], cwd=tmp_path, check=True)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    left_out = LeftOut.of(patterns)
    assert left == {file for file in FILES if not left_out.holds(file)}
