"""What a base has: the libraries in the folders that the loader searches by itself."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from typing import IO

from builder.abi.content import Content
from builder.abi.elf import MAGIC, read_elf
from builder.abi.facts import BaseFacts, Binary
from builder.abi.loader import DEBIAN_FOLDERS


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
        # Without what it opens: a base's libraries open what Debian's packages demand of each other.
        yield read_elf(Content(file=io.BytesIO(data), size=len(data)), path).binary(path)
