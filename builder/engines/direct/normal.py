"""A root file system as mmdebstrap makes it, less everything that is of the machine or the day.

What is left is what `debian:*-slim` has, whose rules on documentation this follows.
"""

from __future__ import annotations

import posixpath
import re
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from builder.engines.direct.tar import MTIME, Kind, Node
from builder.errors import CheckFailedError, Fault

NOTES: Final = "cuvee-packages"
"""The file of a root file system in which it is noted what it was made of; no base has it."""

PINS: Final = "etc/apt/preferences.d/cuvee"
"""The file that pins packages while a root file system is made; no base has it."""

SLIM: Final = ("doc", "groff", "info", "linda", "lintian", "locale", "man")
"""The folders of /usr/share that a base has empty, but for licences."""

_KEPT: Final = re.compile(r"usr/share/(doc/[^/]+/copyright|locale/locale\.alias)")
_EMPTIED: Final = re.compile(rf"usr/share/(?:{'|'.join(SLIM)})/.+", re.DOTALL)

_LEFT_OUT: Final = re.compile(
    "|".join(
        (
            rf"{NOTES}(?:\.names)?",
            PINS,
            r"(?:dev|proc|sys|tmp|var/tmp)/.+",
            r"run/(?!lock$).+",
            r"etc/(?:resolv\.conf|hostname|hosts|fstab|mtab|\.pwd\.lock)",
            r"etc/(?:passwd|group|shadow|gshadow|subuid|subgid)-",
            r"etc/apt/apt\.conf\.d/\d+mmdebstrap",
            r"etc/dpkg/dpkg\.cfg\.d/\d+mmdebstrap",
            r"etc/apt/auth\.conf(?:\.d/.+)?",
            r"var/cache/ldconfig/aux-cache",
            r"var/cache/debconf/.+-old",
            r"var/lib/dpkg/(?:.+-old|available|lock|lock-frontend|triggers/Lock)",
            # Bytecode of Debian's own scripts: whether it is by time or by hash hangs on the clock.
            r"usr/share/python3/(?:.+/)?__pycache__(?:/.+)?",
            # Written by the apt outside, which is of any release; without it, apt removes nothing by itself.
            r"var/lib/apt/extended_states",
            r"var/lib/apt/lists/auxfiles",
            r"var/lib/dbus/machine-id",
            r"var/lib/systemd/random-seed",
        )
    ),
    re.DOTALL,
)
_NO_FILES: Final = re.compile(r"var/(?:log|cache/apt|lib/apt/lists|lib/apt/periodic)/.+", re.DOTALL)
"""Of these folders, the folders in them stay."""

_OF_APT: Final = re.compile(r"var/(?:lib/apt/lists|cache/apt/archives)/partial")
"""The folders of apt's own user. They stay root's where that user cannot enter the folder that we work in."""

_SOURCES_LIST, _SOURCES = "etc/apt/sources.list", "etc/apt/sources.list.d/debian.sources"
_EXAMPLES: Final = {
    f"usr/share/doc/apt/examples/{posixpath.basename(path)}": path for path in (_SOURCES_LIST, _SOURCES)
}
"""What apt's own package offers as its list of sources: it names Debian's archive, and we never do."""

_ADDED: Final[Mapping[str, tuple[int, str]]] = {
    "etc/apt/apt.conf.d/cuvee": (
        0o644,
        (
            "// As in debian:*-slim: an image keeps no archives, and small lists.\n"
            'Acquire::GzipIndexes "true";\n'
            'Acquire::Languages "none";\n'
            'Apt::AutoRemove::SuggestsImportant "false";\n'
            'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };\n'
            'Dir::Cache::pkgcache "";\n'
            'Dir::Cache::srcpkgcache "";\n'
        ),
    ),
    "etc/dpkg/dpkg.cfg.d/cuvee": (
        0o644,
        "# As in debian:*-slim: packages come without documentation, but with their licences.\n"
        "force-unsafe-io\n"
        + "".join(f"path-exclude /usr/share/{folder}/*\n" for folder in SLIM)
        + "path-include /usr/share/doc/*/copyright\n"
        "path-include /usr/share/locale/locale.alias\n",
    ),
    "usr/sbin/policy-rc.d": (0o755, "#!/bin/sh\n# No daemons are started in an image.\nexit 101\n"),
}

