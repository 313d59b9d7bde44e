from __future__ import annotations

import base64
import csv
import hashlib
import posixpath
from collections.abc import Collection, Mapping
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path, PurePosixPath

import pytest

from builder.engines.direct import stream
from builder.engines.direct.entry import Held
from builder.engines.direct.install import Target, bytecode_entries, compiled, install, placed
from builder.engines.direct.unpack import unpack
from builder.engines.direct.zips import written_zip
from builder.left_out import LeftOut
from builder.wheels.members import opened_wheel
from tests.wheelmaker import INFO, SITE, TARGET, entries, layer_of, members, wheel

DATA = "vat-1.0.data"
ELF = b"\x7fELF" + bytes(60)
FILES = {
    "vat/__init__.py": b"x = 1\n",
    "vat/lib.so": ELF,
    f"{DATA}/purelib/pure.py": b"p = 1\n",
    f"{DATA}/platlib/deep/plat.py": b"p = 2\n",
    f"{DATA}/scripts/run": b"#!python\nprint(1)\n",
    f"{DATA}/scripts/run-w": b"#!pythonw\nprint(2)\n",
    f"{DATA}/scripts/run-e": b"#!python -E\nprint(3)\n",
    f"{DATA}/scripts/shell": b"#!/bin/sh\necho\n",
    f"{DATA}/scripts/binary": ELF,
    f"{DATA}/data/share/man/vat.1": b"manual",
    f"{DATA}/headers/vat.h": b"int vat;\n",
    f"{INFO}/entry_points.txt": (
        b"[console_scripts]\nvat = vat.cli:main\nVat-2 = vat : App.run [extra]\n\n"
        b"[gui_scripts]\nvat-window=vat.window:main\n\n[vat.plugins]\nany thing = not a program\n"
    ),
}
MODES = {"vat/lib.so": 0o755, f"{DATA}/data/share/man/vat.1": 0o600, "vat/__init__.py": 0o664}


def installed(
    path: Path, bytecode: Collection[str] = (), target: Target = TARGET
) -> dict[str, tuple[int, bytes]]:
    """Mode and content of each file in the image, by path."""
    with stream.opened([path]) as archives:
        tar = b"".join(stream.archive(entries(archives, bytecode, target), archives))
    return {f"/{name}": (info.mode, content) for name, (info, content) in members(tar).items()}


@pytest.fixture
def found(tmp_path: Path) -> dict[str, tuple[int, bytes]]:
    return installed(wheel(tmp_path, FILES, modes=MODES))


def record(found: Mapping[str, tuple[int, bytes]], site: PurePosixPath = SITE) -> list[list[str]]:
    return list(csv.reader(found[f"{site}/{INFO}/RECORD"][1].decode().splitlines()))


# Where files go


@pytest.mark.parametrize(
    ("member", "path"),
    [
        ("vat/lib.so", f"{SITE}/vat/lib.so"),
        (f"{DATA}/purelib/pure.py", f"{SITE}/pure.py"),
        (f"{DATA}/platlib/deep/plat.py", f"{SITE}/deep/plat.py"),
        (f"{DATA}/scripts/shell", "/opt/cuvee/main/bin/shell"),
        (f"{DATA}/scripts/binary", "/opt/cuvee/main/bin/binary"),
        (f"{DATA}/data/share/man/vat.1", "/opt/cuvee/main/share/man/vat.1"),
        (f"{DATA}/headers/vat.h", "/opt/cuvee/main/include/site/python3.11/vat/vat.h"),
        (f"{INFO}/METADATA", f"{SITE}/{INFO}/METADATA"),
    ],
)
def test_each_file_goes_where_pip_and_uv_put_it(
    member: str, path: str, found: dict[str, tuple[int, bytes]]
) -> None:
    expected = FILES.get(member)
    assert expected is None or found[path][1] == expected
    assert path in found


def test_nothing_else_is_installed(found: dict[str, tuple[int, bytes]]) -> None:
    programs = {"vat", "Vat-2", "vat-window"}
    assert len(found) == len(FILES) + len(programs) + len({"METADATA", "WHEEL", "RECORD", "INSTALLER"})


@pytest.mark.parametrize(
    "name", ["a//b.py", "./a/b.py", "a/./b.py", f"{DATA}/purelib//a/b.py", f"{DATA}//purelib/a/b.py"]
)
def test_a_path_that_is_written_oddly_is_the_plain_one(name: str, tmp_path: Path) -> None:
    assert installed(wheel(tmp_path, {name: b"b"}))[f"{SITE}/a/b.py"][1] == b"b"


def test_where_a_file_goes_is_told_without_reading_it(tmp_path: Path) -> None:
    with opened_wheel(wheel(tmp_path, FILES)) as archive:
        told = {one.member.path: (str(one.path), one.program) for one in placed(archive, TARGET)}
    assert told[f"{DATA}/scripts/run"] == ("/opt/cuvee/main/bin/run", True)
    assert told["vat/lib.so"] == (f"{SITE}/vat/lib.so", False)
    assert f"{INFO}/RECORD" not in told


# Modes


