"""Write ELF files that say of themselves what a `Binary` says, so that the real loader can be asked about it.

A library is two pages: headers, strings, symbol versions and a bit of code, then the dynamic section. It has
no symbols and no sections, which the loader does not need.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from builder.abi.facts import Binary

_MACHINES = {"3": 3, "x86_64": 62, "aarch64": 183}
_PAGE = 0x1000
_HEADERS = 64 + 4 * 56

CALLS_DLOPEN = 0x1C0  # where opener.c looks for the code
_CODE = bytes.fromhex(
    "4883ec08"  # sub rsp, 8
    "4889f8"  # mov rax, rdi: dlopen
    "4889f7"  # mov rdi, rsi: the name
    "89d6"  # mov esi, edx: the flags
    "ffd0"  # call rax: dlopen sees that this file calls it
    "4883c408"  # add rsp, 8
    "c3"  # ret
)
_SYMBOLS = 0x1D8  # the empty first entry of a table of symbols, which is all that there is
_STRINGS = 0x200

_DYN, _LOAD, _DYNAMIC, _GNU_STACK = 3, 1, 2, 0x6474E551
_NEEDED, _STRTAB, _SYMTAB, _STRSZ, _SYMENT, _SONAME, _RPATH, _RUNPATH = 1, 5, 6, 10, 11, 14, 15, 29
_VERSYM, _VERDEF, _VERDEFNUM, _VERNEED, _VERNEEDNUM = (
    *(0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD),
    *(0x6FFFFFFE, 0x6FFFFFFF),
)
_NO_TAG = 0x60000FFF  # one that the loader does not know

PATH_PLACEHOLDER = b"@" * 200
NEEDED_PLACEHOLDERS = tuple(letter * 64 for letter in (b"A", b"B", b"C"))


class _Strings:
    """A table of strings: each has its offset in it."""

    def __init__(self) -> None:
        self.table = bytearray(b"\0")

    def __call__(self, text: str) -> int:
        at = self.table.find(b"\0" + text.encode() + b"\0") + 1
        if not at:
            at = len(self.table)
            self.table += text.encode() + b"\0"
        return at


def library(binary: Binary) -> bytes:
    """A shared library of that soname, with those needs, search paths, symbol versions and stack."""
    if binary.machine == "3":
        return b"\x7fELF\x01\x01\x01".ljust(16, b"\0") + struct.pack("<HHI", _DYN, 3, 1).ljust(84, b"\0")
    strings = _Strings()
    dynamic = list(_named(binary, strings))
    needs, definitions = _verneed(binary.requires, strings), _verdef(binary, strings)
    text = bytearray(_headers(binary).ljust(CALLS_DLOPEN, b"\0") + _CODE)
    text = text.ljust(_STRINGS, b"\0") + strings.table
    dynamic += [(_STRTAB, _STRINGS), (_STRSZ, len(strings.table)), (_SYMTAB, _SYMBOLS), (_SYMENT, 24)]
    for tag, count_tag, count, data in (
        (_VERNEED, _VERNEEDNUM, len(binary.requires), needs),
        (_VERDEF, _VERDEFNUM, len(binary.provides) + 1, definitions),
    ):
        if data:
            text += b"\0" * (-len(text) % 8)
            dynamic += [(tag, len(text)), (count_tag, count), (_VERSYM, _SYMBOLS)]
            text += data
    assert len(text) <= _PAGE, "more strings than fit into a page"
    return bytes(text.ljust(_PAGE, b"\0") + _entries(dynamic).ljust(_PAGE, b"\0"))


def program(template: bytes, binary: Binary) -> bytes:
    """The program `opener` with the search path and the first needs of `binary`; libc.so.6 comes after them.

    Raises:
        ValueError: They do not fit into their placeholders.
    """
    path, needed = binary.runpath or binary.rpath, binary.needed[:-1]
    tag = _RUNPATH if binary.runpath else _RPATH
    template = _put(template, PATH_PLACEHOLDER, _RPATH, tag if path else _NO_TAG, ":".join(path))
    for number, placeholder in enumerate(NEEDED_PLACEHOLDERS):
        name = needed[number] if number < len(needed) else ""
        template = _put(template, placeholder, _NEEDED, _NEEDED if name else _NO_TAG, name)
    return template


def _headers(binary: Binary) -> bytes:
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    machine = _MACHINES[binary.machine]
    header = struct.pack("<HHIQQQIHHHHHH", _DYN, machine, 1, 0, 64, 0, 0, 64, 56, 4, 64, 0, 0)
    stack = 7 if binary.executable_stack else 6
    segments = (
        (_LOAD, 5, 0, _PAGE),
        (_LOAD, 6, _PAGE, _PAGE),
        (_DYNAMIC, 6, _PAGE, _PAGE),
        (_GNU_STACK, stack, 0, 0),
    )
    return (
        ident
        + header
        + b"".join(
            struct.pack("<IIQQQQQQ", kind, flags, at, at, at, size, size, _PAGE)
            for kind, flags, at, size in segments
        )
    )


def _named(binary: Binary, strings: _Strings) -> Iterator[tuple[int, int]]:
    for name in binary.needed:
        yield _NEEDED, strings(name)
    if binary.soname:
        yield _SONAME, strings(binary.soname)
    if binary.rpath:
        yield _RPATH, strings(":".join(binary.rpath))
    if binary.runpath:
        yield _RUNPATH, strings(":".join(binary.runpath))


def _entries(dynamic: Iterable[tuple[int, int]]) -> bytes:
    return b"".join(struct.pack("<QQ", *entry) for entry in (*dynamic, (0, 0)))


def _verneed(requires: Mapping[str, tuple[str, ...]], strings: _Strings) -> bytes:
    data = b""
    for number, (file, versions) in enumerate(requires.items(), 1):
        last = number == len(requires)
        size = 16 + 16 * len(versions)
        data += struct.pack("<HHIII", 1, len(versions), strings(file), 16, 0 if last else size)
        for left, version in zip(range(len(versions) - 1, -1, -1), versions, strict=True):
            data += struct.pack("<IHHII", _hash(version), 0, 2, strings(version), 16 if left else 0)
    return data


def _verdef(binary: Binary, strings: _Strings) -> bytes:
    if not binary.provides:
        return b""
    names = (binary.soname or "base", *binary.provides)
    data = b""
    for index, name in enumerate(names, 1):
        after = 28 if index < len(names) else 0
        data += struct.pack("<HHHHIII", 1, int(index == 1), index, 1, _hash(name), 20, after)
        data += struct.pack("<II", strings(name), 0)
    return data


def _hash(name: str) -> int:
    """The hash of System V's ABI."""
    value = 0
    for letter in name.encode():
        value = (value << 4) + letter
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high
    return value


def _put(template: bytes, placeholder: bytes, tag: int, new_tag: int, text: str) -> bytes:
    """Replace a placeholder's string, and the tag of the dynamic entry that refers to it."""
    data = text.encode()
    if len(data) > len(placeholder):
        raise ValueError(f"{text} does not fit into the placeholder of {len(placeholder)} bytes")
    at = template.index(placeholder)
    start, size = _dynamic(template)
    entries = dict(reversed(list(struct.iter_unpack("<QQ", template[start : start + size]))))
    entry = struct.pack("<QQ", tag, at - entries[_STRTAB])
    begin = template.index(entry, start, start + size)
    changed = template[:begin] + struct.pack("<Q", new_tag) + template[begin + 8 :]
    return changed[:at] + data.ljust(len(placeholder), b"\0") + changed[at + len(placeholder) :]


def _dynamic(template: bytes) -> tuple[int, int]:
    """Offset and size of the dynamic section; the strings lie in the first segment, at their address."""
    table, count = struct.unpack_from("<32xQ16xH", template)
    for number in range(count):
        kind, _, offset, _, _, size = struct.unpack_from("<IIQQQQ", template, table + 56 * number)
        if kind == _DYNAMIC:
            return offset, size
    raise ValueError("the template is not linked dynamically")
