from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from builder.errors import BadInputError, CuveeError
from builder.project import Project, differing, find, write


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Finding


def test_a_project_is_found_from_any_folder_below_it(tmp_path: Path) -> None:
    (tmp_path / "matrix.yaml").touch()
    below = tmp_path / "images" / "cu121"
    below.mkdir(parents=True)
    assert find(below) == find(tmp_path) == Project(tmp_path.resolve())


def test_the_nearest_project_upwards_is_taken(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for folder in (tmp_path, inner):
        (folder / "matrix.yaml").touch()
    assert find(inner).root == inner.resolve()


def test_where_there_is_no_project_it_is_told_with_place_cause_and_fix(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        find(tmp_path)
    [fault] = caught.value.faults
    assert caught.value.exit_code == 2
    assert fault.place == str(tmp_path)
    assert fault.cause == "there is no matrix.yaml here or above"
    assert fault.fix == "Run cuvee in a checkout of it"


def test_a_project_knows_where_its_files_are(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.matrix == tmp_path / "matrix.yaml"
    assert project.image("cu121") == tmp_path / "images" / "cu121"
    assert project.evidence("cu121") == tmp_path / "evidence" / "cu121.json"


# Writing


def test_a_file_is_written_with_its_folders_and_readable_for_all(tmp_path: Path) -> None:
    path = tmp_path / "images" / "cu121" / "Dockerfile"
    assert write(path, "FROM scratch\n")
    assert path.read_bytes() == b"FROM scratch\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_file_that_is_right_already_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text("FROM scratch\n", encoding="utf-8")
    before = path.stat()
    assert not write(path, "FROM scratch\n")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("other", [b"", b"FROM other\n", b"FROM scratch\r\n", b"FROM scratch", b"\xff\xfe"])
def test_a_file_that_differs_by_any_byte_is_replaced(tmp_path: Path, other: bytes) -> None:
    path = tmp_path / "Dockerfile"
    path.write_bytes(other)
    assert write(path, "FROM scratch\n")
    assert everything(tmp_path) == {"Dockerfile": b"FROM scratch\n"}


def test_text_of_any_language_is_written_as_utf_8(tmp_path: Path) -> None:
    assert write(tmp_path / "label", "cuvée ─▶\n")
    assert not write(tmp_path / "label", "cuvée ─▶\n")
    assert (tmp_path / "label").read_bytes() == "cuvée ─▶\n".encode()


def no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("failure", [no_space, interrupted])
@pytest.mark.parametrize(
    "step", [(Path, "replace"), (Path, "chmod"), (os, "fdopen")], ids=["rename", "chmod", "write"]
)
@pytest.mark.parametrize("before", [{}, {"lock.json": b"the old one"}], ids=["new", "replacing"])
def test_a_write_that_fails_leaves_what_was_there_and_nothing_half_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: object,
    step: tuple[object, str],
    before: dict[str, bytes],
) -> None:
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    with monkeypatch.context() as patched:
        patched.setattr(*step, failure)
        with pytest.raises((CuveeError, KeyboardInterrupt)):
            write(tmp_path / "lock.json", "the new one")
    assert everything(tmp_path) == before


def test_a_failed_write_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("only Linux lists the open files of a process")
    before = len(list(descriptors.iterdir()))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", no_space)
        with pytest.raises(CuveeError, match=r"lock\.json: it cannot be written: No space .* Make room"):
            write(tmp_path / "lock.json", "text")
    assert len(list(descriptors.iterdir())) == before


# Comparing


def test_files_differ_that_are_missing_or_hold_another_text(tmp_path: Path) -> None:
    for name, content in {"same": b"a\n", "other": b"b\n", "endings": b"a\r\n", "binary": b"\xff"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    texts = dict.fromkeys(["same", "other", "endings", "binary", "folder", "missing"], "a\n")
    assert differing(tmp_path, texts) == ("other", "endings", "binary", "folder", "missing")


def test_a_folder_that_does_not_exist_lacks_every_file(tmp_path: Path) -> None:
    assert differing(tmp_path / "none", {"Dockerfile": "text"}) == ("Dockerfile",)