def test_programs_and_what_the_wheel_says_so_of_are_executable_and_nothing_else_is(
    found: dict[str, tuple[int, bytes]],
) -> None:
    executable = {path for path, (mode, _) in found.items() if mode == 0o755}
    assert {mode for mode, _ in found.values()} == {0o644, 0o755}
    names = ("run", "run-w", "run-e", "shell", "binary", "vat", "Vat-2", "vat-window")
    assert executable == {f"{SITE}/vat/lib.so", *(f"/opt/cuvee/main/bin/{name}" for name in names)}


# Programs


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run", b"#!/opt/cuvee/main/bin/python\nprint(1)\n"),
        ("run-w", b"#!/opt/cuvee/main/bin/python\nprint(2)\n"),
        ("run-e", b"#!/opt/cuvee/main/bin/python -E\nprint(3)\n"),
        ("shell", b"#!/bin/sh\necho\n"),
        ("binary", ELF),
    ],
)
def test_a_script_names_the_environments_python_and_other_programs_stay(
    name: str, text: bytes, found: dict[str, tuple[int, bytes]]
) -> None:
    assert found[f"/opt/cuvee/main/bin/{name}"][1] == text


def test_entry_points_become_programs(found: dict[str, tuple[int, bytes]]) -> None:
    assert found["/opt/cuvee/main/bin/vat"][1] == (
        b"#!/opt/cuvee/main/bin/python\n# -*- coding: utf-8 -*-\nimport sys\nfrom vat.cli import main\n"
        b'if __name__ == "__main__":\n    sys.exit(main())\n'
    )
    assert b"from vat import App\n" in found["/opt/cuvee/main/bin/Vat-2"][1]
    assert b"sys.exit(App.run())\n" in found["/opt/cuvee/main/bin/Vat-2"][1]
    assert b"from vat.window import main\n" in found["/opt/cuvee/main/bin/vat-window"][1]
    for name in ("vat", "Vat-2", "vat-window"):
        compile(found[f"/opt/cuvee/main/bin/{name}"][1], name, "exec")


def test_a_script_of_a_wheel_that_is_an_entry_point_too_is_the_installers(tmp_path: Path) -> None:
    files = {
        f"{DATA}/scripts/vat": b"#!python\nsetuptools\n",
        f"{INFO}/entry_points.txt": b"[console_scripts]\nvat = vat:main\n",
    }
    found = installed(wheel(tmp_path, files))
    assert b"from vat import main" in found["/opt/cuvee/main/bin/vat"][1]
    assert [path for path, *_ in record(found)].count("../../../bin/vat") == 1


def test_a_value_below_default_is_no_program(tmp_path: Path) -> None:
    text = b"[DEFAULT]\nx = a:b\n[console_scripts]\nvat = vat:main\n"
    found = installed(wheel(tmp_path, {f"{INFO}/entry_points.txt": text}))
    assert [path for path in found if "/bin/" in path] == ["/opt/cuvee/main/bin/vat"]


# RECORD and INSTALLER


def test_record_lists_all_that_is_installed_sorted_with_hash_and_size(
    found: dict[str, tuple[int, bytes]],
) -> None:
    lines = record(found)
    assert lines == sorted(lines)
    assert {posixpath.normpath(f"{SITE}/{path}") for path, *_ in lines} == set(found)
    for path, digest, size in lines:
        if not path.endswith("/RECORD"):
            _, content = found[posixpath.normpath(f"{SITE}/{path}")]
            encoded = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            assert (digest, size) == (f"sha256={encoded}", str(len(content)))
    assert [f"{INFO}/RECORD", "", ""] in lines


def test_record_lists_bytecode_without_a_hash_as_pip_does(tmp_path: Path) -> None:
    pyc = "vat/__pycache__/__init__.cpython-311.pyc"
    lines = record(installed(wheel(tmp_path, FILES), [pyc]))
    assert [pyc, "", ""] in lines
    assert lines == sorted(lines)


def test_bytecode_that_is_made_replaces_what_the_wheel_brings_of_its_own(tmp_path: Path) -> None:
    ours, own = "vat/__pycache__/a.cpython-311.pyc", "vat/__pycache__/b.cpython-311.pyc"
    path = wheel(tmp_path, {"vat/a.py": b"", ours: b"theirs", own: b"kept"})
    found = installed(path, [ours])
    assert f"{SITE}/{ours}" not in found  # it comes from the file of bytecode
    assert found[f"{SITE}/{own}"][1] == b"kept"
    assert [line for line in record(found) if line[0] == ours] == [[ours, "", ""]]


def test_bytecode_lies_below_site_packages(tmp_path: Path) -> None:
    with written_zip(tmp_path / "bytecode.zip") as archive:
        archive.add("vat/__pycache__/a.cpython-311.pyc", b"code")
    with opened_wheel(tmp_path / "bytecode.zip") as bytecode:
        [entry] = bytecode_entries(bytecode.members, 7, TARGET)
    assert entry.node.path == f"{SITE}/vat/__pycache__/a.cpython-311.pyc"[1:]
    assert isinstance(entry.content, Held)
    assert (entry.made, entry.content.archive, entry.node.mode) == (True, 7, 0o644)


