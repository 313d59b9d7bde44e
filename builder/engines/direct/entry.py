"""What goes into a layer: files, folders and links, and where the content of a file comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from builder.engines.direct.tar import Node
from builder.wheels.directory import Member


@dataclass(frozen=True, slots=True)
class Held:
    """A member of a zip file: of a wheel, or of a file of bytecode that was made here.

    Attributes:
        archive: Which zip file, by its place in the list that goes with the entries.
        member: The file in it.
        sha256: What the wheel's RECORD says of its content, in hex; "" where nothing says it.
    """

    archive: int
    member: Member
    sha256: str = ""


Content: TypeAlias = bytes | Held


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, a folder or a link of a layer.

    Attributes:
        node: Its path, kind, mode and owner.
        content: Of a file; empty for all else.
        made: Whether it was made here, rather than being a file of a wheel that the lock names by its hash.
    """

    node: Node
    content: Content = b""
    made: bool = True
