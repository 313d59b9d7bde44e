"""Rows without an image: an environment of this machine, and a root file system that somebody unpacked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from pathlib import PurePosixPath as Posix
from typing import Any

import pytest

from builder import matrix
from builder.engines.direct import unpacked
from builder.engines.direct.unpacked import ABOUT, Unpacked
from builder.engines.installed import InstalledContainer, container, installed_environment, unpacked_root
from builder.errors import BadInputError, EngineOrNetworkError
from builder.lock import record
from builder.plan import Plan, plan
from builder.project import Project
from tests.process.test_sandbox import install

GOLDEN = Project(Path(__file__).parents[1] / "golden")
NOBODY = "65534:65534"
PROBE = Path(__file__).parents[2] / "builder" / "probe"


def planned(name: str = "small") -> Plan:
    [row] = matrix.load(GOLDEN.matrix).select([name])
    return plan(row, record.read(GOLDEN.image(name) / record.FILE))


def apart() -> Plan:
    """A plan with two environments."""
    one = planned()
    [main] = one.environments
    names = ("asr", "diarize")
    return replace(one, environments=tuple(replace(main, name=it, prefix=Posix(it)) for it in names))


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment."""
    prefix = tmp_path_factory.mktemp("somewhere") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    return prefix / "bin" / "python"


@pytest.fixture
def here(python: Path) -> Iterator[InstalledContainer]:
    with container(python, planned().environments, name="cuvee:small") as made:
        yield made


# Environments


def test_a_path_of_the_image_is_one_of_the_environment(here: InstalledContainer, python: Path) -> None:
    code = "import sys; print(sys.prefix)"
    done = here.run(["/opt/cuvee/main/bin/python", "-I", "-c", code], user=NOBODY)
    assert done.out.strip() == str(python.parent.parent)


def test_paths_within_a_line_for_a_shell_are_found_too(here: InstalledContainer, python: Path) -> None:
    prefix = python.parent.parent
    assert here.here("PATH=/opt/cuvee/main/bin:/usr/bin /opt/cuvee/overlays/x") == (
        f"PATH={prefix}/bin:/usr/bin {prefix.parent}/overlays/x"
    )


@pytest.mark.parametrize("path", ["/opt/cuvee-more", "/home/opt/cuvee", "/tmpfile", "/var/tmp/x"])
def test_other_paths_stay(here: InstalledContainer, path: str) -> None:
    assert here.here(path) == path


def test_what_is_of_this_machine_already_stays(here: InstalledContainer, python: Path) -> None:
    """The environment itself lies in `/tmp`, and what a check learned of it is told to the next command."""
    once = here.here("/opt/cuvee/main/bin/python /tmp/probe")
    assert str(python) in once
    assert here.here(once) == once


def test_what_is_copied_in_can_be_read_and_is_gone_afterwards(python: Path, tmp_path: Path) -> None:
    (tmp_path / "heard.txt").write_text("a glass of wine")
    with container(python, planned().environments, name="cuvee:small") as made:
        made.copy_in(tmp_path / "heard.txt", "/tmp")
        assert made.run(["/bin/sh", "-c", "cat /tmp/heard.txt; echo x > /tmp/new"]).out == "a glass of wine"
        scratch = made.scratch
        assert (scratch / "new").is_file()
    assert not scratch.exists()


def test_nothing_is_copied_to_where_the_environment_is(here: InstalledContainer, tmp_path: Path) -> None:
    (tmp_path / "heard.txt").touch()
    with pytest.raises(ValueError, match="/opt/cuvee/main is not in /tmp"):
        here.copy_in(tmp_path / "heard.txt", "/opt/cuvee/main")


