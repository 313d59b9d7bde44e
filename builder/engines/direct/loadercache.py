"""The loader's cache of an image, made by the base's own ldconfig from stand-ins for libraries."""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from builder.abi.library import Library
from builder.engines.direct.entry import Entry
from builder.engines.direct.interpreter import searched
from builder.engines.direct.standin import stand_in
from builder.engines.direct.tar import Node
from builder.errors import BadInputError, EngineOrNetworkError, Fault
from builder.ffmpeg import Link
from builder.left_out import NOTHING, LeftOut
from builder.lock.record import Lock
from builder.places import roots
from builder.shell import SYSTEM, Shell
from builder.verdict.setting import has_binaries

CONFIGURATION: Final = "etc/ld.so.conf.d/000-cuvee.conf"
CACHE: Final = "etc/ld.so.cache"
LDCONFIG: Final = ("usr/sbin/ldconfig", "sbin/ldconfig")
_MACHINE: Final = "x86_64"
_LINK_MODE: Final = 0o777


def loader_sonames(
    lock: Lock, folders: Sequence[PurePosixPath], library: Library, left_out: LeftOut = NOTHING
) -> dict[str, str]:
    """The libraries that the loader's cache of a row may come to name, from recorded facts.

    Args:
        lock: The row's lock.
        folders: The loader's folders, `Plan.loader`.
        library: Where the facts are.
        left_out: What of the wheels is not in the image.

    Returns:
        The soname, "" where there is none, of each x86-64 library or program that lies in one of the loader's
        folders itself, by its absolute path in the image; sorted. Among them are all that ldconfig looks at,
        and some that it passes over for their names.

    Raises:
        BadInputError: What is in a wheel is not recorded; all such wheels are told.
    """
    if not folders:
        return {}
    searched_in = set(map(str, folders))
    found: dict[str, str] = {}
    faults: list[Fault] = []
    for part, root in roots(lock, lock.python):
        for package in filter(has_binaries, part.packages):
            facts = library.wheel(package.file, package.sha256)
            if facts is None or not facts.complete:
                faults.append(_unknown(package.file, lock.row))
                continue
            for binary in facts.binaries:
                path = posixpath.normpath(f"{root}/{binary.path}")
                if left_out.holds(binary.path):
                    continue
                if binary.machine == _MACHINE and posixpath.dirname(path) in searched_in:
                    found[path] = binary.soname
    if faults:
        raise BadInputError(*faults)
    return dict(sorted(found.items()))


def loader_files(
    root: Path,
    folders: Sequence[PurePosixPath],
    libraries: Mapping[str, str],
    shell: Shell = SYSTEM,
    links: Sequence[Link] = (),
) -> tuple[Entry, ...]:
    """What `ldconfig` writes in an image once its configuration names folders; sorted by path.

    The configuration and the cache, and the links that ldconfig makes or changes, beside libraries most of
    all: from their sonames to them. The folders in which they lie are not among it.

    Args:
        root: The base's files, or at least those that `interpreter.needed` names. Nothing in it is changed.
        folders: The folders, in the order in which they are searched.
        libraries: The libraries in them: sonames by absolute paths in the image, from `loader_sonames`.
        shell: What starts ldconfig.
        links: Links that are made before; they are among what is returned.

    Raises:
        EngineOrNetworkError: ldconfig is not there or fails, or there is no room for temporary files.
    """
    configuration = "".join(f"{folder}\n" for folder in folders).encode()
    with _scratch() as scratch:
        _lay_base(root, scratch)
        _write(scratch / CONFIGURATION, configuration)
        for path, soname in libraries.items():
            _write(scratch / path.lstrip("/"), stand_in(soname))
        before = _links(scratch)
        for link in links:
            _link(scratch / str(link.path).lstrip("/"), str(link.target))
        _run(root, scratch, shell)
        entries = {CONFIGURATION: configuration, CACHE: (scratch / CACHE).read_bytes()}
        after = _links(scratch)
    changed = {path: target for path, target in after.items() if before.get(path) != target}
    files = [Entry(Node(path), content) for path, content in entries.items()]
    made = [Entry(Node(path, "link", _LINK_MODE, target)) for path, target in changed.items()]
    return tuple(sorted((*files, *made), key=lambda entry: entry.node.path))


def _run(root: Path, scratch: Path, shell: Shell) -> None:
    """Run ldconfig in a root of its own; where it may not change its root, it puts that before all paths."""
    program = next((root / path for path in LDCONFIG if (root / path).is_file()), None)
    if program is None:
        raise _failed("it has no ldconfig")
    done = shell.run(["env", "-i", "LC_ALL=C", str(program), "-r", str(scratch)])
    if not done.ok or not (scratch / CACHE).is_file():
        said = (done.err or done.out).strip().rpartition("\n")[2]
        raise _failed(f"ldconfig ended with {done.code}: {said or 'it said nothing'}")


def _lay_base(root: Path, scratch: Path) -> None:
    """Lay out what ldconfig looks at in the base; files are shared with it where that can be."""
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            source = Path(folder, name)
            path = source.relative_to(root)
            if searched(str(path)) and (source.is_symlink() or source.is_file()):
                target = scratch / path
                target.parent.mkdir(parents=True, exist_ok=True)
                _share(source, target)


def _share(source: Path, target: Path) -> None:
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return
    try:
        os.link(source, target)
    except OSError:  # another file system, or somebody else's file
        shutil.copyfile(source, target)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _links(scratch: Path) -> dict[str, str]:
    """All symbolic links, by their paths in the image without the first slash."""
    return {
        str(Path(folder, name).relative_to(scratch)): str(Path(folder, name).readlink())
        for folder, folders, files in os.walk(scratch)
        for name in (*folders, *files)
        if Path(folder, name).is_symlink()
    }


@contextmanager
def _scratch() -> Iterator[Path]:
    try:
        with tempfile.TemporaryDirectory(prefix="cuvee-loader-") as folder:
            yield Path(folder)
    except OSError as error:
        raise EngineOrNetworkError(
            Fault(
                place="the loader's cache",
                cause=f"cannot be made in {tempfile.gettempdir()}: {error.strerror or error}",
                fix="Free some space there, or set TMPDIR to another folder",
            )
        ) from error


def _failed(cause: str) -> EngineOrNetworkError:
    return EngineOrNetworkError(
        Fault(
            place="ldconfig of the base",
            cause=cause,
            fix="See that the base is a Debian for x86-64, and that its files lie where programs may be run",
        )
    )


def _unknown(file: str, row: str) -> Fault:
    return Fault(place=file, cause="what its binaries say is not recorded", fix=f"Run `cuvee facts {row}`")
