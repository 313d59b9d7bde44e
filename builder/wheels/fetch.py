"""Bringing all files of a lock into the store, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from builder.wheels.network import session
from builder.wheels.store import WheelStore, find

AT_ONCE = 4
"""Downloads at a time: a fast line is limited by each connection, a slow one by itself."""


class Locked(Protocol):
    """A file that a lock names."""

    @property
    def name(self) -> str:
        """The project's name."""

    @property
    def version(self) -> str:
        """Its version."""

    @property
    def file(self) -> str:
        """The file's name on the index."""

    @property
    def sha256(self) -> str:
        """Its hash, in hex."""

    @property
    def size(self) -> int:
        """Its size in bytes."""


def lacking(files: Sequence[Locked], folder: Path) -> tuple[Locked, ...]:
    """Those that the store in `folder` does not have, each once: two environments may have one wheel."""
    distinct = {(one.sha256, one.file): one for one in files}.values()
    with session() as network:
        store = WheelStore(folder=folder, session=network)
        return tuple(one for one in distinct if not store.holds(one.file, one.sha256, one.size))


def fetch_all(
    files: Sequence[Locked],
    folder: Path,
    say: Callable[[str], None],
    extra: Callable[[], str] | None = None,
) -> None:
    """Download what the store in `folder` lacks; nothing is asked of the network where it lacks nothing.

    Args:
        files: What is wanted.
        folder: The store of wheels.
        say: Told what is fetched.
        extra: Tells the address of an index to ask first, when something must be fetched.

    Raises:
        CannotResolveError: The index does not have a file.
        EngineOrNetworkError: The index does not answer, or gives another file than the lock names.
    """
    wanted = lacking(files, folder)
    if not wanted:
        return
    total = sum(one.size for one in wanted)
    say(f"wheels: fetching {len(wanted)}, {total / 1e6:.0f} MB")
    index = extra() if extra else None
    largest_first = sorted(wanted, key=lambda one: -one.size)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(_fetch, one, folder, index) for one in largest_first]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch(one: Locked, folder: Path, index: str | None) -> None:
    with session() as network:  # one each: sessions are not made for several threads
        store = WheelStore(folder=folder, session=network)
        url = find(network, one.name, one.version, one.file, one.sha256, index)
        store.fetch(one.file, one.sha256, one.size, url)
