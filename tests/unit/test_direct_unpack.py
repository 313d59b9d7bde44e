from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from builder.engines.direct import gz, tar
from builder.engines.direct.tar import MTIME, Node
from builder.engines.direct.unpack import Archive, Stream, inflated, unpack
from builder.errors import CheckFailedError, EngineOrNetworkError

Files = Sequence[tuple[Node, bytes]]


def archive(files: Files) -> bytes:
    parts = (tar.header(node, len(data)) + data + tar.padding(len(data)) for node, data in files)
    return b"".join(parts) + tar.END


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def cut(data: bytes, size: int = 700) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def unpacked(files: Files, into: Path) -> int:
    data = archive(files)
    return unpack(cut(data), into, digest(data))


def file(path: str, content: bytes = b"x", mode: int = 0o644) -> tuple[Node, bytes]:
    return Node(path, mode=mode), content


def link(path: str, target: str) -> tuple[Node, bytes]:
    return Node(path, "link", 0o777, target), b""


def folder(path: str, mode: int = 0o755) -> tuple[Node, bytes]:
    return Node(path, "directory", mode), b""


# What is in an archive


@pytest.fixture
def _strict() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_strict")
def test_files_folders_and_links_are_as_the_archive_has_them_whatever_the_umask(tmp_path: Path) -> None:
    size = unpacked(
        [
            folder("a"),
            file("a/run", b"#!/bin/sh\n", 0o755),
            file("a/é.txt", b"hm"),
            file("a/empty", b""),
            link("a/link", "run"),
            link("a/nowhere", "/not/there"),
            (Node("a/hard", "hardlink", 0o755, "a/run"), b""),
        ],
        tmp_path,
    )
    assert size == len(b"#!/bin/sh\n") + len(b"hm")
    assert (tmp_path / "a/é.txt").read_bytes() == b"hm"
    assert (tmp_path / "a/link").readlink() == Path("run")
    assert (tmp_path / "a/nowhere").readlink() == Path("/not/there")
    assert (tmp_path / "a/hard").samefile(tmp_path / "a/run")
    assert stat.S_IMODE((tmp_path / "a/run").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755
    assert (tmp_path / "a/é.txt").stat().st_mtime == MTIME


def test_what_comes_later_replaces_what_is_there(tmp_path: Path) -> None:
    unpacked([file("a", b"old"), link("b", "a"), link("c", "a"), folder("d")], tmp_path)
    unpacked([file("a", b"new"), file("b", b"file"), folder("c"), folder("d"), file("d/e")], tmp_path)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "b").read_bytes() == b"file"
    assert not (tmp_path / "b").is_symlink()
    assert (tmp_path / "c").is_dir()
    assert not (tmp_path / "c").is_symlink()


def test_a_folder_that_the_archive_does_not_name_is_made(tmp_path: Path) -> None:
    unpacked([file("a/b/c")], tmp_path)
    assert (tmp_path / "a/b/c").read_bytes() == b"x"


def test_only_what_is_wanted_is_unpacked_and_all_of_it_is_checked(tmp_path: Path) -> None:
    data = archive([file("a"), file("b"), file("c", b"12345")])
    size = unpack(cut(data), tmp_path, digest(data), lambda path: path == "c")
    assert (size, [path.name for path in tmp_path.iterdir()]) == (5, ["c"])
    with pytest.raises(CheckFailedError):
        unpack(cut(data), tmp_path, digest(b"another"), lambda path: path == "c")


def test_folders_have_the_times_of_the_archive_whatever_came_into_them(tmp_path: Path) -> None:
    unpacked([folder("a"), folder("a/b"), file("a/b/c"), file("a/d")], tmp_path)
    assert {path.stat().st_mtime for path in (tmp_path / "a", tmp_path / "a/b")} == {MTIME}


def test_a_file_is_replaced_and_keeps_its_content_under_its_other_names(tmp_path: Path) -> None:
    unpacked([file("a", b"old")], tmp_path)
    (tmp_path / "shared").hardlink_to(tmp_path / "a")
    unpacked([file("a", b"new", 0o600)], tmp_path)
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "shared").read_bytes()) == (b"new", b"old")
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o644


