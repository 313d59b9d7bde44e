"""What an image has of `transcribe`: the package `cuvee`, the command, and what it must know of the image."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from builder.places import HOME
from builder.plan import Plan, PlannedEnvironment

FORMAT = 1
"""Of `environments.json`; `builder.launcher.environments` reads it."""

LIBRARY = HOME / "lib"
"""The folder of the package `cuvee`; every environment has it on its path."""

FOLDER = "launcher"
"""Where the package lies in the build context."""

_SOURCES = Path(__file__).parents[1] / "launcher"
_KINDS = frozenset({".py", ".json"})
_COMMAND = """\
#!{python} -I
import sys

from cuvee.transcribe import main

sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """A file of an image.

    Attributes:
        path: Its absolute path there.
        text: What it holds.
        mode: Who may do what with it.
    """

    path: PurePosixPath
    text: str
    mode: int = 0o644


def launcher_files() -> dict[str, str]:
    """The files of the package, by name, sorted."""
    files = (path for path in _SOURCES.iterdir() if path.suffix in _KINDS)
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(files)}


def launcher(plan: Plan) -> dict[str, str]:
    """What the build context has of it: names and texts."""
    return {
        "environments.json": environments(plan),
        "transcribe": command(plan),
        **{f"{FOLDER}/{name}": text for name, text in launcher_files().items()},
    }


def image_files(plan: Plan) -> tuple[ImageFile, ...]:
    """What the image has of it, bytecode aside; the Dockerfile puts the same there."""
    return (
        ImageFile(path=HOME / "bin" / "transcribe", text=command(plan), mode=0o755),
        ImageFile(path=HOME / "environments.json", text=environments(plan)),
        *(ImageFile(path=LIBRARY / "cuvee" / name, text=text) for name, text in launcher_files().items()),
        *(ImageFile(path=one.site / "cuvee.pth", text=f"{LIBRARY}\n") for one in plan.environments),
    )


def environments(plan: Plan) -> str:
    """The text of `environments.json`: each environment's Python, its own libraries, and what it is for."""
    told = {
        "format": FORMAT,
        "row": plan.row,
        "environments": [
            {
                "name": one.name,
                "python": str(one.python),
                "libraries": [str(folder) for folder in one.libraries],
                "does": list(one.does),
            }
            for one in plan.environments
        ],
    }
    return json.dumps(told, indent=1) + "\n"


def command(plan: Plan) -> str:
    """The text of `transcribe`, which runs in the environment that transcribes."""
    return _COMMAND.format(python=_home(plan).python)


def _home(plan: Plan) -> PlannedEnvironment:
    able = (one for one in plan.environments if "transcribe" in one.does)
    return next(able, plan.environments[0])
