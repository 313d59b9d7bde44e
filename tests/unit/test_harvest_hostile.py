"""Wheels that are damaged or made to harm: each is one clear error, or harmless, and never a crash.

Places in the zip file are those of PKWARE's APPNOTE: a member's header begins with PK34, the directory's
entry for it with PK12.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from builder.abi.content import Content
from builder.abi.elf import read_elf
from builder.abi.fatbin import gpu_code
from builder.abi.harvest import harvest
from builder.abi.opens import opened
from builder.abi.torch import TORCH_PYTHON, listed_architectures
from builder.errors import BadInputError, EngineOrNetworkError
from builder.wheels import directory
from builder.wheels.directory import MOST_FAULTS
from builder.wheels.members import opened_wheel

ELF = Path(__file__).parents[1] / "elf"
NAMES = (
    "libctranslate2-d3638643.so.4.4.0",
    "libcudnn-463fd6d5.so.8.9.7",
    "libcudnn-74a4c495.so.9.1.0",
    "libsystem.so.6",
    "libtorch_python.so",
    "program",
)
SHIM_8 = (ELF / NAMES[1]).read_bytes()

WHEEL = "vat-1.0-py3-none-any.whl"
HASH = "0" * 64

HEADER, ENTRY = b"PK\x03\x04", b"PK\x01\x02"
FLAGS, METHOD, CRC, COMPRESSED, SIZE, OFFSET = 8, 10, 16, 20, 24, 42
"""Places in the directory's entry."""


def wheel(folder: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def changed(path: Path, change: Callable[[bytearray], Any]) -> Path:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def put(data: bytearray, at: int, value: int, size: int) -> None:
    data[at : at + size] = value.to_bytes(size, "little")


def refused(path: Path, member: str, cause: str) -> None:
    with pytest.raises(BadInputError) as caught:
        harvest(WHEEL, HASH, path)
    fault = caught.value.faults[0]
    assert fault.place == f"{WHEEL} {member}".strip()
    assert cause in fault.cause
    assert "fetch it again" in fault.fix.lower()


def test_the_same_wheel_without_harm_is_harvested(tmp_path: Path) -> None:
    assert len(harvest(WHEEL, HASH, wheel(tmp_path, {"a/b.so": SHIM_8, "a/": b""})).binaries) == 1


@pytest.mark.parametrize("name", ["a/café.so", "a/b..so", "a/..b/c.so", "a/C:d.so"])
def test_unusual_names_are_no_harm(name: str, tmp_path: Path) -> None:
    assert harvest(WHEEL, HASH, wheel(tmp_path, {name: SHIM_8})).binaries[0].path == name


# Names


@pytest.mark.parametrize(
    "name",
    [
        *("../x.so", "a/../../x.so", "a/..", "/x.so", "/etc/x.so"),
        *("C:/x.so", "c:\\x.so", "\\x.so", "..\\x.so", "a\\..\\x.so"),
    ],
)
def test_a_path_that_climbs_out_is_refused(name: str, tmp_path: Path) -> None:
    shown = name.replace("\\", "\\\\")
    refused(wheel(tmp_path, {name: SHIM_8}), shown, "has a path that leads out of the wheel")


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"a/b.so": SHIM_8, "a/c.so": SHIM_8})
    changed(path, lambda data: data.__setitem__(slice(None), data.replace(b"a/c.so", b"a/b.so")))
    refused(path, "a/b.so", "stands in the wheel twice")


def test_a_name_that_is_not_utf_8_is_refused_whether_it_claims_to_be_or_not(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"a/bb.so": SHIM_8})
    changed(path, lambda data: data.__setitem__(slice(None), data.replace(b"a/bb.so", b"a/\xff\xfe.so")))
    refused(path, "a/\\xa0\\u25a0.so", "has a name that is not UTF-8")

    changed(path, lambda data: put(data, data.index(ENTRY) + FLAGS, directory.UTF_8, 2))
    refused(path, "", "can't decode byte 0xff")


def test_a_name_with_a_zero_byte_and_an_empty_one_are_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"a/b.so": SHIM_8})
    changed(path, lambda data: data.__setitem__(slice(None), data.replace(b"a/b.so", b"a/b\0so")))
    refused(path, "a/b\\x00so", "has no name, or a zero byte in it")

    path = wheel(tmp_path, {"a": b""})
    # The byte of the name becomes one of the extra field behind it.
    changed(path, lambda data: put(data, data.index(ENTRY) + 28, 1 << 16, 4))
    refused(path, "", "has no name, or a zero byte in it")


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / WHEEL
    link = zipfile.ZipInfo("a/b.so")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(path, "a/b.so", "is a symbolic link")


def test_all_faults_of_a_wheel_are_told_at_once_but_not_thousands(tmp_path: Path) -> None:
    path = wheel(tmp_path, {f"../{i}": b"" for i in range(MOST_FAULTS + 5)})
    with pytest.raises(BadInputError) as caught:
        harvest(WHEEL, HASH, path)
    assert len(caught.value.faults) == MOST_FAULTS


