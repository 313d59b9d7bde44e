from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from builder.abi.base import read_base
from builder.abi.facts import FORMAT, WheelFacts
from builder.abi.gather import Wanted, gather
from builder.abi.library import Library, cache_folder
from builder.errors import BadInputError
from builder.lock.record import Package
from builder.report.gathering import gather_all

ELF = Path(__file__).parents[1] / "elf"
ENGINE = "libctranslate2-d3638643.so.4.4.0"
SYSTEM = "libsystem.so.6"
NAME = "engine-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"


def store(folder: Path, data: bytes) -> Wanted:
    """Put a wheel into the store, where nothing has to be fetched."""
    sha256 = hashlib.sha256(data).hexdigest()
    path = folder / "wheels" / sha256 / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return Wanted(name="engine", version="1.0", file=NAME, sha256=sha256, size=len(data))


def wheel() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"engine.libs/{ENGINE}", (ELF / ENGINE).read_bytes())
        archive.writestr(
            "engine-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: engine\nVersion: 1.0\n"
        )
    return data.getvalue()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUVEE_CACHE", str(tmp_path))


def test_a_stored_wheel_is_harvested_and_told(tmp_path: Path) -> None:
    wanted = store(tmp_path, wheel())
    kept: list[WheelFacts] = []
    done: list[Wanted] = []

    gather([wanted], kept.append, done.append)

    [facts] = kept
    assert (facts.file, facts.sha256, done) == (NAME, wanted.sha256, [wanted])
    assert [binary.soname for binary in facts.binaries] == [ENGINE]
    assert facts.complete


def test_records_are_written_where_the_library_finds_them(tmp_path: Path) -> None:
    wanted = store(tmp_path, wheel())
    package = Package(name="engine", version="1.0", file=NAME, sha256=wanted.sha256, size=wanted.size)
    said: list[str] = []

    gather_all([package], tmp_path / "facts", said.append)

    assert Library(folders=(tmp_path / "facts",)).wheel(NAME, wanted.sha256)
    assert said == ["facts: reading 1 wheel, 0.0 GB, once"]


def test_a_damaged_wheel_stops_the_gathering_with_its_name(tmp_path: Path) -> None:
    wanted = store(tmp_path, wheel()[:-30])

    with pytest.raises(BadInputError, match=NAME):
        gather([wanted], lambda _: None, lambda _: None)


def test_this_machines_records_lie_beside_the_store(tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / f"facts-{FORMAT}"


# Bases


def archive(*entries: tuple[str, str]) -> io.BytesIO:
    """A tar archive of files (path and the ELF file they are) and links (path and `-> target`)."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for path, what in entries:
            info = tarfile.TarInfo(path)
            if what.startswith("-> "):
                info.type, info.linkname = tarfile.SYMTYPE, what.removeprefix("-> ")
                tar.addfile(info)
            else:
                content = (ELF / what).read_bytes() if what else b"no library"
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    data.seek(0)
    return data


LIBRARIES = "./usr/lib/x86_64-linux-gnu"


def test_a_base_is_what_the_loader_comes_to_from_its_own_folders() -> None:
    base = read_base(
        "small",
        "debian:small",
        archive(
            ("./lib", "-> usr/lib"),
            (f"{LIBRARIES}/{SYSTEM}", SYSTEM),
            (f"{LIBRARIES}/libalias.so.1", f"-> {SYSTEM}"),
            (f"{LIBRARIES}/libchosen.so.3", "-> /etc/alternatives/libchosen.so.3"),
            ("./etc/alternatives/libchosen.so.3", "-> /usr/lib/x86_64-linux-gnu/chosen/libchosen.so.3"),
            (f"{LIBRARIES}/chosen/libchosen.so.3", ENGINE),
            (f"{LIBRARIES}/gconv/libplugin.so", ENGINE),
            (f"{LIBRARIES}/libtext.so", ""),
            ("./usr/share/doc/libx.so.txt", ""),
        ),
    )

    assert [one.path for one in base.binaries] == [
        "/usr/lib/x86_64-linux-gnu/chosen/libchosen.so.3",
        f"/usr/lib/x86_64-linux-gnu/{SYSTEM}",
    ]
    assert base.links["/lib"] == "/usr/lib"
    assert base.links["/usr/lib/x86_64-linux-gnu/libalias.so.1"] == f"/usr/lib/x86_64-linux-gnu/{SYSTEM}"
    assert base.links["/etc/alternatives/libchosen.so.3"].endswith("chosen/libchosen.so.3")
    assert base.glibc == (0, 0)


def test_an_archive_that_ends_early_is_no_base() -> None:
    whole = archive((f"{LIBRARIES}/{SYSTEM}", SYSTEM)).getvalue()

    with pytest.raises(tarfile.TarError):
        read_base("small", "debian:small", io.BytesIO(whole[:700]))
