"""Finding what makes containers here: bubblewrap, crun or runc, or bubblewrap from Debian's packages."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from builder.errors import BadInputError, EngineOrNetworkError, Fault
from builder.shell import Shell

Kind: TypeAlias = Literal["bwrap", "crun", "runc"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WISH = "CUVEE_SANDBOX"
PACKAGE = "bubblewrap"

_SYSTEM = "/usr/sbin:/sbin"  # where runc often lies, which is not on the path of every user


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A program that makes containers.

    Attributes:
        kind: Which of them it is.
        program: Where it is, as an absolute path.
    """

    kind: Kind
    program: Path


def find_runtime(shell: Shell, folder: Path) -> Runtime:
    """The first of bwrap, crun and runc that is here; else bubblewrap, unpacked from Debian's package.

    The variable CUVEE_SANDBOX names the one to take.

    Args:
        shell: What starts apt.
        folder: Where bubblewrap is unpacked, or was earlier: once, needing no root. It may not exist yet.

    Raises:
        BadInputError: CUVEE_SANDBOX names none of them.
        EngineOrNetworkError: There is none, and none can be had.
    """
    wanted = _wished()
    search = f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM}"
    for kind in wanted:
        if found := shutil.which(kind, path=search):
            return Runtime(kind=kind, program=Path(found).absolute())
    if "bwrap" not in wanted:
        raise _none(
            f"{WISH} asks for {wanted[0]}, which is not on the path", f"Install {wanted[0]}, or unset it"
        )
    return Runtime(kind="bwrap", program=_unpacked(shell, folder.absolute()))


def _wished() -> tuple[Kind, ...]:
    wish = os.environ.get(WISH)
    if not wish:
        return KINDS
    chosen = tuple(kind for kind in KINDS if kind == wish)
    if not chosen:
        cause = f"it asks for {wish!r}, and only {', '.join(KINDS)} are known"
        raise BadInputError(Fault(place=WISH, cause=cause, fix="Set it to one of them, or unset it"))
    return chosen


def _unpacked(shell: Shell, folder: Path) -> Path:
    """Bubblewrap from Debian's package; its folder appears only when all of it is there."""
    home = folder / PACKAGE
    program = home / "usr/bin/bwrap"
    if program.is_file():
        return program
    if not _is_debian():
        raise _none("there is no bwrap, crun or runc on the path", "Install bubblewrap, crun or runc")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{PACKAGE}-", dir=folder) as scratch:
        here = Path(scratch)
        _apt(["apt-get", *_lists(here, shell), "download", "-qq", PACKAGE], here, shell)
        for package in here.glob("*.deb"):
            _apt(["dpkg-deb", "-x", str(package), str(here / "root")], here, shell)
        with suppress(OSError):  # another process may have been quicker
            (here / "root").rename(home)
    if not program.is_file():
        raise _none(f"Debian's package {PACKAGE} has no /usr/bin/bwrap", "Install bubblewrap, crun or runc")
    return program


def _is_debian() -> bool:
    try:
        told = platform.freedesktop_os_release()
    except OSError:
        return False
    return "debian" in (told.get("ID", ""), *told.get("ID_LIKE", "").split())


def _lists(here: Path, shell: Shell) -> list[str]:
    """Options for an apt that knows the package: none, or those of private lists on a fresh machine.

    The system's own lists are left alone: they are root's, and the machine's business.
    """
    if shell.run(["apt-cache", "show", "--no-all-versions", PACKAGE]).ok:
        return []
    for folder in ("lists/partial", "cache/archives/partial"):
        (here / folder).mkdir(parents=True)
    given = {
        "Dir::State::lists": here / "lists",
        "Dir::Cache": here / "cache",
        "APT::Sandbox::User": "root",  # the lists land in a folder that only this user may enter
    }
    options = [part for key, value in given.items() for part in ("-o", f"{key}={value}")]
    _apt(["apt-get", *options, "update", "-qq", "--error-on=any"], here, shell)
    return options


def _apt(argv: list[str], folder: Path, shell: Shell) -> None:
    try:
        done = shell.run(argv, cwd=folder, env={"DEBIAN_FRONTEND": "noninteractive"})
    except FileNotFoundError as error:
        cause = f"there is no bwrap, crun or runc on the path, and no {argv[0]} to get one with"
        raise _none(cause, "Install bubblewrap, crun or runc") from error
    if not done.ok:
        said = [line.removeprefix("E: ") for line in (done.err or done.out).splitlines() if line.strip()]
        cause = f"there is no bwrap, crun or runc on the path, and {argv[0]} failed: "
        raise _none(
            cause + (said[0] if said else "it said nothing"),
            "Install bubblewrap, or see that this machine reaches Debian's packages (`apt-get update`)",
        )


def _none(cause: str, fix: str) -> EngineOrNetworkError:
    return EngineOrNetworkError(Fault(place="sandbox", cause=cause, fix=fix))
