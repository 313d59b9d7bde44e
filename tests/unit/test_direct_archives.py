from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.engines.direct import archives
from builder.engines.direct.archives import unpack_source
from builder.errors import BadInputError, CuveeError, EngineOrNetworkError

NAME = "x-1.0.tar.gz"


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    return made


def archive(folder: Path, *entries: tuple[tarfile.TarInfo, bytes], name: str = NAME) -> Path:
    path = folder / name
    with tarfile.open(path, "w:gz") as tar:
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def unpacked(path: Path) -> Path:
    folder = path.parent / "unpacked"
    folder.mkdir()
    return unpack_source(path, folder)


def refusal(path: Path) -> str:
    """The place and the cause; nothing may lie beside the folder then."""
    before = sorted(path.parent.iterdir())
    with pytest.raises(BadInputError) as caught:
        unpacked(path)
    assert sorted(path.parent.iterdir()) == sorted([*before, path.parent / "unpacked"])
    [fault] = caught.value.faults
    assert fault.fix in {"Do not build it: use another version", "Delete it and fetch it again"}
    return f"{fault.place}: {fault.cause}"


def test_files_and_programs_are_unpacked(tmp_path: Path) -> None:
    top = unpacked(
        archive(
            tmp_path,
            (entry("x-1.0", tarfile.DIRTYPE), b""),
            (entry("x-1.0/setup.py", mode=0o777), b"setup()"),
            (entry("./x-1.0/a/b.txt", mode=0o4600), b"text"),
        )
    )
    assert top == tmp_path / "unpacked" / "x-1.0"
    assert (top / "setup.py").read_bytes() == b"setup()"
    modes = {path.name: path.stat().st_mode & 0o7777 for path in top.rglob("*") if path.is_file()}
    assert modes == {"setup.py": 0o755, "b.txt": 0o644}


def test_a_zip_file_is_unpacked_too(tmp_path: Path) -> None:
    path = tmp_path / "x-1.0.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("x-1.0/setup.py", "setup()")
    assert (unpacked(path) / "setup.py").read_text() == "setup()"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symbolic", "hard"])
def test_links_become_copies_so_that_none_can_be_written_through(tmp_path: Path, kind: bytes) -> None:
    link = "../a.txt" if kind == tarfile.SYMTYPE else "x/a.txt"
    made = archive(tmp_path, (entry("x/d/link", kind, link), b""), (entry("x/a.txt", mode=0o755), b"text"))
    top = unpacked(made)
    assert (top / "d" / "link").read_text() == "text"
    assert not (top / "d" / "link").is_symlink()
    assert (top / "d" / "link").stat().st_nlink == 1
    assert (top / "d" / "link").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["../evil", "/evil", "x/../../evil", "..", ".", "x/../..", "x/a\udcff"])
def test_no_path_leads_out(tmp_path: Path, name: str) -> None:
    assert NAME in refusal(archive(tmp_path, (entry("x/a"), b""), (entry(name), b"evil")))


@pytest.mark.parametrize(
    ("kind", "link", "cause"),
    [
        (tarfile.SYMTYPE, "../../evil", "is a link that leads out of the archive"),
        (tarfile.SYMTYPE, "/etc/passwd", "is a link that leads out of the archive"),
        (tarfile.LNKTYPE, "../evil", "is a link that leads out of the archive"),
        (tarfile.LNKTYPE, "/etc/passwd", "is a link that leads out of the archive"),
        (tarfile.SYMTYPE, "missing", "is a link to what is no file of the archive"),
        (tarfile.SYMTYPE, ".", "is a link to what is no file of the archive"),
        (tarfile.SYMTYPE, "link", "is a link to what is no file of the archive"),
        (tarfile.FIFOTYPE, "", "is neither a file nor a folder nor a link"),
        (tarfile.CHRTYPE, "", "is neither a file nor a folder nor a link"),
    ],
)
def test_no_link_leads_out_and_nothing_else_is_made(
    tmp_path: Path, kind: bytes, link: str, cause: str
) -> None:
    made = archive(tmp_path, (entry("x/a"), b""), (entry("x/link", kind, link), b""))
    assert refusal(made) == f"{NAME} x/link: {cause}"


def test_a_file_behind_a_link_does_not_go_where_the_link_leads(tmp_path: Path) -> None:
    made = archive(tmp_path, (entry("x/d", tarfile.SYMTYPE, "/tmp"), b""), (entry("x/d/evil"), b"evil"))
    assert refusal(made) == f"{NAME} x/d: is a link that leads out of the archive"


@pytest.mark.parametrize(
    ("limit", "most", "cause"),
    [("MOST_BYTES", 9, "holds more than 9 bytes"), ("MOST_FILES", 1, "has more than 1 files")],
)
def test_more_bytes_or_files_than_any_has_are_a_trap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, cause: str
) -> None:
    made = archive(tmp_path, (entry("x/a"), b"12345"), (entry("x/b"), b"12345"))
    monkeypatch.setattr(archives, limit, most)
    assert refusal(made) == f"{NAME}: {cause}: that is a trap"


def test_a_bomb_in_a_header_is_a_trap_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 1000)
    monkeypatch.setattr(archives, "MOST_FILES", 10)
    made = archive(tmp_path, (entry("x/" + "a" * 1_000_000), b""))
    assert "more comes out of it than any source archive holds" in refusal(made)


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


def without_its_end(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data)[:700])


@pytest.mark.parametrize("damage", [truncated, flipped, without_its_end, bytes.swapcase, lambda _: b""])
def test_damage_is_told(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    made = archive(tmp_path, (entry("x/a"), bytes(range(256)) * 99))
    made.write_bytes(damage(made.read_bytes()))
    assert refusal(made).startswith(NAME)


@pytest.mark.parametrize(
    ("entries", "cause"),
    [
        ([], "has 0 things at its top, and not one folder"),
        (["a/x", "b/x"], "has 2 things at its top, and not one folder"),
        (["setup.py"], "has 1 things at its top, and not one folder"),
    ],
    ids=["empty", "two", "file"],
)
def test_there_is_one_folder_at_the_top(tmp_path: Path, entries: list[str], cause: str) -> None:
    made = archive(tmp_path, *((entry(name), b"") for name in entries))
    assert refusal(made) == f"{NAME}: {cause}"


def test_other_kinds_of_archive_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.rar").touch()
    assert refusal(tmp_path / "x.rar") == "x.rar: is none of .tar.gz, .tgz, .zip"


def test_where_files_stand_in_each_others_way_the_place_is_told(tmp_path: Path) -> None:
    made = archive(tmp_path, (entry("x/a"), b""), (entry("x/a/b"), b""))
    with pytest.raises(EngineOrNetworkError) as caught:
        unpacked(made)
    [fault] = caught.value.faults
    assert fault.place == NAME
    assert isinstance(caught.value, CuveeError)
