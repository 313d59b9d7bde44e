"""Build a wheel of unpacked sources, as PEP 517 says.

    build_wheel.py SOURCES TOOLS BACKEND PATH TARGET

SOURCES is the folder with `setup.py` or `pyproject.toml`, TOOLS one with the build backend, BACKEND its name
(`setuptools.build_meta:__legacy__`), PATH a folder of the sources that the backend itself lies in, or "", and
TARGET gets the wheel. The network is refused, and no compiler is on the path. Printed is JSON: the wheel's
name, or what went wrong.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any, Tuple

NETWORK = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"})


def main(sources: str, tools: str, backend: str, path: str, target: str) -> int:
    """Build; what builders say goes to standard error."""
    report = os.dup(1)
    os.dup2(2, 1)
    os.umask(0o022)
    os.chdir(sources)
    sys.path[:1] = [os.path.join(sources, path), tools] if path else [tools]  # noqa: PTH118
    sys.addaudithook(refuse_network)
    try:
        told = {"wheel": loaded(backend).build_wheel(target)}
    except BaseException as error:  # noqa: BLE001 - setup.py may end the interpreter, or raise anything
        told = {"error": "{}: {}".format(type(error).__name__, error)}
    os.write(report, (json.dumps(told) + "\n").encode())
    return 0


def loaded(backend: str) -> Any:
    """The object that a backend's name names."""
    module, _, rest = backend.partition(":")
    found = importlib.import_module(module)
    for name in filter(None, rest.split(".")):
        found = getattr(found, name)
    return found


def refuse_network(event: str, _: Tuple[Any, ...]) -> None:
    """An audit hook; where it raises, the call fails."""
    if event in NETWORK:
        raise PermissionError("sources are built without network")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
