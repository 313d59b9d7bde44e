"""The GPU code in the sections of NVIDIA's fat binaries: for which architectures, and by which CUDA made.

The format is not documented. A section holds containers, padded with zeros to 8 bytes: u32 magic, u16
version, u16 header size, u64 size of what follows. Each holds entries: u16 kind, u16 version, u32 header
size, u64 size of what follows; at byte 24 u16 minor and u16 major version; at 28 the architecture as u32,
such as 86; at 40 flags as u64; at 56 the size before compression as u64. Seen so in the wheels of CTranslate2
3.24 to 4.8.5, torch 2.0 to 2.15, cuDNN 8.9 to 9.28, cuBLAS 12.1 to 13.8 and NCCL 2.20 and 2.29 (CUDA 11.2 to
13.5). Architectures and their counts are those that NVIDIA's cuobjdump lists.

The compiler's release stands in two places. PTX has the version of its language at byte 24, and
`data/ptx.yaml` has the CUDA of each. Machine code is an ELF file of the GPU's own whose `e_version` is the
release times ten, 124 for CUDA 12.4 (cuobjdump calls it the toolkit), but in newer forms of that file 1. LZ4
leaves that readable, Zstandard, which CUDA 12.8 took up for large entries, does not.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from builder.abi.content import Content, Part, reading
from builder.abi.elf import MAGIC as ELF_MAGIC
from builder.known import data

MAGIC = 0xBA55ED50
CONTAINER = struct.Struct("<IHHQ")
ENTRY = struct.Struct("<HHIQ8xHHI8xQ8xQ")
"""Kind, version, header's size, size, minor and major version, architecture, flags, size when plain."""

ALIGNMENT = 8
MOST_ENTRIES = 1_000_000
"""Entries of one binary that are read; the most seen are the 6,600 of cuBLASLt 12.8."""

MACHINE_CODE, PTX = 2, 1
PREFIXES = {MACHINE_CODE: "sm", PTX: "compute"}
"""Kinds of entries: machine code runs as it is, PTX is compiled by the driver for newer architectures."""

STUBS = {MACHINE_CODE: 2048, PTX: 256}
"""Sizes in bytes below which an entry does no work: the empty machine code of cuFFT and cuFFTW has 760 to
1072, from CUDA 13 on 1896 and 1904; the PTX by which cuBLAS, cuDNN and cuSPARSELt find out whether code for
compute_52 runs has 147. The least that was seen to do work has 5272. A library with no more than that for an
architecture does not support it, or has its code elsewhere: cuFFT from 11.2 on keeps its kernels in its data
(12.2: machine code for 7.5 to 12.0, PTX and nvJitLink's LTO IR for 7.5 and up), so its section tells nothing.
"""

SPECIFIC = 0x100000
"""The flag of code for this one architecture and no later: `sm_90a`."""

LZ4, ZSTANDARD = 0x2000, 0x8000
HEAD = 64
"""Bytes of an entry's code that are read: they tell what wrote it."""

