"""Paths that two packages write to: found before anything is built.

An installer lets the last one win, and which that is, is chance. The same content twice does no harm:
NVIDIA's wheels all bring `nvidia/__init__.py`. A file where another one has a folder does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from builder.engines.direct.entry import Entry, Held
from builder.errors import BadInputError, Fault

MOST_TOLD = 10

_FOLDER = "directory"


Writes = tuple[str, str, str]
"""A wheel's name, a path that it writes, and what tells the content from another one."""


def writes(wheel: str, entry: Entry) -> Writes:
    """What an entry of a wheel writes."""
    return wheel, entry.node.path, _content(entry)


def require_none(written: Iterable[Writes]) -> None:
    """See that nothing is written twice with another content, and no file where others have a folder.

    Args:
        written: Of all wheels; bytecode is not among it.

    Raises:
        BadInputError: Something is; each path is told with both wheels, ten at most.
    """
    seen: dict[str, tuple[str, str]] = {}
    folders: dict[str, str] = {}
    faults: list[Fault] = []
    for wheel, path, content in written:
        other, before = seen.setdefault(path, (wheel, content))
        if before != content:
            faults.append(_fault(path, wheel, other))
        _note_folders(folders, path, wheel)
    faults += _files_for_folders(seen, folders)
    if faults:
        raise BadInputError(*faults[:MOST_TOLD])


def _note_folders(folders: dict[str, str], path: str, wheel: str) -> None:
    """Note of each folder above a path the first wheel that has something in it."""
    folder = path.rpartition("/")[0]
    while folder and folder not in folders:
        folders[folder] = wheel
        folder = folder.rpartition("/")[0]


def _files_for_folders(seen: Mapping[str, tuple[str, str]], folders: Mapping[str, str]) -> Iterator[Fault]:
    for path, (wheel, content) in seen.items():
        if path in folders and content != _FOLDER:
            yield Fault(
                place=f"/{path}",
                cause=f"{wheel} writes it as a file or a link, and {folders[path]} has files below it",
                fix="Demand versions that do not, or leave one of them out",
            )


def _content(entry: Entry) -> str:
    """What tells an entry's content from another one."""
    if entry.node.kind == "directory":
        return _FOLDER
    if entry.node.kind != "file":
        return f"{entry.node.kind} {entry.node.target}"
    if isinstance(entry.content, Held):
        return entry.content.sha256
    return hashlib.sha256(entry.content).hexdigest()


def _fault(path: str, wheel: str, other: str) -> Fault:
    return Fault(
        place=f"/{path}",
        cause=f"{other} and {wheel} both write it, with different content",
        fix="Demand versions that do not, or leave one of them out",
    )
