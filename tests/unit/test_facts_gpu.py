from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from builder.abi import fatbin
from builder.abi.content import Content, Part
from builder.abi.elf import read_elf
from builder.abi.fatbin import GpuCode, gpu_code
from builder.errors import BadInputError

ELF = Path(__file__).parents[1] / "elf"
ENGINE = "libctranslate2-d3638643.so.4.4.0"

SASS, PTX = 2, 1
PLAIN, LZ4, ZSTANDARD, SPECIFIC = 0x11, 0x2011, 0x8011, 0x100000


def entry(
    kind: int,
    architecture: int,
    code: bytes = b"",
    *,
    flags: int = PLAIN,
    ptx: tuple[int, int] = (8, 4),
    plain_size: int = 4096,
) -> bytes:
    code = code or bytes(3000)
    major, minor = ptx
    head = struct.pack("<HHIQII", kind, 0x101, 64, len(code), 0, 0)
    return head + struct.pack("<HHIQQQQ", minor, major, architecture, 0, flags, 0, plain_size) + code


def container(*entries: bytes) -> bytes:
    body = b"".join(entries)
    whole = struct.pack("<IHHQ", fatbin.MAGIC, 1, 16, len(body)) + body
    return whole + bytes(-len(whole) % 8)


def cubin(release: int) -> bytes:
    """The beginning of machine code, with more behind it."""
    head = b"\x7fELF\x02\x01\x01\x33\x07" + bytes(7) + struct.pack("<HHI", 2, 190, release)
    return head + bytes(3000)


def code_in(section: bytes) -> GpuCode:
    content = Content(file=io.BytesIO(section), size=len(section))
    return gpu_code(content, (Part(offset=0, size=len(section)),), "x.so")


def test_machine_code_comes_before_ptx_and_each_architecture_once() -> None:
    data = (ELF / ENGINE).read_bytes()
    content = Content(file=io.BytesIO(data), size=len(data))
    parts = read_elf(content, ENGINE).gpu_code

    assert gpu_code(content, parts, ENGINE) == GpuCode(
        architectures=("sm_53", "sm_86", "compute_86"), cuda="12.2"
    )
    assert gpu_code(content, parts * 2, ENGINE).architectures == ("sm_53", "sm_86", "compute_86")
    assert gpu_code(content, (), ENGINE) == GpuCode()


def test_padding_of_any_length_is_skipped() -> None:
    section = bytes(16) + container(entry(SASS, 70)) + bytes(200_000) + container(entry(SASS, 80)) + bytes(8)
    assert code_in(section).architectures == ("sm_70", "sm_80")
    assert code_in(bytes(100)) == GpuCode()


def test_code_for_one_architecture_alone_has_its_letter() -> None:
    section = container(entry(SASS, 90, flags=PLAIN | SPECIFIC), entry(SASS, 90), entry(PTX, 120))
    assert code_in(section).architectures == ("sm_90", "sm_90a", "compute_120")


def test_an_architecture_with_nothing_but_a_stub_is_not_supported() -> None:
    stub = entry(PTX, 52, bytes(99), flags=LZ4, plain_size=147)
    empty = entry(SASS, 52, bytes(760), plain_size=0)
    section = container(stub, empty, entry(SASS, 80), entry(PTX, 80, bytes(99), flags=LZ4, plain_size=256))

    assert code_in(section).architectures == ("sm_80", "compute_80")
    assert code_in(section + container(entry(PTX, 52))).architectures == ("sm_80", "compute_52", "compute_80")


@pytest.mark.parametrize("size", [760, 1072, 1904])
def test_the_empty_machine_code_that_stands_for_code_elsewhere_tells_nothing(size: int) -> None:
    """cuFFT 12 has this alone for sm_75, and its kernels, for all GPUs from there on, in its data."""
    assert code_in(container(entry(SASS, 75, bytes(size)))) == GpuCode()
    packed = entry(SASS, 75, bytes(592), flags=ZSTANDARD, plain_size=size)
    assert code_in(container(packed)) == GpuCode()
    real = entry(SASS, 75, bytes(592), flags=ZSTANDARD, plain_size=5272)
    assert code_in(container(real)).architectures == ("sm_75",)