def test_a_file_with_holes_has_them_as_zeros(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as made:
        info = tarfile.TarInfo("a")
        info.pax_headers = {"GNU.sparse.map": "0,3,10,2", "GNU.sparse.size": "12"}
        info.size, info.uid, info.gid = 5, os.geteuid(), os.getegid()
        made.addfile(info, io.BytesIO(b"abcde"))
        after = tarfile.TarInfo("b")
        after.size, after.uid, after.gid = 1, os.geteuid(), os.getegid()
        made.addfile(after, io.BytesIO(b"x"))
    data = buffer.getvalue()
    unpack(cut(data), tmp_path, digest(data))
    assert (tmp_path / "a").read_bytes() == b"abc" + bytes(7) + b"de"
    assert (tmp_path / "b").read_bytes() == b"x"


def test_a_folder_without_the_right_to_write_can_be_written_by_us(tmp_path: Path) -> None:
    unpacked([folder("a", 0o555), file("a/b", mode=0o444)], tmp_path)
    assert (tmp_path / "a/b").read_bytes() == b"x"
    expected = 0o555 if os.geteuid() == 0 else 0o755
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == expected


# What must not be


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a/.."])
def test_a_path_that_leads_out_is_refused(path: str, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(CheckFailedError) as caught:
        unpacked([file(path)], into)
    [fault] = caught.value.faults
    assert (fault.place, fault.cause) == (path, "its path leads out of the image")
    assert [one.name for one in tmp_path.rglob("*")] == ["into"]


@pytest.mark.parametrize("target", ["/tmp", "..", "../..", "b"])
def test_nothing_is_written_through_a_link(target: str, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(CheckFailedError, match="a/x: its path leads out of the image"):
        unpacked([folder("b"), link("a", target), file("a/x")], into)
    assert not list(tmp_path.rglob("x"))


def test_a_link_where_a_file_comes_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    into = tmp_path / "into"
    into.mkdir()
    unpacked([link("a", "../victim"), file("a", b"theirs", 0o600)], into)
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert (into / "a").read_bytes() == b"theirs"


@pytest.mark.parametrize("target", ["/etc/passwd", "../victim", "out/victim"])
def test_a_hard_link_leads_to_nothing_outside(target: str, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(CheckFailedError, match="leads out of the image"):
        unpacked([link("out", ".."), (Node("a", "hardlink", target=target), b"")], into)
    assert (tmp_path / "victim").stat().st_nlink == 1


def test_a_device_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        info = tarfile.TarInfo("null")
        info.type = tarfile.CHRTYPE
        made.addfile(info)
    data = buffer.getvalue()
    with pytest.raises(CheckFailedError, match="null is no file, folder or link"):
        unpack(cut(data), tmp_path, digest(data))


# Damage


def test_another_archive_than_the_locked_one_is_refused_with_both_hashes(tmp_path: Path) -> None:
    data = archive([file("a")])
    with pytest.raises(CheckFailedError) as caught:
        unpack(cut(data), tmp_path, digest(b"another"))
    [fault] = caught.value.faults
    assert fault.place == f"layer {digest(b'another')}"
    assert fault.cause == f"its content's SHA-256 is {hashlib.sha256(data).hexdigest()}"
    assert "cuvee clean --store" in fault.fix


def test_what_stands_behind_the_end_belongs_to_the_hash(tmp_path: Path) -> None:
    data = archive([file("a")])
    with pytest.raises(CheckFailedError):
        unpack(cut(data + bytes(10240)), tmp_path, digest(data))
    longer = data + bytes(3_000_000)
    assert unpack(cut(longer, 100_000), tmp_path, digest(longer)) == 1


@pytest.mark.parametrize("keep", [0, 100, 512, 700, 1500])
def test_an_archive_cut_short_is_one_error(keep: int, tmp_path: Path) -> None:
    data = archive([file("a", b"x" * 1000), file("b")])
    with pytest.raises(CheckFailedError) as caught:
        unpack(cut(data[:keep]), tmp_path, digest(data))
    assert caught.value.faults[0].place == f"layer {digest(data)}"


@pytest.mark.parametrize("data", [b"nonsense" * 1000, b"\xff" * 5000, bytes(100)])
def test_what_is_no_archive_is_one_error(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match=r"it is damaged|its content's SHA-256"):
        unpack(cut(data), tmp_path, digest(b"another"))


@pytest.mark.parametrize("error", [EOFError("it ends"), gzip.BadGzipFile("Not a gzipped file")])
def test_an_archive_that_cannot_be_inflated_is_damaged(error: Exception, tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield archive([file("a")])[:600]
        raise error

    with pytest.raises(CheckFailedError, match="it is damaged: "):
        unpack(failing(), tmp_path, digest(b""))


# Reading


def test_a_stream_reads_pieces_of_any_size_and_hashes_them() -> None:
    data = bytes(range(256)) * 40
    stream = Stream(iter([b"", data[:1], b"", data[1:5000], data[5000:]]))
    assert stream.readable()
    assert io.BufferedReader(stream).read() == data
    assert stream.hash.hexdigest() == hashlib.sha256(data).hexdigest()


def test_an_archive_is_read_forwards_only_and_its_content_is_not_copied() -> None:
    piece = bytes(range(100))
    archive = Archive([piece, piece])
    assert archive.read(10) == piece[:10]
    [part] = archive.parts(20)
    assert (part.obj, bytes(part)) == (piece, piece[10:30])
    assert (archive.seekable(), archive.seek(90), archive.read(20)) == (True, 90, piece[90:] + piece[:10])
    with pytest.raises(io.UnsupportedOperation):
        archive.seek(5)
    assert (len(archive.read()), archive.tell(), archive.read(5)) == (90, 200, b"")
    assert archive.hash.hexdigest() == hashlib.sha256(piece + piece).hexdigest()


def test_the_archive_in_a_gzip_file_of_many_members_is_read_to_its_end() -> None:
    parts = [b"a" * 100_000, b"", b"b" * 10]
    data = b"".join(map(gz.member, parts))
    assert b"".join(inflated(cut(data))) == b"".join(parts)


@pytest.mark.parametrize("damage", ["cut", "checksum", "nonsense", "behind"])
def test_a_damaged_gzip_file_is_one_error(damage: str) -> None:
    data = gz.member(b"grapes" * 10_000)
    damaged = {
        "cut": data[:-20],
        "checksum": data[:-8] + b"1234" + data[-4:],
        "nonsense": b"nonsense" * 100,
        "behind": data + b"nonsense",
    }[damage]
    with pytest.raises(EngineOrNetworkError) as caught:
        list(inflated(cut(damaged)))
    [fault] = caught.value.faults
    assert fault.cause.startswith("it is damaged: ")
    assert "cuvee clean --store" in fault.fix


def test_tarfile_makes_archives_that_are_unpacked_too(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as made:
        info = tarfile.TarInfo("./a/" + "x" * 150)
        info.size = 3
        info.uid = os.geteuid()
        info.gid = os.getegid()
        made.addfile(info, io.BytesIO(b"abc"))
    data = buffer.getvalue()
    unpack(cut(data), tmp_path, digest(data))
    assert (tmp_path / "a" / ("x" * 150)).read_bytes() == b"abc"
