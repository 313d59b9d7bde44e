"""The programs of real bases, against the same programs in a chroot: what they write must be the same.

A base is made from Debian's packages for it: this takes root, the private engine's mmdebstrap and a minute.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from builder.abi.facts import Binary
from builder.abi.library import Library
from builder.engines.direct.bytecode import Job, compile_wheels
from builder.engines.direct.environment import environment_files
from builder.engines.direct.interpreter import Interpreter, needed
from builder.engines.direct.loadercache import CACHE, loader_files, loader_sonames
from builder.engines.direct.sources import build_wheel
from builder.lock import record
from builder.lock.record import Lock
from builder.places import roots
from builder.project import find
from builder.searching import loader_folders
from builder.shell import SYSTEM
from builder.wheels.store import default_folder
from tests.elf.loader import write

BASES = {"bookworm": "3.11", "trixie": "3.13"}
PREFIX = PurePosixPath("/opt/cuvee/main")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOBODY = 65534


@pytest.fixture(scope="module", params=sorted(BASES))
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Interpreter:
    """The Python of a base of which only what is needed was unpacked; all of it lies beside, in `whole`."""
    programs = find(Path.cwd()).engine
    if os.geteuid() != 0 or not (programs.root / "usr/bin/mmdebstrap").is_file():
        pytest.skip("no base can be made here: run `make engine` first, as root")
    folder = tmp_path_factory.mktemp(request.param)
    made = [
        "mmdebstrap",
        *("--variant=minbase", "--include=ca-certificates,python3,python3-venv", request.param),
        str(folder / "base.tar"),
    ]
    done = SYSTEM.run(made, env=programs.environment)
    if not done.ok:
        pytest.skip("no base can be made here: this machine does not reach Debian's packages")
    unpack(folder / "base.tar", folder)
    return Interpreter(root=folder / "root", python=BASES[request.param], shell=SYSTEM)


def unpack(archive: Path, folder: Path) -> None:
    (folder / "whole").mkdir()
    subprocess.run(["tar", "-xpf", archive, "-C", folder / "whole"], check=True)
    for path in below(folder / "whole"):
        place = folder / "root" / path.relative_to(folder / "whole")
        if needed(str(path.relative_to(folder / "whole"))) and (path.is_symlink() or path.is_file()):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place, follow_symlinks=False)


def whole(python: Interpreter) -> Path:
    return python.root.with_name("whole")


def inside(python: Interpreter, *argv: str) -> None:
    """Run a program in the base as an image runs it."""
    subprocess.run(["env", "-i", f"PATH={PATH}", "chroot", whole(python), *argv], check=True)


def below(folder: Path) -> Iterator[Path]:
    for above, folders, files in os.walk(folder):
        yield from (Path(above, name) for name in (*folders, *files))


def test_little_of_a_base_is_needed(python: Interpreter) -> None:
    size = sum(path.stat().st_size for path in below(python.root) if path.is_file() and not path.is_symlink())
    assert size < 70_000_000
    assert not list(python.root.rglob("*.pyc"))


def test_an_environment_is_byte_for_byte_what_the_image_makes(python: Interpreter) -> None:
    inside(python, f"python{python.python}", "-m", "venv", "--without-pip", str(PREFIX))
    made = whole(python) / str(PREFIX)[1:]
    wanted = {}
    for path in (made, *below(made)):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            wanted[path] = ("link", mode, str(path.readlink()), b"")
        elif path.is_dir():
            wanted[path] = ("directory", mode, "", b"")
        else:
            wanted[path] = ("file", mode, "", path.read_bytes())
    found = {
        whole(python) / one.node.path: (one.node.kind, one.node.mode, one.node.target, one.content)
        for one in environment_files(python, PREFIX)
    }
    assert found == wanted


# The loader's cache

FOLDERS = (PurePosixPath("/opt/x/lib"), PurePosixPath("/opt/y/lib"))
BINARIES = {
    "/opt/x/lib/libone.so.1.2": Binary(path="one", soname="libone.so.1", needed=("libc.so.6",)),
    "/opt/x/lib/libbare.so": Binary(path="bare"),
    "/opt/y/lib/libone.so.1": Binary(path="later", soname="libone.so.1"),
    "/opt/y/lib/libz.so.1": Binary(path="z", soname="libz.so.1"),
}


def cache_of(python: Interpreter, folders: tuple[PurePosixPath, ...]) -> bytes:
    """The cache that ldconfig writes in the image, with the libraries that lie there."""
    path = whole(python) / "etc/ld.so.conf.d/000-cuvee.conf"
    path.write_text("".join(f"{folder}\n" for folder in folders))
    inside(python, "ldconfig")
    path.unlink()
    return (whole(python) / CACHE).read_bytes()


def test_stand_ins_give_the_cache_and_links_that_libraries_give_in_the_image(python: Interpreter) -> None:
    for path, binary in BINARIES.items():
        place = whole(python) / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(write.library(binary))
    wanted = cache_of(python, FOLDERS)
    entries = loader_files(python.root, FOLDERS, {path: one.soname for path, one in BINARIES.items()})
    found = {one.node.path: one for one in entries}
    assert found[CACHE].content == wanted
    links = {path: one.node.target for path, one in found.items() if one.node.kind == "link"}
    assert links == {"opt/x/lib/libone.so.1": "libone.so.1.2"}
    assert (whole(python) / "opt/x/lib/libone.so.1").readlink() == Path("libone.so.1.2")
    shutil.rmtree(whole(python) / "opt")


def locked() -> Lock:
    """The row whose loader folders lie in an environment and in an overlay."""
    return record.read(find(Path.cwd()).image("cu121") / record.FILE)


def test_facts_give_the_cache_that_the_real_libraries_of_a_row_give(python: Interpreter) -> None:
    lock, store = locked(), default_folder()
    if lock.python != python.python:
        pytest.skip(f"the row is for Python {lock.python}")
    folders = loader_folders(lock, lock.python)
    for part, root in roots(lock, lock.python):
        for package in part.packages:
            wheel = store / package.sha256 / package.file
            if not wheel.is_file():
                pytest.skip(f"{package.file} is not in the wheel store")
            if not package.is_source:
                unpack_libraries(wheel, root, folders, whole(python))
    wanted = cache_of(python, folders)
    sonames = loader_sonames(lock, folders, Library(folders=(find(Path.cwd()).facts,)))
    found = {one.node.path: one.content for one in loader_files(python.root, folders, sonames)}
    assert found[CACHE] == wanted
    assert len(found) == 2
    shutil.rmtree(whole(python) / "opt")


def unpack_libraries(wheel: Path, root: PurePosixPath, folders: tuple[PurePosixPath, ...], to: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if (root / name).parent in folders:
                place = to / str(root / name)[1:]
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, place.open("wb") as target:
                    shutil.copyfileobj(source, target)


# By anybody, anywhere

PROGRAM = """\
import sys
from pathlib import Path, PurePosixPath
from builder.abi.facts import Binary
from builder.engines.direct.interpreter import Interpreter
from builder.shell import SYSTEM
from tests.engine import test_direct_programs as these

