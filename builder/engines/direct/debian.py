"""The root file system of a small Debian, made by mmdebstrap from Debian's packages, as it comes.

mmdebstrap runs as root, or in a user namespace of its own, or under fakechroot: whatever the machine allows.
What it makes differs a little from machine to machine; `builder.engines.direct.normal` sees to that.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder.engines.direct.baselock import Package
from builder.engines.direct.normal import NOTES, PINS
from builder.engines.direct.tar import MTIME
from builder.errors import EngineOrNetworkError, Fault
from builder.shell import Finished, Shell

SNAPSHOT: Final = "CUVEE_DEBIAN_SNAPSHOT"
"""Names the variable with the address of a dated archive of Debian, whose packages are taken instead."""

_ARCHIVE, _SECURITY = "/debian/", "/debian-security/"  # beside each other in a dated archive
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_MERGED = 'cd "$1" && for one in bin sbin lib lib64; do mkdir -p usr/$one && ln -s usr/$one $one; done'
"""As in debian:*-slim. A release that does not come merged would be merged by usrmerge, which brings all of
Perl, and fails under fakechroot."""

_CANNOT_HAVE = re.compile(
    r"unmet dependencies|Unable to correct problems|held broken|has no installation candid"
)
_NOTED = f'chroot "$1" dpkg-query --show --showformat "\\${{Package}}=\\${{Version}}\\n" > "$1/{NOTES}.names"'
_NOTES = f'chroot "$1" xargs apt-cache show < "$1/{NOTES}.names" > "$1/{NOTES}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of Debian.

    Attributes:
        id: Which base it is for.
        suite: The release, by its code name.
        include: The packages, beyond those that every Debian has; what they need comes with them.
        suites: Further releases that packages may come from; of a package the newest is taken.
        pins: Packages whose versions are wished for; those that Debian has no more come in another version.
    """

    id: str
    suite: str
    include: tuple[str, ...]
    suites: tuple[str, ...] = ()
    pins: tuple[Package, ...] = ()

    @property
    def place(self) -> str:
        """Who asks, for errors."""
        return f"base {self.id}"


class CannotMakeError(EngineOrNetworkError):
    """mmdebstrap is not there, or did not do its part.

    Attributes:
        cause: Why, without who asked.
        fix: What to do.
        pins_failed: Whether it could be that only the pinned versions cannot be had together.
    """

    def __init__(self, place: str, cause: str, fix: str, *, pins_failed: bool = False) -> None:
        super().__init__(Fault(place=place, cause=f"it cannot be made here: {cause}", fix=fix))
        self.cause, self.fix, self.pins_failed = cause, fix, pins_failed


def root_filesystem(request: Request, scratch: Path, shell: Shell, search: str) -> Path:
    """Make a root file system; returns its tar archive, in the scratch folder.

    Args:
        request: What it must have.
        scratch: A folder for what is needed on the way: some 300 MB; the caller deletes it.
        shell: Starts mmdebstrap.
        search: Where programs are looked for, as PATH has it.

    Raises:
        CannotMakeError: It cannot be made here.
    """
    path = _with_mmdebstrap(request, scratch, shell, search)
    archive = scratch / "root.tar"
    done = shell.run(
        ["mmdebstrap", *_options(request), request.suite, str(archive), *_sources(request.suite)],
        env={"PATH": path, "SOURCE_DATE_EPOCH": str(MTIME)},
    )
    if not done.ok:
        fix = "See that this machine reaches Debian's packages, and try again"
        failed = bool(request.pins and _CANNOT_HAVE.search(done.err))
        raise CannotMakeError(request.place, _cause(done), fix, pins_failed=failed)
    return archive


def search_path(own: str | None) -> str:
    """Where programs are looked for: on the given PATH or ours, and where root has its own, like chroot."""
    return f"{own or os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _options(request: Request) -> Iterator[str]:
    yield "--variant=minbase"
    yield "--format=tar"
    yield f"--include={','.join(request.include)}"
    if os.environ.get(SNAPSHOT):
        yield '--aptopt=Acquire::Check-Valid-Until "false"'
    yield f"--setup-hook={_MERGED}"
    yield from (f"--setup-hook={_further(suite, request.suite)}" for suite in request.suites)
    # In the command, not in a file: a user namespace might not be allowed to read ours.
    yield f'--setup-hook=printf %s {shlex.quote(_preferences(request.pins))} > "$1/{PINS}"'
    yield f"--customize-hook={_NOTED}"
    yield f"--customize-hook={_NOTES}"


def _further(suite: str, main: str) -> str:
    """The command that adds a suite to the sources, from wherever the main one comes, with the same keys."""
    sources = '"$1"/etc/apt/sources.list'
    return f"sed -n 's/ {main}\\([ -]\\)/ {suite}\\1/p' {sources} > {sources}.d/{suite}.list"


def _preferences(pins: Iterable[Package]) -> str:
    """What apt is to take: the versions that are wished for, and no program that merges / into /usr."""
    told = [("usrmerge", "version *", -1), *((one.name, f"version {one.version}", 1001) for one in pins)]
    return "\n".join(
        f"Package: {name}\nPin: {pin}\nPin-Priority: {priority}\n" for name, pin, priority in told
    )


def _sources(suite: str) -> Iterator[str]:
    """The lines of sources.list for a dated archive; without one, mmdebstrap knows Debian's own."""
    address = os.environ.get(SNAPSHOT, "").rstrip("/")
    if not address:
        return
    signed = f" [signed-by={_KEYRING}]" if _KEYRING.is_file() else ""
    yield f"deb{signed} {address} {suite} main"
    before, found, after = f"{address}/".rpartition(_ARCHIVE)
    if found:
        yield f"deb{signed} {address} {suite}-updates main"
        yield f"deb{signed} {before}{_SECURITY}{after}".rstrip("/") + f" {suite}-security main"


def _with_mmdebstrap(request: Request, scratch: Path, shell: Shell, search: str) -> str:
    """A PATH that has mmdebstrap: the given one, or one with mmdebstrap unpacked from Debian's package."""
    if shutil.which("mmdebstrap", path=search):
        return search
    lacks = CannotMakeError(
        request.place, "mmdebstrap is not installed", "Install it (Debian's package mmdebstrap)"
    )
    if not all(shutil.which(program, path=search) for program in ("apt-get", "dpkg-deb", "perl")):
        raise lacks
    unpacked = scratch / "mmdebstrap"
    if not shell.run(["apt-get", "download", "-qq", "mmdebstrap"], cwd=scratch).ok:
        raise lacks
    for package in scratch.glob("mmdebstrap_*.deb"):
        if not shell.run(["dpkg-deb", "-x", str(package), str(unpacked)]).ok:
            raise lacks
    return os.pathsep.join((str(unpacked / "usr/bin"), search))


def _cause(done: Finished) -> str:
    lines = [line[2:].strip() for line in done.err.splitlines() if line.startswith("E:")]
    return next(iter(lines), "mmdebstrap failed")


def packages_of(notes: str) -> tuple[Package, ...]:
    """The packages that `apt-cache show` tells of, sorted by name."""
    found: dict[str, Package] = {}
    for stanza in notes.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", stanza, re.MULTILINE))
        if "Package" in fields:
            found[fields["Package"]] = Package(
                name=fields["Package"], version=fields["Version"], sha256=fields["SHA256"]
            )
    return tuple(found[name] for name in sorted(found))
