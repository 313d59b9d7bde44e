"""Stand-ins for libraries: what ldconfig reads of one, and nothing else.

ldconfig reads the ELF header, the segments' table, and of the dynamic section the soname. A library of a
gigabyte need not be unpacked to be in the loader's cache.
"""

from __future__ import annotations

import struct
from typing import Final

_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_ENTRY: Final = struct.Struct("<QQ")

_IDENT = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
_SHARED, _X86_64, _CURRENT = 3, 62, 1
_LOAD, _DYNAMIC, _READ = 1, 2, 4
_STRTAB, _STRSZ, _SONAME, _NO_MORE = 5, 10, 14, 0
_PAGE = 0x1000


def stand_in(soname: str) -> bytes:
    """An x86-64 library of that soname, or of none where it is empty; it cannot be loaded."""
    strings = b"\0" + soname.encode() + b"\0"
    tags = 4 if soname else 3
    dynamic_at = _HEADER.size + 2 * _SEGMENT.size
    strings_at = dynamic_at + tags * _ENTRY.size
    end = strings_at + len(strings)
    entries = [(_STRTAB, strings_at), (_STRSZ, len(strings)), (_NO_MORE, 0)]
    if soname:
        entries.insert(0, (_SONAME, 1))
    return b"".join(
        (
            _HEADER.pack(
                *(_IDENT, _SHARED, _X86_64, _CURRENT, 0, _HEADER.size, 0),
                *(0, _HEADER.size, _SEGMENT.size, 2, 64, 0, 0),
            ),
            _SEGMENT.pack(_LOAD, _READ, 0, 0, 0, end, end, _PAGE),
            _SEGMENT.pack(
                *(_DYNAMIC, _READ, dynamic_at, dynamic_at, dynamic_at),
                *(tags * _ENTRY.size, tags * _ENTRY.size, 8),
            ),
            *(_ENTRY.pack(*entry) for entry in entries),
            strings,
        )
    )
