"""The place under test: which environment, which overlays, which files."""

from __future__ import annotations

import fnmatch
import os
import site
import sys
from pathlib import Path
from typing import Iterator, List, NamedTuple, Tuple

from . import elf

NO_ELF = {".py", ".pyc", ".pyi", ".h", ".hpp", ".cuh", ".txt", ".json"}
"""Endings of files that are not opened to see what they are: nine tenths of an environment."""


class Place(NamedTuple):
    """What the probe looks at.

    Attributes:
        prefix: The environment's root: that of the Python that runs the probe.
        packages: Its site-packages folders.
        overlays: Folders beside it that hold libraries for the loader's cache.
        also: Further files and folders, named on the command line.
        hide_cache: Whether children run as if the loader's cache were empty.
    """

    prefix: Path
    packages: Tuple[Path, ...]
    overlays: Tuple[Path, ...]
    also: Tuple[Path, ...] = ()
    hide_cache: bool = False

    def folders(self) -> Tuple[Path, ...]:
        """Every folder whose files are checked.

        A system's own Python has everybody's programs in its `bin`; only a virtual environment's is its own.
        """
        programs = (self.prefix / "bin",) if (self.prefix / "pyvenv.cfg").exists() else ()
        return (*self.packages, *programs, *self.overlays, *self.also)

    def relative(self, path: Path) -> str:
        """`path` as the rules' patterns know it: relative to the folder of packages it lies in."""
        for home in (*self.packages, *self.overlays):
            if home in path.parents:
                return str(path.relative_to(home))
        return str(path)

    def matching(self, pattern: str) -> List[Path]:
        """The files in the environment's packages that `pattern` names."""
        return sorted(path for home in self.packages for path in home.glob(pattern))


def here(also: Tuple[Path, ...] = (), *, hide_cache: bool = False) -> Place:
    """The place this Python runs in; its overlays lie in `overlays` beside its prefix."""
    prefix = Path(sys.prefix)
    packages = tuple(path for path in map(Path, site.getsitepackages()) if path.is_dir())
    overlays = tuple(sorted(path for path in prefix.parent.glob("overlays/*") if path.is_dir()))
    return Place(prefix, packages, overlays, also, hide_cache)


def files(folders: Tuple[Path, ...]) -> Iterator[Path]:
    """Every regular file in `folders`, which may name single files too; links are not followed."""
    for folder in folders:
        if folder.is_file():
            yield folder
        for root, _, names in os.walk(str(folder)):
            for path in (Path(root, name) for name in names):
                if path.is_file() and not path.is_symlink():
                    yield path


def elf_files(place: Place) -> List[Path]:
    """Every ELF file of the place, once, in order."""
    found = {path for path in files(place.folders()) if path.suffix not in NO_ELF and elf.is_elf(path)}
    return sorted(found)


def matches(text: str, pattern: str) -> bool:
    """Whether `text` has the shape of `pattern` (fnmatch, case counts)."""
    return fnmatch.fnmatchcase(text, pattern)
