"""A small reading of one ELF file: its names, and the sections that later readings take apart."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from builder.errors import BadInputError, Fault

DYNAMIC = ".dynamic"
READ_ONLY = ".rodata"
GPU_CODE = ".nv_fatbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfFacts:
    """What one shared library or program says of itself.

    Attributes:
        soname: DT_SONAME, or "" where it has none.
        needed: DT_NEEDED, in the file's order.
        read_only: The section of constants, where the names that a library opens at run time stand. The table
            of dynamic strings is not part of it, so that names of symbol versions are not taken for files.
        gpu_code: The section of NVIDIA's fat binaries, see `fatbin`.
    """

    soname: str
    needed: tuple[str, ...]
    read_only: bytes = field(repr=False)
    gpu_code: bytes = field(repr=False)


def read_elf(data: bytes, place: str) -> ElfFacts:
    """Read one ELF file.

    Args:
        data: The whole file.
        place: What an error calls it.

    Raises:
        BadInputError: It is not an ELF file, or it is cut short or damaged.
    """
    try:
        return _facts(ELFFile(io.BytesIO(data)))
    except (
        # What pyelftools is known to raise over damage, besides its own error.
        *(ELFError, struct.error, zlib.error, ValueError, ArithmeticError),
        *(LookupError, TypeError, AttributeError, AssertionError),
    ) as error:
        raise BadInputError(
            Fault(
                place=place,
                cause=f"cannot be read as an ELF file: {str(error) or type(error).__name__}",
                fix="Fetch the wheel again; if that does not help, the wheel itself is broken",
            )
        ) from error


def _facts(elf: ELFFile) -> ElfFacts:
    names = _dynamic_names(elf)
    return ElfFacts(
        soname=next((name for tag, name in names if tag == "DT_SONAME"), ""),
        needed=tuple(name for tag, name in names if tag == "DT_NEEDED"),
        read_only=_section(elf, READ_ONLY),
        gpu_code=_section(elf, GPU_CODE),
    )


def _dynamic_names(elf: ELFFile) -> tuple[tuple[str, str], ...]:
    """The dynamic section's tags that have a string, each with it; none in a static program."""
    section = elf.get_section_by_name(DYNAMIC)
    if not isinstance(section, DynamicSection):
        return ()
    named = (("DT_SONAME", "soname"), ("DT_NEEDED", "needed"))
    return tuple(
        (tag, getattr(entry, attribute)) for tag, attribute in named for entry in section.iter_tags(tag)
    )


def _section(elf: ELFFile, name: str) -> bytes:
    section = elf.get_section_by_name(name)
    if section is None:
        return b""
    data: bytes = section.data()
    if len(data) != section["sh_size"]:
        raise ELFError(f"{name} has {len(data)} of {section['sh_size']} bytes")
    return data
