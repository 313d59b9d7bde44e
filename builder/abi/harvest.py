"""Harvesting the facts of a wheel.

Each distribution is asked only what something later judges. A wheel that is asked nothing stays unread and
gives an empty record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from builder.abi.elf import ElfFacts, read_elf
from builder.abi.facts import Summary
from builder.abi.fatbin import architectures
from builder.errors import BadInputError, Fault
from builder.wheels.remote import Wheel, members, read

LIBRARY_NAME = re.compile(rb"(?<![\x20-\x7e])lib[\w+.-]+?\.so(?:\.\d+)*(?=\0)")
"""A library's name that is a whole string of its own, and not the end of a path or of a message."""

ARCHITECTURE_LIST = re.compile(rb"(?:sm|compute)_\d+\w?(?: (?:sm|compute)_\d+\w?)*(?=\0)")
"""A list to a string's end; in torch 2.8.0 a piece of another constant touches its beginning."""

NAME_AND_MAJOR = b"\0%s.%d\0"
"""The template by which cuDNN 9's front library makes the names it opens, see `opened`."""

TORCH_PYTHON = "torch/lib/libtorch_python.so"


def harvest(filename: str, wheel: Wheel) -> Summary:
    """The facts of a wheel, by the rules for its distribution.

    Args:
        filename: The wheel's file name, which says what it is.
        wheel: The wheel itself; of one on a server only the members that matter are read.

    Raises:
        BadInputError: The name is no wheel's name, or the wheel or a library in it is damaged.
        EngineOrNetworkError: The server did not give it.
    """
    if not filename.endswith(".whl"):
        return Summary()  # a source archive has no binaries
    name = _distribution(filename)
    if name.startswith("nvidia-"):
        return Summary(libraries=_matching(wheel, "nvidia/", "lib*.so*"))
    return HARVESTS[name](wheel) if name in HARVESTS else Summary()


def _distribution(filename: str) -> str:
    try:
        return parse_wheel_filename(filename)[0]
    except InvalidWheelFilename as error:
        raise BadInputError(
            Fault(
                place=filename,
                cause=f"is not the name of a wheel: {error}",
                fix="Give the file the name that the index lists it under",
            )
        ) from error


def _ctranslate2(wheel: Wheel) -> Summary:
    """What the engine and the libraries that auditwheel put beside it open, and the engine's GPU code."""
    libraries = [_library(wheel, path) for path in _matching(wheel, "ctranslate2.libs/", "lib*.so*")]
    gpu_code = next((library.gpu_code for library in libraries if library.gpu_code), b"")
    return Summary(
        opens=tuple(sorted({name for library in libraries for name in opened(library)})),
        architectures=architectures(gpu_code, wheel.name),
    )


def _torch(wheel: Wheel) -> Summary:
    """The list that `torch.cuda.get_arch_list()` returns, from the smallest of torch's big libraries.

    The fat binaries would say less: 2.4.1's linear algebra has no sm_75 code, because sm_70's runs there.
    """
    if TORCH_PYTHON not in members(wheel):
        return Summary()
    listed = ARCHITECTURE_LIST.findall(_library(wheel, TORCH_PYTHON).read_only)
    return Summary(architectures=tuple(max(listed, key=len, default=b"").decode().split()))


def _imageio_ffmpeg(wheel: Wheel) -> Summary:
    return Summary(binaries=_matching(wheel, "imageio_ffmpeg/binaries/", "ffmpeg-linux*"))


HARVESTS: Mapping[str, Callable[[Wheel], Summary]] = {
    "ctranslate2": _ctranslate2,
    "imageio-ffmpeg": _imageio_ffmpeg,
    "torch": _torch,
}


def opened(library: ElfFacts) -> frozenset[str]:
    """The names a library opens by itself: those among its constants that are neither its own nor DT_NEEDED.

    cuDNN 9's front library holds bare names, such as `libcudnn_ops.so`, and adds its own version to them by
    templates: it tries `.so.9.1.0`, `.so.9.1`, `.so.9` and `.so`, in that order. The third, which is the
    soname in all of cuDNN 9, stands here for the four.
    """
    names = {name.decode() for name in LIBRARY_NAME.findall(library.read_only)}
    major = re.search(r"\.so\.\d+", library.soname)
    if major and NAME_AND_MAJOR in library.read_only:
        names = {re.sub(r"\.so$", major[0], name) for name in names}
    return frozenset(names - {library.soname, *library.needed})


def _library(wheel: Wheel, path: str) -> ElfFacts:
    return read_elf(read(wheel, path), f"{wheel.name} {path}")


def _matching(wheel: Wheel, folder: str, pattern: str) -> tuple[str, ...]:
    """Members anywhere below a folder whose file name matches, in the wheel's order."""
    return tuple(
        path for path in members(wheel) if path.startswith(folder) and PurePosixPath(path).match(pattern)
    )