_PYC_FLAGS: Final = 4  # where they begin
_DATED, _UNCHECKED, _CHECKED = (flags.to_bytes(4, "little") for flags in (0, 1, 3))
_DAY: Final = str(MTIME // 86400).encode()

_TYPES: Final[Mapping[bytes, Kind]] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link",
}

File: TypeAlias = tuple[Node, bytes]
"""A file, folder or link, and its content."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of the archive under its path; `info` is where the content of a file lies."""

    path: str
    info: tarfile.TarInfo


def normal(archive: tarfile.TarFile, suite: str = "", suites: Sequence[str] = ()) -> Iterator[File]:
    """What a base has of a root file system, sorted by path, so that folders come before what is in them.

    Args:
        archive: The root file system.
        suite: The Debian suite that it is of.
        suites: Further suites that packages came from: apt's sources in the base name them too.

    Raises:
        CheckFailedError: It has something that no base may have.
    """
    members = {member.path: member for member in _members(archive)}
    first = _first_of_hard_links(members)
    added = {path: (mode, text.encode()) for path, (mode, text) in _ADDED.items()}
    sources = dict(_sources(archive, members))
    further = {path: text for one in suites for path, text in _of_suite(sources, suite, one)}
    added |= {path: (0o644, text) for path, text in {**sources, **further}.items()}
    # What was needed for the making names the mirror of the day.
    made = {_SOURCES_LIST, _SOURCES, *(f"{_SOURCES_LIST}.d/{one}.list" for one in suites)}
    replaced = made if sources else set()
    kept = {path for path in members if _stays(path, members[path].info)} - replaced
    # Whatever unpacks a file without its folder makes that with the mode of its own choice.
    kept |= {posixpath.dirname(path) for path in kept if _KEPT.fullmatch(path)} & members.keys()
    user = _user_of_apt(archive, members)
    for path in sorted(kept | added.keys()):
        if path in added:
            mode, content = added[path]
            yield Node(path, mode=mode), content
        elif first.get(path, path) != path and first[path] in kept:
            yield _node(members[path], "hardlink", first[path]), b""
        else:
            node, content = _file(archive, members[path], members)
            if _OF_APT.fullmatch(path):
                node = replace(node, owner=(user, 0))
            if not (path.endswith(".pyc") and content[_PYC_FLAGS : _PYC_FLAGS + 4] == _DATED):
                yield node, content  # bytecode by its source's time is stale: every file gets one time


def notes(archive: tarfile.TarFile) -> str:
    """What was noted of the packages of a root file system, as `apt-cache show` says it."""
    found = next(member for member in _members(archive) if member.path == NOTES)
    return _content(archive, found.info).decode("utf-8", "replace")


def _members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        path = posixpath.normpath(info.name).removeprefix("/")
        if path.split("/")[0] == "..":
            raise _refused(path, "it leads out of the base")
        if path != ".":
            yield _Member(path, info)


def _stays(path: str, info: tarfile.TarInfo) -> bool:
    if _LEFT_OUT.fullmatch(path) or info.ischr() or info.isblk() or info.isfifo():
        return False
    if _NO_FILES.fullmatch(path):
        return info.isdir()
    return not _EMPTIED.fullmatch(path) or bool(_KEPT.fullmatch(path))