root, python, wheel, out = sys.argv[1:]
found = Interpreter(root=Path(root), python=python, shell=SYSTEM)
these.make_all(found, Path(wheel), Path(out), side_by_side=1)
"""


def make_all(python: Interpreter, wheel: Path, out: Path, side_by_side: int) -> None:
    """Have each program write something to a folder."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: name for name in archive.namelist()}
    job = Job(wheel=wheel, target=out / "bytecode.zip", site=PREFIX, files=files)
    small = Job(wheel=wheel, target=out / "small.zip", site=PREFIX, files=dict(list(files.items())[:3]))
    compile_wheels([small, job], python, side_by_side=side_by_side)
    (out / "environment").write_text(repr(environment_files(python, PREFIX)))
    sonames = {path: one.soname for path, one in BINARIES.items()}
    (out / "loader").write_text(repr(loader_files(python.root, FOLDERS, sonames)))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may look into; pytest's own are for one user."""
    with tempfile.TemporaryDirectory(prefix="cuvee-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_anybody_writes_the_same_bytes_from_anywhere(python: Interpreter, open_folder: Path) -> None:
    """The whole standard library is compiled, as root and as somebody who may do nothing."""
    wheel = open_folder / "stdlib.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        files = (python.root / "usr/lib" / f"python{python.python}").rglob("*.py")
        for path in sorted(path for path in files if path.is_file()):
            archive.write(path, str(path.relative_to(python.root)))
    elsewhere = open_folder / "another base"
    shutil.copytree(python.root, elsewhere, symlinks=True)
    for name in ("mine", "theirs"):
        (open_folder / name).mkdir()
        (open_folder / name).chmod(0o777)
    make_all(python, wheel, open_folder / "mine", side_by_side=2)
    argv = [
        sys.executable,
        "-c",
        PROGRAM,
        *map(str, (elsewhere, python.python, wheel, open_folder / "theirs")),
    ]
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    subprocess.run(
        [*as_nobody, *argv],
        check=True,
        cwd="/",
        umask=0o077,
        env={
            "PATH": PATH,
            "LC_ALL": "tr_TR.UTF-8",
            "TZ": "Asia/Tokyo",
            "TMPDIR": "/var/tmp",
            "PYTHONHASHSEED": "77",
            "PYTHONPATH": str(Path.cwd()),
        },
    )
    mine = {path.name: path.read_bytes() for path in (open_folder / "mine").iterdir()}
    assert mine == {path.name: path.read_bytes() for path in (open_folder / "theirs").iterdir()}
    assert sorted(mine) == ["bytecode.zip", "environment", "loader", "small.zip"]
    assert len(mine["bytecode.zip"]) > 1_000_000


def test_source_archives_become_the_same_wheels_from_anywhere(python: Interpreter, tmp_path: Path) -> None:
    lock, store = locked(), default_folder()
    tools = [store / one.sha256 / one.file for one in lock.tools if one.file.endswith("-any.whl")]
    sources = [one for one in lock.main.packages if one.is_source]
    if not all(path.is_file() for path in (*tools, *(store / one.sha256 / one.file for one in sources))):
        pytest.skip("the source archives are not in the wheel store")
    elsewhere = Interpreter(root=tmp_path / "another base", python=python.python, shell=SYSTEM)
    shutil.copytree(python.root, elsewhere.root, symlinks=True)
    for package in sources:
        source = store / package.sha256 / package.file
        first = build_wheel(package, source, tools, python, tmp_path / "a")
        before = os.umask(0o077)
        try:
            second = build_wheel(package, source, tools, elsewhere, tmp_path / "b")
        finally:
            os.umask(before)
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes()
        assert first.name.endswith(f"-{package.version}-py3-none-any.whl")