def test_python_files_below_site_packages_are_compiled_programs_and_data_are_not(tmp_path: Path) -> None:
    files = {**FILES, f"{DATA}/scripts/tool.py": b"#!python\n", f"{DATA}/data/share/x.py": b""}
    with opened_wheel(wheel(tmp_path, files)) as archive:
        assert compiled(archive, TARGET) == {
            "vat/__init__.py": "vat/__init__.py",
            f"{DATA}/purelib/pure.py": "pure.py",
            f"{DATA}/platlib/deep/plat.py": "deep/plat.py",
        }


def test_the_installer_is_told_even_where_a_wheel_brings_another(tmp_path: Path) -> None:
    found = installed(wheel(tmp_path, {f"{INFO}/INSTALLER": b"bazel\n"}))
    assert found[f"{SITE}/{INFO}/INSTALLER"] == (0o644, b"cuvee\n")
    assert [path for path, *_ in record(found)].count(f"{INFO}/INSTALLER") == 1


def test_signatures_of_a_record_that_is_rewritten_are_left_out(tmp_path: Path) -> None:
    files = {f"{INFO}/RECORD.jws": b"{}", f"{INFO}/RECORD.p7s": b"x"}
    assert not any(".jws" in path or ".p7s" in path for path in installed(wheel(tmp_path, files)))


def test_names_with_commas_quotes_and_blanks_are_quoted(tmp_path: Path) -> None:
    names = ["vat/a,b.txt", 'vat/say "hm".txt', "vat/a b.txt", "vat/é.txt"]
    found = installed(wheel(tmp_path, dict.fromkeys(names, b"x")))
    assert set(names) <= {path for path, *_ in record(found)}


def test_a_file_that_comes_twice_with_one_content_is_listed_once(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"vat/a.py": b"a", f"{DATA}/purelib/vat/a.py": b"a"})
    with opened_wheel(path) as archive:
        last = list(install(archive, 0, TARGET, ()))[-1]
    assert isinstance(last.content, bytes)
    assert last.content.count(b"vat/a.py") == 1


def test_the_same_wheel_installs_to_the_same_entries_in_the_same_order(tmp_path: Path) -> None:
    found = []
    for folder in ("a", "b"):
        with opened_wheel(wheel(tmp_path / folder, FILES)) as archive:
            found.append(list(install(archive, 0, TARGET, ["z.pyc", "a.pyc"])))
    assert found[0] == found[1]


def test_what_is_left_out_is_not_installed_and_stays_in_record_as_when_it_is_deleted(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"vat/a.py": b"a", "vat/tests/test_a.py": b"b"})
    with opened_wheel(path) as archive:
        whole = list(install(archive, 0, TARGET, ()))
        part = list(install(archive, 0, TARGET, (), left_out=LeftOut.of(["vat/tests"])))
    assert {one.node.path for one in whole} - {one.node.path for one in part} == {
        f"{SITE}/vat/tests/test_a.py"[1:]
    }
    assert whole[-1] == part[-1]


# What is made here, as a lock's trace has it


@pytest.mark.parametrize("made", [False, True])
def test_what_is_written_here_is_made_and_a_wheels_file_only_where_the_wheel_is(
    made: bool, tmp_path: Path
) -> None:
    with opened_wheel(wheel(tmp_path, FILES)) as archive:
        found = {entry.node.path: entry.made for entry in install(archive, 0, TARGET, (), made=made)}
    for name in ("bin/vat", "bin/run", f"lib/python3.11/site-packages/{INFO}/RECORD"):
        assert found[f"opt/cuvee/main/{name}"]
    assert found[f"{SITE}/vat/lib.so"[1:]] is made


# Overlays


def test_an_overlay_is_a_folder_with_everything_in_it(tmp_path: Path) -> None:
    folder = PurePosixPath("/opt/cuvee/overlays/cudnn8")
    target = Target(prefix=folder, site=folder, python=PurePosixPath("/usr/bin/python3.11"), version="3.11")
    found = installed(wheel(tmp_path, FILES), target=target)
    assert all(path.startswith(f"{folder}/") for path in found)
    assert found[f"{folder}/vat/lib.so"] == (0o644, ELF)
    assert found[f"{folder}/bin/run"][1].startswith(b"#!/usr/bin/python3.11\n")
    assert "bin/vat" in {path for path, *_ in record(found, folder)}


# As Python sees it


def test_importlib_reads_what_was_installed(tmp_path: Path) -> None:
    layer = layer_of(wheel(tmp_path / "wheel", FILES))
    unpack(layer.tar(), tmp_path / "root", layer.diff_id)
    found: Distribution = PathDistribution(tmp_path / "root" / str(SITE)[1:] / INFO)
    assert (found.metadata["Name"], found.version, found.read_text("INSTALLER")) == ("vat", "1.0", "cuvee\n")
    assert {point.name for point in found.entry_points.select(group="console_scripts")} == {"vat", "Vat-2"}
    assert found.files
    for file in found.files:
        path = Path(str(file.locate()))
        assert path.is_file()
        if file.hash:
            digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
            assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == file.hash.value
            assert path.stat().st_size == file.size
