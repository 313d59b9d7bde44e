"""Where a project's files are, and how they are written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.abi.library import Library
from builder.engines.private import PrivateEngine
from builder.errors import BadInputError, CuveeError, Fault

MATRIX = "matrix.yaml"


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with a `matrix.yaml`.

    Attributes:
        root: That folder, as an absolute path.
    """

    root: Path

    @property
    def matrix(self) -> Path:
        """What we want."""
        return self.root / MATRIX

    def image(self, row: str) -> Path:
        """The build context of a row, `images/<row>`."""
        return self.root / "images" / row

    def evidence(self, row: str, *, gpu: bool = False) -> Path:
        """What was proven of a row, `evidence/<row>.json`; on a GPU `evidence/<row>.gpu.json`.

        They are two, so that a run without a GPU does not take away what one with a GPU has shown.
        """
        return self.root / "evidence" / f"{row}{'.gpu' if gpu else ''}.json"

    @property
    def bases(self) -> Path:
        """The locks of the bases, `bases/<id>.json`."""
        return self.root / "bases"

    @property
    def facts(self) -> Path:
        """What the binaries of locked wheels say, one file a wheel, `facts/<wheel>.json`."""
        return self.root / "facts"

    @property
    def survey(self) -> Path:
        """The survey's folder: its releases, their facts, its tables and what confirmed them."""
        return self.root / "survey"

    @property
    def library(self) -> Library:
        """The facts that are recorded: those of locked wheels, then those of the survey."""
        return Library(folders=(self.facts, self.survey / "facts"))

    @property
    def sweep(self) -> Path:
        """What a run over all rows took, `evidence/sweep.json`."""
        return self.root / "evidence" / "sweep.json"

    @property
    def bench(self) -> Path:
        """What `make bench` measured, `evidence/bench.json`."""
        return self.root / "evidence" / "bench.json"

    @property
    def engine(self) -> PrivateEngine:
        """The project's private engine, whether or not it is there."""
        return PrivateEngine(self.root / ".engine")


def find(start: Path) -> Project:
    """The project that a folder belongs to: the nearest one upwards with a `matrix.yaml`.

    Raises:
        BadInputError: There is none.
    """
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / MATRIX).is_file():
            return Project(folder)
    raise BadInputError(
        Fault(
            place=str(start), cause=f"there is no {MATRIX} here or above", fix="Run cuvee in a checkout of it"
        )
    )


def write(path: Path, text: str) -> bool:
    """Write a file whole or not at all; returns whether it changed.

    The text goes to a temporary file beside it first: neither Ctrl-C nor a full disk leaves half a file.

    Raises:
        CuveeError: It cannot be written: a full disk, or a folder that is not ours.
    """
    if _holds(path, text):
        return False
    try:
        _replace(path, text)
    except OSError as error:
        cause = f"it cannot be written: {error.strerror or error}"
        raise CuveeError(
            Fault(place=str(path), cause=cause, fix="Make room or get the right to it")
        ) from error
    return True


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def differing(folder: Path, texts: Mapping[str, str]) -> tuple[str, ...]:
    """The names of files in a folder that are missing or hold another text."""
    return tuple(name for name, text in texts.items() if not _holds(folder / name, text))


def _holds(path: Path, text: str) -> bool:
    """Whether a file is that text, byte for byte: other line endings are another text."""
    return path.is_file() and path.read_bytes() == text.encode()
