"""Which repositories of a registry have which layers, as far as pushes from here have seen.

A hint and no more: a registry mounts only what it has. So nothing here ever fails a push.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST_DIGESTS = 1000
"""How many layers of a repository are remembered, the latest."""

MOST_REPOSITORIES = 200
"""How many repositories of a registry, likewise."""

_FIELD = "repositories"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A folder with one file for each registry.

    Attributes:
        folder: Where it is; `pushed` is made below it when first needed.
    """

    folder: Path

    def recall(self, registry: str) -> dict[str, tuple[str, ...]]:
        """Of each repository its layers' digests, the latest first; nothing where the file is damaged."""
        return dict(reversed(_read(self._path(registry)).items()))

    def remember(self, registry: str, repository: str, digests: Iterable[str]) -> None:
        """Note that a repository has these layers; where that cannot be written, it is forgotten."""
        path = self._path(registry)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = _read(path)
                kept = (*known.pop(repository, ()), *digests)
                # The latest go to the end, of layers and of repositories.
                latest = tuple(reversed(dict.fromkeys(reversed(kept))))[-MOST_DIGESTS:]
                _write(path, dict([*known.items(), (repository, latest)][-MOST_REPOSITORIES:]))

    def _path(self, registry: str) -> Path:
        return self.folder / "pushed" / f"{registry}.json"


def _read(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        repositories = json.loads(path.read_bytes())[_FIELD]
        return {str(name): tuple(map(str, digests)) for name, digests in repositories.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _write(path: Path, repositories: dict[str, tuple[str, ...]]) -> None:
    part = path.with_name(f".partial-{secrets.token_hex(8)}")
    try:
        part.write_text(json.dumps({_FIELD: repositories}, indent=1) + os.linesep, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
