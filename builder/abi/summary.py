"""The little of a wheel's facts that its lock repeats.

Each distribution is asked only what plans need. A wheel that is asked nothing stays unread and gives an empty
record. Locks hold what comes out of here: another answer for the same wheel changes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath

from builder.abi.content import Content
from builder.abi.elf import Elf, read_elf
from builder.abi.facts import Summary
from builder.abi.fatbin import gpu_code
from builder.abi.opens import opened
from builder.abi.torch import TORCH_PYTHON, listed_architectures
from builder.wheels.directory import Member
from builder.wheels.filename import wheel_name
from builder.wheels.members import Archive, opened_wheel, spooled
from builder.wheels.remote import Wheel


def summarise(filename: str, wheel: Wheel) -> Summary:
    """What the lock repeats of a wheel, by the rules for its distribution.

    Args:
        filename: The wheel's file name, which says what it is.
        wheel: The wheel itself; of one on a server only the members that matter are read.

    Raises:
        BadInputError: The name is no wheel's name, or the wheel or a library in it is damaged.
        EngineOrNetworkError: The server did not give it.
    """
    if not filename.endswith(".whl"):
        return Summary()  # a source archive has no binaries
    name = wheel_name(filename).distribution
    reader = _nvidia if name.startswith("nvidia-") else READERS.get(name)
    if reader is None:
        return Summary()
    with opened_wheel(wheel) as archive:
        return reader(archive)


def _nvidia(archive: Archive) -> Summary:
    return Summary(libraries=_paths(archive, "nvidia/", "lib*.so*"))


def _ctranslate2(archive: Archive) -> Summary:
    """What the engine and the libraries that auditwheel put beside it open, and the engine's GPU code."""
    names: set[str] = set()
    architectures: tuple[str, ...] = ()
    for member in _matching(archive, "ctranslate2.libs/", "lib*.so*"):
        with _read(archive, member) as (content, elf, place):
            groups = opened(content, elf, place, PurePosixPath(member.path).name)
            names |= {_usual(group) for group in groups}
            architectures = architectures or gpu_code(content, elf.gpu_code, place).architectures
    return Summary(opens=tuple(sorted(names)), architectures=architectures)


def _usual(names: tuple[str, ...]) -> str:
    """Of the names that cuDNN 9 tries for a library the one that is its soname in all of cuDNN 9."""
    return names[-2] if len(names) > 1 else names[0]


def _torch(archive: Archive) -> Summary:
    for member in archive.members:
        if member.path == TORCH_PYTHON:
            with _read(archive, member) as (content, elf, place):
                return Summary(architectures=listed_architectures(content, elf, place))
    return Summary()


def _imageio_ffmpeg(archive: Archive) -> Summary:
    return Summary(binaries=_paths(archive, "imageio_ffmpeg/binaries/", "ffmpeg-linux*"))


def _av(archive: Archive) -> Summary:
    """FFmpeg's libraries, which others than PyAV can use."""
    paths = _paths(archive, "av.libs/", "lib*.so*")
    ours = ("av.libs/libav", "av.libs/libsw")
    return Summary(libraries=tuple(path for path in paths if path.startswith(ours)))


READERS: Mapping[str, Callable[[Archive], Summary]] = {
    "av": _av,
    "ctranslate2": _ctranslate2,
    "imageio-ffmpeg": _imageio_ffmpeg,
    "torch": _torch,
}


@contextmanager
def _read(archive: Archive, member: Member) -> Iterator[tuple[Content, Elf, str]]:
    """A library, what was read of it, and what an error calls it."""
    place = archive.place(member)
    with spooled(place, archive.pieces(member)) as file:
        content = Content(file=file, size=member.size)
        yield content, read_elf(content, place), place


def _paths(archive: Archive, folder: str, pattern: str) -> tuple[str, ...]:
    return tuple(member.path for member in _matching(archive, folder, pattern))


def _matching(archive: Archive, folder: str, pattern: str) -> Iterator[Member]:
    """Members anywhere below a folder whose file name matches, in the wheel's order."""
    for member in archive.members:
        if member.path.startswith(folder) and PurePosixPath(member.path).match(pattern):
            yield member
