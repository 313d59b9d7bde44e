"""A base comes out the same wherever it is made. This makes each from Debian's packages, twice."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.engines.direct import baselock
from builder.engines.direct.base import BaseLayer, unpack, update
from builder.engines.direct.debian import CannotMakeError
from builder.matrix import Base, load
from builder.project import Project, find
from builder.shell import SYSTEM

UNCHECKED = (1).to_bytes(4, "little")


@pytest.fixture(scope="module")
def project() -> Project:
    return find(Path.cwd())


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def base(project: Project, request: pytest.FixtureRequest) -> Base:
    return next(base for base in load(project.matrix).bases if base.id == request.param)


@contextmanager
def elsewhere(folder: Path) -> Iterator[None]:
    """Another folder for what is temporary, another umask, time zone and language."""
    folder.mkdir()
    folder.chmod(0o755)
    before, mask = dict(os.environ), os.umask(0o077)
    os.environ |= {"TMPDIR": str(folder), "TZ": "Asia/Kolkata", "LANG": "C.UTF-8", "PYTHONHASHSEED": "7"}
    tempfile.tempdir = None
    try:
        yield
    finally:
        os.umask(mask)
        os.environ.clear()
        os.environ.update(before)
        tempfile.tempdir = None


def make(project: Project, base: Base, folder: Path) -> BaseLayer:
    programs = project.engine.root / "usr" / "bin"
    search = f"{os.environ['PATH']}{os.pathsep}{programs}"
    try:
        return update(folder / "bases", base, (), folder / "store", SYSTEM, print, search=search)
    except CannotMakeError as error:
        if shutil.which("apt-get"):
            raise
        pytest.skip(f"no base can be made on this machine: {error.cause}")


@pytest.fixture(scope="module")
def made(project: Project, base: Base, tmp_path_factory: pytest.TempPathFactory) -> BaseLayer:
    return make(project, base, tmp_path_factory.mktemp("base"))


def test_a_base_that_is_made_elsewhere_has_the_same_bytes(
    project: Project, base: Base, made: BaseLayer, tmp_path: Path
) -> None:
    with elsewhere(tmp_path / "elsewhere"):
        again = make(project, base, tmp_path / "other")
    assert again.lock.text() == made.lock.text()
    assert again.path.read_bytes() == made.path.read_bytes()


def test_a_base_of_the_locks_versions_is_the_locks(project: Project, base: Base, made: BaseLayer) -> None:
    lock = baselock.read(project.bases, base, ())
    if differing := baselock.differing(lock, made.lock.packages):
        pytest.skip(f"Debian has moved on: {', '.join(differing)}")
    assert made.lock == lock


def test_its_bytecode_is_taken_without_a_look_at_its_source(made: BaseLayer) -> None:
    with tarfile.open(made.path) as tar:
        heads = {
            member.name: source.read(8)
            for member in tar
            if member.name.endswith(".pyc") and (source := tar.extractfile(member))
        }
    assert len(heads) > 500
    assert {name for name, head in heads.items() if head[4:] != UNCHECKED} == set()


def test_its_python_and_its_apt_work(base: Base, made: BaseLayer, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may change the root folder")
    unpack(made, tmp_path / "root")
    ran = SYSTEM.run(["chroot", str(tmp_path / "root"), "python3", "-c", "import ssl, venv; print('well')"])
    assert (ran.out, ran.err) == ("well\n", "")
    asked = SYSTEM.run(["chroot", str(tmp_path / "root"), "apt-get", "--print-uris", "update"])
    assert f"/{base.suite}-security/InRelease" in asked.out
    healthy = SYSTEM.run(["chroot", str(tmp_path / "root"), "dpkg", "--audit"])
    assert (healthy.code, healthy.out) == (0, "")
