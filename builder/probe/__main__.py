"""Makes an importable package of this folder, wherever it was copied to, and runs it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGE = "cuvee_probe"


def _become_package(folder: Path) -> None:
    """Load the folder as `cuvee_probe`.

    Python has put the folder itself on `sys.path`; there our `rules` or `versions` would shadow modules of
    that name in the environment under test, so it is taken off again.
    """
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != folder]
    spec = importlib.util.spec_from_file_location(
        PACKAGE, str(folder / "__init__.py"), submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)


def _main() -> int:
    _become_package(Path(__file__).resolve().parent)
    # Only what is asked for is imported: a child shall be as plain a Python as can be.
    part = "child" if sys.argv[1:2] == ["child"] else "cli"
    arguments = sys.argv[2:] if part == "child" else sys.argv[1:]
    code: int = importlib.import_module(PACKAGE + "." + part).main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(_main())
