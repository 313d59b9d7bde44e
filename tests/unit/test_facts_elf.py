"""What is read of one ELF file. Places in the header are those of the ELF specification."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from builder.abi.content import MOST_TEXT, Content, Part
from builder.abi.elf import Elf, highest, read_elf
from builder.errors import BadInputError

ELF = Path(__file__).parents[1] / "elf"
ENGINE = "libctranslate2-d3638643.so.4.4.0"
SHIM_8 = "libcudnn-463fd6d5.so.8.9.7"
SYSTEM_LIBRARY = "libsystem.so.6"
PROGRAM = "program"

SEGMENTS_AT, SECTIONS_AT, SEGMENT_SIZE, SECTION_COUNT, NAMES_IN = 32, 40, 54, 60, 62
SEGMENT, SECTION = 56, 64
GNU_STACK, DYNAMIC = 0x6474E551, 2
DT_RUNPATH, DT_VERNEED = 29, 0x6FFFFFFE


def binary(name: str) -> bytearray:
    return bytearray((ELF / name).read_bytes())


def content(data: bytes | bytearray) -> Content:
    return Content(file=io.BytesIO(data), size=len(data))


def read(data: bytes | bytearray) -> Elf:
    return read_elf(content(data), "x.so")


def number(data: bytearray, at: int, size: int = 8) -> int:
    return int.from_bytes(data[at : at + size], "little")


def put(data: bytearray, at: int, value: int, size: int = 8) -> None:
    data[at : at + size] = value.to_bytes(size, "little")


def segment(data: bytearray, kind: int) -> int:
    """Where the header of the first segment of that kind stands."""
    first, count = number(data, SEGMENTS_AT), number(data, 56, 2)
    places = (first + SEGMENT * index for index in range(count))
    return next(at for at in places if number(data, at, 4) == kind)


def dynamic(data: bytearray, tag: int) -> int:
    """Where the value of the first dynamic entry with that tag stands."""
    at = number(data, segment(data, DYNAMIC) + 8)
    while number(data, at) != tag:
        at += 16
    return at + 8


def sections(data: bytearray) -> range:
    first = number(data, SECTIONS_AT)
    return range(first, first + SECTION * number(data, SECTION_COUNT, 2), SECTION)


def test_a_library_tells_its_name_whom_it_needs_and_where_it_searches() -> None:
    facts = read(binary(ENGINE))

    assert facts.soname == ENGINE
    assert facts.needed == (SHIM_8,)
    assert (facts.rpath, facts.runpath) == (("ctranslate2.libs",), ())
    assert facts.machine == "x86_64"
    assert facts.interpreter == ""


def test_a_program_tells_its_loader_and_the_newer_kind_of_search_path() -> None:
    facts = read(binary(PROGRAM))

    assert facts.interpreter == "/lib64/ld-linux-x86-64.so.2"
    assert (facts.rpath, facts.runpath) == ((), ("$ORIGIN/../lib", "/opt/lib"))


def test_an_empty_entry_of_a_search_path_is_kept_and_an_empty_path_is_none() -> None:
    data = binary(PROGRAM)
    place = data.index(b"$ORIGIN/../lib:/opt/lib\0")
    data[place : place + 9] = b"$ORIGIN::"
    assert read(data).runpath[:2] == ("$ORIGIN", "")
    data[place] = 0
    assert read(data).runpath == ()


def test_only_the_highest_version_of_a_growing_family_is_told_and_private_ones_are_not() -> None:
    assert read(binary(PROGRAM)).requires == {
        SYSTEM_LIBRARY: ("CXXABI_FLOAT128", "GLIBC_2.17", "GLIBC_ABI_DT_RELR")
    }


def test_versions_are_compared_as_numbers() -> None:
    assert highest(["GLIBC_2.9", "GLIBC_2.17", "GLIBC_2.2.5", "OMP_1.0", "OMP_4.5"]) == (
        *("GLIBC_2.17", "OMP_1.0", "OMP_4.5"),
    )


def test_provided_versions_are_told_without_the_files_own_name() -> None:
    assert read(binary(SYSTEM_LIBRARY)).provides == ("CXXABI_FLOAT128", "GLIBC_2.17", "GLIBC_ABI_DT_RELR")
    assert read(binary(SHIM_8)).provides == ("libcudnn.so.8",)


def test_a_version_that_may_be_missing_is_not_needed() -> None:
    data = binary(PROGRAM)
    # The loader's hash of the name stands before the flags.
    place = data.index(struct.pack("<I", 0x0FD0E42))
    put(data, place + 4, 2, 2)

    assert read(data).requires == {SYSTEM_LIBRARY: ("CXXABI_FLOAT128", "GLIBC_2.17")}


def test_an_executable_stack_is_asked_for_or_follows_from_silence_on_x86() -> None:
    asks, quiet = binary(PROGRAM), binary(SHIM_8)
    assert read(asks).executable_stack
    assert not read(quiet).executable_stack

    put(quiet, segment(quiet, GNU_STACK), 0, 4)
    assert read(quiet).executable_stack
    put(quiet, 18, 183, 2)
    assert not read(quiet).executable_stack  # aarch64
    assert read(quiet).machine == "aarch64"


def test_an_object_that_no_loader_loads_has_no_stack() -> None:
    data = binary(SHIM_8)
    put(data, segment(data, GNU_STACK), 0, 4)
    put(data, 16, 1, 2)  # relocatable
    assert not read(data).executable_stack


@pytest.mark.parametrize(("at", "value", "machine"), [(4, 1, "62"), (5, 2, str(62 << 8))])
def test_of_a_file_of_another_kind_only_the_machine_is_told(at: int, value: int, machine: str) -> None:
    data = binary(SHIM_8)
    data[at] = value

    assert read(data) == Elf(machine=machine, native=False)


def test_a_machine_without_a_name_is_a_number() -> None:
    data = binary(SHIM_8)
    put(data, 18, 190, 2)
    assert read(data).machine == "190"


def test_without_section_headers_all_but_constants_and_gpu_code_is_the_same() -> None:
    data = binary(ENGINE)
    whole = read(data)
    put(data, SECTIONS_AT, 0)
    stripped = read(data)

    assert whole.gpu_code
    assert not stripped.gpu_code
    assert stripped.constants  # in the segments that are no code, if there are any
    assert (stripped.soname, stripped.needed, stripped.requires) == (
        *(whole.soname, whole.needed, whole.requires),
    )


def test_a_file_without_a_dynamic_section_needs_nothing() -> None:
    data = binary(ENGINE)
    put(data, segment(data, DYNAMIC), 0, 4)
    assert (read(data).soname, read(data).needed, read(data).requires) == ("", (), {})


# Damage


def damaged(data: bytearray, cause: str) -> None:
    with pytest.raises(BadInputError, match=f"x.so: cannot be read as an ELF file: .*{cause}") as caught:
        read(data)
    (fault,) = caught.value.faults
    assert fault.fix == "Fetch the wheel again; if that does not help, the wheel itself is broken"


def test_what_does_not_begin_like_an_elf_file_is_none() -> None:
    damaged(bytearray(64), "does not begin like one")
    damaged(bytearray(b"\x7fELF"), "it ends at byte 4")


def test_headers_of_another_size_or_outside_the_file_are_damage() -> None:
    data = binary(ENGINE)
    put(data, SEGMENT_SIZE, 57, 2)
    damaged(data, "its headers have 57 bytes each")
    data = binary(ENGINE)
    put(data, SECTIONS_AT, 1 << 62)
    damaged(data, "it ends at byte")
    data = binary(ENGINE)
    put(data, NAMES_IN, 999, 2)
    damaged(data, "its section of names is missing")


def test_a_dynamic_section_that_is_too_large_or_points_outside_is_damage() -> None:
    data = binary(ENGINE)
    put(data, segment(data, DYNAMIC) + 32, 1 << 40)
    damaged(data, f"its dynamic section has {1 << 40} bytes")
    data = binary(ENGINE)
    put(data, dynamic(data, 5), 1 << 40)  # DT_STRTAB
    damaged(data, "nothing is loaded at address 0x10000000000")
    data = binary(ENGINE)
    put(data, dynamic(data, 1), 1 << 40)  # DT_NEEDED
    damaged(data, "it ends at byte")


def test_a_dynamic_section_without_strings_is_damage() -> None:
    data = binary(ENGINE)
    put(data, dynamic(data, 5) - 8, 0x6FFFFEF5)
    damaged(data, "its table of dynamic strings is missing")


def test_a_text_without_an_end_or_in_another_encoding_is_damage() -> None:
    data = binary(ENGINE)
    data += b"x" * (MOST_TEXT + 1)
    strings = number(data, dynamic(data, 5))
    put(data, dynamic(data, 1), len(data) - MOST_TEXT - 1 - strings)
    damaged(data, "has no end")
    data = binary(ENGINE)
    at = data.index(SHIM_8.encode() + b"\0", strings)
    data[at] = 0xFF
    damaged(data, "can't decode byte 0xff")


def test_version_tables_that_turn_in_a_circle_are_damage() -> None:
    data = binary(PROGRAM)
    at = number(data, dynamic(data, DT_VERNEED))  # here addresses are places
    data += bytes(struct.pack("<HHIII", 1, 0, 1, 0, 16) * 40_000)
    put(data, at + 12, len(data) - 16 * 40_000 - at, 4)
    damaged(data, "its symbol versions have no end")


def test_sections_that_overlap_are_damage_since_reading_them_would_take_for_ever() -> None:
    data = binary(ENGINE)
    for at in sections(data)[:-1]:  # the last one holds the names
        put(data, at + 4, 1, 4)  # bytes of the program
        put(data, at + 8, 2)  # loaded
        put(data, at + 24, 0)
        put(data, at + 32, len(data))
    damaged(data, "its sections overlap")


# The bytes beneath


def test_pieces_cover_a_part_and_repeat_the_end_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.abi.content.PIECE", 1000)
    data = bytes(index % 251 for index in range(2100))
    pieces = list(content(data).pieces(Part(offset=7, size=len(data) - 7), 10))

    assert [len(piece) for piece in pieces] == [1000, 1000, 113]
    assert pieces[0] + pieces[1][10:] + pieces[2][10:] == data[7:]
    assert list(content(data).pieces(Part(offset=0, size=0), 10)) == []


def test_a_part_that_the_file_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="it ends at byte 3"):
        list(content(b"abc").pieces(Part(offset=1, size=3), 1))
    with pytest.raises(ValueError, match="it ends before byte 4"):
        Content(file=io.BytesIO(b"abc"), size=9).at(0, 4)
    with pytest.raises(ValueError, match="it ends at byte 3"):
        content(b"abc").at(-1, 2)
