"""Runs the command `transcribe`, or one side of it: as a package, or as a folder copied anywhere."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGE = "cuvee"
SIDE = "--cuvee-side"
"""The first argument of a process that is a side; `isolation` starts it so."""


def _become_package(folder: Path) -> None:
    """Load the folder as `cuvee`.

    Python has put the folder itself on `sys.path`; there our `memory` or `formats` would shadow modules of
    that name in the environment, so it is taken off again.
    """
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != folder]
    spec = importlib.util.spec_from_file_location(
        PACKAGE, str(folder / "__init__.py"), submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:  # never so for a file that is there
        raise ImportError(str(folder))
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)


def _main() -> int:
    package = __package__
    if not package:
        _become_package(Path(__file__).resolve().parent)
        package = PACKAGE
    # Only what is asked for is imported: a side shall be as plain a Python as can be.
    side = sys.argv[1:2] == [SIDE]
    module = importlib.import_module("{}.{}".format(package, "serving" if side else "transcribe"))
    code: int = module.main(sys.argv[2:] if side else sys.argv[1:])
    return code


if __name__ == "__main__":
    sys.exit(_main())
