"""The files of an empty virtual environment, made by the base's own `venv`."""

from __future__ import annotations

import json
import tempfile
from pathlib import PurePosixPath
from typing import Any, Final

from builder.engines.direct.entry import Entry
from builder.engines.direct.interpreter import INSIDE, Interpreter
from builder.engines.direct.tar import Node
from builder.errors import BadInputError, Fault

SCRIPT: Final = INSIDE / "make_environment.py"
_LINK_MODE: Final = 0o777


def environment_files(interpreter: Interpreter, prefix: PurePosixPath) -> tuple[Entry, ...]:
    """What `python3.11 -m venv --without-pip PREFIX` makes in an image, sorted by path.

    The prefix itself and all below it: folders, files and links, all of them root's. The folders above it are
    not among them.

    Raises:
        BadInputError: The base's Python is a link, so that the environment would name another.
        EngineOrNetworkError: The base's Python has no `venv`, or it failed.
    """
    if interpreter.program.is_symlink():
        raise BadInputError(
            Fault(
                place=f"python{interpreter.python} of the base",
                cause="is a link to another program, and environments would name that one",
                fix="Use a base with Debian's own Python",
            )
        )
    program = f"/{interpreter.program.relative_to(interpreter.root)}"
    with tempfile.TemporaryDirectory(prefix="cuvee-environment-") as scratch:
        done = interpreter.run(SCRIPT, [scratch, str(prefix), program])
    try:
        return tuple(_entry(told) for told in json.loads(done.out))
    except (ValueError, LookupError, TypeError) as error:
        raise interpreter.failed("it does not say what is in a new environment") from error


def _entry(told: dict[str, Any]) -> Entry:
    is_link = told["kind"] == "link"
    node = Node(
        path=told["path"].lstrip("/"),
        kind=told["kind"],
        mode=_LINK_MODE if is_link else told["mode"],
        target=told.get("target", ""),
    )
    return Entry(node, told.get("text", "").encode())