def test_commands_have_no_variables_of_ours_but_those_that_say_where_things_are(
    python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/libraries:/srv/more")
    with container(python, planned().environments, name="cuvee:small") as made:
        told = dict(
            line.split("=", 1) for line in made.run(["env"], env={"GIVEN": "yes"}).out.splitlines() if line
        )
    assert told == {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "GIVEN": "yes",
    }


def test_each_environment_has_the_library_path_of_its_own_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/srv/anything")
    asr, diarize = apart().environments
    asr = replace(
        asr, libraries=(Posix("/opt/cuvee/asr/lib/nvidia"), Posix("/opt/cuvee/overlays/cudnn8/lib"))
    )
    diarize = replace(diarize, libraries=())
    with container(tmp_path / "asr" / "bin" / "python", [asr, diarize], name="cuvee:small") as made:
        path = f"{tmp_path}/asr/lib/nvidia:{tmp_path}/overlays/cudnn8/lib"
        assert made.variables("asr") == {"LD_LIBRARY_PATH": path}
        assert made.variables("diarize") == {}


def test_nothing_is_copied_out_of_the_scratch_by_a_path_with_dots(
    here: InstalledContainer, tmp_path: Path
) -> None:
    (tmp_path / "heard.txt").touch()
    with pytest.raises(ValueError, match="is not in /tmp"):
        here.copy_in(tmp_path / "heard.txt", "/tmp/../elsewhere")


@pytest.mark.parametrize(("command", "code"), [("exit 7", 7), ("kill -ABRT $$", 134)])
def test_exit_codes_are_those_of_a_container(here: InstalledContainer, command: str, code: int) -> None:
    assert here.run(["/bin/sh", "-c", command]).code == code


def test_a_program_that_is_not_there_is_said_as_a_container_says_it(here: InstalledContainer) -> None:
    assert here.run(["no-such-program"]).code == 127


def test_the_probe_runs_in_it(here: InstalledContainer) -> None:
    here.copy_in(PROBE, "/tmp")
    done = here.run(["/opt/cuvee/main/bin/python", "-I", "/tmp/probe", "check", "copies"], user=NOBODY)
    assert '"copies"' in done.out, done.err


def test_an_interpreter_is_not_followed_to_the_python_that_it_is_a_link_to(python: Path) -> None:
    assert python.is_symlink()
    assert installed_environment(python, planned()).python == python


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "python").touch(mode=0o644)
    with pytest.raises(BadInputError) as caught:
        installed_environment(tmp_path / "python", planned())
    [fault] = caught.value.faults
    assert (fault.place, fault.cause) == (str(tmp_path / "python"), "it is no program")
    assert fault.fix == "Name the environment's bin/python"


