"""Zip files, written byte by byte the same by every Python.

What they hold becomes members of layers as it is, and `zipfile` compresses with the zlib that it happens to
find.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from isal import isal_zlib

from builder.engines.direct.gz import squeezed
from builder.errors import BadInputError, EngineOrNetworkError, Fault
from builder.wheels.store import PARTIAL

MOST_MEMBERS: Final = 0xFFFF - 1
MOST_BYTES: Final = 0xFFFFFFFF - 1
"""Beyond these a zip file takes another form, which nothing that is made here needs."""

_DEFLATED = 8
_VERSION, _UNIX, _UTF_8 = 20, 3 << 8 | 20, 0x800
_FIRST_DAY = 1 << 5 | 1
"""1980-01-01, the first day that a zip file can tell."""

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")


class ZipWriter:
    """Writes a zip file, member by member; no folders, no times, nothing of the host."""

    def __init__(self, file: BinaryIO) -> None:
        """Begin at the start of a file."""
        self._file = file
        self._directory: list[bytes] = []
        self._at = 0

    @property
    def members(self) -> int:
        """How many there are."""
        return len(self._directory)

    def add(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Add a file.

        Raises:
            BadInputError: There is no room for it in a zip file of the plain form.
        """
        name, data, crc = path.encode(), squeezed(content), isal_zlib.crc32(content)
        common = (_UTF_8, _DEFLATED, 0, _FIRST_DAY, crc, len(data), len(content), len(name), 0)
        if self._at + len(data) + len(name) > MOST_BYTES or self.members == MOST_MEMBERS:
            raise BadInputError(
                Fault(place=path, cause="there is too much for a zip file", fix="Use another version of it")
            )
        head = _LOCAL.pack(0x04034B50, _VERSION, *common) + name
        attributes = (0o100000 | mode) << 16
        entry = _CENTRAL.pack(0x02014B50, _UNIX, _VERSION, *common, 0, 0, 0, attributes, self._at)
        self._directory.append(entry + name)
        self._at += self._file.write(head) + self._file.write(data)

    def close(self) -> None:
        """Write the directory; the file itself stays open."""
        size = sum(map(len, self._directory))
        self._file.writelines(self._directory)
        self._file.write(_END.pack(0x06054B50, 0, 0, self.members, self.members, size, self._at, 0))


@contextmanager
def written_zip(target: Path) -> Iterator[ZipWriter]:
    """A new zip file, which gets its place when the block has ended well; of zero bytes if nothing was added.

    Raises:
        EngineOrNetworkError: There is no room for it.
    """
    part = target.with_name(f"{PARTIAL}{secrets.token_hex(8)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            writer = ZipWriter(file)
            yield writer
            if writer.members:
                writer.close()
        part.chmod(0o644)
        part.replace(target)
    except OSError as error:
        raise EngineOrNetworkError(
            Fault(
                place=target.name,
                cause=f"cannot be written to {target.parent}: {error.strerror or error}",
                fix="Free some space there, or set CUVEE_CACHE to another folder",
            )
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
