"""What an image's own Python says of what is installed in it; runs inside, and prints JSON.

Standard library only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import sysconfig
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

NO_HASH = (".pyc", ".dist-info/RECORD")


def judge(found: Distribution) -> list[str]:
    """What is wrong with a distribution's RECORD."""
    files = found.files or []
    wrong = [] if files else ["no RECORD"]
    if len({str(file) for file in files}) != len(files):
        wrong.append("a file is listed twice")
    for file in files:
        path = Path(str(file.locate()))
        if not path.is_file():
            wrong.append(f"{file} is missing")
        elif file.hash is None or file.size is None:
            wrong += [] if str(file).endswith(NO_HASH) else [f"{file} has no hash"]
        elif path.stat().st_size != file.size:
            wrong.append(f"{file} has another size")
        elif digest(path, file.hash.mode) != file.hash.value:
            wrong.append(f"{file} has another hash")
    return wrong


def digest(path: Path, name: str) -> str:
    """A file's hash, as RECORD has it."""
    made = hashlib.new(name)
    with path.open("rb") as file:
        while piece := file.read(1024 * 1024):
            made.update(piece)
    return base64.urlsafe_b64encode(made.digest()).decode().rstrip("=")


def main() -> None:
    """Say all."""
    site = Path(sysconfig.get_path("purelib"))
    all_found = list(distributions(path=[str(site)]))
    listed = {Path(str(file.locate())).resolve() for found in all_found for file in found.files or ()}
    present = {path.resolve() for path in site.rglob("*") if path.is_file()}
    told: dict[str, Any] = {
        "versions": {found.metadata["Name"]: found.version for found in all_found},
        "wrong": {found.metadata["Name"]: judge(found) for found in all_found},
        "files": len(listed),
        "unlisted": sorted(str(path) for path in present - listed),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