def test_kinds_that_are_neither_machine_code_nor_ptx_are_left_out() -> None:
    assert code_in(container(entry(16, 80), entry(SASS, 80))).architectures == ("sm_80",)


@pytest.mark.parametrize(
    ("entries", "cuda"),
    [
        ([entry(SASS, 80, cubin(124))], "12.4"),
        ([entry(SASS, 80, cubin(118)), entry(SASS, 89, cubin(121))], "12.1"),
        ([entry(PTX, 90, ptx=(8, 4))], "12.4"),
        ([entry(PTX, 90, ptx=(8, 5)), entry(SASS, 90, cubin(126))], "12.6"),
        ([entry(PTX, 90, ptx=(9, 0)), entry(SASS, 90, cubin(128))], "13.0"),
        ([entry(SASS, 120, cubin(1))], ""),
        ([entry(SASS, 120, b"\x28\xb5\x2f\xfd" + bytes(600), flags=ZSTANDARD)], ""),
        ([entry(PTX, 120, ptx=(99, 0))], ""),
        ([], ""),
    ],
    ids=[
        *("machine code", "the newest", "PTX", "one PTX for two releases", "PTX is newer"),
        *("machine code that does not say", "Zstandard", "PTX that is not known", "nothing"),
    ],
)
def test_the_compilers_release_is_that_of_the_newest_code(entries: list[bytes], cuda: str) -> None:
    assert code_in(container(*entries) if entries else b"").cuda == cuda


def test_the_release_is_read_from_code_that_lz4_has_compressed() -> None:
    # Literals, then a repetition at distance 1: the first entry of ctranslate2 4.4.0, as it stands there.
    start = bytes.fromhex("a27f454c460201013307000100660200be007a00010031")
    assert code_in(container(entry(SASS, 53, start + bytes(600), flags=LZ4))).cuda == "12.2"


@pytest.mark.parametrize(
    "block",
    [b"", b"\xf0", b"\xff" * 64, b"\x1fa\x05\x00" + b"\xff" * 60, b"\x0f\x00\x00" + b"\xff" * 8],
    ids=["empty", "cut in a length", "only lengths", "before its beginning", "no distance"],
)
def test_damaged_lz4_tells_no_release(block: bytes) -> None:
    code = block if len(block) == 64 else block + bytes(700)
    assert code_in(container(entry(SASS, 80, code, flags=LZ4))).cuda == ""


def test_each_version_of_ptx_belongs_to_a_later_cuda_than_the_one_before() -> None:
    listed = fatbin.ptx_releases()
    assert list(listed) == sorted(listed)
    assert list(listed.values()) == sorted(set(listed.values()))


@pytest.mark.parametrize(
    "section",
    [
        b"12345678" * 4,
        struct.pack("<IHHQ", fatbin.MAGIC, 1, 16, 999),
        struct.pack("<IHHQ", fatbin.MAGIC, 1, 16, 0) + bytes(64),
        struct.pack("<IHHQ", fatbin.MAGIC, 1, 0, 8) + bytes(64),
        struct.pack("<IHHQ", fatbin.MAGIC, 1, 16, 64) + struct.pack("<HHIQ", 2, 0x101, 0, 0) + bytes(48),
        struct.pack("<IHHQ", fatbin.MAGIC, 1, 16, 64) + struct.pack("<HHIQ", 2, 0x101, 64, 9) + bytes(48),
        struct.pack("<IHHQ", fatbin.MAGIC, 1, 16, 8) + bytes(64),
        b"\x50\xed\x55\xba",
    ],
    ids=[
        *("no magic", "past its end", "empty", "no header", "an entry without a header"),
        *("an entry past its end", "less than an entry", "cut in its header"),
    ],
)
def test_gpu_code_of_another_form_is_one_error(section: bytes) -> None:
    with pytest.raises(BadInputError, match=r"x\.so: its GPU code cannot be read: .*newer than this reader"):
        code_in(section)


def test_more_entries_than_any_library_has_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fatbin, "MOST_ENTRIES", 3)
    assert code_in(container(entry(SASS, 70), entry(SASS, 80))).architectures
    with pytest.raises(BadInputError, match="it has 3 entries or more"):
        code_in(container(entry(SASS, 70), entry(SASS, 80)) + container(entry(SASS, 90)))
