"""A small reading of one ELF file: what the loader reads of it, and where its constants and GPU code stand.

All that the loader obeys is taken as the loader takes it, from the program headers and the dynamic section:
section headers may be stripped, and tools that rewrite files have left some of them wrong. They serve only
to find constants and GPU code.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from builder.abi.content import Content, Part, reading
from builder.abi.facts import Binary

MAGIC = b"\x7fELF"
HEADER_SIZE = 64
NATIVE = b"\x02\x01"
"""64 bits, little-endian: all that CUDA runs on."""

MACHINES = {62: "x86_64", 183: "aarch64"}
GPU_CODE = (".nv_fatbin", "__nv_relfatbin")
"""Sections of fat binaries: code that is linked, and code that a driver may link (NCCL has it)."""

MOST_DYNAMIC = 64 * 1024
"""Bytes of a dynamic section that are read; those of torch's and NVIDIA's libraries have about 1,000."""

MOST_VERSIONS = 0x7FFF
"""Versions of symbols are numbered in 15 bits."""

GROWING = re.compile(r"(GLIBC|GLIBCXX|CXXABI|GCC)_(\d+(?:\.\d+)*)")
PRIVATE = "GLIBC_PRIVATE"

_ET_EXEC, _ET_DYN = 2, 3
_EM_X86_64 = 62
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_GNU_STACK = 1, 2, 3, 0x6474E551
_PF_X = 1
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 14, 15, 29
_DT_VERDEF, _DT_VERNEED = 0x6FFFFFFC, 0x6FFFFFFE
_SHT_PROGBITS = 1
_SHF_ALLOC, _SHF_EXECINSTR = 2, 4
_VER_FLG_BASE, _VER_FLG_WEAK = 1, 2

_HEADER = struct.Struct("<16xHH12xQQ6xHHHHH")
_SEGMENT = struct.Struct("<IIQQ8xQ16x")
_SECTION = struct.Struct("<IIQ8xQQ24x")
_DYNAMIC = struct.Struct("<QQ")
_VERNEED = struct.Struct("<4xIII")  # name of the file, place of its versions, place of the next file
_VERNAUX = struct.Struct("<4xHxxII")  # flags, name, place of the next
_VERDEF = struct.Struct("<2xH8xII")  # flags, place of its names, place of the next
_VERDAUX = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """What one ELF file says of itself; names as in `facts.Binary`.

    Attributes:
        native: Whether it is a file of 64 bits, little-endian. Of any other only `machine` is known.
        constants: Where its constants stand: loaded sections that are neither code nor GPU code. The table of
            dynamic strings is not among them, so that names of symbol versions are not taken for files.
            Without section headers: the loaded segments that are not code.
        gpu_code: Where NVIDIA's fat binaries stand, see `fatbin`.
    """

    machine: str
    native: bool = True
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    requires: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provides: tuple[str, ...] = ()
    executable_stack: bool = False
    interpreter: str = ""
    constants: tuple[Part, ...] = ()
    gpu_code: tuple[Part, ...] = ()

    def binary(self, path: str) -> Binary:
        """What the loader reads of it, as the record of a file that lies at `path`."""
        return Binary(
            path=path,
            machine=self.machine,
            soname=self.soname,
            needed=self.needed,
            rpath=self.rpath,
            runpath=self.runpath,
            requires=self.requires,
            provides=self.provides,
            executable_stack=self.executable_stack,
            interpreter=self.interpreter,
        )


def read_elf(content: Content, place: str) -> Elf:
    """Read one ELF file.

    Args:
        content: The whole file.
        place: What an error calls it.

    Raises:
        BadInputError: It is not an ELF file, or it is cut short or damaged.
    """
    with reading(place, "cannot be read as an ELF file"):
        return _elf(content)


@dataclass(frozen=True, slots=True)
class _Header:
    kind: int
    machine: int
    segments_at: int
    sections_at: int
    segment_size: int
    segment_count: int
    section_size: int
    section_count: int
    names_in: int


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    flags: int
    offset: int
    address: int
    size: int


@dataclass(frozen=True, slots=True)
class _Section:
    name_at: int
    kind: int
    flags: int
    offset: int
    size: int


def _elf(content: Content) -> Elf:
    start = content.at(0, HEADER_SIZE)
    if not start.startswith(MAGIC):
        raise ValueError("it does not begin like one")
    if not start.startswith(NATIVE, len(MAGIC)):
        return Elf(machine=_foreign_machine(start), native=False)
    header = _Header(*_HEADER.unpack(start))
    segments = _segments(content, header)
    constants, gpu_code = _parts(content, header, segments)
    dynamic = _Dynamic(content, segments)
    return Elf(
        machine=MACHINES.get(header.machine, str(header.machine)),
        soname="".join(dynamic.texts(_DT_SONAME)[:1]),
        needed=dynamic.texts(_DT_NEEDED),
        rpath=_folders(dynamic.texts(_DT_RPATH)),
        runpath=_folders(dynamic.texts(_DT_RUNPATH)),
        requires=dynamic.requires(),
        provides=dynamic.provides(),
        executable_stack=_executable_stack(header, segments),
        interpreter=next((content.text(one.offset) for one in segments if one.kind == _PT_INTERP), ""),
        constants=constants,
        gpu_code=gpu_code,
    )


def _foreign_machine(start: bytes) -> str:
    big_endian = 2
    return str(int.from_bytes(start[18:20], "big" if start[5] == big_endian else "little"))


def _segments(content: Content, header: _Header) -> tuple[_Segment, ...]:
    rows = _table(content, header.segments_at, header.segment_size, header.segment_count, _SEGMENT)
    return tuple(_Segment(*row) for row in rows)


def _table(
    content: Content, offset: int, step: int, count: int, form: struct.Struct
) -> Iterator[tuple[int, ...]]:
    """The rows of a table of headers."""
    if not offset or not count:
        return iter(())
    if step != form.size:
        raise ValueError(f"its headers have {step} bytes each, not {form.size}")
    return form.iter_unpack(content.at(offset, step * count))


def _parts(
    content: Content, header: _Header, segments: Iterable[_Segment]
) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Where constants and GPU code stand."""
    rows = _table(content, header.sections_at, header.section_size, header.section_count, _SECTION)
    sections = [_Section(*row) for row in rows]
    if not sections:
        return _places(
            content, (one for one in segments if one.kind == _PT_LOAD and not one.flags & _PF_X)
        ), ()
    if header.names_in >= len(sections):
        raise ValueError("its section of names is missing")
    names_at = sections[header.names_in].offset
    constants: list[_Section] = []
    gpu_code: list[_Section] = []
    for one in sections:
        if one.kind == _SHT_PROGBITS and one.flags & _SHF_ALLOC and not one.flags & _SHF_EXECINSTR:
            (gpu_code if content.text(names_at + one.name_at) in GPU_CODE else constants).append(one)
    return _places(content, constants), _places(content, gpu_code)