def _first_of_hard_links(members: Mapping[str, _Member]) -> dict[str, str]:
    """Of each path that shares a file with others, the first path of that file.

    Which of them comes first in the archive, and so holds the content, is up to the file system.
    """
    groups: dict[str, list[str]] = {}
    for path, member in members.items():
        if member.info.islnk():
            target = posixpath.normpath(member.info.linkname)
            groups.setdefault(target, [target]).append(path)
    return {path: min(group) for group in groups.values() for path in group}


def _file(archive: tarfile.TarFile, member: _Member, members: Mapping[str, _Member]) -> File:
    info = member.info
    if info.islnk():  # it is the first of its group, and so the file itself
        info = members[posixpath.normpath(info.linkname)].info
    kind = _TYPES.get(info.type)
    if kind is None:
        raise _refused(member.path, "it is neither a file, a folder nor a link")
    if kind != "file":
        return _node(member, kind, info.linkname if kind == "link" else ""), b""
    return _node(member, kind), _rewritten(member.path, _content(archive, info))


def _node(member: _Member, kind: Kind, target: str = "") -> Node:
    info = member.info
    mode = 0o777 if kind == "link" else stat.S_IMODE(info.mode)
    return Node(member.path, kind, mode, target, (info.uid, info.gid))


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    return file.read() if file else b""


def _user_of_apt(archive: tarfile.TarFile, members: Mapping[str, _Member]) -> int:
    users = _content(archive, members["etc/passwd"].info).decode() if "etc/passwd" in members else ""
    found = re.search(r"^_apt:[^:]*:(\d+):", users, re.MULTILINE)
    return int(found[1]) if found else 0


def _rewritten(path: str, content: bytes) -> bytes:
    for pattern, rewrite in _REWRITES:
        if pattern.fullmatch(path):
            return rewrite(content)
    return content


def _unchecked(content: bytes) -> bytes:
    """Bytecode that Python takes as it is.

    Where SOURCE_DATE_EPOCH is set, Python compiles so that a source is read and hashed at each start.
    """
    checked = content[_PYC_FLAGS : _PYC_FLAGS + 4] == _CHECKED
    return content[:_PYC_FLAGS] + _UNCHECKED + content[_PYC_FLAGS + 4 :] if checked else content


def _undated(content: bytes) -> bytes:
    """/etc/shadow with one day for the last change of every password."""
    lines = [line.split(b":") for line in content.splitlines()]
    return b"".join(b":".join((*line[:2], _DAY, *line[3:])) + b"\n" for line in lines)


_REWRITES: Final[tuple[tuple[re.Pattern[str], Callable[[bytes], bytes]], ...]] = (
    (re.compile(r".+\.pyc", re.DOTALL), _unchecked),
    (re.compile(r"etc/shadow"), _undated),
    (re.compile(r"etc/machine-id"), lambda _: b""),
)


def _sources(archive: tarfile.TarFile, members: Mapping[str, _Member]) -> Iterator[tuple[str, bytes]]:
    """Debian's main archive as the sources of apt, whichever mirror the packages came from."""
    for example, path in _EXAMPLES.items():
        if example in members:
            lines = _content(archive, members[example].info).decode().splitlines()
            kept = (line for line in lines if not line.startswith("#"))
            text = "\n".join(re.sub(r"^(Components:|deb .*?) main .*", r"\1 main", line) for line in kept)
            yield path, re.sub(r"\n{2,}", "\n\n", text.strip() + "\n").encode()


def _of_suite(sources: Mapping[str, bytes], main: str, suite: str) -> Iterator[tuple[str, bytes]]:
    """The same archives with another suite, as `/etc/apt/sources.list.d/<suite>.sources`, or `.list`."""
    for path, text in sources.items():
        ending = posixpath.splitext(path)[1]
        yield f"{_SOURCES_LIST}.d/{suite}{ending}", text.replace(main.encode(), suite.encode())


def _refused(path: str, cause: str) -> CheckFailedError:
    return CheckFailedError(
        Fault(
            place=path, cause=cause, fix="Make the base anew; if that does not help, mmdebstrap is to blame"
        )
    )
