"""Whether two cuDNN of one major version would meet in one process.

Each front (CTranslate2's bundled one, NVIDIA's own under torch) opens the libraries behind it by name, and
the loader gives it those that are loaded already, whoever brought them: so the order of use decides which
files meet. On a GPU users see cuDNN's own complaint; without one, with cuDNN 9.1.0 and 9.10.2, the later
front died of an undefined symbol.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

from builder.abi.loader import Loaded
from builder.verdict.record import Finding
from builder.verdict.setting import Setting

FRONT = re.compile(r"libcudnn(-[0-9a-f]+)?\.so\.(?P<major>\d+)[\d.]*")
BEHIND = re.compile(r"libcudnn_\w+\.so\.(?P<major>\d+)[\d.]*")
MOST_FRONTS = 3
"""Orders of more fronts than these are not gone through: no environment has them."""


def findings(setting: Setting) -> tuple[Finding, ...]:
    """One finding for each major version whose files would come from more than one folder.

    It is a risk where that depends on which front is used first, and a failure where it does not.
    """
    fronts = [path for path in sorted(setting.owners) if FRONT.fullmatch(path.rpartition("/")[2])]
    orders = [_folders(_used(setting, order)) for order in permutations(fronts[:MOST_FRONTS])]
    majors = {major: None for folders in orders for major in folders}
    return tuple(finding for major in majors for finding in _of_major(setting, major, orders))


def _of_major(
    setting: Setting, major: str, orders: Sequence[Mapping[str, Mapping[str, None]]]
) -> Iterator[Finding]:
    mixed = [folders[major] for folders in orders if len(folders.get(major, {})) > 1]
    if mixed:
        every = tuple({folder: None for folders in mixed for folder in folders})
        yield _finding(setting, major, every, always=len(mixed) == len(orders))


def _used(setting: Setting, fronts: Sequence[str]) -> tuple[str, ...]:
    """The files that are loaded when the fronts are used one after another, all that they open."""
    process = setting.process()
    for front in fronts:
        if isinstance(process.open(front), Loaded):
            for names in setting.world.files[front].opens:
                any(isinstance(process.open(name, front), Loaded) for name in names)
    return tuple(process.loaded)


def _folders(files: Sequence[str]) -> dict[str, dict[str, None]]:
    """The folders that files behind a front come from, by major version."""
    found: dict[str, dict[str, None]] = {}
    for path in files:
        folder, _, name = path.rpartition("/")
        if match := BEHIND.fullmatch(name):
            found.setdefault(match["major"], {})[folder] = None
    return found


def _finding(setting: Setting, major: str, folders: Sequence[str], *, always: bool) -> Finding:
    nine = major != "8"
    return Finding(
        signature="cudnn-sublibrary-mismatch" if nine else "cudnn8-mixed",
        outcome="fails" if always else "risk",
        place=" and ".join(setting.relative_folder(folder) for folder in folders),
        message="CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH" if nine else "CUDNN_STATUS_VERSION_MISMATCH",
        cause=f"libraries of cuDNN {major} from {len(folders)} folders meet in one process",
        fix="Keep one cuDNN of each major version, or give torch and CTranslate2 a process each",
        sources=("m-bain/whisperX#1027", "pytorch/pytorch#189043", "pyannote/pyannote-audio#1823"),
    )
