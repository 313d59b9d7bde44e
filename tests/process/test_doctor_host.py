"""The doctor of the host, really started in an environment that is named by a relative path."""

from __future__ import annotations

import json
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from builder.doctor import command


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A virtual environment in the working folder, whose Python is a link as in most of them."""
    venv.create(tmp_path / ".venv", symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".venv"


@pytest.mark.parametrize("path", [".venv", ".venv/bin/python", "./elsewhere/../.venv"])
def test_a_relative_path_names_an_environment_of_the_working_folder(environment: Path, path: str) -> None:
    Path("elsewhere").mkdir()
    assert (environment / "bin" / "python").is_symlink()

    result = CliRunner().invoke(
        command.doctor, ["--python", path, "--json"], obj=SimpleNamespace(engine=lambda: None)
    )

    assert result.exit_code in {0, 1}, result.output  # the machine may really have a fault
    python = json.loads(result.stdout)["examination"]["python"]
    assert Path(python["prefix"]).samefile(environment)


def test_a_relative_path_to_what_is_no_python_is_told_as_it_was_given(environment: Path) -> None:
    (environment / "bin" / "python").unlink()

    result = CliRunner().invoke(command.doctor, ["--python", ".venv"], obj=None)

    assert ".venv: there is no Python to run" in str(result.exception)
