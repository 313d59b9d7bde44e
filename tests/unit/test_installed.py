from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from builder.engines.direct.unpacked import Unpacked, from_json
from builder.engines.installed import (
    InstalledContainer,
    container,
    installed_environment,
    unpacked_root,
)
from builder.errors import BadInputError, Fault
from builder.plan import PlannedEnvironment
from builder.shell import Finished


class FakeShell:
    """Remembers what was started, and plays a process that ended so."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.started: list[tuple[tuple[str, ...], Path | None]] = []

    def run(self, argv: Sequence[str], *, cwd: Path | None = None, **_: Any) -> Finished:
        self.started.append((tuple(argv), cwd))
        return Finished(argv=tuple(argv), code=self.code, out="out", err="")

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        raise AssertionError(argv, log, env)


def plan(*names: str) -> Any:
    """As much of a plan as is looked at."""
    environments = [SimpleNamespace(name=name, prefix=f"/opt/cuvee/{name}") for name in names]
    return SimpleNamespace(
        row="blend", tag="cuvee:blend", environments=environments, environment=(("PATH", "/usr/bin"),)
    )


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter of an environment, which is a link as it is in a virtual environment."""
    real = tmp_path / "python3.11"
    real.touch(mode=0o755)
    folder = tmp_path / "venvs" / "mine" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(real)
    return folder / "python"


def made(tmp_path: Path, *names: str) -> InstalledContainer:
    base = Path("/tmp/venvs")
    own = {} if len(names) > 1 else {"/opt/cuvee/main": base / "mine"}
    return InstalledContainer(
        name="cuvee:blend",
        prefixes={**own, "/opt/cuvee": base},
        scratch=tmp_path,
        libraries={name: (f"/opt/cuvee/{name}/cublas/lib", "/opt/other") for name in names or ("main",)},
        shell=FakeShell(),
    )


def planned(name: str, *libraries: str) -> PlannedEnvironment:
    prefix = PurePosixPath("/opt/cuvee") / name
    return PlannedEnvironment(
        name=name, prefix=prefix, site=prefix, libraries=tuple(map(PurePosixPath, libraries)), does=()
    )


# Paths


def test_paths_of_an_image_are_those_of_the_environment(tmp_path: Path) -> None:
    found = made(tmp_path)
    assert found.here("/opt/cuvee/main/bin/python") == "/tmp/venvs/mine/bin/python"
    assert found.here("/opt/cuvee/overlays/cudnn8") == "/tmp/venvs/overlays/cudnn8"
    assert found.here("cp /opt/cuvee/main/a.so /tmp/away/") == f"cp /tmp/venvs/mine/a.so {tmp_path}/away/"
    assert found.here("/usr/bin/ffmpeg") == "/usr/bin/ffmpeg"


def test_other_environments_are_found_by_their_names(tmp_path: Path) -> None:
    assert made(tmp_path, "asr", "diarize").here("/opt/cuvee/diarize/bin/python") == (
        "/tmp/venvs/diarize/bin/python"
    )


@pytest.mark.parametrize("path", ["/var/tmp/x", "a/tmp/x", "/tmpfs", "/opt/cuvee-other/x", "/tmp-2"])
def test_what_only_looks_like_a_path_of_an_image_stays(tmp_path: Path, path: str) -> None:
    assert made(tmp_path).here(path) == path


def test_what_is_of_this_machine_already_stays(tmp_path: Path) -> None:
    found = made(tmp_path)
    for text in ("LD_LIBRARY_PATH=/tmp/venvs/mine/lib", "/tmp/venvs/mine/lib/a.so", f"{tmp_path}/probe"):
        assert found.here(text) == text


# Commands


