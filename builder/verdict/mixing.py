"""Whether two cuDNN of one major version would meet in one process.

Each front (CTranslate2's bundled one, NVIDIA's own under torch) opens the libraries behind it by name when it
first needs each, and the loader gives it those that are loaded already, whoever brought them. A program that
uses all of its cuDNN at once leaves nothing to the next one, and all goes well; but Whisper uses a part, and
pyannote.audio then adds another. Where that comes from another folder, cuDNN returns
CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH: measured with cuDNN 9.1.0 and 9.10.2, in both orders, without a GPU.
With fewer parts in use before, the later front dies: `Unable to load any of {libcudnn_cnn.so.9, ...}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

from builder.abi.loader import Loaded
from builder.verdict.record import Finding
from builder.verdict.setting import Setting
from builder.verdict.tables import stem

FRONT = re.compile(r"libcudnn(-[0-9a-f]+)?\.so\.(?P<major>\d+)[\d.]*")
BEHIND = re.compile(r"libcudnn_\w+\.so\.(?P<major>\d+)[\d.]*")
WHISPERS = ("libcudnn_ops", "libcudnn_cnn", "libcudnn_graph", "libcudnn_ops_infer", "libcudnn_cnn_infer")
"""What Whisper needs in CTranslate2."""
MOST_FRONTS = 3
"""Orders of more fronts than these are not gone through: no environment has them."""


def findings(setting: Setting) -> tuple[Finding, ...]:
    """One finding for each major version whose files would come from more than one folder.

    It is a risk where that depends on which front is used first, and a failure where it does not. The order
    of use is the one that the probe tries (`builder/probe/importing.py`): the first front what Whisper needs,
    the others all that they have, then the first the rest.
    """
    fronts = _fronts(setting)
    orders = [_folders(_used(setting, order)) for order in permutations(fronts[:MOST_FRONTS]) if order]
    majors = {major: None for folders in orders for major in folders}
    return tuple(finding for major in majors for finding in _of_major(setting, major, orders))


def _fronts(setting: Setting) -> list[str]:
    """The fronts in use: those that a wheel bundles for itself, and those that something else leads to.

    Of an overlay's cuDNN, only the libraries behind its front are asked for.
    """
    names = {path: path.rpartition("/")[2] for path in setting.owners}
    bundled = {path for path, name in names.items() if (found := FRONT.fullmatch(name)) and found[1]}
    return sorted(bundled.union(*(_led_to(setting, path) for path in names)))


def _led_to(setting: Setting, path: str) -> Iterator[str]:
    """The fronts that are loaded with a file that is linked with one, or that it opens."""
    binary = setting.world.files[path]
    opens = [name for names in binary.opens for name in names if FRONT.fullmatch(name)]
    if opens or any(map(FRONT.fullmatch, binary.needed)):
        process = setting.process()
        process.open(path)
        for name in opens:
            process.open(name, path)
        yield from (one for one in process.loaded if FRONT.fullmatch(one.rpartition("/")[2]))


def _of_major(
    setting: Setting, major: str, orders: Sequence[Mapping[str, Mapping[str, None]]]
) -> Iterator[Finding]:
    mixed = [folders[major] for folders in orders if len(folders.get(major, {})) > 1]
    if mixed:
        every = tuple({folder: None for folders in mixed for folder in folders})
        yield _finding(setting, major, every, always=len(mixed) == len(orders))


def _used(setting: Setting, fronts: Sequence[str]) -> tuple[str, ...]:
    """The files that are loaded when the fronts are used one after another."""
    process = setting.process()
    for front, early in ((fronts[0], True), *((front, False) for front in (*fronts[1:], fronts[0]))):
        if isinstance(process.open(front), Loaded):
            for names in setting.world.files[front].opens:
                if stem(names[0]) in WHISPERS or not early:
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
