from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.engines.buildkit import index_exports
from builder.plan import Plan

PLAN = Plan(
    row="cu121",
    summary="",
    base_image="",
    base_packages=(),
    system_packages=(),
    suite="bookworm",
    suites=(),
    index=None,
    python="3.11",
    environments=(),
    layers=(),
    tools=(),
    loader=(),
    links=(),
    environment=(),
    labels=(),
)


@pytest.mark.parametrize(
    "password",
    ["plain", "it's", "'; touch mark; '", "$(touch mark)", "`touch mark`", '"', "a\\b", "a b", "#"],
)
def test_the_shell_of_a_build_step_reads_the_index_as_it_was_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    address = f"https://user:{password}@index.test/simple"
    for name in ("UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_DEFAULT_INDEX", address)
    exports = tmp_path / "index"
    exports.write_text(index_exports(PLAN), encoding="utf-8")
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    read = 'set -e; . ./index; sh -c \'printf "%s\\n%s" "$UV_DEFAULT_INDEX" "$PIP_INDEX_URL"\''
    done = subprocess.run(["sh", "-c", read], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == [address, address]
    assert not (tmp_path / "mark").exists()
