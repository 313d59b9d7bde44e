"""Giving disk back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

from builder.engines.docker import DockerEngine
from builder.matrix import Row
from builder.plan import image_tag
from builder.wheels.store import default_folder

Say = Callable[[str], None]


def clean(engine: DockerEngine, rows: Sequence[Row], say: Say, *, cache: bool, store: bool) -> None:
    """Delete the rows' images and left-over test containers; on demand BuildKit's cache and the wheels."""
    if left := engine.remove_test_containers():
        say(f"{left} left-over test containers deleted")
    for row in rows:
        tag = image_tag(row.id)
        if engine.remove_image(tag):
            say(f"{tag} deleted")
    engine.remove_replaced_images()
    if cache:
        say(f"BuildKit's cache: {engine.prune_cache() / 1e9:.1f} GB freed")
    if store and default_folder().is_dir():
        shutil.rmtree(default_folder())
        say("the wheel store deleted")
