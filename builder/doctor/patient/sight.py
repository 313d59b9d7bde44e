"""Files and variables as the doctor sees them: what cannot be read is as if it were not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Sight(NamedTuple):
    """A file system and the variables of this process.

    Attributes:
        root: Where the file system begins; a test has one of its own.
        variables: os.environ, as it is now.
    """

    root: Path
    variables: Mapping[str, str]

    def at(self, path: str) -> Path:
        """An absolute path, in this file system."""
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str:
        """What a text file holds, or ""."""
        try:
            return self.at(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Whether there is something."""
        try:
            return self.at(path).exists()
        except OSError:
            return False

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none where it cannot be read."""
        try:
            return sorted(entry.name for entry in self.at(folder).iterdir())
        except OSError:
            return []
