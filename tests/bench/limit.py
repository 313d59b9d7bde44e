"""What no build can go below: reading the wheels once, and inflating them once."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from isal import isal_zlib

from builder.report.bench import Amount
from builder.wheels.members import opened_wheel
from tests.bench.setting import read_once

THREADS = 2


def limit(files: Sequence[Path]) -> Amount:
    """The seconds that both take, with the files in the page cache.

    Nothing is checked, hashed or written. Of files that are no wheels, nothing is inflated.
    """
    read_once(files)
    wheels = sorted((path for path in files if path.suffix == ".whl"), key=lambda path: -path.stat().st_size)
    return Amount.whole(
        f"reading the wheels once and inflating them once, in {THREADS} threads",
        read=_seconds(lambda: read_once(files)),
        inflate=_seconds(lambda: _inflate_all(wheels)),
    )


def _inflate_all(wheels: Sequence[Path]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(_inflate, wheels):
            pass


def _inflate(wheel: Path) -> None:
    with opened_wheel(wheel) as archive:
        for member in archive.members:
            if member.method != zipfile.ZIP_STORED:
                _drain(archive.compressed(member))


def _drain(pieces: Iterator[memoryview]) -> None:
    inflater = isal_zlib.decompressobj(wbits=-15)
    for piece in pieces:
        inflater.decompress(piece)


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return round(time.monotonic() - began, 2)