def _places(content: Content, parts: Iterable[_Section | _Segment]) -> tuple[Part, ...]:
    places = tuple(Part(offset=one.offset, size=one.size) for one in parts)
    if sum(place.size for place in places) > content.size:
        raise ValueError("its sections overlap")
    return places


def _executable_stack(header: _Header, segments: Iterable[_Segment]) -> bool:
    """As glibc sees it: on x86-64 a file that says nothing asks for an executable stack."""
    asked = [one.flags for one in segments if one.kind == _PT_GNU_STACK]
    if asked:
        return any(flags & _PF_X for flags in asked)
    return header.machine == _EM_X86_64 and header.kind in {_ET_EXEC, _ET_DYN}


def _folders(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The folders of a path; an empty path is none, as the loader sees it."""
    return tuple(texts[0].split(":")) if texts and texts[0] else ()


class _Dynamic:
    """The dynamic section and the texts and tables that it points to; empty for a static program."""

    def __init__(self, content: Content, segments: Iterable[_Segment]) -> None:
        self._content = content
        self._loaded = [one for one in segments if one.kind == _PT_LOAD]
        dynamic = next((one for one in segments if one.kind == _PT_DYNAMIC), None)
        self._entries = [*self._read(dynamic)] if dynamic else []
        self._versions_left = MOST_VERSIONS

    def _read(self, segment: _Segment) -> Iterator[tuple[int, int]]:
        if segment.size > MOST_DYNAMIC:
            raise ValueError(f"its dynamic section has {segment.size} bytes")
        data = self._content.at(segment.offset, segment.size // _DYNAMIC.size * _DYNAMIC.size)
        for tag, value in _DYNAMIC.iter_unpack(data):
            if tag == _DT_NULL:
                return
            yield tag, value

    def texts(self, tag: int) -> tuple[str, ...]:
        """The texts of all entries with that tag, in their order."""
        return tuple(self._text(value) for found, value in self._entries if found == tag)

    def requires(self) -> dict[str, tuple[str, ...]]:
        """The symbol versions that are needed of each library, except those that may be missing."""
        found: dict[str, list[str]] = {}
        for at in self._chain(self._table(_DT_VERNEED), _VERNEED):
            file, versions, _ = self._fields(at, _VERNEED)
            names = found.setdefault(self._text(file), [])
            for place in self._chain(at + versions, _VERNAUX):
                flags, name, _ = self._fields(place, _VERNAUX)
                names += [self._text(name)] * (not flags & _VER_FLG_WEAK)
        return {file: highest(names) for file, names in found.items() if names}

    def provides(self) -> tuple[str, ...]:
        """The symbol versions that are defined here, without the file's own name."""
        names = []
        for at in self._chain(self._table(_DT_VERDEF), _VERDEF):
            flags, name_at, _ = self._fields(at, _VERDEF)
            if not flags & _VER_FLG_BASE:
                names.append(self._text(*self._fields(at + name_at, _VERDAUX)))
        return highest(names)

    def _chain(self, at: int | None, form: struct.Struct) -> Iterator[int]:
        """The places of records each of which ends with its distance to the next, or with 0."""
        while at is not None:
            self._versions_left -= 1
            if not self._versions_left:
                raise ValueError("its symbol versions have no end")
            yield at
            step = self._fields(at, form)[-1]
            at = at + step if step else None

    def _fields(self, at: int, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self._content.at(at, form.size))

    def _table(self, tag: int) -> int | None:
        return next((self._place(value) for found, value in self._entries if found == tag), None)

    def _text(self, index: int) -> str:
        return self._content.text(self._strings + index)

    @cached_property
    def _strings(self) -> int:
        place = self._table(_DT_STRTAB)
        if place is None:
            raise ValueError("its table of dynamic strings is missing")
        return place

    def _place(self, address: int) -> int:
        """Where in the file stands what is loaded at `address`."""
        for one in self._loaded:
            if 0 <= address - one.address < one.size:
                return one.offset + address - one.address
        raise ValueError(f"nothing is loaded at address {address:#x}, to which its dynamic section points")


def highest(versions: Iterable[str]) -> tuple[str, ...]:
    """Symbol versions, sorted; of families that only grow, such as GLIBC_2.17, only the highest."""
    grown: dict[str, tuple[int, ...]] = {}
    others: set[str] = set()
    for version in versions:
        if match := GROWING.fullmatch(version):
            number = tuple(map(int, match[2].split(".")))
            grown[match[1]] = max(number, grown.get(match[1], ()))
        elif version != PRIVATE:
            others.add(version)
    return tuple(sorted(others | {f"{name}_{'.'.join(map(str, number))}" for name, number in grown.items()}))
