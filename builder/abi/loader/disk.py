"""Paths as the kernel resolves them, from a mapping of files and one of symbolic links."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_LINKS_ON_ONE_PATH = 40  # Linux' MAXSYMLINKS, then ELOOP

_Folders = dict[str, dict[str, str]]
_NOTHING: Mapping[str, str] = {}


class Disk:
    """Finds files by path, through links of files and of folders.

    A folder exists if a file or a link is known in it or below it. Paths lead through existing folders only,
    as in the kernel: without `/a`, nothing is at `/a/../b`.
    """

    __slots__ = ("_canonical", "_folders", "_links", "_seen")

    def __init__(self, files: Collection[str], links: Mapping[str, str]) -> None:
        """Index the paths.

        Args:
            files: Absolute paths of files; the same file by two paths is known by the first.
            links: Symbolic links: absolute path to what it points at.
        """
        self._folders: _Folders | None = None
        self._canonical: dict[str, str | None] = {}
        self._links: dict[str, str] = dict(links)
        self._settle_links()
        self._fill(files)
        self._seen: dict[str, Mapping[str, str] | None] = {}

    def real(self, path: str) -> str | None:
        """The absolute path without links, `.` and `..`, or None if it leads nowhere.

        The last part need not exist. A relative path leads nowhere.
        """
        if not path.startswith("/"):
            return None
        done = ""
        parts = path.split("/")[::-1]
        budget = _LINKS_ON_ONE_PATH
        while parts:
            part = parts.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            here = f"{done}/{part}"
            target = self._links.get(here)
            if target is None:
                done = here
                if parts and not self._is_folder(here):
                    return None
                continue
            budget -= 1
            if not budget:
                return None
            done = "" if target.startswith("/") else done
            parts.extend(target.split("/")[::-1])
        return done or "/"

    def folder(self, path: str) -> Mapping[str, str] | None:
        """The files in a folder: name to path as it was given, or None if there is no such folder."""
        try:
            return self._seen[path]
        except KeyError:
            real = self.real(path)
            found = None if real is None else (self._folders or {}).get(real.rstrip("/"))
            self._seen[path] = found
            return found

    def file(self, path: str) -> str | None:
        """The file at a path, as it was given, or None if none is known there."""
        folder, _, name = path.rpartition("/")
        return (self.folder(f"{folder}/") or _NOTHING).get(name)

    def is_link(self, path: str) -> bool:
        """Whether the last part of a path is a symbolic link."""
        return self._placed(path) in self._links

    def _settle_links(self) -> None:
        """Key each link by the folder that it really is in, which other links may decide."""
        for _ in range(_LINKS_ON_ONE_PATH):
            settled = {self._placed(path): target for path, target in self._links.items()}
            self._canonical.clear()
            if settled == self._links:
                break
            self._links = settled

    def _is_folder(self, real: str) -> bool:
        return self._folders is None or real in self._folders

    def _placed(self, path: str) -> str:
        """The path with its folder resolved and its last part as it is."""
        folder, _, name = path.rpartition("/")
        try:
            real = self._canonical[folder]
        except KeyError:
            real = self._canonical[folder] = self.real(f"{folder}/")
        return f"{(real or folder).rstrip('/')}/{name}"

    def _fill(self, files: Collection[str]) -> None:
        folders: _Folders = {"": {}}
        placed = {self._placed(path): path for path in reversed(list(files))}
        for place, path in placed.items():
            folder, _, name = place.rpartition("/")
            _made(folders, folder)[name] = path
        for place in self._links:
            _made(folders, place.rpartition("/")[0])
        self._folders = folders  # from here on, paths lead through these only
        for place in self._links:
            folder, _, name = place.rpartition("/")
            target = placed.get(self.real(place) or "")
            if target is not None:
                folders[folder].setdefault(name, target)


def _made(folders: _Folders, folder: str) -> dict[str, str]:
    """The folder's files, once it and those above it are there."""
    known = folders.get(folder)
    if known is None:
        known = folders[folder] = {}
        _made(folders, folder.rpartition("/")[0])
    return known
