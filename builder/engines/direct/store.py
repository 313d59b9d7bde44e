"""What the direct engine keeps: wheels, and what was made of them once.

A layer is not kept: it is read from its wheels whenever it is wanted, and only its hashes are remembered. So
a store takes little more than the wheels themselves, however many rows are built. What lies unpacked in it,
images and the layers that they share, is there for tests and runs, and goes with `cuvee clean`.

Safe under several builds at once and under kill -9: a file gets its place by one rename, and what is deleted
is deleted only while no build runs.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from builder.errors import EngineOrNetworkError, Fault
from builder.wheels.store import PARTIAL, STALE_S, default_folder

KINDS = ("roots", "trees", "blobs", "layers", "made", "bytecode", "built", "bases", "wheels")
"""The folders of a store, what is remade fastest first."""

_BLOCK = 512
"""What `st_blocks` counts in, in bytes, whatever the disk's own blocks are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something in the store that can be deleted by itself.

    Attributes:
        path: The file or folder.
        size: The bytes on disk that its end gives back. Of an unpacked image these are the files of
            its own; those that it shares with unpacked layers count there.
        used: When it was last used, in seconds since 1970.
    """

    path: Path
    size: int
    used: float


@dataclass(frozen=True, slots=True)
class Store:
    """A folder with all that builds keep between runs.

    Attributes:
        root: That folder.
    """

    root: Path

    @property
    def wheels(self) -> Path:
        """The wheels, each at `<sha256>/<file>`."""
        return self.root / "wheels"

    @property
    def bases(self) -> Path:
        """The bases' layers."""
        return self.root / "bases"

    @property
    def state(self) -> Path:
        """What is remembered of registries."""
        return self.root / "state"

    def path(self, kind: str, name: str) -> Path:
        """Where something of a kind is, or would be."""
        return self.root / kind / name

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep others from deleting anything meanwhile; several may use the store at once.

        Raises:
            EngineOrNetworkError: The store cannot be written.
        """
        with self._locked(fcntl.LOCK_SH):
            self._sweep()
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody uses the store, and keep others waiting."""
        with self._locked(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        with written(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        with flocked(self.root / "lock", how):
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the store's disk that is deleted afterwards; a killed one is swept a day later."""
        with written(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def write(self, path: Path, pieces: Iterable[bytes]) -> None:
        """Write a file whole or not at all.

        Raises:
            EngineOrNetworkError: It cannot be written: a full disk, or a folder that is not ours.
        """
        with written(self.root), self.scratch() as folder:
            part = folder / path.name
            with part.open("xb") as file:
                file.writelines(pieces)
            path.parent.mkdir(parents=True, exist_ok=True)
            part.replace(path)

    def items(self, kinds: Sequence[str] = KINDS) -> Iterator[Item]:
        """All that can be deleted, kind by kind."""
        for kind in kinds:
            folder = self.root / kind
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                yield self.item(path)

    def held(self) -> int:
        """The bytes on disk of all of it; a file with several names counts once."""
        return _size(self.root, shares=False)

    def item(self, path: Path) -> Item:
        """One thing of the store, by its path."""
        return Item(path=path, size=_size(path, shares=path.parent.name == "roots"), used=_used(path))

    def delete(self, items: Iterable[Item]) -> int:
        """Delete items, in `alone` or where nobody else can use them; returns their bytes."""
        freed = 0
        for item in items:
            if item.path.is_dir():
                self._delete_folder(item.path)
            else:
                item.path.unlink(missing_ok=True)
            freed += item.size if not item.path.exists() else 0
        return freed

    def _delete_folder(self, folder: Path) -> None:
        """Away from its place first: a killed one must leave no half of it there.

        By one rename: a disk that is full has no room for another folder.
        """
        away = self.root / f"{PARTIAL}{secrets.token_hex(8)}"
        try:
            folder.rename(away)
        except OSError:  # it is gone in the meantime, or not ours to move
            away = folder
        shutil.rmtree(away, ignore_errors=True)

    def _sweep(self) -> None:
        """Delete what killed builds have left behind."""
        inside = [one for one in _names(self.root) if not one.name.startswith(PARTIAL)]
        for left in (one for folder in (self.root, *inside) for one in _names(folder)):
            if not left.name.startswith(PARTIAL) or time.time() - _used(left) <= STALE_S:
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                with suppress(OSError):
                    left.unlink()


def default_store() -> Store:
    """The user's store: below CUVEE_CACHE, else XDG_CACHE_HOME/cuvee, else ~/.cache/cuvee."""
    return Store(default_folder().parent)


def touch(path: Path) -> None:
    """Note that something was used just now."""
    with suppress(OSError):
        os.utime(path)


def to_delete(items: Iterable[Item], *, older_s: float | None, most: int | None) -> tuple[Item, ...]:
    """What must go so that nothing is older than `older_s` seconds, and all takes at most `most` bytes.

    Of what is young enough, the least recently used goes first.
    """
    by_age, now = sorted(items, key=lambda item: item.used), time.time()
    old = [item for item in by_age if older_s is not None and item.used < now - older_s]
    rest = by_age[len(old) :]
    too_much = sum(item.size for item in rest) - most if most is not None else 0
    for item in rest:
        if too_much <= 0:
            break
        old.append(item)
        too_much -= item.size
    return tuple(old)


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Turn what a failed write raises into an error for users.

    Raises:
        EngineOrNetworkError: Something in the block could not be written.
    """
    try:
        yield
    except OSError as error:
        raise EngineOrNetworkError(
            Fault(
                place=str(folder),
                cause=f"it cannot be written: {error.strerror or error}",
                fix="Free some space there (`cuvee clean --store`), or set CUVEE_CACHE to another folder",
            )
        ) from error


@contextmanager
def flocked(path: Path, how: int) -> Iterator[None]:
    """Hold a lock on a file, which is made where there is none, with its folder.

    Who holds it alone may delete the file: those who wait for it then begin anew.

    Args:
        path: The file.
        how: `fcntl.LOCK_SH` or `fcntl.LOCK_EX`; with `fcntl.LOCK_NB` nobody waits.

    Raises:
        BlockingIOError: Another one holds it, and nobody waits.
        EngineOrNetworkError: The file cannot be made.
    """
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, how)
            if _is_still(path, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def _opened(path: Path) -> int:
    with written(path.parent):
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:  # the folder was deleted just now
                continue
            except FileExistsError:  # or it was there for `mkdir`, and gone before it was seen to be a folder
                if _is_no_folder(path.parent):
                    raise


def _is_no_folder(path: Path) -> bool:
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _size(path: Path, *, shares: bool) -> int:
    """The bytes on disk of a file or a folder; where it shares files, only of those with no other name."""
    files = (
        [path]
        if not path.is_dir()
        else [Path(top) / name for top, _, names in os.walk(path) for name in names]
    )
    found: dict[tuple[int, int], os.stat_result] = {}
    names: Counter[tuple[int, int]] = Counter()
    for file in files:
        with suppress(OSError):
            told = file.lstat()
            found[told.st_dev, told.st_ino] = told
            names[told.st_dev, told.st_ino] += 1
    counted = (told for key, told in found.items() if not shares or names[key] == told.st_nlink)
    return sum(told.st_blocks for told in counted) * _BLOCK


def _names(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it is none, or gone since somebody saw it."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _used(path: Path) -> float:
    try:
        newest = max(path.stat().st_mtime, *(child.stat().st_mtime for child in path.iterdir()))
    except (OSError, TypeError, ValueError):
        newest = 0.0
    with suppress(OSError):
        newest = max(newest, path.stat().st_mtime)
    return newest