# Sizes


def test_a_member_that_claims_what_no_zip_file_can_hold_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"a/b.so": SHIM_8})
    changed(path, lambda data: put(data, data.index(ENTRY) + SIZE, 1100 * len(data), 4))
    refused(path, "a/b.so", "that is a trap")

    path = wheel(tmp_path, {"a/b.so": b"x"}, zipfile.ZIP_STORED)
    changed(path, lambda data: put(data, data.index(ENTRY) + COMPRESSED, 0, 4))
    refused(path, "a/b.so", "claims to hold 1 bytes in 0")


def test_a_member_larger_than_any_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel(tmp_path, {"a/b.so": SHIM_8, "a/c.so": SHIM_8}, zipfile.ZIP_STORED)
    monkeypatch.setattr(directory, "MOST_BYTES", len(SHIM_8) - 1)
    refused(path, "a/b.so", "that is a trap")
    monkeypatch.setattr(directory, "MOST_BYTES", len(SHIM_8))
    monkeypatch.setattr(directory, "MOST_BYTES_TOGETHER", 2 * len(SHIM_8) - 1)
    refused(path, "", "claims to hold 10496 bytes: that is a trap")


def test_a_bomb_that_lies_about_its_size_is_stopped_when_it_grows(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"a/b.so": SHIM_8 + bytes(50_000_000)})
    changed(path, lambda data: put(data, data.index(ENTRY) + SIZE, 10_000, 4))

    refused(path, "a/b.so", "has more than the 10000 bytes")


def test_a_member_shorter_than_it_says_or_with_another_checksum_is_refused(tmp_path: Path) -> None:
    whole = wheel(tmp_path, {"a/b.so": SHIM_8}).read_bytes()
    for place, value in ((SIZE, len(SHIM_8) + 1), (CRC, 0)):
        data = bytearray(whole)
        put(data, data.index(ENTRY) + place, value, 4)
        path = tmp_path / WHEEL
        path.write_bytes(data)
        refused(path, "a/b.so", "its size or its checksum is not what the wheel's directory tells")


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    files = {"a/b.so": SHIM_8, "a/c.so": SHIM_8}
    path = wheel(tmp_path, files)
    changed(path, lambda data: put(data, data.rindex(ENTRY) + OFFSET, 4, 4))
    refused(path, "a/b.so", "reaches into the one behind it")

    def longer(data: bytearray) -> None:
        put(data, data.index(HEADER) + 28, 500, 2)  # the length of what stands before its content

    path = changed(wheel(tmp_path, files), longer)
    refused(path, "a/b.so", "it reaches into the one behind it")


def test_a_member_that_reaches_into_the_directory_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"a/b.so": SHIM_8})
    changed(path, lambda data: put(data, data.index(ENTRY) + COMPRESSED, len(SHIM_8), 4))
    refused(path, "a/b.so", "reaches into the one behind it")


# Forms


def test_an_encrypted_member_is_refused_whichever_header_says_it(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"a/b.so": SHIM_8})
    changed(path, lambda data: put(data, data.index(HEADER) + 6, 1, 2))
    refused(path, "a/b.so", "says another way of storing")
    changed(path, lambda data: put(data, data.index(ENTRY) + FLAGS, 1, 2))
    refused(path, "a/b.so", "is encrypted")


def test_a_member_whose_own_header_has_another_name_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"a/b.so": SHIM_8})
    changed(path, lambda data: put(data, data.index(HEADER) + 30, ord("x"), 1))
    refused(path, "a/b.so", "its own header has another name")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_ways_of_compression_that_wheels_do_not_use_are_refused(method: int, tmp_path: Path) -> None:
    refused(wheel(tmp_path, {"a/b.so": SHIM_8}, method), "a/b.so", f"compressed by method {method}")


def test_zip64_headers_are_read(tmp_path: Path) -> None:
    path = tmp_path / WHEEL
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(zipfile.ZipInfo("a/b.so"), "w", force_zip64=True) as file,
    ):
        file.write(SHIM_8)
    assert len(harvest(WHEEL, HASH, path).binaries) == 1


def test_a_zip64_header_with_sizes_beyond_the_file_is_refused(tmp_path: Path) -> None:
    entry = struct.pack("<HHQQ", 1, 16, 1 << 62, 1 << 61)

    def large(data: bytearray) -> None:
        at = data.index(ENTRY)
        put(data, at + COMPRESSED, 0xFFFFFFFF, 4)
        put(data, at + SIZE, 0xFFFFFFFF, 4)
        put(data, at + 30, len(entry), 2)
        end = at + 46 + len("a/b.so")
        data[end:end] = entry
        put(data, data.rindex(b"PK\x05\x06") + 12, 46 + len("a/b.so") + len(entry), 4)

    refused(changed(wheel(tmp_path, {"a/b.so": SHIM_8}), large), "a/b.so", "that is a trap")


def test_damage_inside_a_deflate_stream_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"a/b.so": SHIM_8})
    changed(path, lambda data: data.__setitem__(slice(100, 200), b"\xff" * 100))
    refused(path, "a/b.so", "cannot be read as a wheel")


