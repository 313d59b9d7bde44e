"""The GPU architectures in a section of NVIDIA fat binaries.

The format is not documented. A section holds containers, padded with zeros to 8 bytes: u32 magic, u16
version, u16 header size, u64 size of what follows. Each holds entries: u16 kind, u16 version, u32 header
size, u64 size of what follows, and at byte 28 the architecture as u32, such as 86. Seen so in the wheels of
CTranslate2 3.24 to 4.8.5 and of torch 2.4.1 (CUDA 11.2 to 12.8).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from builder.errors import BadInputError, Fault

MAGIC = 0xBA55ED50
CONTAINER = struct.Struct("<IHHQ")
ENTRY = struct.Struct("<HHIQ")
ARCHITECTURE = struct.Struct("<I")
ARCHITECTURE_AT = 28
ALIGNMENT = 8
PREFIXES = {2: "sm", 1: "compute"}
"""Kinds of entries: machine code runs as it is, PTX is compiled by the driver for newer architectures."""


def architectures(section: bytes, place: str) -> tuple[str, ...]:
    """What the fat binaries carry, as `sm_86` for machine code and `compute_86` for PTX, machine code first.

    Args:
        section: The bytes of `.nv_fatbin`; empty for a library without GPU code.
        place: What an error calls the library.

    Raises:
        BadInputError: The section does not have the format above.
    """
    try:
        found = set(_entries(section))
    except (struct.error, ValueError) as error:
        raise BadInputError(
            Fault(
                place=place,
                cause=f"its GPU code cannot be read: {error}",
                fix="Fetch the wheel again; if it is intact, its CUDA is newer than this reader knows",
            )
        ) from error
    ranked = sorted(found, key=lambda kind_and_number: (-kind_and_number[0], kind_and_number[1]))
    return tuple(f"{PREFIXES[kind]}_{number}" for kind, number in ranked if kind in PREFIXES)


def _entries(section: bytes) -> Iterator[tuple[int, int]]:
    """Kind and architecture of each entry of each container."""
    at = 0
    while at < len(section):
        if not any(section[at : at + ALIGNMENT]):
            at += ALIGNMENT  # padding
            continue
        magic, _, header, size = CONTAINER.unpack_from(section, at)
        end = at + header + size
        if magic != MAGIC or header < CONTAINER.size or end > len(section):
            raise ValueError(f"no whole fat binary begins at byte {at}")
        yield from _container(section[at + header : end])
        at = end + -end % ALIGNMENT


def _container(body: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while at < len(body):
        kind, _, header, size = ENTRY.unpack_from(body, at)
        end = at + header + size
        if header < ARCHITECTURE_AT + ARCHITECTURE.size or end > len(body):
            raise ValueError(f"no whole entry begins at byte {at} of a fat binary")
        yield kind, *ARCHITECTURE.unpack_from(body, at + ARCHITECTURE_AT)
        at = end
