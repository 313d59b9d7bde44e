"""Layers that lie unpacked in the store, once each: the images that have them share their files.

A tree is a folder `trees/<diff_id>/tree` with the layer's files in `files` and what else is to be known of
them in `index.json`. An image gets the files as further names of the same files (hard links). So nothing may
ever write into an unpacked file, in a tree or in an image: containers have them read-only, or as copies
(`sandbox.box`), and who unpacks replaces a file by a new one.

Whoever unpacks an image holds `used` of its trees, so that nobody deletes them meanwhile; who makes one holds
`making`, so that others wait for it instead of making it too.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from builder.engines.direct import unpacked
from builder.engines.direct.ground import Ground, inner, remove
from builder.engines.direct.image import Layer
from builder.engines.direct.store import Store, flocked, touch
from builder.engines.direct.unpack import ForeignError, unpacking

LARGE = 1_000_000
"""The bytes of a blob from which on a layer becomes a tree. A quarter of the layers of this project's images
is smaller, with less than a thousandth of the bytes: they are unpacked anew as fast as a tree is seen to."""

AT_ONCE = 2

_NO_LINK = frozenset({errno.EMLINK, errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.ENOSYS})
"""What a disk says that gives a file no further name: it has too many, another owner, or can have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder that a layer names; those that it does not name are as another layer has them.

    Attributes:
        path: Its path in the image.
        mode: Its permissions.
        uid: Its owner.
        gid: Its group.
        mtime: Its time, in seconds since 1970.
    """

    path: str
    mode: int
    uid: int
    gid: int
    mtime: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A layer that lies unpacked.

    Attributes:
        root: The folder with its files.
        folders: Its folders.
        files: The paths of all else: files, links and further names.
        size: The bytes of its files, as `unpack` counts them.
        whole: Whether it can be laid: a layer that gives a file of another layer a further name cannot.
    """

    root: Path
    folders: tuple[Folder, ...] = ()
    files: tuple[str, ...] = ()
    size: int = 0
    whole: bool = True

    def lay(self, ground: Ground) -> int:
        """Give an image its files, as unpacking the layer would; returns their bytes.

        Raises:
            CheckFailedError: A folder that it goes through is a link of another layer's.
            OSError: It cannot be written.
        """
        for folder in self.folders:
            ground.folder(folder.path, folder.mode, (folder.uid, folder.gid), folder.mtime)
        for name in self.files:
            path = ground.place(name, make=True)
            remove(path)  # never written into: it may be another layer's
            _give(f"{self.root}/{name}", path)
        return self.size


def name_of(diff_id: str) -> str:
    """What a layer's tree is called in the store."""
    return diff_id.removeprefix("sha256:")


@contextmanager
def provided(store: Store, layers: Iterable[Layer]) -> Iterator[Mapping[str, Tree]]:
    """The trees of all layers that are large enough, by their `diff_id`; made where they are not there.

    Nobody deletes them meanwhile.

    Raises:
        CuveeError: A layer cannot be had, or is not what its digest says.
        OSError: It cannot be written.
    """
    large = {layer.diff_id: layer for layer in layers if layer.size >= LARGE}
    with ExitStack() as stack:
        for diff_id in large:
            stack.enter_context(flocked(_place(store, diff_id) / "used", fcntl.LOCK_SH))
        largest_first = sorted(large.values(), key=lambda layer: -layer.size)
        yield dict(zip((one.diff_id for one in largest_first), _all(store, largest_first), strict=True))


def used_by(folders: Iterable[Path]) -> frozenset[str]:
    """The names of the trees that unpacked images use, each in its folder of the store."""
    told = map(unpacked.told_in, folders)
    return frozenset(name for one in told if one for name in one.trees)


def touch_all(store: Store, names: Iterable[str]) -> None:
    """Note that an image that uses trees was used: they must not seem older than it."""
    for name in names:
        touch(store.path("trees", name))


def unused(store: Store, keep: Collection[str] = ()) -> tuple[str, ...]:
    """The names of the trees that no unpacked image uses, less those to keep."""
    folder, roots = store.root / "trees", store.root / "roots"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    used = used_by(roots.iterdir()) if roots.is_dir() else frozenset()
    return tuple(name for name in names if name not in used and name not in keep)


def drop_unused(store: Store, keep: Collection[str] = ()) -> int:
    """Delete them, but for those of an image that is being unpacked; returns their bytes.

    Args:
        store: The store.
        keep: Names of trees that stay.
    """
    freed = 0
    for name in unused(store, keep):
        place = store.path("trees", name)
        with suppress(BlockingIOError), flocked(place / "used", fcntl.LOCK_EX | fcntl.LOCK_NB):
            if name in unused(store, keep):  # an image may have come since
                freed += store.delete((store.item(place),))
    return freed


def _place(store: Store, diff_id: str) -> Path:
    return store.path("trees", name_of(diff_id))


def _all(store: Store, layers: Sequence[Layer]) -> list[Tree]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(partial(_provide, store, layer)) for layer in layers]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _provide(store: Store, layer: Layer) -> Tree:
    place = _place(store, layer.diff_id)
    touch(place)
    if there := _read(place / "tree"):
        return there
    with flocked(place / "making", fcntl.LOCK_EX):
        if there := _read(place / "tree"):
            return there
        with store.scratch() as scratch:
            _make(layer, scratch / "tree")
            shutil.rmtree(place / "tree", ignore_errors=True)  # one that cannot be read
            (scratch / "tree").rename(place / "tree")
    made = _read(place / "tree")
    assert made  # noqa: S101 - it was written just now
    return made


def _make(layer: Layer, folder: Path) -> None:
    (folder / "files").mkdir(parents=True)
    try:
        index = _unpacked(layer, folder / "files")
    except ForeignError:
        shutil.rmtree(folder / "files")
        index = {"whole": False, "size": 0, "folders": [], "files": []}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _unpacked(layer: Layer, files: Path) -> dict[str, Any]:
    """Unpack a layer into an empty folder; returns what goes into the index."""
    ground, members, size = Ground(files), dict[str, tarfile.TarInfo](), 0
    for member in unpacking(layer.tar(), ground, layer.diff_id):
        size += member.size
        path = inner(member.name)
        members.pop(path, None)  # what comes later replaces what was there
        members[path] = member
    ground.settle()
    return {
        "whole": True,
        "size": size,
        "folders": [
            (path, one.mode, one.uid, one.gid, one.mtime) for path, one in members.items() if one.isdir()
        ],
        "files": [path for path, one in members.items() if not one.isdir()],
    }


def _read(folder: Path) -> Tree | None:
    try:
        told = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        folders = tuple(
            Folder(path=path, mode=mode, uid=uid, gid=gid, mtime=mtime)
            for path, mode, uid, gid, mtime in told["folders"]
        )
        return Tree(
            root=folder / "files",
            folders=folders,
            files=tuple(told["files"]),
            size=told["size"],
            whole=told["whole"],
        )
    except (OSError, ValueError, KeyError):
        return None


def _give(source: str, path: str) -> None:
    """Another name for a file or a link, or a copy where it can have none."""
    try:
        os.link(source, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, path, follow_symlinks=False)
        told = os.lstat(source)
        if os.geteuid() == 0:
            os.chown(path, told.st_uid, told.st_gid, follow_symlinks=False)
        shutil.copystat(source, path, follow_symlinks=False)
