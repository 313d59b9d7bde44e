"""Make `opener`, which the tests of the loader start: `python tests/elf/loader/make.py`, on Linux with gcc.

It is for x86-64, and committed, so that the tests need no compiler. It is linked with placeholders:
`write.program` puts a search path and names of libraries in their place.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from builder.shell import SYSTEM
from tests.elf.loader.write import NEEDED_PLACEHOLDERS, PATH_PLACEHOLDER

HERE = Path(__file__).parent


def main() -> None:
    names = [placeholder.decode() for placeholder in NEEDED_PLACEHOLDERS]
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            _compile(
                "-shared", f"-Wl,-soname,{name}", "-x", "c", "/dev/null", "-o", f"{scratch}/lib{name}.so"
            )
        needed = (f"-l{name}" for name in names)
        path = f"-Wl,--disable-new-dtags,-rpath,{PATH_PLACEHOLDER.decode()}"
        source, target = str(HERE / "opener.c"), str(HERE / "opener")
        _compile("-O1", "-s", path, "-Wl,--no-as-needed", f"-L{scratch}", *needed, source, "-o", target)


def _compile(*arguments: str) -> None:
    done = SYSTEM.run(["gcc", "-Wall", "-Wl,--build-id=none", *arguments])
    if not done.ok:
        raise SystemExit(done.err)


if __name__ == "__main__":
    main()
