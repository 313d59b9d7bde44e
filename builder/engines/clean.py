"""Giving disk back."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from pathlib import Path

from builder.engines.direct import trees, unpacked
from builder.engines.direct.store import Store, default_store, to_delete
from builder.engines.docker import DockerEngine
from builder.matrix import Row
from builder.plan import image_tag

DAY_S = 24 * 3600

Say = Callable[[str], None]


def clean_engine(engine: DockerEngine, rows: Sequence[Row], say: Say, *, cache: bool) -> None:
    """Delete the rows' images and left-over test containers; on demand BuildKit's cache."""
    if left := engine.remove_test_containers():
        say(f"{left} left-over test containers deleted")
    for row in rows:
        for tag in map(image_tag, (*row.aliases, row.id)):  # it stays as long as it has a name
            if engine.remove_image(tag):
                say(f"{tag} deleted")
    engine.remove_replaced_images()
    if cache:
        say(f"BuildKit's cache: {engine.prune_cache() / 1e9:.1f} GB freed")


def clean_unpacked(rows: Sequence[Row], say: Say) -> None:
    """Delete the rows' images that were unpacked for tests and runs, when nothing uses the store."""
    store = default_store()
    images = bool(_unpacked(store, rows))
    with store.alone() if images else nullcontext():  # layers that nobody uses can go at any time
        drop_unpacked(rows, say)


def drop_unpacked(rows: Sequence[Row], say: Say, keep: Collection[str] = ()) -> None:
    """The same whatever else the store does; an image that somebody uses stays.

    With them go the unpacked layers that no unpacked image uses.

    Args:
        rows: The rows.
        say: Told what was freed.
        keep: The `diff_id` of layers that stay: an image that comes next has them.
    """
    store = default_store()
    for folder, tag in _unpacked(store, rows):
        try:
            with unpacked.used(store, tag, fcntl.LOCK_EX | fcntl.LOCK_NB):
                freed = store.delete((store.item(folder),))
        except BlockingIOError:
            say(f"{tag}, unpacked, stays: another process uses it")
        else:
            say(f"{tag}, unpacked, deleted: {freed / 1e9:.2f} GB")
    if freed := trees.drop_unused(store, frozenset(map(trees.name_of, keep))):
        say(f"layers that no unpacked image has, deleted: {freed / 1e9:.2f} GB")


def _unpacked(store: Store, rows: Sequence[Row]) -> list[tuple[Path, str]]:
    """The folders of the rows' unpacked images, and their names."""
    roots, tags = store.root / "roots", {image_tag(row.id) for row in rows}
    found = [(path, unpacked.name_of(path)) for path in sorted(roots.iterdir())] if roots.is_dir() else []
    return [(path, tag) for path, tag in found if tag in tags]


def clean_store(say: Say, *, older_than: float | None, keep: int | None) -> None:
    """Bound the store by age and by size. It waits until no build uses the store.

    Args:
        say: Told what was freed.
        older_than: Days without use after which something goes; 0 for all.
        keep: The most bytes that stay; of what is young enough, the least recently used goes first.
    """
    store = default_store()
    if not store.root.is_dir():
        return
    with store.alone():
        items = tuple(store.items())
        age = None if older_than is None else older_than * DAY_S
        gone = to_delete(items, older_s=age, most=keep)
        freed = store.delete(gone)
    left = sum(item.size for item in items) - freed
    say(f"store: {len(gone)} of {len(items)} entries deleted, {freed / 1e9:.2f} GB; {left / 1e9:.2f} GB left")
