"""FFmpeg in an image: the program that WhisperX starts, and the libraries that torchcodec opens.

Pure. PyAV's wheel has all of FFmpeg's libraries inside, under names of its own, such as
`libavcodec-7ee0753d.so.61.19.101`. torchcodec needs `libavcodec.so.61`, and has no search path: links by that
name, where every loader looks last, give it PyAV's. So a process that has both has one FFmpeg, and the image
needs no other; Debian's comes with a graphics stack, and is 0.45 GB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from builder.lock.record import Environment

PYAV = "av"
DEFAULT_FOLDER = PurePosixPath("/usr/lib")
"""The last of the folders that Debian's loader searches on its own, and no package's (ld.so(8))."""

_LIBRARY = re.compile(r"(lib(?:av|sw)[a-z]+)-[0-9a-f]+\.so\.(\d+)(?:\.\d+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link in the image."""

    path: PurePosixPath
    target: PurePosixPath


def program(part: Environment, prefix: PurePosixPath, site: PurePosixPath) -> Iterator[Link]:
    """`ffmpeg` on the path: WhisperX and whisper start the program by that name."""
    package = part.package("imageio-ffmpeg")
    if package and package.facts.binaries:
        yield Link(path=prefix / "bin" / "ffmpeg", target=site / package.facts.binaries[0])


def libraries(part: Environment, site: PurePosixPath) -> Iterator[Link]:
    """FFmpeg's libraries inside PyAV, by the names that everybody else knows them by."""
    package = part.package(PYAV)
    for library in package.facts.libraries if package else ():
        if found := _LIBRARY.fullmatch(PurePosixPath(library).name):
            yield Link(path=DEFAULT_FOLDER / f"{found[1]}.so.{found[2]}", target=site / library)
