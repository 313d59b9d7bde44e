"""Where things lie in an image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from builder.lock.record import Environment, Lock

HOME = PurePosixPath("/opt/cuvee")
"""Everything that an image has beyond its base lies here; an environment's prefix is `HOME/<environment>`."""


def site_packages(prefix: PurePosixPath, python: str) -> PurePosixPath:
    """Where an environment's packages are."""
    return prefix / "lib" / f"python{python}" / "site-packages"


def overlay_folder(name: str) -> PurePosixPath:
    """Where an overlay's wheels are unpacked."""
    return HOME / "overlays" / name


def roots(lock: Lock, python: str) -> Iterator[tuple[Environment, PurePosixPath]]:
    """Every environment and overlay with the folder its wheels lie in; overlays first, for they win."""
    for overlay in lock.overlays:
        yield overlay, overlay_folder(overlay.name)
    for environment in lock.environments:
        yield environment, site_packages(HOME / environment.name, python)
