"""The launcher's files in an image, with bytecode by the base's own Python: nobody may write it later."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.engines.direct.bytecode import Job, compile_wheels
from builder.engines.direct.entry import Entry
from builder.engines.direct.interpreter import Interpreter
from builder.engines.direct.tar import Node
from builder.render.launcher import LIBRARY, ImageFile


def launcher_entries(files: Sequence[ImageFile], interpreter: Interpreter) -> tuple[Entry, ...]:
    """The files, and the bytecode of those that are Python.

    Raises:
        EngineOrNetworkError: They cannot be compiled.
    """
    own = (Entry(Node(_inside(str(file.path)), mode=file.mode), file.text.encode()) for file in files)
    return (*own, *_bytecode(files, interpreter))


def _bytecode(files: Sequence[ImageFile], interpreter: Interpreter) -> Iterator[Entry]:
    """Compiled as the files of a wheel are: what comes out is the same wherever that is done."""
    sources = {str(file.path.relative_to(LIBRARY)): file.text for file in files if file.path.suffix == ".py"}
    with tempfile.TemporaryDirectory(prefix="cuvee-launcher-") as scratch:
        wheel, target = Path(scratch, "launcher.zip"), Path(scratch, "bytecode.zip")
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in sources.items():
                archive.writestr(path, text)
        paths = {path: path for path in sources}
        compile_wheels([Job(wheel=wheel, target=target, site=LIBRARY, files=paths)], interpreter)
        with zipfile.ZipFile(target) as made:
            for name in made.namelist():
                yield Entry(Node(_inside(f"{LIBRARY}/{name}")), made.read(name))


def _inside(path: str) -> str:
    return path.removeprefix("/")
