"""What the real loader makes of every ELF file alone: for holding a prediction against it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Dict

from . import libraries, loader, processes
from .place import Place, elf_files

if TYPE_CHECKING:
    from pathlib import Path


def run(place: Place) -> Dict[str, Any]:
    """By file: `libraries` (real paths of all that is loaded with it), `missing` names, `complaints`."""
    traced = libraries.linked_files(elf_files(place))
    answers = processes.side_by_side(lambda path: loader.trace(path, hide_cache=place.hide_cache), traced)
    return {"files": {str(path): _told(path, answer) for path, answer in answers.items()}}


def _told(path: Path, answer: loader.Trace) -> Dict[str, Any]:
    found = {os.path.realpath(library) for library in answer.found.values()} - {os.path.realpath(str(path))}
    return {
        "libraries": sorted(found),
        "missing": sorted(answer.missing),
        "complaints": list(answer.complaints),
    }