E_VERSION_AT = 20
FIRST_RELEASE = 50
"""The least `e_version` that is taken for a CUDA release, 5.0; a 1 is ELF's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCode:
    """What the fat binaries of one file carry.

    Attributes:
        architectures: `sm_86` for machine code and `compute_86` for PTX, machine code first.
        cuda: The release of the newest compiler among those that made it, such as `12.4`, or "".
    """

    architectures: tuple[str, ...] = ()
    cuda: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    architecture: int
    specific: bool
    cuda: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{PREFIXES[self.kind]}_{self.architecture}{'a' * self.specific}"


def gpu_code(content: Content, parts: Iterable[Part], place: str) -> GpuCode:
    """What the fat binaries in some parts of a file carry.

    Args:
        content: The file.
        parts: Where its fat binaries stand; none in a library without GPU code.
        place: What an error calls the file.

    Raises:
        BadInputError: A part does not have the format above.
    """
    with reading(place, "its GPU code cannot be read", "its CUDA is newer than this reader knows"):
        found = set(_entries(content, parts))
    ranked = sorted(found, key=lambda entry: (-entry.kind, entry.architecture, entry.specific))
    return GpuCode(
        architectures=tuple(dict.fromkeys(entry.name for entry in ranked)),
        cuda=".".join(map(str, max((entry.cuda for entry in found), default=()))),
    )


def _entries(content: Content, parts: Iterable[Part]) -> Iterator[_Entry]:
    left = MOST_ENTRIES
    for at, end in (container for part in parts for container in _containers(content, part)):
        while at < end:
            left -= 1
            if not left:
                raise ValueError(f"it has {MOST_ENTRIES} entries or more")
            entry, at = _entry(content, at, end)  # noqa: PLW2901 - the place moves on to the container's end
            if entry:
                yield entry


def _containers(content: Content, part: Part) -> Iterator[tuple[int, int]]:
    """Where the entries of each container begin and end."""
    end_of_part = part.offset + part.size
    at = _after_padding(content, part.offset, end_of_part)
    while at < end_of_part:
        magic, _, header, size = CONTAINER.unpack(content.at(at, CONTAINER.size))
        end = at + header + size
        if magic != MAGIC or header < CONTAINER.size or not size or end > end_of_part:
            raise ValueError(f"no whole fat binary begins at byte {at - part.offset}")
        yield at + header, end
        at = _after_padding(content, end + (part.offset - end) % ALIGNMENT, end_of_part)


def _after_padding(content: Content, at: int, end: int) -> int:
    """The first place from `at` on, in steps of the alignment, that is not padded with zeros."""
    while at < end:
        data = content.at(at, min(64 * 1024, end - at))
        zeros = len(data) - len(data.lstrip(b"\0"))
        at += zeros - zeros % ALIGNMENT if zeros < len(data) else zeros
        if zeros < len(data):
            return at
    return at


def _entry(content: Content, at: int, end: int) -> tuple[_Entry | None, int]:
    """The entry at a place, unless it does no work, and the place behind it."""
    head = content.at(at, min(ENTRY.size, end - at))
    kind, _, header, size, minor, major, architecture, flags, plain_size = ENTRY.unpack(head)
    stop = at + header + size
    if header < ENTRY.size or stop > end:
        raise ValueError(f"no whole entry begins at byte {at} of the file")
    full_size = plain_size if flags & (LZ4 | ZSTANDARD) else size
    if full_size < STUBS.get(kind, sys.maxsize):
        return None, stop
    code = content.at(at + header, min(HEAD, size))
    cuda = ptx_releases().get((major, minor), ()) if kind == PTX else _release(code, flags)
    return _Entry(kind, architecture, bool(flags & SPECIFIC), cuda), stop


def _release(code: bytes, flags: int) -> tuple[int, ...]:
    """The CUDA release that machine code says it is of, or () where it does not."""
    plain = _lz4_beginning(code, HEAD // 2) if flags & LZ4 else code
    if not plain.startswith(ELF_MAGIC) or len(plain) < E_VERSION_AT + 4:
        return ()
    (release,) = struct.unpack_from("<I", plain, E_VERSION_AT)
    return divmod(release, 10) if release >= FIRST_RELEASE else ()


def _lz4_beginning(block: bytes, count: int) -> bytes:
    """At least `count` bytes from the beginning of an LZ4 block, or fewer where the block ends before."""
    plain = bytearray()
    at = 0
    try:
        while len(plain) < count:
            token, at = block[at], at + 1
            literals, at = _lz4_length(block, token >> 4, at)
            plain += block[at : at + literals]
            at += literals
            distance = int.from_bytes(block[at : at + 2], "little")
            repeated, at = _lz4_length(block, token & 15, at + 2)
            for _ in range(min(repeated + 4, count)):
                plain.append(plain[-distance])
    except IndexError:
        pass  # the block ends, or is damaged: what was read stands
    return bytes(plain)


def _lz4_length(block: bytes, length: int, at: int) -> tuple[int, int]:
    """A length that may go on in further bytes, and the place behind them."""
    more = 255 if length == 15 else 0  # noqa: PLR2004 - as the format has it
    while more == 255:  # noqa: PLR2004
        more, at = block[at], at + 1
        length += more
    return length, at


@cache
def ptx_releases() -> dict[tuple[int, int], tuple[int, int]]:
    """The first CUDA release of each version of the PTX language."""
    listed = data("ptx.yaml")["cuda_of_ptx"]
    return {_numbers(version): _numbers(release) for version, release in listed.items()}


def _numbers(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)
