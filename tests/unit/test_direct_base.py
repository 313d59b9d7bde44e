from __future__ import annotations

import gzip
import hashlib
import io
import json
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from builder import bases
from builder.engines.direct import baselock, trace
from builder.engines.direct.base import LAYOUT, BaseLayer, provide, reading, unpack, update
from builder.engines.direct.baselock import BaseLock, Package
from builder.engines.direct.debian import SNAPSHOT, packages_of
from builder.engines.direct.gz import COMPRESSOR, HEAD
from builder.engines.direct.normal import File, normal
from builder.engines.direct.tar import MTIME
from builder.errors import (
    BadInputError,
    CannotResolveError,
    CheckFailedError,
    CuveeError,
    EngineOrNetworkError,
)
from builder.matrix import Base, parse
from builder.project import Project
from builder.shell import Finished

MATRIX = """\
bases:
  bookworm:
    image: debian:bookworm-slim
    suite: bookworm
    python: 3.11
    glibc: 2.36
    packages: [ca-certificates, python3]
defaults: {}
rows: {}
"""
BASE = parse(MATRIX).bases[0]
SHA = "5" * 64
NOTES = "".join(
    f"Package: {name}\nVersion: {version}\nDescription: one\n more: text\nSHA256: {SHA}\n\n"
    for name, version in (("python3.11", "3.11.2-6"), ("openssl", "3.0.16"))
)


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A member of what mmdebstrap makes."""

    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    target: str = ""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    mtime: int = 1234567890


FOLDER = Raw(kind=tarfile.DIRTYPE, mode=0o755)
CHECKED = (3).to_bytes(4, "little")
ROOT: Mapping[str, Raw] = {
    "./": FOLDER,
    "./usr/": FOLDER,
    "./usr/bin/": FOLDER,
    "./usr/bin/python3.11": Raw(content=b"\x7fELF" * 20_000, mode=0o755),
    "./bin": Raw(kind=tarfile.SYMTYPE, target="usr/bin", mode=0o777),
    "./etc/": FOLDER,
    "./etc/shadow": Raw(content=b"root:*:19000:0:99999:7:::\n", mode=0o640, owner=(0, 42)),
    "./cuvee-packages": Raw(content=NOTES.encode()),
}


def archive(members: Mapping[str, Raw]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, raw in members.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode, info.mtime = raw.kind, raw.target, raw.mode, raw.mtime
            info.uid, info.gid = raw.owner
            info.uname = info.gname = "somebody"
            info.size = len(raw.content) if raw.kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(raw.content))
    return buffer.getvalue()


def normalised(members: Mapping[str, Raw]) -> list[File]:
    with tarfile.open(fileobj=io.BytesIO(archive(members))) as tar:
        return list(normal(tar))


def contents(members: Mapping[str, Raw]) -> dict[str, bytes]:
    return {node.path: content for node, content in normalised(members)}


def paths(*names: str) -> set[str]:
    """Which of these files a base keeps."""
    members = {f"./{name}": FOLDER if name.endswith("/") else Raw(content=b"x") for name in names}
    return set(contents(members)) & {name.rstrip("/") for name in names}


class TestNormal:
    def test_folders_come_before_what_is_in_them_whatever_the_order_was(self) -> None:
        backwards = dict(reversed(tuple(ROOT.items())))
        found = [node.path for node, _ in normalised(backwards)]
        assert found == sorted(found)
        assert found.index("usr/bin") < found.index("usr/bin/python3.11")
        assert normalised(backwards) == normalised(ROOT)

    def test_owners_and_modes_stay(self) -> None:
        [shadow] = [node for node, _ in normalised(ROOT) if node.path == "etc/shadow"]
        assert (shadow.mode, shadow.owner) == (0o640, (0, 42))

    @pytest.mark.parametrize(
        "path",
        [
            "dev/null", "proc/1", "sys/x", "tmp/x", "var/tmp/x", "run/x",
            "etc/resolv.conf", "etc/hostname", "etc/fstab", "etc/.pwd.lock",
            "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-",
            "etc/apt/apt.conf.d/99mmdebstrap", "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
            "etc/apt/preferences.d/cuvee",
            "etc/apt/auth.conf", "etc/apt/auth.conf.d/token",
            "var/log/dpkg.log", "var/log/apt/history.log",
            "var/lib/apt/lists/lock", "var/lib/apt/lists/auxfiles/", "var/lib/apt/lists/mirror_Packages",
            "var/lib/apt/extended_states",
            "var/cache/apt/pkgcache.bin", "var/cache/apt/archives/lock",
            "var/cache/ldconfig/aux-cache", "var/cache/debconf/config.dat-old",
            "var/lib/dpkg/status-old", "var/lib/dpkg/lock", "var/lib/dpkg/available",
            "var/lib/dbus/machine-id", "var/lib/systemd/random-seed",
            "usr/share/man/man1/ls.1.gz", "usr/share/doc/apt/changelog.gz", "usr/share/locale/de/x.mo",
            "usr/share/python3/debpython/__pycache__/version.cpython-311.pyc",
            "cuvee-packages", "cuvee-packages.names",
        ],
    )  # fmt: skip
    def test_what_is_of_the_machine_or_the_day_is_left_out(self, path: str) -> None:
        assert paths(path) == set()

    @pytest.mark.parametrize(
        "path",
        [
            "dev/", "proc/", "tmp/", "run/lock/", "var/log/apt/", "var/lib/apt/lists/partial/",
            "var/cache/apt/archives/partial/", "var/lib/dpkg/status", "var/lib/dpkg/info/apt.list",
            "var/cache/debconf/config.dat", "etc/passwd", "etc/apt/apt.conf.d/70debconf", "usr/share/man/",
            "usr/share/doc/apt/copyright", "usr/share/locale/locale.alias", "usr/share/zoneinfo/UTC",
            "usr/share/python3/debpython/version.py", "etc/ld.so.cache", "usr/lib/udev/x",
        ],
    )  # fmt: skip
    def test_what_people_expect_stays(self, path: str) -> None:
        assert paths(path) == {path.rstrip("/")}

    @pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
    def test_devices_are_left_out_wherever_they_are(self, kind: bytes) -> None:
        assert "usr/odd" not in contents({"./usr/odd": Raw(kind=kind)})

    def test_the_machines_id_is_empty(self) -> None:
        assert contents({"./etc/machine-id": Raw(content=b"f00\n")})["etc/machine-id"] == b""

    def test_passwords_have_one_day_of_their_last_change(self) -> None:
        shadow = Raw(content=b"root:*:19000:0:99999:7:::\n_apt:!:19001::::::\n")
        found = contents({"./etc/shadow": shadow})["etc/shadow"]
        assert found == f"root:*:{MTIME // 86400}:0:99999:7:::\n_apt:!:{MTIME // 86400}::::::\n".encode()

    def test_bytecode_is_taken_without_reading_its_source(self) -> None:
        pyc = b"\xa7\x0d\x0d\x0a" + CHECKED + b"12345678code"
        [found] = contents({"./usr/lib/os.pyc": Raw(content=pyc)}).keys() & {"usr/lib/os.pyc"}
        assert contents({"./usr/lib/os.pyc": Raw(content=pyc)})[found] == pyc[:4] + b"\1\0\0\0" + pyc[8:]

    def test_bytecode_that_its_sources_time_makes_stale_is_left_out(self) -> None:
        assert paths("usr/lib/os.pyc") == {"usr/lib/os.pyc"}
        dated = Raw(content=b"\xa7\x0d\x0d\x0a" + bytes(4) + b"12345678code")
        assert "usr/lib/os.pyc" not in contents({"./usr/lib/os.pyc": dated})

    @pytest.mark.parametrize("owner", [0, 42])
    def test_apts_folders_are_apts_even_where_it_could_not_enter_the_workshop(self, owner: int) -> None:
        members = {
            "./etc/passwd": Raw(content=b"root:x:0:0::/root:/bin/bash\n_apt:x:42:65534::/nonexistent:/x\n"),
            "./var/lib/apt/lists/partial/": replace(FOLDER, mode=0o700, owner=(owner, 0)),
        }
        [partial] = [node for node, _ in normalised(members) if node.path.endswith("partial")]
        assert (partial.mode, partial.owner) == (0o700, (42, 0))

    def test_hard_links_do_not_hang_on_which_name_the_file_system_gave_first(self) -> None:
        file, link = Raw(content=b"perl", mode=0o755), tarfile.LNKTYPE
        one = {"./b/perl": file, "./a/perl5": Raw(kind=link, target="./b/perl", mode=0o755)}
        other = {"./a/perl5": file, "./b/perl": Raw(kind=link, target="./a/perl5", mode=0o755)}
        assert normalised(one) == normalised(other)
        found = {node.path: (node.kind, node.target, content) for node, content in normalised(one)}
        assert found["a/perl5"] == ("file", "", b"perl")
        assert found["b/perl"] == ("hardlink", "a/perl5", b"")

    def test_a_file_whose_other_name_is_left_out_is_a_file(self) -> None:
        members = {"./tmp/x": Raw(content=b"x"), "./usr/x": Raw(kind=tarfile.LNKTYPE, target="./tmp/x")}
        assert contents(members)["usr/x"] == b"x"

    @pytest.mark.parametrize(
        ("name", "example", "text"),
        [
            (
                "etc/apt/sources.list",
                b"# Remember\ndeb http://debian.test/debian x main contrib non-free\n\n#deb-src http://y\n",
                b"deb http://debian.test/debian x main\n",
            ),
            (
                "etc/apt/sources.list.d/debian.sources",
                b"## Say\nTypes: deb\nComponents: main contrib\n\n#\n\nTypes: deb\nComponents: main x y\n",
                b"Types: deb\nComponents: main\n\nTypes: deb\nComponents: main\n",
            ),
        ],
    )
    def test_apt_has_debians_own_archive_whichever_mirror_the_base_came_from(
        self, name: str, example: bytes, text: bytes
    ) -> None:
        members = {
            "./etc/apt/sources.list": Raw(content=b"deb http://mirror.test/debian x main\n"),
            f"./usr/share/doc/apt/examples/{name.rpartition('/')[2]}": Raw(content=example),
        }
        found = {path: content for path, content in contents(members).items() if "sources" in path}
        assert found == {name: text}

    @pytest.mark.parametrize(
        ("example", "text", "name"),
        [
            ("sources.list", "deb http://debian.test/debian new main\n", "old.list"),
            ("debian.sources", "URIs: http://debian.test/debian\nSuites: new new-updates\n", "old.sources"),
        ],
    )
    def test_apt_has_further_suites_from_the_same_archive(self, example: str, text: str, name: str) -> None:
        members = {
            "./etc/apt/sources.list": Raw(content=b"deb http://mirror.test/debian new main\n"),
            "./etc/apt/sources.list.d/old.list": Raw(content=b"deb http://mirror.test/debian old main\n"),
            f"./usr/share/doc/apt/examples/{example}": Raw(content=text.encode()),
        }
        with tarfile.open(fileobj=io.BytesIO(archive(members))) as tar:
            found = {node.path: content.decode() for node, content in normal(tar, "new", ("old",))}
        assert found[f"etc/apt/sources.list.d/{name}"] == text.replace("new", "old")
        assert not any("mirror.test" in content for path, content in found.items() if "sources" in path)

    def test_a_path_that_leads_out_is_refused(self) -> None:
        with pytest.raises(CheckFailedError, match="leads out of the base"):
            normalised({"./../x": Raw()})

    def test_what_is_neither_file_folder_nor_link_is_refused(self) -> None:
        with pytest.raises(CheckFailedError, match="neither a file"):
            normalised({"./x": Raw(kind=tarfile.CONTTYPE)})


class Debian:
    """Makes the root file system of a base, as mmdebstrap would.

    Attributes:
        root: What comes out.
        refuses: What mmdebstrap says while packages are pinned, or always.
        started: With what programs were started.
    """

    def __init__(self) -> None:
        self.root = dict(ROOT)
        self.refuses: dict[bool, str] = {}
        self.started: list[tuple[str, ...]] = []

    def run(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Finished:
        self.started.append(tuple(argv))
        self.environment = env
        if argv[0] == "apt-get":
            assert cwd
            (cwd / "mmdebstrap_1_all.deb").touch()
        if argv[0] == "mmdebstrap":
            pinned = any("openssl" in part for part in argv if part.startswith("--setup-hook="))
            if says := self.refuses.get(pinned):
                return Finished(argv=tuple(argv), code=25, out="", err=says)
            [out] = [part for part in argv if part.endswith("root.tar")]
            Path(out).write_bytes(archive(self.root))
        return Finished(argv=tuple(argv), code=0, out="", err="")


@dataclass
class Bench:
    """A project's locks, a store, and a Debian to make bases from."""

    base: Base
    locks: Path
    store: Path
    programs: Path
    debian: Debian

    def __post_init__(self) -> None:
        self.said: list[str] = []

    def arguments(self, *also: str) -> tuple[Any, ...]:
        return self.locks, self.base, also, self.store, self.debian, self.said.append

    def update(self, *also: str) -> BaseLayer:
        return update(*self.arguments(*also), search=str(self.programs))

    def provide(self, *, offline: bool = False) -> BaseLayer:
        return provide(*self.arguments(), search=str(self.programs), offline=offline)

    def forget(self) -> None:
        for path in self.store.glob("bases/*/*"):
            path.unlink()
        self.debian.started.clear()

    def kept(self) -> list[Path]:
        """All files of the store, less its lock."""
        return [path for path in self.store.rglob("*") if path.is_file() and path.name != "lock"]

    def refusal(self, kind: type[CuveeError]) -> str:
        with pytest.raises(kind) as caught:
            self.provide()
        assert type(caught.value) is kind or kind is EngineOrNetworkError
        assert self.kept() == []
        return str(caught.value)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name in (LAYOUT, SNAPSHOT):
        monkeypatch.delenv(name, raising=False)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "mmdebstrap").touch(mode=0o755)
    return Bench(BASE, tmp_path / "bases", tmp_path / "store", programs, Debian())


