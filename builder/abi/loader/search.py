"""Where the loader looks for a name, in which order, and what it finds there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import translate

from builder.abi.facts import Binary
from builder.abi.loader.disk import Disk
from builder.abi.loader.places import DRIVER, Found, Place, Rule
from builder.abi.loader.world import World

_HWCAPS_SINCE = (2, 33)
_32_BIT = frozenset({"3", "40"})  # e_machine of i386 and arm
_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")

_Names = dict[str, tuple[str, str, str]]
"""What a list of folders offers: for each name the file, what stands before the name, and the search folder.

The last two differ where `glibc-hwcaps/LEVEL/` comes between.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The search folders that one file or setting lists.

    Attributes:
        rule: Why they are searched.
        of: The file whose DT_RPATH or DT_RUNPATH lists them, else "".
        folders: Their paths, tokens replaced, each with a slash at its end.
        names: What is found in them.
    """

    rule: Rule
    of: str
    folders: tuple[str, ...]
    names: _Names


class Search:
    """Finds names in a world, for one program.

    It is made once and shared by all processes of that program, since what it keeps never changes.
    """

    __slots__ = (
        *("_complete", "_defaults", "_driver", "_levels", "_library_path", "_listed", "_world"),
        *("disk", "program"),
    )

    def __init__(self, world: World, disk: Disk, program: str = "") -> None:
        self._world = world
        self._listed: dict[tuple[tuple[str, ...], str], tuple[tuple[str, ...], _Names]] = {}
        self._complete: dict[str, set[str]] = {}
        self._driver = re.compile("|".join(map(translate, sorted(world.absent))) or "(?!)")
        hwcaps = world.hwcaps if world.glibc >= _HWCAPS_SINCE else ()
        self._levels = (*(f"glibc-hwcaps/{level}/" for level in hwcaps), "")
        self.disk = disk
        self.program = program
        library_path = self.listing(Rule.LIBRARY_PATH, world.library_path, origin=origin_of(program))
        self._library_path = (library_path,)
        self._defaults = (self.listing(Rule.DEFAULT, world.defaults),)

    def binary(self, path: str) -> Binary:
        """The facts of a file of this world.

        Raises:
            KeyError: There is no such file.
        """
        return self._world.files[path]

    def complete(self, path: str) -> set[str]:
        """The files that are known to provide all symbol versions that a file needs of them."""
        return self._complete.setdefault(path, set())

    def listing(self, rule: Rule, paths: tuple[str, ...], *, of: str = "", origin: str = "") -> Listing:
        """The folders that a DT_RPATH, a DT_RUNPATH or a setting lists, and what is in them.

        Files in one folder often list the same, and then share what was worked out for the first.
        """
        key = (paths, origin)
        if key not in self._listed:
            folders = self._folders(paths, origin)
            self._listed[key] = folders, self._names(folders)
        folders, names = self._listed[key]
        return Listing(rule=rule, of=of, folders=folders, names=names)

    def _folders(self, paths: tuple[str, ...], origin: str) -> tuple[str, ...]:
        """The folders of a list, each once; those with a token without a value are dropped."""
        expanded = (self.expand(path, origin) if path else "." for path in paths)
        return tuple(dict.fromkeys(_slashed(folder) for folder in expanded if folder))

    def _names(self, folders: tuple[str, ...]) -> _Names:
        """The first file of each name that can be loaded, those for better processors before others."""
        names: _Names = {}
        for folder in folders:
            for level in self._levels:
                spelled = folder + level
                for name, path in (self.disk.folder(spelled) or {}).items():
                    if name not in names and self._fits(path):
                        names[name] = path, spelled, folder
        return names

    def expand(self, text: str, origin: str) -> str:
        """The text with `$ORIGIN`, `$LIB` and `$PLATFORM` replaced; "" if one of them has no value."""
        if "$" not in text:
            return text
        values = {"ORIGIN": origin, "LIB": self._world.lib, "PLATFORM": self._world.platform}
        expanded = _TOKEN.sub(lambda match: values[match[1] or match[2]] or "\0", text)
        return "" if "\0" in expanded else expanded

    def by_path(self, path: str, name: str, by: str) -> Found | None:
        """The file at a path, if it can be loaded; `name` and `by` are those of `Found`."""
        file = self.disk.file(path)
        if file is None or not self._fits(file):
            return None
        return Found(name=name, path=file, spelled=path, by=by, place=Place(rule=Rule.PATH, folder=path))

    def by_name(
        self, name: str, by: str, rpath: tuple[Listing, ...], runpath: tuple[Listing, ...]
    ) -> Found | None:
        """The first file of that name, in the order of `_dl_map_object`."""
        return (
            self._in_folders(name, by, rpath)
            or self._in_folders(name, by, self._library_path)
            or self._in_folders(name, by, runpath)
            or self._in_cache(name, by)
            or self._from_driver(name, by)
            or self._in_folders(name, by, self._defaults)
        )

    def searched(
        self, name: str, rpath: tuple[Listing, ...], runpath: tuple[Listing, ...]
    ) -> tuple[Place, ...]:
        """All places that `by_name` looks into, in its order."""
        cached = self._world.cache.get(name, "")
        cache = Place(rule=Rule.CACHE, folder=cached, there=self.disk.file(cached) is not None)
        before = self._places((*rpath, *self._library_path, *runpath))
        return tuple(dict.fromkeys((*before, cache, *self._places(self._defaults))))

    def is_32_bit(self, name: str, places: tuple[Place, ...]) -> bool:
        """Whether a search passed over a file only because it is for a 32-bit machine."""
        found = filter(None, (path for place in places for path in self._at(place, name)))
        return any(self.binary(path).machine in _32_BIT for path in found)

    def _at(self, place: Place, name: str) -> Iterator[str | None]:
        """The files that a search for a name looks at in one place, fitting or not."""
        if place.rule in {Rule.CACHE, Rule.PATH}:
            yield self.disk.file(place.folder)
        else:
            yield from (self.disk.file(place.folder + level + name) for level in self._levels)

    def _in_folders(self, name: str, by: str, listings: tuple[Listing, ...]) -> Found | None:
        for listing in listings:
            found = listing.names.get(name)
            if found is not None:
                path, before, folder = found
                place = Place(rule=listing.rule, folder=folder, of=listing.of)
                return Found(name=name, path=path, spelled=before + name, by=by, place=place)
        return None

    def _in_cache(self, name: str, by: str) -> Found | None:
        cached = self._world.cache.get(name)
        found = None if cached is None else self.by_path(cached, name, by)
        if cached is None or found is None:
            return None
        return replace(found, place=Place(rule=Rule.CACHE, folder=cached))

    def _from_driver(self, name: str, by: str) -> Found | None:
        if not self._driver.fullmatch(name):
            return None
        return Found(name=name, path=DRIVER, spelled=name, by=by, place=Place(rule=Rule.DRIVER))

    def _places(self, listings: tuple[Listing, ...]) -> Iterator[Place]:
        for one in listings:
            for folder in one.folders:
                there = self.disk.folder(folder) is not None
                yield Place(rule=one.rule, folder=folder, of=one.of, there=there)

    def _fits(self, path: str) -> bool:
        return self.binary(path).machine == self._world.machine


def origin_of(path: str) -> str:
    """What `$ORIGIN` stands for in a file: its folder as it is spelled, "" if that is not known."""
    return path.rpartition("/")[0] or "/" if path.startswith("/") else ""


def _slashed(folder: str) -> str:
    """The folder with one slash at its end."""
    return f"{folder.rstrip('/')}/"