def test_a_stream_without_an_end_is_refused(tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=-15)
    stream = packer.compress(SHIM_8) + packer.flush(zlib.Z_FULL_FLUSH)
    path = wheel(tmp_path, {"a/b.so": stream}, zipfile.ZIP_STORED)

    def deflated(data: bytearray) -> None:
        for at, step in ((data.index(HEADER), 0), (data.index(ENTRY), 2)):
            put(data, at + 8 + step, zipfile.ZIP_DEFLATED, 2)
        put(data, data.index(ENTRY) + SIZE, len(SHIM_8), 4)
        put(data, data.index(ENTRY) + CRC, zlib.crc32(SHIM_8), 4)

    refused(changed(path, deflated), "a/b.so", "it ends in the middle of its content")


def test_an_archive_without_members_is_no_wheel(tmp_path: Path) -> None:
    refused(wheel(tmp_path, {}), "", "it is empty")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.99])
def test_a_wheel_cut_short_is_one_error(share: float, tmp_path: Path) -> None:
    path = wheel(tmp_path, {"a/b.so": SHIM_8, "a/c.so": SHIM_8})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(path, "", "cannot be read as a wheel")


def test_metadata_larger_than_any_is_refused(tmp_path: Path) -> None:
    files = {"vat-1.0.dist-info/METADATA": bytes(range(256)) * (4096 * 5)}
    refused(wheel(tmp_path, files), "vat-1.0.dist-info/METADATA", "no such file has more than")


def test_a_full_disk_is_no_fault_of_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, **_: object) -> None: ...
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...
        def write(self, _: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile", Full)
    with pytest.raises(
        EngineOrNetworkError, match=r"a/b\.so: cannot be unpacked into .*: No space left.*TMPDIR"
    ):
        harvest(WHEEL, HASH, wheel(tmp_path, {"a/b.so": SHIM_8}))


# Any damage at all


def told_or_refused(path: Path) -> None:
    try:
        harvest(WHEEL, HASH, path)
        with opened_wheel(path) as archive:
            for member in archive.members:
                archive.read(member, 10_000_000)
    except BadInputError as error:
        assert error.faults  # noqa: PT017 - much damage hits what nothing reads


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 1_000_000),
        st.one_of(st.integers(0, 255).map(lambda byte: bytes([byte])), st.binary(min_size=2, max_size=8)),
    ),
    min_size=1,
    max_size=12,
)


def with_changes(data: bytes, changes: list[tuple[int, bytes]], begin: int = 0) -> bytes:
    result = bytearray(data)
    for place, value in changes:
        at = begin + place % (len(data) - begin)
        result[at : at + len(value)] = value[: len(data) - at]
    return bytes(result)


@seed(1)
@settings(deadline=None, max_examples=150)  # a busy machine is no failure
@given(changes=CHANGES, place=st.sampled_from(["anywhere", "directory", "beginning"]))
def test_no_damage_to_a_wheel_is_a_traceback(
    changes: list[tuple[int, bytes]], place: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = wheel(
        tmp_path_factory.getbasetemp(),
        {
            "a/b.so": SHIM_8[:2000],
            TORCH_PYTHON: SHIM_8,
            "vat-1.0.dist-info/METADATA": b"Requires-Dist: torch",
        },
    )
    data = path.read_bytes()
    if place == "beginning":
        data = with_changes(data[:60], changes) + data[60:]
    else:
        data = with_changes(data, changes, data.index(ENTRY) if place == "directory" else 0)
    path.write_bytes(data)
    told_or_refused(path)


def all_read(data: bytes) -> None:
    content = Content(file=io.BytesIO(data), size=len(data))
    try:
        elf = read_elf(content, "x.so")
        opened(content, elf, "x.so", "x.so", "9.1.0.70", "12")
        gpu_code(content, elf.gpu_code, "x.so")
        listed_architectures(content, elf, "x.so")
    except BadInputError as error:
        assert len(error.faults) == 1  # noqa: PT017 - much damage hits what nothing reads


@seed(2)
@settings(deadline=None, max_examples=400)
@given(
    name=st.sampled_from(NAMES),
    changes=CHANGES,
    place=st.sampled_from(["anywhere", "header", "tables", "sections"]),
)
def test_no_damage_to_a_library_is_a_traceback(
    name: str, changes: list[tuple[int, bytes]], place: str
) -> None:
    data = (ELF / name).read_bytes()
    sections = int.from_bytes(data[40:48], "little")
    begin, end = {"header": (0, 64), "tables": (0, 2000), "sections": (sections, len(data))}.get(
        place, (0, len(data))
    )
    all_read(data[:begin] + with_changes(data[begin:end], changes) + data[end:])


@pytest.mark.parametrize("name", NAMES)
def test_no_truncation_of_a_library_is_a_traceback(name: str) -> None:
    whole = (ELF / name).read_bytes()
    for keep in range(0, len(whole), 31):
        all_read(whole[:keep])
