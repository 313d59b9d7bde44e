"""Where the processes of an image find the libraries that they open by name.

Pure: nothing here touches disk, network or processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from builder import ffmpeg
from builder.errors import BadInputError, Fault
from builder.ffmpeg import Link
from builder.lock.record import Environment, Lock
from builder.matrix import Row
from builder.places import HOME, roots, site_packages

_NVRTC = re.compile(r"libnvrtc\.so\.\d+")
"""cuDNN compiles kernels with it. It opens it by name, and its RUNPATH names `nvrtc`; the wheel's folder is
`cuda_nvrtc` (read in cuDNN 8.9.2 to 9.1.0; users met `libnvrtc.so: cannot open shared object file`).
"""


def library_folders(lock: Lock, part: Environment, python: str) -> tuple[PurePosixPath, ...]:
    """The folders that offer a library that some wheel of an environment, or an overlay, opens by name.

    torch finds its libraries by RPATH and needs nothing here. CTranslate2 opens cuBLAS and cuDNN by bare
    name, from folders that no RPATH names, and cuDNN opens NVRTC so. An overlay wins over the environment:
    it is there because the environment lacks it.
    """
    return tuple(sorted({folder for _, folder in _offers(lock, part, python)}))


def loader_folders(lock: Lock, python: str) -> tuple[PurePosixPath, ...]:
    """The folders that the loader's cache offers to all processes of an image.

    With one environment these are its `library_folders`. With several, a folder is left out where it has a
    name that another environment opens too, and has in a folder of its own: there is one cache, and it would
    give one of them the other's library, which is what they are apart for. Not to be found is told at once;
    to be mixed is not. What starts a process (`transcribe`, `cuvee.isolation`) puts all of the environment's
    own folders on its library path, so that only those who start a Python themselves have to do so.
    """
    offers = {part.name: dict(_offers(lock, part, python)) for part in lock.environments}
    has = _files(lock, python)
    served = {
        folder
        for own, offer in offers.items()
        for folder in offer.values()
        if all(
            offers[other].get(name, folder) == folder
            for other in offers.keys() - {own}
            for name in has[folder]
        )
    }
    return tuple(sorted(served))


def _offers(lock: Lock, part: Environment, python: str) -> Iterator[tuple[str, PurePosixPath]]:
    """What is opened by name in an environment, each with the folder that has it."""
    parts = [(one, root) for one, root in roots(lock, python) if one is part or one in lock.overlays]
    packages = [package for one, _ in parts for package in one.packages]
    opened = {name for package in packages for name in package.facts.opens}
    has_cudnn = any(package.name.startswith("nvidia-cudnn") for package in packages)
    offered: dict[str, PurePosixPath] = {}
    for one, root in parts:
        for package in one.packages:
            for library in map(PurePosixPath, package.facts.libraries):
                offered.setdefault(library.name, root / library.parent)
    for name, folder in offered.items():
        if name in opened or (has_cudnn and _NVRTC.fullmatch(name)):
            yield name, folder


def _files(lock: Lock, python: str) -> Mapping[PurePosixPath, frozenset[str]]:
    """The names of the libraries in each folder."""
    found: dict[PurePosixPath, set[str]] = {}
    for part, root in roots(lock, python):
        for package in part.packages:
            for library in map(PurePosixPath, package.facts.libraries):
                found.setdefault(root / library.parent, set()).add(library.name)
    return {folder: frozenset(names) for folder, names in found.items()}


def codecs(lock: Lock, row: Row) -> tuple[Link, ...]:
    """Links by which FFmpeg's libraries are found, where the row takes them from PyAV.

    Raises:
        BadInputError: Two environments would have one link lead to their own library.
    """
    parts = [part for part in lock.environments if row.ffmpeg == "pyav" and part.package("torchcodec")]
    sites = ((part, site_packages(HOME / part.name, row.python)) for part in parts)
    links = tuple(link for part, site in sites for link in ffmpeg.libraries(part, site))
    if len({link.path for link in links}) < len(links):
        raise BadInputError(
            Fault(
                place=row.place("ffmpeg"),
                cause=f"{' and '.join(part.name for part in parts)} have one FFmpeg in two PyAVs",
                fix="Take FFmpegs of two major versions, or `ffmpeg: shared`",
            )
        )
    return links


def loader(lock: Lock, row: Row) -> tuple[PurePosixPath, ...]:
    """The folders that the loader's cache offers: `loader_folders`, and where a codec's siblings lie.

    A library that is found by a link looks for its siblings beside the link (glibc's $ORIGIN), not beside
    itself; the cache has them.
    """
    beside = {link.target.parent for link in codecs(lock, row)}
    return tuple(sorted({*loader_folders(lock, row.python), *beside}))
