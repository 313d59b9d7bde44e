"""What a base has: the libraries in the folders that the loader searches by itself."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from builder.abi.content import Content
from builder.abi.elf import MAGIC, Elf, read_elf
from builder.abi.facts import FORMAT, Binary
from builder.abi.loader import DEBIAN_FOLDERS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseFacts:
    """The libraries of a base; each record is itself alone, so that what is worked out of it can be kept.

    Attributes:
        id: The base's id in the matrix, with `+ffmpeg` where Debian's FFmpeg is laid on top.
        image: What was read, for people.
        binaries: The libraries, with absolute paths, sorted.
        links: Symbolic links among the loader's folders, from absolute path to absolute path.
    """

    id: str
    image: str
    binaries: tuple[Binary, ...]
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def glibc(self) -> tuple[int, int]:
        """The C library's version: the newest that it provides."""
        libc = next((one for one in self.binaries if one.soname == "libc.so.6"), None)
        versions = [name for name in (libc.provides if libc else ()) if name.startswith("GLIBC_2.")]
        return max(((2, int(name.split(".")[1])) for name in versions), default=(0, 0))

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        binaries = [binary.to_json() for binary in self.binaries]
        return {
            "format": FORMAT,
            "id": self.id,
            "image": self.image,
            "binaries": binaries,
            "links": self.links,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BaseFacts:
        """The record that `to_json` gave.

        Raises:
            ValueError: It is of another format.
            KeyError: A field is missing.
        """
        if data.get("format") != FORMAT:
            raise ValueError(f"its format is {data.get('format')!r}, this cuvee reads {FORMAT}")
        binaries = tuple(Binary.from_json(one) for one in data["binaries"])
        return cls(id=data["id"], image=data["image"], binaries=binaries, links=data["links"])


def read_base(name: str, image: str, archive: IO[bytes]) -> BaseFacts:
    """Read the libraries of a root file system from a tar stream, such as `docker export` gives.

    Raises:
        BadInputError: A library is damaged.
        tarfile.TarError: The stream is no tar archive, or ends early.
    """
    binaries: dict[str, Binary] = {}
    links: dict[str, str] = {}
    with tarfile.open(fileobj=archive, mode="r|*") as tar:
        for member in tar:
            path = "/" + posixpath.normpath(member.name)
            if member.issym() and (".so" in path or path in DEBIAN_FOLDERS):
                links[path] = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.linkname))
            elif member.isfile() and ".so" in posixpath.basename(path):
                binaries.update((binary.path, binary) for binary in _binary(tar, member, path))
    paths = _within_reach(binaries, links)
    return BaseFacts(
        id=name,
        image=image,
        binaries=tuple(binaries[path] for path in sorted(paths & binaries.keys())),
        links={path: links[path] for path in sorted(links.keys() & paths)},
    )


def _within_reach(binaries: Mapping[str, Binary], links: Mapping[str, str]) -> set[str]:
    """The files and links that the loader can come to from its own folders, and these folders."""
    searched = {*DEBIAN_FOLDERS, *(links.get(folder, folder) for folder in DEBIAN_FOLDERS)}
    while True:
        paths = {path for path in (*binaries, *links) if posixpath.dirname(path) in searched}
        for path in tuple(paths):
            paths |= _chain(path, links)
        named = {folder for path in paths & binaries.keys() for folder in _named(path, binaries[path])}
        if named <= searched:
            return paths | (links.keys() & searched)
        searched |= named


def _chain(path: str, links: Mapping[str, str]) -> set[str]:
    """What a link leads to, step by step."""
    seen: set[str] = set()
    while path in links and path not in seen:
        seen.add(path)
        path = links[path]
    return {*seen, path}


def _named(path: str, binary: Binary) -> Iterator[str]:
    """The folders that a library tells the loader to search."""
    for folder in (*binary.rpath, *binary.runpath):
        if folder:
            yield posixpath.normpath(folder.replace("$ORIGIN", posixpath.dirname(path)))


def _binary(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> Iterator[Binary]:
    file = tar.extractfile(member)
    data = file.read() if file else b""
    if data.startswith(MAGIC):
        yield _facts(read_elf(Content(file=io.BytesIO(data), size=len(data)), path), path)


def _facts(elf: Elf, path: str) -> Binary:
    """Without what it opens: a base's libraries open what Debian's packages demand of each other."""
    return Binary(
        path=path,
        machine=elf.machine,
        soname=elf.soname,
        needed=elf.needed,
        rpath=elf.rpath,
        runpath=elf.runpath,
        requires=elf.requires,
        provides=elf.provides,
        executable_stack=elf.executable_stack,
        interpreter=elf.interpreter,
    )
