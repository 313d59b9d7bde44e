from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from builder.engines.direct import gz, stream
from builder.engines.direct.entry import Entry, Held
from builder.engines.direct.stream import LITERAL, PIECE, Measured
from builder.engines.direct.tar import MTIME, Node
from builder.engines.direct.trace import STEP
from builder.engines.direct.zips import written_zip
from builder.errors import BadInputError
from builder.wheels.directory import Member
from builder.wheels.members import Archive, opened_wheel
from tests.wheelmaker import INFO, SITE, entries, members, wheel

GIB = 1024**3
LIBRARY = bytes(range(256)) * 1000
FILES = {
    "vat/__init__.py": b"x = 1\n",
    "vat/empty.py": b"",
    "vat/lib.so": LIBRARY,
    "vat/stored.bin": LIBRARY[:200_000],
    "vat/stored-empty": b"",
}
STORED = ("vat/stored.bin", "vat/stored-empty")


@pytest.fixture
def archives(tmp_path: Path) -> Iterator[list[Archive]]:
    with stream.opened([wheel(tmp_path, FILES, stored=STORED)]) as found:
        yield found


def blob(made: Sequence[Entry], archives: Sequence[Archive] = ()) -> bytes:
    return b"".join(stream.blob(made, archives))


def tar_of(made: Sequence[Entry], archives: Sequence[Archive] = ()) -> bytes:
    return b"".join(stream.archive(made, archives))


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def agreed(made: Sequence[Entry], archives: Sequence[Archive] = ()) -> Measured:
    """What is measured, once blob and archive agree with it and with each other."""
    packed, plain = blob(made, archives), tar_of(made, archives)
    assert gzip.decompress(packed) == plain
    found = stream.measure(made, archives)
    assert (found.digest, found.size) == (sha256(packed), len(packed))
    assert (found.diff_id, found.unpacked) == (sha256(plain), len(plain))
    return found


def test_blob_archive_and_measure_agree(archives: list[Archive]) -> None:
    agreed(entries(archives), archives)


def test_the_archive_holds_what_the_wheel_holds(archives: list[Archive]) -> None:
    found = members(tar_of(entries(archives), archives))
    site = str(SITE)[1:]
    assert {path: content for path, (_, content) in found.items() if "/vat/" in path} == {
        f"{site}/{path}": content for path, content in FILES.items()
    }
    assert all(info.mtime == MTIME and info.isreg() for info, _ in found.values())


def test_nothing_that_a_wheel_has_compressed_is_compressed_again(
    archives: list[Archive], tmp_path: Path
) -> None:
    packed, [archive] = blob(entries(archives), archives), archives
    raw = (tmp_path / "vat-1.0-py3-none-any.whl").read_bytes()
    at = 0
    for member in sorted(archive.members, key=lambda one: f"{SITE}/{one.path}"):
        stood = b"".join(archive.compressed(member))
        assert stood in raw
        if member.method == zipfile.ZIP_DEFLATED and member.path != f"{INFO}/RECORD":
            at = packed.index(gz.HEAD + stood + gz.tail(member.crc, member.size), at)


def test_what_a_wheel_has_stored_is_stored_in_the_blob(archives: list[Archive]) -> None:
    assert b"\1" + (0).to_bytes(2, "little") + b"\xff\xff" in blob(
        entries(archives), archives
    )  # the empty one
    assert FILES["vat/stored.bin"][:60_000] in blob(entries(archives), archives)


def test_a_layer_of_nothing_is_an_empty_archive() -> None:
    assert agreed([]).unpacked == 1024
    assert members(tar_of([])) == {}


def test_folders_links_and_files_made_here_are_in_it() -> None:
    made = [
        Entry(Node("opt", "directory", 0o755), made=False),
        Entry(Node("opt/a"), b"text"),
        Entry(Node("opt/b", "link", 0o777, "a")),
        Entry(Node("opt/empty"), b""),
    ]
    agreed(made)
    found = members(tar_of(made))
    assert list(found) == ["opt", "opt/a", "opt/b", "opt/empty"]
    assert (found["opt/a"][1], found["opt/b"][0].linkname) == (b"text", "a")


