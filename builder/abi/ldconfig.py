"""What ldconfig writes to the loader's cache, worked out from the files alone.

The rules are those of `search_dir` in glibc's `elf/ldconfig.c` and of `add_to_cache` in `elf/cache.c`;
`tests/process/test_loader_agrees.py` holds them against the real ldconfig.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from builder.abi.facts import Binary
from builder.abi.loader.disk import Disk
from builder.abi.loader.world import DEBIAN_FOLDERS

_LEVELS = "glibc-hwcaps"
_MACHINE = "x86_64"  # the cache keeps libraries of other machines apart, and a loader does not see them
_LIBRARY = re.compile(r"(?:lib|ld-).*\.so.*|ld\.so\..*|ld64\.so\..*")  # glibc's _dl_is_dso
_RUNS = re.compile(r"\d+|\D")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One name of the cache as it comes from one folder.

    Attributes:
        name: What it is looked up by.
        file: The name of the file in the folder that was chosen for it.
        link: Whether that file is a link which belongs to its name, and not a library of its own.
    """

    name: str
    file: str
    link: bool


def cache(
    files: Mapping[str, Binary],
    links: Mapping[str, str],
    folders: Iterable[str],
    *,
    defaults: Iterable[str] = DEBIAN_FOLDERS,
    hwcaps: Iterable[str] = (),
) -> dict[str, str]:
    """The names in the cache, each with the path that an x86-64 loader gets for it.

    Where two libraries have one soname, that of the earlier folder wins; within a folder a file wins over a
    link, and then the one with the higher name, numbers compared as numbers. A path ends in the soname and
    not in the file's own name, since ldconfig makes links too; see `made`.

    Args:
        files: The facts of each file by its absolute path.
        links: Symbolic links, as in `World.links`.
        folders: What ld.so.conf and the files that it includes name, in order.
        defaults: The folders that come after those.
        hwcaps: The levels of the processor, best first, see `World.hwcaps`.
    """
    disk = Disk(files, links)
    searched = _once(disk, (*folders, *defaults))
    found: dict[str, str] = {}
    for level in (*(f"/{_LEVELS}/{level}" for level in hwcaps), ""):
        for folder in searched:
            for entry in _entries(disk, folder + level, files):
                found.setdefault(entry.name, f"{folder}{level}/{entry.file if level else entry.name}")
    return found


def made(
    files: Mapping[str, Binary],
    links: Mapping[str, str],
    folders: Iterable[str],
    *,
    defaults: Iterable[str] = DEBIAN_FOLDERS,
) -> dict[str, str]:
    """The links that ldconfig makes or points elsewhere: from a soname to the file beside it that has it.

    Where links of one folder have each other's sonames, the real outcome hangs on the order in which the file
    system lists them; here each of them is made.
    """
    disk = Disk(files, links)
    return {
        f"{folder}/{entry.name}": entry.file
        for folder in _once(disk, (*folders, *defaults))
        for entry in _entries(disk, folder, files)
        if not entry.link and _to_link(disk, folder, entry)
    }


def _once(disk: Disk, folders: Iterable[str]) -> list[str]:
    """The folders that are there, each by the first of its paths, without slashes at their ends."""
    real: dict[str | None, str] = {}
    for folder in folders:
        path = folder.strip().rstrip("/")
        if path and disk.folder(f"{path}/") is not None:
            real.setdefault(disk.real(path), path)
    return list(real.values())


def _entries(disk: Disk, folder: str, files: Mapping[str, Binary]) -> Iterator[_Entry]:
    """The names that a folder's libraries have, each with the file that is taken for it."""
    best: dict[str, _Entry] = {}
    for file, path in (disk.folder(f"{folder}/") or {}).items():
        if _LIBRARY.match(file) and files[path].machine == _MACHINE:
            entry = _entry(file, files[path].soname, link=disk.is_link(f"{folder}/{file}"))
            held = best.get(entry.name)
            if held is None or _rank(held) < _rank(entry):
                best[entry.name] = entry
    yield from best.values()


def _entry(file: str, soname: str, *, link: bool) -> _Entry:
    """How ldconfig takes one file.

    A link counts as one if it is named by the soname, or is the one that compilers use: `libx.so` of
    `libx.so.1`. It is kept by its own name then. Any other link counts as a library.
    """
    name = soname or file
    link = link and (file == name or (file.endswith(".so") and name.startswith(file)))
    return _Entry(file if link else name, file, link)


def _rank(entry: _Entry) -> tuple[bool, list[tuple[int, int]]]:
    return not entry.link, _order(entry.file)


def _order(name: str) -> list[tuple[int, int]]:
    """What names are compared by, as in `_dl_cache_libcmp`: a number comes after any letter."""
    return [(1, int(run)) if run.isdigit() else (0, ord(run)) for run in _RUNS.findall(name)]


def _to_link(disk: Disk, folder: str, entry: _Entry) -> bool:
    """Whether the soname does not lead to the entry's file yet, and no file is in the way."""
    there = disk.file(f"{folder}/{entry.name}")
    if there is not None and not disk.is_link(f"{folder}/{entry.name}"):
        return False
    return there != disk.file(f"{folder}/{entry.file}")
