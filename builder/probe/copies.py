"""Check `copies`: no CUDA library is there twice, under one soname or as one content."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Callable, Dict, Hashable, Iterable, List, Sequence, TypeVar

from . import elf, rules
from .finding import Finding, judged, several, skipped
from .place import Place, elf_files, matches

Key = TypeVar("Key", bound=Hashable)


def check(place: Place) -> Finding:
    """Compare the sonames of all CUDA libraries, and the contents of those that are equally long."""
    libraries = cuda_libraries(elf_files(place))
    if not libraries:
        return skipped("no CUDA library here")
    waived = {path: reason for path in libraries for reason in waivers(place.relative(path), soname(path))}
    counted = [path for path in libraries if path not in waived]
    return judge(counted, twice(counted, soname), same_content(counted), waived)


def waivers(file: str, name: str) -> List[str]:
    """Why the library at `file` with the soname `name` may be a copy of another; nothing if it may not."""
    return [
        rule.reason for rule in rules.COPIES if matches(file, rule.files) and matches(name, rule.libraries)
    ]


def cuda_libraries(files: Iterable[Path]) -> List[Path]:
    """Those of `files` that are named like CUDA's libraries."""
    return [path for path in files if re.fullmatch(rules.CUDA_LIBRARY, path.name)]


def twice(paths: Iterable[Path], key: Callable[[Path], Key]) -> Dict[Key, List[Path]]:
    """The groups of paths that share a key."""
    groups: Dict[Key, List[Path]] = {}
    for path in paths:
        groups.setdefault(key(path), []).append(path)
    return {shared: group for shared, group in groups.items() if len(group) > 1}


def soname(path: Path) -> str:
    """What a library is called by those that need it: its soname, or its file's name if it has none."""
    said = elf.read(path)
    return (said.soname if said else "") or path.name


def same_content(paths: Iterable[Path]) -> Dict[str, List[Path]]:
    """Files with the same bytes, by their SHA-256; gigabytes of unlike length are never read."""
    equally_long = twice(paths, lambda path: path.stat().st_size)
    return twice([path for group in equally_long.values() for path in group], _sha256)


def judge(
    libraries: Sequence[Path],
    sonames: Dict[str, List[Path]],
    contents: Dict[str, List[Path]],
    waived: Dict[Path, str],
) -> Finding:
    """Neither kind of copy may be there."""
    by_soname = {name: [str(path) for path in group] for name, group in sonames.items()}
    by_content = {name: [str(path) for path in group] for name, group in contents.items()}
    words = ["{} is in {}".format(name, " and ".join(group)) for name, group in by_soname.items()]
    words += ["the same file is in {}".format(" and ".join(group)) for group in by_content.values()]
    return judged(
        several(words),
        "{} CUDA libraries, each once".format(len(libraries)),
        libraries=len(libraries),
        same_soname=by_soname,
        same_content=by_content,
        waived={str(path): reason for path, reason in waived.items()},
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
