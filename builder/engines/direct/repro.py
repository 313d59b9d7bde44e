"""Building twice from scratch: the wheels are the only thing that both builds have in common."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from builder.engines.direct.agreement import require_same
from builder.engines.direct.assemble import Assembly
from builder.engines.direct.image import OciImage
from builder.engines.direct.rows import DirectRows
from builder.engines.direct.store import Store
from builder.lock.image import ImageRecord
from builder.matrix import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What may differ from build to build, and must not count.

    Attributes:
        path: Where below the scratch folder the store lies.
        umask: Of the process and all it starts.
        timezone: Likewise.
        language: Likewise.
    """

    path: str
    umask: int
    timezone: str
    language: str


FIRST = Circumstances(path="a", umask=0o022, timezone="UTC", language="C")
SECOND = Circumstances(
    path="another/deeper folder/b", umask=0o077, timezone="Pacific/Kiritimati", language="C.UTF-8"
)


def reproduce(rows: DirectRows, row: Row, *, anew: bool) -> ImageRecord:
    """Build a row twice, in different circumstances, with nothing but the wheels on disk; then compare.

    Args:
        rows: The project.
        row: The row.
        anew: Whether the base is made twice too, rather than taken from the store.

    Raises:
        CheckFailedError: The builds differ from each other, or from the lock's record; the first file that
            differs is named.
        CuveeError: It cannot be built.
    """
    with rows.store.in_use(), rows.store.scratch() as scratch:
        made = []
        for number, circumstances in enumerate((FIRST, SECOND), 1):
            rows.say(f"{row.id}: build {number} of 2, from nothing")
            fresh = replace(rows, store=_fresh(rows.store, scratch / circumstances.path, anew=anew))
            with _in(circumstances), fresh.assembly(row) as assembly:
                image, found = assembly.assemble()
                _read_all(image)
                made.append(found)
                if number == 2:  # noqa: PLR2004 - the second of two
                    require_same(f"{row.id}, second build against the first:", assembly, made[0], found)
                    _require_record(rows, row, assembly=assembly, found=found)
    return made[0]


def _require_record(rows: DirectRows, row: Row, *, assembly: Assembly, found: ImageRecord) -> None:
    recorded = rows.recorded(row)
    if recorded and recorded.recipe == found.recipe:
        require_same(f"images/{row.id}/lock.json", assembly, recorded, found)


def _read_all(image: OciImage) -> None:
    """Read each blob as a push would, and hold it against its digest."""
    for layer in image.layers:
        layer.check()


def _fresh(store: Store, folder: Path, *, anew: bool) -> Store:
    """An empty store with the wheels of another one, and with its bases unless they are to be made anew."""
    folder.mkdir(parents=True)
    store.wheels.mkdir(parents=True, exist_ok=True)
    (folder / "wheels").symlink_to(store.wheels)
    if not anew:
        store.bases.mkdir(parents=True, exist_ok=True)
        (folder / "bases").symlink_to(store.bases)
    return Store(folder)


@contextmanager
def _in(circumstances: Circumstances) -> Iterator[None]:
    """Set this process's circumstances, and put the old ones back."""
    variables = {"TZ": circumstances.timezone, "LANG": circumstances.language}
    before = {name: os.environ.get(name) for name in variables}
    mask = os.umask(circumstances.umask)
    os.environ.update(variables)
    time.tzset()
    try:
        yield
    finally:
        os.umask(mask)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        time.tzset()
