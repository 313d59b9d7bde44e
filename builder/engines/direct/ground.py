"""A folder that is being filled with an image's files, and the guard that nothing lands outside of it."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath

from builder.errors import CheckFailedError, Fault


class Ground:
    """A folder to fill, by paths such as `usr/bin/python3.11`.

    Folders that were seen to be folders are not looked at again: nothing here turns one into a link, and
    nobody else may write to it meanwhile.

    Attributes:
        into: The folder.
    """

    def __init__(self, into: Path) -> None:
        self.into = into
        self._known: set[str] = {""}
        self._times: dict[str, float] = {}

    def place(self, name: str, *, make: bool = False) -> str:
        """Where a file of that name goes. No folder on the way may be a link: it could lead anywhere.

        Args:
            name: Its path in the image.
            make: Whether folders that lack on the way are made.

        Raises:
            CheckFailedError: It leads out of the folder.
            OSError: A folder on the way is a file, or cannot be made.
        """
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or name.startswith("/"):
            raise _leads_out(name)
        if "/".join(parts[:-1]) not in self._known:
            self._enter(name, parts[:-1], make=make)
        return f"{self.into}/{'/'.join(parts)}"

    def folder(self, name: str, mode: int, owner: tuple[int, int], mtime: float) -> None:
        """Make a folder, or dress one that is there; a file or a link in its place is replaced.

        Args:
            name: Its path in the image.
            mode: Its permissions.
            owner: Its user and group, heeded where we are root.
            mtime: Its time, in seconds since 1970, which it has after `settle`.
        """
        path = self.place(name, make=True)
        if not os.path.isdir(path) or os.path.islink(path):  # noqa: PTH112, PTH114 - for each folder of many
            remove(path)
            with suppress(FileExistsError):
                os.mkdir(path)  # noqa: PTH102
        dress(path, mode, owner)
        self._times[path] = mtime

    def settle(self) -> None:
        """Give the folders their times, when all is in them."""
        for path, mtime in self._times.items():
            os.utime(path, (mtime, mtime), follow_symlinks=False)

    def _enter(self, name: str, parts: tuple[str, ...], *, make: bool) -> None:
        inner = ""
        for part in parts:
            inner = f"{inner}/{part}" if inner else part
            if inner in self._known:
                continue
            path = f"{self.into}/{inner}"
            if make:
                with suppress(FileExistsError):
                    os.mkdir(path)  # noqa: PTH102 - for each folder of many
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                return  # and nothing below it can be a link
            if stat.S_ISLNK(mode):
                raise _leads_out(name)
            if stat.S_ISDIR(mode):
                self._known.add(inner)


def inner(name: str) -> str:
    """A path as it is written shortest: `./a//b` is `a/b`."""
    return "/".join(PurePosixPath(name).parts)


def remove(path: str) -> None:
    """Delete a file or a link, if there is one. A file that has other names keeps its content under them."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - for each file of many


def dress(path: str | int, mode: int, owner: tuple[int, int]) -> None:
    """Owner and mode, in this order: a change of owner clears setuid. Without root all is ours."""
    rootful = os.geteuid() == 0
    if rootful:
        os.chown(path, *owner)
    os.chmod(path, mode if rootful else mode | 0o200)  # noqa: PTH101 - also of what is open


def _leads_out(name: str) -> CheckFailedError:
    return CheckFailedError(
        Fault(place=name, cause="its path leads out of the image", fix="Do not use this image")
    )