def test_a_command_gets_little_of_what_is_set_here(python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/mine")
    monkeypatch.setenv("HF_TOKEN", "secret")
    shell = FakeShell()
    with container(python, [planned("main")], name="cuvee:blend", shell=shell) as running:
        running.run(["/opt/cuvee/main/bin/python", "/tmp/probe"], user="65534:65534", env={"A": "1"})
    [(argv, cwd)] = shell.started
    assert argv[:2] == ("/usr/bin/env", "-i")
    assert "A=1" in argv
    assert not any("secret" in word or "LD_LIBRARY_PATH" in word for word in argv)
    assert argv[-2:] == (str(python), f"{cwd}/probe")


def test_each_environment_has_the_library_path_of_its_own_plan(tmp_path: Path) -> None:
    found = made(tmp_path, "asr", "diarize")
    assert found.variables("asr") == {"LD_LIBRARY_PATH": "/tmp/venvs/asr/cublas/lib:/opt/other"}
    assert found.variables("diarize") == {"LD_LIBRARY_PATH": "/tmp/venvs/diarize/cublas/lib:/opt/other"}


def test_no_library_path_is_made_up(python: Path) -> None:
    with container(python, [planned("main")], name="cuvee:blend", shell=FakeShell()) as running:
        assert running.variables("main") == {}


@pytest.mark.parametrize(("code", "told"), [(0, 0), (3, 3), (-6, 134)])
def test_a_signal_is_told_as_containers_do(python: Path, code: int, told: int) -> None:
    with container(python, [planned("main")], name="cuvee:blend", shell=FakeShell(code)) as running:
        done = running.run(["true"])
    assert (done.code, done.argv) == (told, ("true",))


def test_what_is_copied_in_is_gone_afterwards(python: Path, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "weights").write_text("w", encoding="utf-8")
    with container(python, [planned("main")], name="cuvee:blend", shell=FakeShell()) as running:
        running.copy_in(source, "/tmp")
        running.copy_in(source, "/tmp")
        copied = Path(running.here("/tmp/model/weights"))
        assert copied.read_text(encoding="utf-8") == "w"
    assert not copied.exists()


def test_nothing_is_written_into_the_environment(python: Path, tmp_path: Path) -> None:
    with (
        container(python, [planned("main")], name="cuvee:blend", shell=FakeShell()) as running,
        pytest.raises(ValueError, match="is not in /tmp"),
    ):
        running.copy_in(tmp_path / "python3.11", "/opt/cuvee/main")


# The environment as an engine


def test_the_suite_is_told_of_the_interpreter_itself_and_not_of_what_it_links_to(python: Path) -> None:
    engine = installed_environment(python, plan("main"), FakeShell())
    assert engine.suite_arguments("cuvee:blend") == ["--engine", "environment", "--python", str(python)]
    assert engine.image("cuvee:blend").labels == {}


def test_what_is_no_program_is_no_interpreter(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        installed_environment(tmp_path, plan("main"))
    assert caught.value.faults == (
        Fault(place=str(tmp_path), cause="it is no program", fix="Name the environment's bin/python"),
    )


def test_the_environments_of_an_isolated_row_lie_in_folders_of_their_names(python: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        installed_environment(python, plan("asr", "diarize"))
    [fault] = caught.value.faults
    assert "row blend has the environments asr, diarize" in fault.cause
    python.parent.parent.rename(python.parents[2] / "asr")
    named = python.parents[2] / "asr" / "bin" / "python"
    assert installed_environment(named, plan("asr", "diarize")).python == named


# The root file system as an engine


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "image" / "root"
    (folder / "opt/cuvee/main").mkdir(parents=True)
    (folder / "opt/cuvee/main/grape.py").write_text("1234567", encoding="utf-8")
    (folder / "opt/cuvee/main/second-name.py").hardlink_to(folder / "opt/cuvee/main/grape.py")
    return folder


def test_a_root_has_the_plans_variables_and_no_labels(root: Path, tmp_path: Path) -> None:
    with unpacked_root(root, plan("main"), tmp_path) as engine:
        image = engine.image("cuvee:blend")
        assert (image.labels, image.size, image.id) == ({}, 7, "")
        engine_, direct, option, file = engine.suite_arguments("cuvee:blend")
        assert (engine_, direct, option) == ("--engine", "direct", "--image")
        told = from_json(Path(file).read_text(encoding="utf-8"))
        assert (told.root, told.environment) == (root, (("PATH", "/usr/bin"),))
    assert not Path(file).exists()


def test_what_lies_beside_a_root_tells_its_labels(root: Path, tmp_path: Path) -> None:
    about = Unpacked(
        root=Path("/elsewhere"), name="cuvee:blend", labels={"cuvee.lock": "l"}, environment=(), size=9
    )
    (root.parent / "unpacked.json").write_text(about.to_json(), encoding="utf-8")
    with unpacked_root(root, plan("main"), tmp_path) as engine:
        assert engine.image("cuvee:blend").labels == {"cuvee.lock": "l"}
        assert engine.about.root == root


def test_a_folder_without_the_rows_environments_is_no_root_of_it(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught, unpacked_root(root, plan("main", "asr"), tmp_path):
        pass
    [fault] = caught.value.faults
    assert fault.cause == "it has no /opt/cuvee/asr"
    assert fault.fix.startswith("Name the root file system of an image of blend")


def test_what_is_told_of_a_root_is_json(root: Path, tmp_path: Path) -> None:
    with unpacked_root(root, plan("main"), tmp_path) as engine:
        assert json.loads(engine.file.read_text(encoding="utf-8"))["name"] == "cuvee:blend"
