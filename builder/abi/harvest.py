"""Harvesting: the facts of a whole wheel, from one pass through it.

Every ELF file counts, known by its first bytes. Files whose names say that they are text or data are not
opened at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import PurePosixPath

from builder.abi.content import Content
from builder.abi.demands import torch_demanded
from builder.abi.elf import HEADER_SIZE, MAGIC, Elf, read_elf
from builder.abi.facts import Binary, WheelFacts
from builder.abi.fatbin import gpu_code
from builder.abi.opens import opened
from builder.abi.torch import ALWAYS, TORCH_PYTHON, TORCH_VERSION, cuda_release, listed_architectures
from builder.wheels.directory import Member
from builder.wheels.filename import WheelName, wheel_name
from builder.wheels.members import Archive, opened_wheel, spooled
from builder.wheels.remote import Wheel

NOT_BINARY = frozenset(
    (
        *(".py", ".pyi", ".pyc", ".pyx", ".pxd", ".pxi", ".ipynb", ".typed", ".j2", ".in", ".map"),
        *(".h", ".hh", ".hpp", ".cuh", ".inc", ".c", ".cc", ".cpp", ".cu", ".f", ".f90", ".td", ".cmake"),
        *(".txt", ".md", ".rst", ".html", ".css", ".js", ".mjs", ".ts", ".svg", ".xml", ".pdf"),
        *(".json", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".csv", ".tsv", ".npy", ".npz", ".mat", ".pkl"),
        *(".gz", ".bz2", ".xz", ".zip", ".whl", ".a", ".bc", ".dll", ".exe", ".lib", ".dylib"),
        *(".png", ".jpg", ".gif", ".ico", ".ttf", ".woff", ".woff2", ".wav", ".mp3", ".onnx"),
    )
)
"""Endings of files that are no binaries of this system. A name without one of them is only looked into."""

LIBRARY = "*.so*"
METADATA = "*.dist-info/METADATA"
MOST_METADATA = 4 * 1024 * 1024
"""Bytes of a METADATA or version.py; descriptions take up to a few hundred kilobytes."""

PREFIX = "../../../"
"""From site-packages to the environment's prefix: `lib/python3.11/site-packages`."""

SCHEMES = {"purelib": "", "platlib": "", "data": PREFIX, "scripts": f"{PREFIX}bin/"}
"""Where installers put the folders in a wheel's `.data`; `headers` is no place for binaries."""


def harvest(file: str, sha256: str, wheel: Wheel, *, most: int | None = None) -> WheelFacts:
    """The facts of a wheel.

    Args:
        file: The wheel's file name, which says what it is.
        sha256: Its hash, in hex, by which the facts are known.
        wheel: The wheel itself; of one on a server only the members that are read are fetched.
        most: Bytes that a member may take in the wheel; a larger one is not read, but for
            those of torch that `ALWAYS` names. None: all are read.

    Raises:
        BadInputError: The name is no wheel's name, or the wheel or a binary in it is damaged.
        EngineOrNetworkError: The server did not give it, or a large member could not be unpacked.
    """
    found = _Found(name=wheel_name(file))
    with opened_wheel(wheel) as archive:
        for member in archive.members:
            _harvest_member(archive, member, found, most)
    return WheelFacts(
        file=file,
        sha256=sha256,
        binaries=tuple(sorted(found.binaries, key=lambda binary: binary.path)),
        gpu=found.gpu,
        cuda=found.cuda,
        torch=found.torch,
    )


def installed(path: str) -> str:
    """Where a file of a wheel lies once installed, relative to site-packages."""
    top, _, rest = path.partition("/")
    scheme, _, below = rest.partition("/")
    if top.endswith(".data") and scheme in SCHEMES:
        return SCHEMES[scheme] + below
    return path


@dataclass(slots=True, kw_only=True)
class _Found:
    """What the pass through a wheel has found so far."""

    name: WheelName
    binaries: list[Binary] = field(default_factory=list)
    gpu: tuple[str, ...] = ()
    cuda: str = ""
    torch: str = ""


def _harvest_member(archive: Archive, member: Member, found: _Found, most: int | None) -> None:
    path = PurePosixPath(member.path)
    if member.path == TORCH_VERSION:
        found.cuda = cuda_release(archive.read(member, MOST_METADATA))
    elif path.match(METADATA) and path.parent.parent.name == "":
        found.torch = torch_demanded(archive.read(member, MOST_METADATA), found.name.python)
    elif member.size < HEADER_SIZE or path.suffix.lower() in NOT_BINARY:
        return
    elif most is not None and member.compressed > most and not ALWAYS.fullmatch(member.path):
        found.binaries += _unread(archive, member, most)
    else:
        _harvest_binary(archive, member, found)


def _unread(archive: Archive, member: Member, most: int) -> Iterable[Binary]:
    """The record of a binary that is too large; whether a file is one, its name tells or its first bytes."""
    if PurePosixPath(member.path).match(LIBRARY) or _beginning(archive.pieces(member)).startswith(MAGIC):
        yield Binary(path=installed(member.path), unread=f"larger than {most} bytes")


def _harvest_binary(archive: Archive, member: Member, found: _Found) -> None:
    pieces = archive.pieces(member)
    beginning = _beginning(pieces)
    if not beginning.startswith(MAGIC):
        return
    place = archive.place(member)
    with spooled(place, chain((beginning,), pieces)) as file:
        content = Content(file=file, size=member.size)
        elf = read_elf(content, place)
        found.binaries.append(_binary(content, elf, member.path, place, found.name))
        if member.path == TORCH_PYTHON:
            found.gpu = listed_architectures(content, elf, place)


def _beginning(pieces: Iterable[bytes]) -> bytes:
    """As many pieces as tell whether this is an ELF file."""
    beginning = b""
    for piece in pieces:
        beginning += piece
        if len(beginning) >= len(MAGIC):
            break
    return beginning


def _binary(content: Content, elf: Elf, path: str, place: str, name: WheelName) -> Binary:
    if not elf.native:
        return Binary(path=installed(path), machine=elf.machine, unread="not 64 bits, little-endian")
    code = gpu_code(content, elf.gpu_code, place)
    return replace(
        elf.binary(installed(path)),
        opens=opened(content, elf, place, PurePosixPath(path).name, name.version, name.cuda),
        gpu=code.architectures,
        gpu_cuda=code.cuda,
    )