def test_where_a_row_has_two_environments_they_lie_side_by_side(python: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        installed_environment(python, apart())
    [fault] = caught.value.faults
    assert fault.cause == (
        "row small has the environments asr, diarize, and this is in a folder of another name"
    )
    assert "side by side" in fault.fix


def test_both_of_two_environments_are_found(tmp_path: Path) -> None:
    for name in ("asr", "diarize"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "python").symlink_to(sys.executable)
    made = installed_environment(tmp_path / "asr" / "bin" / "python", apart())
    with made.container("cuvee:small") as found:
        done = found.run(["/bin/sh", "-c", "ls -d /opt/cuvee/asr /opt/cuvee/diarize"])
    assert done.out.split() == [str(tmp_path / "asr"), str(tmp_path / "diarize")]


def test_an_environment_binds_nothing(python: Path, tmp_path: Path) -> None:
    made = installed_environment(python, planned())
    with pytest.raises(BadInputError, match="binds nothing"):
        made.container("cuvee:small", binds={tmp_path: "/x"})


def test_the_suite_is_told_of_the_environment(python: Path) -> None:
    made = installed_environment(python, planned())
    assert made.suite_arguments("cuvee:small") == ["--engine", "environment", "--python", str(python)]
    assert made.image("cuvee:small").labels == {}
    assert made.describe()["storage"] == "an installed environment"


# Root file systems


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small root file system with the folder of an environment."""
    root = tmp_path_factory.mktemp("image") / "root"
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in ("sh", "cat", "chroot", "env", "id", "ldconfig"):
        install(root, name)
    for name in ("etc", "opt/cuvee/main", "root", "tmp", "var"):
        (root / name).mkdir(parents=True)
    (root / "etc" / "passwd").write_text("nobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n")
    (root / "opt" / "cuvee" / "main" / "wine").write_text("red")
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))  # whatever our umask
    return root


@pytest.fixture
def moved(image: Path, tmp_path: Path) -> Path:
    """It, copied elsewhere with the file that tells of it, which still says where it was unpacked."""
    there = tmp_path / "copied"
    shutil.copytree(image, there / "root", symlinks=True)
    about = Unpacked(
        root=Path("/nowhere/root"),
        name="cuvee:small",
        labels={"cuvee.row": "small"},
        environment=(("PATH", "/usr/sbin:/usr/bin"), ("FROM_THE_IMAGE", "yes")),
        size=7,
    )
    (there / ABOUT).write_text(about.to_json(), encoding="utf-8")
    return there / "root"


def entered(stack: ExitStack, made: AbstractContextManager[Any]) -> Any:
    """A container; the test is skipped with the runtime's own words where none can be made."""
    try:
        return stack.enter_context(made)
    except EngineOrNetworkError as error:
        pytest.skip(str(error))


def test_commands_run_in_a_root_that_was_moved(moved: Path, tmp_path: Path) -> None:
    with ExitStack() as stack, unpacked_root(moved, planned(), tmp_path / "tools") as engine:
        box = entered(stack, engine.container("cuvee:small"))
        done = box.run(
            ["sh", "-c", "cat /opt/cuvee/main/wine; echo; id -u; echo $FROM_THE_IMAGE"], user=NOBODY
        )
        assert done.out.split() == ["red", "65534", "yes"]
        assert box.labels == {"cuvee.row": "small"}


def test_the_suite_is_told_where_the_root_is_now(moved: Path, tmp_path: Path) -> None:
    with unpacked_root(moved, planned(), tmp_path / "tools") as engine:
        *options, file = engine.suite_arguments("cuvee:small")
        assert options == ["--engine", "direct", "--image"]
        told = unpacked.from_json(Path(file).read_text(encoding="utf-8"))
        assert (told.root, told.size) == (moved, 7)
        assert engine.image("cuvee:small").labels == {"cuvee.row": "small"}
    assert not Path(file).exists()


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_without_what_tells_of_it_a_root_has_no_labels(moved: Path, tmp_path: Path, text: str | None) -> None:
    (moved.parent / ABOUT).unlink()
    if text:
        (moved.parent / ABOUT).write_text(text)
    with unpacked_root(moved, planned(), tmp_path / "tools") as engine:
        found = engine.image("cuvee:small")
    assert not found.labels
    assert found.size > (moved / "usr/bin/sh").resolve().stat().st_size


def test_a_second_name_of_a_file_takes_no_room(moved: Path, tmp_path: Path) -> None:
    (moved.parent / ABOUT).unlink()
    with unpacked_root(moved, planned(), tmp_path / "tools") as engine:
        before = engine.about.size
    (moved / "opt" / "again").hardlink_to(moved / "opt/cuvee/main/wine")
    with unpacked_root(moved, planned(), tmp_path / "tools") as engine:
        assert engine.about.size == before


def test_a_folder_without_our_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught, unpacked_root(tmp_path, planned(), tmp_path):
        pass
    [fault] = caught.value.faults
    assert (fault.place, fault.cause) == (str(tmp_path), "it has no /opt/cuvee/main")
    assert fault.fix.startswith("Name the root file system of an image of small")


def test_nothing_is_written_to_the_root(moved: Path, tmp_path: Path) -> None:
    before = sorted(moved.rglob("*"))
    with ExitStack() as stack, unpacked_root(moved, planned(), tmp_path / "tools") as engine:
        box = entered(stack, engine.container("cuvee:small"))
        assert not box.run(["sh", "-c", "echo x > /opt/cuvee/main/new"]).ok
        assert box.run(["sh", "-c", "echo x > /tmp/new"]).ok
    assert sorted(moved.rglob("*")) == before
