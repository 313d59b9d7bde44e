"""Make a virtual environment as `python -m venv --without-pip PREFIX` makes it in the image.

    make_environment.py SCRATCH PREFIX PROGRAM

It is made below the folder SCRATCH, by this Python's own `venv`, and says everywhere PREFIX, as if PROGRAM
(`/usr/bin/python3.11`) ran in the image. What there is then is printed as JSON.
"""

from __future__ import annotations

import copy
import json
import os
import stat
import sys
import venv
from typing import Any, Dict, Iterator

LOCATIONS = ("env_dir", "env_exe", "bin_path", "inc_path", "lib_path", "env_exec_cmd")


class Builder(venv.EnvBuilder):
    """Makes an environment in one place that says it is in another."""

    scratch = ""

    def ensure_directories(self, env_dir: Any) -> Any:
        """Make the folders, in the scratch folder."""
        return super().ensure_directories(self.scratch + env_dir)

    def create_configuration(self, context: Any) -> None:
        """Write `pyvenv.cfg`."""
        super().create_configuration(context)
        with open(context.cfg_path, encoding="utf-8") as file:  # noqa: PTH123
            text = file.read()
        with open(context.cfg_path, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text.replace(context.env_dir, self._told(context.env_dir)))

    def replace_variables(self, text: str, context: Any) -> str:
        """Fill in a script; newer releases quote what they fill in, so this comes before and not after."""
        told = copy.copy(context)
        for name in LOCATIONS:
            if hasattr(told, name):
                setattr(told, name, self._told(getattr(told, name)))
        filled: str = super().replace_variables(text, told)
        return filled

    def _told(self, path: str) -> str:
        return path.removeprefix(self.scratch)


def found(scratch: str, prefix: str) -> Iterator[Dict[str, Any]]:
    """What lies in the environment, its own folder first."""
    yield described(scratch, prefix)
    for folder, folders, files in os.walk(scratch + prefix):
        for name in folders + files:
            yield described(scratch, os.path.join(folder, name)[len(scratch) :])  # noqa: PTH118


def described(scratch: str, path: str) -> Dict[str, Any]:
    """A file, a folder or a link."""
    real = scratch + path
    mode = os.lstat(real).st_mode
    told = {"path": path, "kind": "directory", "mode": stat.S_IMODE(mode)}
    if stat.S_ISLNK(mode):
        told.update(kind="link", target=os.readlink(real))  # noqa: PTH115
    elif stat.S_ISREG(mode):
        with open(real, encoding="utf-8", newline="") as file:  # noqa: PTH123
            told.update(kind="file", text=file.read())
    return told


def main(scratch: str, prefix: str, program: str) -> None:
    """Make it and tell of it."""
    os.umask(0o022)
    sys.executable = sys._base_executable = program  # type: ignore[attr-defined]  # noqa: SLF001
    os.path.realpath = lambda path, **_: path  # type: ignore[assignment]  # the host's links are not the image's
    Builder.scratch = scratch
    venv.EnvBuilder = Builder  # type: ignore[misc]
    venv.main(["--without-pip", prefix])  # it knows what each release makes by default
    print(json.dumps(sorted(found(scratch, prefix), key=lambda told: told["path"])))


if __name__ == "__main__":
    main(*sys.argv[1:])
