"""What a process has mapped, read from /proc/self/maps, and what that says about cuDNN."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Dict, Iterable, List, Set

FRONT = re.compile(r"libcudnn(-[0-9a-f]{8})?\.so(\.[0-9.]+)?")
"""cuDNN's front library, which opens the others; with a hash in its name where auditwheel bundled it."""

_CUDNN = re.compile(r"libcudnn(?P<hash>-[0-9a-f]{8})?[^/]*\.so\.(?P<major>[0-9]+)[0-9.]*")


def mapped_files(maps: str) -> List[str]:
    """The files in the text of a `maps` file, in order of address, each once."""
    lines = (line.split(None, 5) for line in maps.splitlines())
    paths = (parts[5] for parts in lines if len(parts) == 6 and parts[5].startswith("/"))  # noqa: PLR2004
    return list(dict.fromkeys(paths))


def cudnn_files(paths: Iterable[str]) -> List[str]:
    """Those of `paths` that belong to cuDNN."""
    return [path for path in paths if posixpath.basename(path).startswith("libcudnn")]


def fronts(paths: Iterable[str]) -> List[str]:
    """Those of `paths` that are cuDNN's front library."""
    return [path for path in paths if FRONT.fullmatch(posixpath.basename(path))]


def cudnn_folders(paths: Iterable[str]) -> Dict[str, List[str]]:
    """The folders that cuDNN comes from, for each of its major versions.

    CTranslate2's bundled front is left out: it lies by itself and only opens what lies elsewhere.
    """
    folders: Dict[str, Set[str]] = {}
    for path in paths:
        found = _CUDNN.fullmatch(posixpath.basename(path))
        if found and not found["hash"]:
            folders.setdefault(found["major"], set()).add(posixpath.dirname(path))
    return {major: sorted(places) for major, places in sorted(folders.items())}


def own() -> List[str]:
    """The files that this process has mapped."""
    return mapped_files(Path("/proc/self/maps").read_text(encoding="utf-8"))