def test_long_runs_of_small_files_are_many_members_so_that_memory_stays_small() -> None:
    made = [Entry(Node(f"opt/{number:05}.py"), b"%d" % number) for number in range(3 * LITERAL // 512)]
    agreed(made)
    assert blob(made).count(gz.HEAD) >= 3
    assert len(members(tar_of(made))) == len(made)


def test_a_large_file_made_here_is_in_it_too() -> None:
    made = [Entry(Node("opt/RECORD"), LIBRARY * 12), Entry(Node("opt/b"), b"b")]
    agreed(made)
    assert members(tar_of(made))["opt/RECORD"][1] == LIBRARY * 12


def test_pieces_are_neither_tiny_nor_large(archives: list[Archive]) -> None:
    pieces = [len(piece) for piece in stream.blob(entries(archives) * 20, archives)]
    assert len(pieces) > 1
    assert all(PIECE <= size < 3 * PIECE for size in pieces[:-1])


# Files beyond four gigabytes, of which nobody has the bytes


class Vast:
    """A zip file with a file of any size, whose deflate stream is three bytes here."""

    def __init__(self, size: int) -> None:
        self.members = (vast(size),)

    def compressed(self, member: Member) -> Iterator[memoryview]:
        yield memoryview(b"abc")[: member.compressed]


def vast(size: int) -> Member:
    return Member(
        path="large.so",
        size=size,
        compressed=3,
        name=b"large.so",
        offset=0,
        end=99,
        method=zipfile.ZIP_DEFLATED,
        crc=7,
    )


@pytest.mark.parametrize("size", [4 * GIB - 1, 4 * GIB, 5 * GIB, 9 * GIB])
def test_a_file_beyond_four_gigabytes_has_its_size_in_tar_and_gzip(size: int) -> None:
    made = [Entry(Node("large.so"), Held(0, vast(size)))]
    packed = blob(made, cast("list[Archive]", [Vast(size)]))
    head = zlib.decompressobj(wbits=31).decompress(packed)
    if size < 8 * GIB:
        assert tarfile.TarInfo.frombuf(head[:512], "utf-8", "strict").size == size
    else:
        assert f"size={size}\n".encode() in head
    assert b"abc" + (7).to_bytes(4, "little") + (size % (4 * GIB)).to_bytes(4, "little") in packed


# Checks on the way


def test_a_file_that_is_not_what_record_says_is_named_with_both_hashes(archives: list[Archive]) -> None:
    made = entries(archives)
    number = next(at for at, one in enumerate(made) if one.node.path.endswith("lib.so"))
    held = cast("Held", made[number].content)
    made[number] = Entry(made[number].node, Held(0, held.member, "0" * 64), made=False)
    with pytest.raises(BadInputError) as caught:
        stream.measure(made, archives)
    [fault] = caught.value.faults
    assert fault.place == "vat-1.0-py3-none-any.whl vat/lib.so"
    assert (
        fault.cause
        == f"its sha256 is {hashlib.sha256(LIBRARY).hexdigest()}, and the wheel's RECORD says {'0' * 64}"
    )
    assert "use another version" in fault.fix


def test_a_file_of_which_nothing_is_said_is_held_to_its_checksum_alone(archives: list[Archive]) -> None:
    [archive] = archives
    made = [Entry(Node(one.path), Held(0, one)) for one in archive.members]
    agreed(made, archives)


def test_the_trace_tells_of_each_file_that_is_made_here_and_of_no_other(archives: list[Archive]) -> None:
    [archive] = archives
    pyc = Entry(Node("a.pyc"), Held(0, archive.members[0]))
    made = [
        Entry(Node("opt", "directory"), made=False),
        Entry(Node("opt/a"), b"a"),
        Entry(Node("opt/b"), Held(0, archive.members[2], ""), made=False),
        pyc,
    ]
    found = stream.measure(made, archives).trace
    assert len(found) == 2 * STEP
    changed = [*made[:1], Entry(Node("opt/a"), b"b"), *made[2:]]
    assert stream.measure(changed, archives).trace[STEP:] == found[STEP:]
    assert stream.measure(changed, archives).trace[:STEP] != found[:STEP]
    other_mode = [*made[:3], Entry(Node("a.pyc", mode=0o755), pyc.content)]
    assert stream.measure(other_mode, archives).trace[:STEP] == found[:STEP]
    assert stream.measure(other_mode, archives).trace != found


def test_zip_files_that_are_gone_are_one_error(tmp_path: Path) -> None:
    with (
        pytest.raises(BadInputError, match=r"gone\.whl: cannot be read as a wheel"),
        stream.opened([tmp_path / "gone.whl"]),
    ):
        pass


# One digest everywhere


def test_a_small_layer_has_this_digest_on_every_machine(archives: list[Archive], tmp_path: Path) -> None:
    """A change here changes every image: raise `content.FORMAT`, and record all images anew."""
    # zipfile compresses with the zlib that it finds; so what is held here is stored, or deflated by us.
    with written_zip(tmp_path / "bytecode.zip") as deflated:
        deflated.add("vat/a.pyc", LIBRARY)
    made = [
        Entry(Node("opt", "directory", 0o755), made=False),
        Entry(Node("opt/link", "link", 0o777, "made")),
        Entry(Node("opt/made"), b"".join(b"%d grapes\n" % number for number in range(1000))),
        *(
            Entry(Node(f"opt/{one.path}", mode=0o755), Held(0, one), made=False)
            for one in archives[0].members
            if one.path in STORED
        ),
    ]
    with opened_wheel(tmp_path / "bytecode.zip") as bytecode:
        made += [Entry(Node(f"opt/{one.path}"), Held(1, one)) for one in bytecode.members]
        assert agreed(made, [*archives, bytecode]) == Measured(
            digest="sha256:afbf574c5cb90a266b0e5f4f2919f31c3a4648277ffb8fc948aa49f718f64738",
            size=203240,
            diff_id="sha256:b39cc63add1712373a3ff8a38802f33b4a702334f3e0c21d506a59600c94606f",
            unpacked=471552,
            trace="orwlZt",
        )


def test_the_same_wheel_at_another_place_and_time_gives_the_same_digest(tmp_path: Path) -> None:
    found = set()
    for folder in ("a", "b/deeper"):
        path = wheel(tmp_path / folder, FILES, stored=STORED)
        path.touch()
        with stream.opened([path]) as archives:
            found.add(stream.measure(entries(archives), archives))
    assert len(found) == 1


# Zip files of other forms


def test_a_wheel_with_zip64_headers_is_a_layer_like_any_other(tmp_path: Path) -> None:
    path = wheel(tmp_path, FILES, stored=STORED, zip64=tuple(FILES))
    assert path.read_bytes().count(b"\1\0\x10\0") >= len(FILES)  # the field that holds the sizes
    with stream.opened([path]) as archives:
        agreed(entries(archives), archives)
        found = members(tar_of(entries(archives), archives))
    assert found[f"{SITE}/vat/lib.so"[1:]][1] == LIBRARY


def test_a_wheel_written_without_seeking_whose_sizes_come_behind_the_content_is_read(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(cast("bytes", data))
            return len(cast("bytes", data))

    pipe, sound = Pipe(), wheel(tmp_path, FILES)
    with zipfile.ZipFile(sound) as source, zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    sound.write_bytes(pipe.data)
    with opened_wheel(sound) as archive:
        agreed(entries([archive]), [archive])


def test_a_wheel_with_something_before_it_is_read(tmp_path: Path) -> None:
    path = wheel(tmp_path, FILES)
    path.write_bytes(b"#!/bin/sh\nexit 1\n" + path.read_bytes())
    with opened_wheel(path) as archive:
        agreed(entries([archive]), [archive])


@seed(1)
@settings(deadline=None, max_examples=60)
@given(
    contents=st.lists(st.tuples(st.binary(max_size=3000), st.integers(1, 40), st.booleans()), max_size=8),
    made=st.lists(st.binary(max_size=2000), max_size=8),
)
def test_blob_archive_and_measure_agree_whatever_is_in_a_layer(
    contents: list[tuple[bytes, int, bool]], made: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = {f"f{number}": data * times for number, (data, times, _) in enumerate(contents)}
    stored = [f"f{number}" for number, (_, _, is_stored) in enumerate(contents) if is_stored]
    path = wheel(tmp_path_factory.getbasetemp() / "any", files, stored=stored)
    with stream.opened([path]) as archives:
        agreed([*entries(archives), *(Entry(Node(f"m{at}"), one) for at, one in enumerate(made))], archives)
