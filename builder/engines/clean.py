"""Giving disk back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from builder.engines.direct import unpacked
from builder.engines.direct.store import default_store, to_delete
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
    tags = {image_tag(row.id) for row in rows}
    if not any(unpacked.name_of(item.path) in tags for item in store.items(("roots",))):
        return
    with store.alone():
        drop_unpacked(rows, say)


def drop_unpacked(rows: Sequence[Row], say: Say) -> None:
    """The same where the caller knows that nothing uses these rows' images, whatever else the store does."""
    store = default_store()
    tags = {image_tag(row.id) for row in rows}
    for item in store.items(("roots",)):
        tag = unpacked.name_of(item.path)
        if tag in tags:
            store.delete((item,))
            say(f"{tag}, unpacked, deleted: {item.size / 1e9:.2f} GB")


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
