"""A row's wheels in pieces of a bounded size, for machines that only small files reach.

The files are laid end to end and cut; `join.py` beside the pieces needs nothing but Python to undo it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from builder.errors import BadInputError, EngineOrNetworkError, Fault
from builder.known import data
from builder.lock.record import Lock, Package
from builder.wheels.fetch import fetch_all
from builder.wheels.inside import join

MANIFEST = "manifest.json"
PROBE = Path(__file__).parents[1] / "probe"
CHUNK = 1024 * 1024
_NAME = "piece-{:04}"

Say = Callable[[str], None]
Fetch = Callable[[Sequence[Package]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece.

    Attributes:
        name: Its file's name.
        size: Its bytes.
        sha256: Its hash, in hex.
    """

    name: str
    size: int
    sha256: str


def write_pieces(  # noqa: PLR0913 - what, from where, where to, and how large
    lock: Lock,
    libraries: Mapping[str, Sequence[PurePosixPath]],
    store: Path,
    folder: Path,
    size: int,
    *,
    samples: Sequence[Package] = (),
    speech: Mapping[str, str] | None = None,
    fetch: Fetch,
) -> tuple[Piece, ...]:
    """Write the files of a lock, and the samples of the checks, as pieces with a manifest and `join.py`.

    The probe goes beside them, so that a machine without cuvee can check what was installed.

    Args:
        lock: Whose files.
        libraries: By environment, the folders that must be on its library path, from where it is installed.
        store: The wheel store's folder.
        folder: Where the pieces go; earlier ones there are replaced.
        size: The bytes of a piece at most.
        samples: What the checks need besides.
        speech: Where in the samples a recording (`audio`) and a `model` are; without it they stay packed.
        fetch: Brings files that the store lacks.

    Raises:
        BadInputError: A piece would have no bytes, or the folder has files of somebody else's.
        CuveeError: A file cannot be had.
        EngineOrNetworkError: The pieces cannot be written.
    """
    _require_room_for_pieces(folder, size)
    files = _files(lock, samples)
    fetch(files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("piece-*"):
            old.unlink()
        pieces = tuple(_cut([store / one.sha256 / one.file for one in files], folder, size))
        told = {**_manifest(lock, libraries, files, samples, pieces), "speech": dict(speech or {})}
        (folder / MANIFEST).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        shutil.copy(join.__file__, folder)
        shutil.rmtree(folder / PROBE.name, ignore_errors=True)
        shutil.copytree(PROBE, folder / PROBE.name, ignore=shutil.ignore_patterns("__pycache__"))
    except OSError as error:
        fix = "Free some space there, or name another folder"
        cause = f"it cannot be written: {error.strerror or error}"
        raise EngineOrNetworkError(Fault(place=str(folder), cause=cause, fix=fix)) from error
    return pieces


def fetching(store: Path, say: Say, extra: Callable[[], str] | None = None) -> Fetch:
    """What brings files into a store: see `fetch_all`."""
    return lambda files: fetch_all(files, store, say, extra)


def _require_room_for_pieces(folder: Path, size: int) -> None:
    if size < 1:
        raise BadInputError(
            Fault(place="--size", cause="a piece would have no bytes", fix="Give it some: 60MB")
        )
    with suppress(OSError):
        strange = sorted(
            path.name
            for path in folder.iterdir()
            if path.name not in (MANIFEST, "join.py", PROBE.name) and not path.name.startswith("piece-")
        )
        if strange:
            cause = f"it has files that are no pieces: {', '.join(strange[:3])}"
            raise BadInputError(Fault(place=str(folder), cause=cause, fix="Name an empty folder"))


def _files(lock: Lock, samples: Sequence[Package]) -> tuple[Package, ...]:
    """Every file that travels, once: the lock's, what builds its source archives, and the samples."""
    every = (*lock.packages(), *lock.tools, *samples)
    return tuple({(one.file, one.sha256): one for one in every}.values())


def sample_files() -> tuple[Package, ...]:
    """The recordings and models that the checks need, each file once."""
    keys = ("name", "file", "sha256", "size")
    found = {
        entry["sha256"]: Package(version=str(entry["version"]), **{key: entry[key] for key in keys})
        for entry in data("samples.yaml").values()
    }
    return tuple(found.values())


def sample_speech() -> dict[str, str]:
    """Where in the samples a recording and a model are, once their wheels are unpacked."""
    described = data("samples.yaml")
    voices = described["voices"]
    [first, *_] = voices["turns"][0]["clips"]
    return {"audio": f"{voices['folder']}/{first}.wav", "model": described["model"]["folder"]}


def _cut(paths: Sequence[Path], folder: Path, size: int) -> Iterator[Piece]:
    """Lay files end to end, and write them as pieces; the last one is what is left."""
    chunks = _chunks(paths, size)
    held, number = b"", 0
    while chunk := held or next(chunks, b""):
        number += 1
        path, digest, count = folder / _NAME.format(number), hashlib.sha256(), 0
        with path.open("wb") as file:
            while chunk:
                part, held = chunk[: size - count], chunk[size - count :]
                digest.update(part)
                count += file.write(part)
                chunk = b"" if count == size else next(chunks, b"")
        yield Piece(name=path.name, size=count, sha256=digest.hexdigest())


def _chunks(paths: Sequence[Path], size: int) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(min(CHUNK, size)):
                yield chunk


def _manifest(
    lock: Lock,
    libraries: Mapping[str, Sequence[PurePosixPath]],
    files: Sequence[Package],
    samples: Sequence[Package],
    pieces: Sequence[Piece],
) -> dict[str, Any]:
    return {
        "format": join.FORMAT,
        "row": lock.row,
        "lock": lock.digest,
        "python": lock.python,
        "environments": {
            part.name: {
                "packages": [_named(one) for one in part.packages],
                "libraries": [str(path) for path in libraries.get(part.name, ())],
            }
            for part in lock.environments
        },
        "overlays": {
            part.name: {"packages": [_named(one) for one in part.packages]} for part in lock.overlays
        },
        "tools": [_named(one) for one in lock.tools],
        "samples": [_named(one) for one in samples],
        "files": [{"file": one.file, "sha256": one.sha256, "size": one.size} for one in files],
        "pieces": [asdict(one) for one in pieces],
    }


def _named(package: Package) -> dict[str, str]:
    return {
        "name": package.name,
        "version": package.version,
        "file": package.file,
        "sha256": package.sha256,
    }
