"""An image that lies unpacked in a folder, as one process tells another of it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from builder.engines.direct.store import Store, flocked

ABOUT = "unpacked.json"
"""The file beside the root file system that says what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """The root file system of an image, and what its configuration says.

    Attributes:
        root: The folder that it was unpacked to. Nothing ever writes to it again: its files may be those of
            other images too.
        name: The image's name, `cuvee:cu121`.
        labels: Its labels.
        environment: Variables that processes in it have, and their values.
        size: Its bytes on disk, base included, whether it shares them with another image or not.
        trees: The names of the unpacked layers that it shares files with; see `trees`.
    """

    root: Path
    name: str
    labels: Mapping[str, str]
    environment: tuple[tuple[str, str], ...]
    size: int
    trees: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The text of a file that says all of it."""
        told = {
            "root": str(self.root),
            "name": self.name,
            "labels": dict(sorted(self.labels.items())),
            "environment": [list(pair) for pair in self.environment],
            "size": self.size,
            "trees": list(self.trees),
        }
        return json.dumps(told, indent=1) + "\n"


def from_json(text: str) -> Unpacked:
    """What `Unpacked.to_json` wrote.

    Raises:
        ValueError: It is no JSON.
        KeyError: Something of it is not there.
    """
    told = json.loads(text)
    return Unpacked(
        root=Path(told["root"]),
        name=told["name"],
        labels=told["labels"],
        environment=tuple((name, value) for name, value in told["environment"]),
        size=told["size"],
        trees=tuple(told.get("trees", ())),
    )


def used(store: Store, tag: str, how: int = fcntl.LOCK_SH) -> AbstractContextManager[None]:
    """Keep others from deleting the image of that name meanwhile; with `LOCK_EX` be alone with it.

    Raises:
        BlockingIOError: Another one has it, and nobody waits (`LOCK_NB`).
    """
    return flocked(store.path("state", f"used-{tag.replace(':', '+')}"), how)


def told_in(folder: Path) -> Unpacked | None:
    """The image that lies unpacked in a folder of the store, or None where none does."""
    try:
        return from_json((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError):
        return None


def name_of(folder: Path) -> str:
    """Its name; "" where there is none."""
    told = told_in(folder)
    return told.name if told else ""