class TestMaking:
    def test_the_lock_says_what_the_layer_is(self, bench: Bench) -> None:
        made = bench.update()
        assert made.lock == baselock.read(bench.locks, bench.base, ())
        assert made.path == bench.store / "bases" / made.lock.hex / "layer.tar.gz"
        blob = made.path.read_bytes()
        assert made.lock.digest == f"sha256:{hashlib.sha256(blob).hexdigest()}"
        assert made.lock.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(blob)).hexdigest()}"
        assert made.lock.size == len(blob)
        assert made.lock.include == ("ca-certificates", "python3")
        assert made.lock.python == "3.11.2-6"
        assert made.lock.packages == (
            Package(name="openssl", version="3.0.16", sha256=SHA),
            Package(name="python3.11", version="3.11.2-6", sha256=SHA),
        )

    def test_every_tool_reads_the_layer(self, bench: Bench) -> None:
        made = bench.update()
        with tarfile.open(made.path) as tar:
            members = tar.getmembers()
            assert {member.mtime for member in members} == {MTIME}
            assert {member.uname for member in members} == {""}
            python = tar.extractfile("usr/bin/python3.11")
            assert python
            assert python.read() == ROOT["./usr/bin/python3.11"].content
        assert made.lock.files == len(members) == len(made.lock.trace) / 2

    def test_a_large_file_is_in_several_gzip_members(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = bench.update()
        monkeypatch.setattr("builder.engines.direct.making._LARGEST", 30_000)
        parts = bench.update()
        assert parts.lock.diff_id == whole.lock.diff_id
        assert parts.path.read_bytes().count(HEAD) > whole.path.read_bytes().count(HEAD)
        assert b"".join(parts.tar()) == b"".join(whole.tar())

    def test_order_and_times_do_not_change_it(self, bench: Bench) -> None:
        first = bench.update().lock
        bench.debian.root = {name: replace(raw, mtime=99) for name, raw in reversed(tuple(ROOT.items()))} | {
            "./etc/hostname": Raw(content=b"another\n"),
            "./etc/resolv.conf": Raw(),
        }
        assert bench.update().lock == first

    def test_it_is_the_first_layer_of_an_image(self, bench: Bench) -> None:
        made = bench.update()
        layer = made.layer
        assert (layer.title, layer.digest, layer.size) == ("base", made.lock.digest, made.lock.size)
        assert b"".join(layer.blob()) == made.path.read_bytes()
        assert b"".join(layer.tar()) == gzip.decompress(made.path.read_bytes())

    def test_mmdebstrap_is_given_a_time_and_finds_chroot(self, bench: Bench) -> None:
        bench.update()
        [argv] = bench.debian.started
        assert argv[:4] == (
            "mmdebstrap",
            "--variant=minbase",
            "--format=tar",
            "--include=ca-certificates,python3",
        )
        assert argv[-2] == "bookworm"
        assert bench.debian.environment == {
            "PATH": f"{bench.programs}:/usr/sbin:/sbin",
            "SOURCE_DATE_EPOCH": str(MTIME),
        }

    def test_nothing_is_left_of_the_making(self, bench: Bench) -> None:
        made = bench.update()
        assert bench.kept() == [made.path]
        [argv] = bench.debian.started
        assert not Path(argv[-1]).parent.exists()

    def test_another_python_than_the_matrix_says_is_an_error(self, bench: Bench) -> None:
        bench.debian.root["./cuvee-packages"] = Raw(content=NOTES.replace("3.11", "3.12").encode())
        with pytest.raises(BadInputError, match=r"bookworm has no package python3\.11"):
            bench.update()
        assert bench.kept() == []
        assert not bench.locks.exists()

    def test_a_dated_archive_is_taken_where_one_is_named(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(SNAPSHOT, "http://dated.test/archive/debian/20250520T000000Z/")
        bench.update()
        [argv] = bench.debian.started
        lines = [part.split("] ")[-1].removeprefix("deb ") for part in argv if part.startswith("deb ")]
        assert lines == [
            "http://dated.test/archive/debian/20250520T000000Z bookworm main",
            "http://dated.test/archive/debian/20250520T000000Z bookworm-updates main",
            "http://dated.test/archive/debian-security/20250520T000000Z bookworm-security main",
        ]
        assert '--aptopt=Acquire::Check-Valid-Until "false"' in argv

    def test_an_archive_without_a_date_is_taken_alone(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(SNAPSHOT, "http://mirror.test/frozen")
        bench.update()
        [argv] = bench.debian.started
        [line] = [part for part in argv if part.startswith("deb ")]
        assert line.endswith(" http://mirror.test/frozen bookworm main")

    def test_a_further_suite_is_added_to_wherever_the_main_one_comes_from(self, bench: Bench) -> None:
        bench.base = bench.base.model_copy(update={"suites": ("bullseye",)})
        made = bench.update()
        assert made.lock.suites == baselock.read(bench.locks, bench.base, ()).suites == ("bullseye",)
        [argv] = bench.debian.started
        [hook] = [part for part in argv if "sources.list" in part and part.startswith("--setup-hook=")]
        assert hook.removeprefix("--setup-hook=") == (
            r"""sed -n 's/ bookworm\([ -]\)/ bullseye\1/p' "$1"/etc/apt/sources.list"""
            """ > "$1"/etc/apt/sources.list.d/bullseye.list"""
        )
        with pytest.raises(BadInputError, match="of another base than the matrix asks for"):
            baselock.read(bench.locks, BASE, ())

    def test_the_lock_of_a_base_of_one_suite_says_nothing_of_others(self, bench: Bench) -> None:
        assert '"suites"' not in bench.update().lock.text()

    def test_mmdebstrap_is_unpacked_where_it_is_not_installed(self, bench: Bench) -> None:
        (bench.programs / "mmdebstrap").unlink()
        for name in ("apt-get", "dpkg-deb", "perl"):
            (bench.programs / name).touch(mode=0o755)
        bench.update()
        assert [argv[:3] for argv in bench.debian.started][:1] == [("apt-get", "download", "-qq")]
        assert [argv[0] for argv in bench.debian.started] == ["apt-get", "dpkg-deb", "mmdebstrap"]
        assert bench.debian.environment
        assert "mmdebstrap/usr/bin:" in bench.debian.environment["PATH"]

    def test_without_mmdebstrap_and_debian_it_is_told_what_to_install(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shutil.which", lambda *_, **__: None)
        with pytest.raises(EngineOrNetworkError) as caught:
            bench.update()
        assert str(caught.value) == (
            "base bookworm: it cannot be made here: mmdebstrap is not installed. "
            "Install it (Debian's package mmdebstrap)."
        )

    def test_what_apt_tells_of_packages_is_read(self) -> None:
        assert [package.name for package in packages_of(NOTES)] == ["openssl", "python3.11"]
        assert packages_of("") == ()


class TestProviding:
    def test_what_the_store_has_is_taken_and_nothing_is_started(self, bench: Bench) -> None:
        made = bench.update()
        bench.debian.started.clear()
        bench.said.clear()
        assert bench.provide(offline=True) == made
        assert bench.debian.started == []
        assert bench.said == []

    def test_what_the_store_lacks_is_made_again_to_the_same_bytes(self, bench: Bench) -> None:
        made = bench.update()
        before = made.path.read_bytes()
        bench.forget()
        assert bench.provide() == made
        assert made.path.read_bytes() == before
        assert bench.said[-1] == "base bookworm: making it from Debian's packages (half a minute)"

    def test_half_a_blob_is_not_taken(self, bench: Bench) -> None:
        made = bench.update()
        whole = made.path.read_bytes()
        made.path.write_bytes(whole[:-1])
        assert bench.provide().path.read_bytes() == whole

    def test_the_locked_versions_are_asked_for(self, bench: Bench) -> None:
        bench.update()
        bench.forget()
        bench.provide()
        [argv] = bench.debian.started
        assert any("Package: openssl\nPin: version 3.0.16\nPin-Priority: 1001" in part for part in argv)

    def test_offline_it_is_not_made(self, bench: Bench) -> None:
        bench.update()
        bench.forget()
        with pytest.raises(EngineOrNetworkError, match="must not be made offline"):
            bench.provide(offline=True)
        assert bench.debian.started == []

    def test_versions_that_debian_has_no_more_are_told(self, bench: Bench) -> None:
        bench.update()
        bench.forget()
        moved = NOTES.replace("3.0.16", "3.0.17")
        bench.debian.root["./cuvee-packages"] = Raw(content=moved.encode())
        assert bench.refusal(CannotResolveError) == (
            "base bookworm: Debian has other packages than the lock says: openssl 3.0.16 -> 3.0.17. "
            "Run `cuvee base --update bookworm`, or name a dated archive of Debian in CUVEE_DEBIAN_SNAPSHOT, "
            "or a layout that has this base in CUVEE_BASE_LAYOUT."
        )

    def test_versions_that_cannot_be_had_together_are_told_as_well(self, bench: Bench) -> None:
        bench.update()
        bench.forget()
        bench.debian.root["./cuvee-packages"] = Raw(content=NOTES.replace("3.0.16", "3.0.17").encode())
        bench.debian.refuses = {True: "E: Unable to correct problems, you have held broken packages.\n"}
        assert "openssl 3.0.16 -> 3.0.17" in bench.refusal(CannotResolveError)
        assert len(bench.debian.started) == 2

    def test_a_network_that_fails_is_not_mistaken_for_that(self, bench: Bench) -> None:
        bench.update()
        bench.forget()
        bench.debian.refuses = {True: "E: Failed to fetch http://mirror.test/x\n"}
        assert "it cannot be made here: Failed to fetch" in bench.refusal(EngineOrNetworkError)
        assert len(bench.debian.started) == 1

    def test_other_bytes_of_the_same_version_are_told_by_their_hashes(self, bench: Bench) -> None:
        bench.update()
        bench.forget()
        bench.debian.root["./cuvee-packages"] = Raw(content=NOTES.replace(SHA, "6" * 64, 1).encode())
        assert "python3.11 3.11.2-6 (555555555555) -> 3.11.2-6 (666666666666)" in bench.refusal(
            CannotResolveError
        )

    @pytest.mark.parametrize(
        ("path", "raw", "told"),
        [
            ("./usr/bin/python3.11", Raw(content=b"other", mode=0o755), "/usr/bin/python3.11 differs"),
            ("./etc/shadow", Raw(content=ROOT["./etc/shadow"].content), "/etc/shadow differs"),
            ("./usr/odd", Raw(), "/usr/odd differs, or is one too many"),
            ("./zzz", Raw(), "/zzz differs, or is one too many"),
        ],
        ids=["content", "mode", "one too many", "behind the last"],
    )
    def test_the_first_file_that_differs_is_named(self, bench: Bench, path: str, raw: Raw, told: str) -> None:
        bench.update()
        bench.forget()
        bench.debian.root[path] = raw
        assert f"made of the same packages, it has other bytes here: {told}" in bench.refusal(
            CheckFailedError
        )

    def test_a_file_that_is_missing_at_the_end_is_told(self, bench: Bench) -> None:
        bench.debian.root["./zzz"] = Raw()
        files = bench.update().lock.files
        bench.forget()
        del bench.debian.root["./zzz"]
        assert f"it has only the first {files - 1} of {files} files" in bench.refusal(CheckFailedError)

    def test_another_compressor_is_told_apart_from_another_file(self, bench: Bench) -> None:
        lock = bench.update().lock
        bench.forget()
        other = replace(lock, digest=f"sha256:{SHA}", compressor="deflate 1")
        baselock.file(bench.locks, bench.base, ()).write_text(other.text())
        assert f"{COMPRESSOR} compresses it to other bytes than deflate 1" in bench.refusal(CheckFailedError)


class TestLayout:
    @pytest.fixture
    def layout(self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An OCI layout that has the base; the store does not."""
        made = bench.update()
        blobs = tmp_path / "layout" / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        (blobs / made.lock.hex).write_bytes(made.path.read_bytes())
        bench.forget()
        monkeypatch.setenv(LAYOUT, str(tmp_path / "layout"))
        return blobs / made.lock.hex

    def test_a_layout_that_has_the_base_gives_it_offline_too(self, bench: Bench, layout: Path) -> None:
        assert bench.provide(offline=True).path.read_bytes() == layout.read_bytes()
        assert bench.debian.started == []
        assert bench.said[-1] == "base bookworm: taking it from CUVEE_BASE_LAYOUT"

    def test_a_blob_with_another_digest_than_its_name_is_an_error(self, bench: Bench, layout: Path) -> None:
        layout.write_bytes(layout.read_bytes()[:-1] + b"x")
        said = bench.refusal(CheckFailedError)
        assert "which is not its name. Copy that layout again, or unset CUVEE_BASE_LAYOUT." in said

    def test_a_layout_without_the_base_is_passed_over(self, bench: Bench, layout: Path) -> None:
        layout.unlink()
        assert bench.provide().path.is_file()
        assert bench.debian.started

    def test_a_folder_that_is_no_layout_is_an_error(
        self, bench: Bench, layout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(LAYOUT, str(layout.parent))
        assert "is no OCI image layout" in bench.refusal(BadInputError)


class TestUnpacking:
    def test_all_of_it_comes_out(self, bench: Bench, tmp_path: Path) -> None:
        unpack(bench.update(), tmp_path / "out")
        assert (tmp_path / "out/bin/python3.11").read_bytes() == ROOT["./usr/bin/python3.11"].content
        assert stat.S_IMODE((tmp_path / "out/usr/bin/python3.11").stat().st_mode) == 0o755

    def test_a_part_of_it_comes_out(self, bench: Bench, tmp_path: Path) -> None:
        unpack(bench.update(), tmp_path / "out", lambda path: path.startswith("usr/bin"))
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["usr"]
        assert (tmp_path / "out/usr/bin/python3.11").is_file()

    @pytest.mark.parametrize(
        "damage",
        [
            lambda blob: blob[: len(blob) // 2],
            lambda blob: blob[:40] + b"garbage" * 9 + blob[99:],
            lambda _: b"no",
        ],
        ids=["cut off", "overwritten", "something else"],
    )
    def test_a_damaged_blob_is_an_error(
        self, bench: Bench, tmp_path: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        made = bench.update()
        made.path.write_bytes(damage(made.path.read_bytes()))
        with pytest.raises(CheckFailedError):
            unpack(made, tmp_path / "out")
        with pytest.raises(CheckFailedError), reading(made) as stream:
            stream.read(1)


class TestFacts:
    """What a base has is read from the layer that its lock names: no engine, and no other bytes."""

    @pytest.fixture(autouse=True)
    def _at_home(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUVEE_CACHE", str(bench.store))

    def recorded(self, bench: Bench) -> list[str]:
        project = Project(bench.locks.parent)
        bases.record_facts(project, bench.base, bench.said.append)
        return sorted(path.name for path in project.facts.iterdir())

    def test_they_are_of_the_base_and_of_it_with_debians_ffmpeg(self, bench: Bench) -> None:
        bench.update()
        bench.update("ffmpeg", "libpython3.11")
        bench.debian.started.clear()
        assert self.recorded(bench) == ["base-bookworm+ffmpeg.json", "base-bookworm.json"]
        assert bench.debian.started == []

    def test_a_base_that_nobody_wants_ffmpeg_on_needs_no_lock_with_it(self, bench: Bench) -> None:
        bench.update()
        assert self.recorded(bench) == ["base-bookworm.json"]
        assert bench.said[-1] == "base bookworm+ffmpeg: it has no lock, so nothing is recorded"

    def test_without_a_lock_it_is_told_how_to_get_one(self, bench: Bench) -> None:
        with pytest.raises(BadInputError, match="cuvee base --update bookworm"):
            self.recorded(bench)


class TestLock:
    @pytest.fixture
    def facts(self, bench: Bench) -> Iterator[dict[str, Any]]:
        """A lock as JSON; what is changed in it is written back."""
        bench.update()
        return json.loads(baselock.file(bench.locks, bench.base, ()).read_text())  # type: ignore[no-any-return]

    def refusal(self, bench: Bench, facts: Any) -> str:
        baselock.file(bench.locks, bench.base, ()).write_text(json.dumps(facts))
        with pytest.raises(BadInputError) as caught:
            bench.provide()
        [fault] = caught.value.faults
        assert fault.place == "bases/bookworm.json"
        assert fault.fix == "Run `cuvee base --update bookworm`"
        return fault.cause

    def test_without_a_lock_it_is_told_how_to_get_one(self, bench: Bench) -> None:
        with pytest.raises(BadInputError) as caught:
            bench.provide()
        assert (
            str(caught.value) == "bases/bookworm.json: it does not exist. Run `cuvee base --update bookworm`."
        )

    def test_it_reads_what_it_writes(self, bench: Bench) -> None:
        lock = bench.update().lock
        assert isinstance(lock, BaseLock)
        assert baselock.read(bench.locks, bench.base, ()).text() == lock.text()

    def test_further_packages_make_another_base(self, bench: Bench) -> None:
        made = bench.update("ffmpeg")
        assert (made.lock.id, made.lock.include) == (
            "bookworm+ffmpeg",
            ("ca-certificates", "ffmpeg", "python3"),
        )
        assert [path.name for path in bench.locks.iterdir()] == ["bookworm+ffmpeg.json"]

    @pytest.mark.parametrize(
        ("key", "value"), [("suite", "trixie"), ("include", ["python3"]), ("id", "trixie")]
    )
    def test_one_of_another_base_is_refused(
        self, bench: Bench, facts: dict[str, Any], key: str, value: object
    ) -> None:
        assert self.refusal(bench, facts | {key: value}) == "it is of another base than the matrix asks for"

    @pytest.mark.parametrize(
        "change",
        [
            {"format": 2},
            {"trace": "A"},
            {"packages": [{"name": "a'; rm -rf /; '", "version": "1", "sha256": SHA}]},
            {"packages": [{"name": "a", "version": "1\nPin: *", "sha256": SHA}]},
            {"packages": [{"name": "a", "version": "1", "sha256": "5"}]},
            {"packages": [{"name": "a", "version": "1"}]},
            {"packages": None},
            {"layer": {}},
            {"layer": {"digest": "sha256:../../x", "size": 1, "diff_id": f"sha256:{SHA}", "files": 1}},
            {"layer": {"digest": f"sha256:{SHA}", "size": -1, "diff_id": f"sha256:{SHA}", "files": 1}},
            {"layer": {"digest": f"sha256:{SHA}", "size": "1", "diff_id": f"sha256:{SHA}", "files": 1}},
        ],
    )
    def test_one_that_was_edited_by_hand_is_refused(
        self, bench: Bench, facts: dict[str, Any], change: dict[str, Any]
    ) -> None:
        assert self.refusal(bench, facts | change).startswith("it is not the lock of a base: ")

    @pytest.mark.parametrize("other", [[], None, 3, {}])
    def test_something_else_is_refused(self, bench: Bench, other: object) -> None:
        bench.locks.mkdir()
        assert self.refusal(bench, other).startswith("it is not the lock of a base: ")

    @pytest.mark.parametrize(
        ("one", "other", "number"),
        [
            ("aabbcc", "aabbcc", None),
            ("aabbcc", "aaxbcc", 1),
            ("aabb", "aabbcc", 2),
            ("aabb", "aa", 1),
            ("", "aa", 0),
        ],
    )
    def test_a_trace_tells_the_first_entry_that_differs(
        self, one: str, other: str, number: int | None
    ) -> None:
        assert trace.first_difference(one, other) == number

    def test_a_mark_tells_headers_and_contents_apart(self) -> None:
        marks = {trace.mark(head, content) for head in (b"a", b"b") for content in (b"c", b"d")}
        assert len(marks) == 4
        assert {len(mark) for mark in marks} == {2}

    def test_packages_that_came_and_went_are_told(self, bench: Bench) -> None:
        lock = bench.update().lock
        other = [Package(name="zlib", version="1", sha256=SHA), lock.packages[0]]
        assert baselock.differing(lock, other) == ("python3.11 3.11.2-6 -> none", "zlib none -> 1")
