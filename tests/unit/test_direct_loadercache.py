from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import pytest

from builder.abi.content import Content
from builder.abi.elf import read_elf
from builder.abi.facts import Binary, WheelFacts
from builder.abi.library import Library, text
from builder.engines.direct.entry import Entry
from builder.engines.direct.loadercache import loader_files, loader_sonames
from builder.engines.direct.standin import stand_in
from builder.engines.direct.tar import Node
from builder.errors import BadInputError, EngineOrNetworkError
from builder.lock.record import Environment, Lock, Package
from builder.shell import Finished

SITE = "/opt/cuvee/main/lib/python3.11/site-packages"
FOLDERS = (PurePosixPath(f"{SITE}/nvidia/x/lib"), PurePosixPath("/opt/cuvee/overlays/old/y/lib"))
LIBRARIES = {f"{SITE}/nvidia/x/lib/libx-1.so": "libx.so.1", "/opt/cuvee/overlays/old/y/lib/liby.so": ""}


class FakeShell:
    """An ldconfig that writes down what it sees, and makes one link.

    Attributes:
        cache: Whether it writes a cache.
    """

    def __init__(self, code: int = 0, err: str = "", *, cache: bool = True) -> None:
        self.code, self.err, self.cache = code, err, cache
        self.argv: list[str] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        del env, cwd, stdin, timeout, on_line
        self.argv = list(argv)
        root = Path(argv[-1])
        if self.cache:
            seen = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
            (root / "etc/ld.so.cache").write_text("\n".join(seen))
            (root / SITE[1:] / "nvidia/x/lib/libx.so.1").symlink_to("libx-1.so")
        return Finished(argv=tuple(argv), code=self.code, out="", err=self.err)

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        raise AssertionError((argv, log, env))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small base."""
    for path in ("usr/lib/libc.so.6", "usr/sbin/ldconfig", "etc/ld.so.conf", "etc/passwd", "usr/bin/python3"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "usr/lib/libc.so").symlink_to("libc.so.6")
    return tmp_path


def test_the_configuration_the_cache_and_new_links_are_the_files(root: Path) -> None:
    found = loader_files(root, FOLDERS, LIBRARIES, FakeShell())
    assert [entry.node for entry in found] == [
        Node("etc/ld.so.cache"),
        Node("etc/ld.so.conf.d/000-cuvee.conf"),
        Node(f"{SITE[1:]}/nvidia/x/lib/libx.so.1", "link", 0o777, "libx-1.so"),
    ]
    assert found[1] == Entry(found[1].node, f"{FOLDERS[0]}\n{FOLDERS[1]}\n".encode())


def test_ldconfig_sees_libraries_alone_in_a_root_of_its_own(root: Path) -> None:
    before = sorted(root.rglob("*"))
    shell = FakeShell()
    cache = loader_files(root, FOLDERS, LIBRARIES, shell)[0].content
    assert isinstance(cache, bytes)
    assert cache.decode().split("\n") == [
        "etc/ld.so.conf",
        "etc/ld.so.conf.d/000-cuvee.conf",
        *sorted(path[1:] for path in LIBRARIES),
        "usr/lib/libc.so",
        "usr/lib/libc.so.6",
    ]
    assert shell.argv[:-1] == ["env", "-i", "LC_ALL=C", str(root / "usr/sbin/ldconfig"), "-r"]
    assert not Path(shell.argv[-1]).exists()
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("shell", "cause"),
    [
        (FakeShell(1, "ldconfig: Can't open\nldconfig: no"), "ldconfig ended with 1: ldconfig: no"),
        (FakeShell(-11), "ldconfig ended with -11: it said nothing"),
        (FakeShell(cache=False), "ldconfig ended with 0: it said nothing"),
    ],
    ids=["failed", "killed", "no-cache"],
)
def test_an_ldconfig_that_fails_is_told(root: Path, shell: FakeShell, cause: str) -> None:
    with pytest.raises(EngineOrNetworkError) as caught:
        loader_files(root, FOLDERS, LIBRARIES, shell)
    [fault] = caught.value.faults
    assert (fault.place, fault.cause) == ("ldconfig of the base", cause)
    assert fault.fix


def test_a_base_without_ldconfig_is_told(root: Path) -> None:
    (root / "usr/sbin/ldconfig").unlink()
    with pytest.raises(EngineOrNetworkError, match="it has no ldconfig"):
        loader_files(root, FOLDERS, LIBRARIES, FakeShell())


@pytest.mark.parametrize("soname", ["", "libx.so.1", "lib" + "y" * 300 + ".so"])
def test_a_stand_in_says_its_soname_and_nothing_else(soname: str) -> None:
    data = stand_in(soname)
    assert len(data) < 700
    found = read_elf(Content(file=io.BytesIO(data), size=len(data)), "libx.so").binary("libx.so")
    assert found == Binary(path="libx.so", soname=soname, executable_stack=found.executable_stack)


def test_a_stand_in_has_its_tables_where_its_header_says() -> None:
    data = stand_in("libx.so.1")
    table, count = struct.unpack_from("<32xQ16xH", data)
    assert (table, count) == (64, 2)


# Sonames of a row


def wheel(name: str, *binaries: Binary) -> tuple[Package, WheelFacts]:
    file, sha256 = f"{name}-1-py3-none-manylinux1_x86_64.whl", name * 8
    package = Package(name=name, version="1", file=file, sha256=sha256, size=1)
    return package, WheelFacts(file=file, sha256=sha256, binaries=binaries)


MAIN = wheel(
    "main",
    Binary(path="nvidia/x/lib/libx-1.so", soname="libx.so.1"),
    Binary(path="nvidia/x/lib/deeper/libdeep.so", soname="libdeep.so"),
    Binary(path="nvidia/x/lib/libarm.so", soname="libarm.so", machine="aarch64"),
    Binary(path="nvidia/elsewhere/libz.so", soname="libz.so"),
)
OLD = wheel("old", Binary(path="y/lib/liby.so"))
PURE = Package(name="pure", version="1", file="pure-1-py3-none-any.whl", sha256="p", size=1)
SOURCE = Package(name="source", version="1", file="source-1.tar.gz", sha256="s", size=1)


def lock() -> Lock:
    return Lock(
        row="row",
        fingerprint="f",
        as_of="2025-01-20",
        base="bookworm",
        python="3.11",
        environments=(Environment(name="main", packages=(MAIN[0], PURE, SOURCE)),),
        overlays=(Environment(name="old", packages=(OLD[0],)),),
        tools=(),
    )


def library(folder: Path, *facts: WheelFacts) -> Library:
    for one in facts:
        (folder / f"{one.file}.json").write_text(text(one))
    return Library(folders=(folder,))


def test_the_libraries_of_the_loaders_folders_are_known_from_facts(tmp_path: Path) -> None:
    found = loader_sonames(lock(), FOLDERS, library(tmp_path, MAIN[1], OLD[1]))
    assert found == LIBRARIES
    assert list(found) == sorted(found)


def test_a_row_without_loader_folders_asks_for_no_facts(tmp_path: Path) -> None:
    assert loader_sonames(lock(), (), library(tmp_path)) == {}


def test_all_wheels_whose_facts_lack_are_told(tmp_path: Path) -> None:
    unread = WheelFacts(
        file=OLD[1].file, sha256=OLD[1].sha256, binaries=(Binary(path="a.so", unread="damaged"),)
    )
    with pytest.raises(BadInputError) as caught:
        loader_sonames(lock(), FOLDERS, library(tmp_path, unread))
    assert [fault.place for fault in caught.value.faults] == [OLD[0].file, MAIN[0].file]
    assert {fault.fix for fault in caught.value.faults} == {"Run `cuvee facts row`"}
