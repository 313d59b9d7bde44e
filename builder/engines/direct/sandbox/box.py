"""The folder that one container lives in: what of its root file system is its own, and what is mounted where.

The root file system is shared and never written to. A container's root is a folder of empty mount points, so
that those of a user's files need not be in the image. On it lie the image's folders, read-only, but for a few
that are copied: those that programs write to.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from builder.errors import EngineOrNetworkError, Fault
from builder.shell import Shell

OWN = ("etc", "root", "run", "tmp", "var")
"""The folders that every container has a copy of. They live as long as it does."""

MADE = ("dev", "proc", "sys")
"""The folders that the kernel fills."""

HOST = "cuvee"
"""What a container believes its host to be called."""

_MODES = {"tmp": 0o1777, "root": 0o700}
_HOSTS = f"127.0.0.1\tlocalhost {HOST}\n::1\tlocalhost {HOST}\n"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for in an image that does not say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or a folder of the host, where a container sees it.

    Attributes:
        source: It, as an absolute path.
        target: Where it appears, as an absolute path.
        writable: Whether the container may write to it.
        device: Whether device files work in it.
    """

    source: Path
    target: str
    writable: bool = False
    device: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One container's folder.

    Attributes:
        folder: The folder, as an absolute path; whoever made it deletes it.
        mounts: What lies on the container's root, in order.
        environment: Variables of every process in it.
    """

    folder: Path
    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]

    @property
    def root(self) -> Path:
        """What becomes the container's `/`."""
        return self.folder / "root"

    @property
    def devices(self) -> bool:
        """Whether it is given devices of the host."""
        return any(mount.device for mount in self.mounts)

    def at(self, path: str) -> Path:
        """Where a path of the container's own folders is on the host.

        Raises:
            ValueError: It is in none of them, or a link in it leads out of them: followed from here, it would
                lead into the host.
        """
        top, *rest = PurePosixPath(path).parts[1:] or ("",)
        own = self.folder / "own" / top
        found = own.joinpath(*rest).resolve()
        if top not in OWN or not found.is_relative_to(own):
            raise ValueError(f"{path} is in none of the folders that a container owns: {', '.join(OWN)}")
        return found

    def put(self, source: Path, folder: str) -> None:
        """Copy a file or a folder into one of the container's own folders, readable by everybody."""
        target = self.at(folder) / source.name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        target.unlink(missing_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy(source, target)
        for path in (target, *target.rglob("*")):
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o755 if path.is_dir() else 0o444))

    def write(self, path: str, text: str) -> None:
        """Write a file in one of the container's own folders; a link of that name is not followed."""
        folder, _, name = path.rpartition("/")
        target = self.at(folder) / name
        _folder(target.parent)
        target.unlink(missing_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(0o644)

    def home(self, user: int) -> str:
        """The home of a user as the container's `/etc/passwd` says, or `/` for one it does not know."""
        file = self.folder / "own" / "etc" / "passwd"
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        known = (line.split(":") for line in lines)
        return next((entry[5] for entry in known if entry[2:3] == [str(user)] and len(entry) > 5), "/")  # noqa: PLR2004


def prepare(
    folder: Path, root: Path, environment: Mapping[str, str], binds: tuple[Mount, ...], shell: Shell
) -> Box:
    """Make a container's folder.

    Args:
        folder: An empty folder.
        root: The root file system, as an absolute path.
        environment: The image's.
        binds: What of the host it sees besides.
        shell: What starts `cp`.

    Raises:
        EngineOrNetworkError: The container's own folders cannot be copied, or the root file system has no
            place for what it should see.
    """
    _folder(folder / "root")
    _folder(folder / "sys")
    shared = tuple(_shared(root, folder / "root"))
    own = tuple(_own(root, folder, shell))
    for name in MADE:
        _folder(folder / "root" / name)
    box = Box(folder=folder, mounts=(*shared, *own, *binds), environment=environment)
    for mount in binds:
        _make_place(box, root, mount)
    box.write("/etc/hosts", _HOSTS)
    box.write("/etc/hostname", f"{HOST}\n")
    return box


def _folder(path: Path, mode: int = 0o755) -> None:
    """Make a folder, and those above it, that everybody may enter whatever the umask; one may be there."""
    if path.is_dir():
        return
    _folder(path.parent)
    path.mkdir()
    path.chmod(mode)


def _shared(root: Path, place: Path) -> Iterator[Mount]:
    """What lies at the top of the root file system, each on a mount point of its kind."""
    for entry in sorted(root.iterdir()):
        here = place / entry.name
        if entry.is_symlink():
            here.symlink_to(entry.readlink())
        elif entry.name not in (*OWN, *MADE):
            _folder(here) if entry.is_dir() else here.touch()
            yield Mount(source=entry, target=f"/{entry.name}")


def _own(root: Path, folder: Path, shell: Shell) -> Iterator[Mount]:
    """Copies of the folders that programs write to; owners stay where we are root."""
    place = folder / "own"
    place.mkdir()
    names = [name for name in OWN if not (root / name).is_symlink()]
    there = [root / name for name in names if (root / name).is_dir()]
    done = shell.run(["cp", "--archive", "--reflink=auto", "--", *map(str, there), str(place)])
    if not done.ok:
        said = (done.err.strip() or "it said nothing").splitlines()[-1]
        fix = "See that this user may read it, and that there is room in the folder for temporary files"
        raise EngineOrNetworkError(Fault(place=str(root), cause=f"it cannot be copied: {said}", fix=fix))
    for name in names:
        if root / name not in there:
            _folder(place / name, _MODES.get(name, 0o755))
        _folder(folder / "root" / name)
        yield Mount(source=place / name, target=f"/{name}", writable=True)


def _make_place(box: Box, root: Path, mount: Mount) -> None:
    """Make the mount point of something of the host's."""
    top, *rest = PurePosixPath(mount.target).parts[1:]
    if top in MADE:
        return  # made with the folder itself
    if top in OWN:
        place = box.at(mount.target)
    elif (root / top).exists():
        # It is mounted read-only: nothing can be made there.
        if not root.joinpath(top, *rest).exists():
            cause = f"the image has no {mount.target} to mount {mount.source} on"
            fix = "Let it appear where the image has nothing, as in /audio"
            raise EngineOrNetworkError(Fault(place=mount.target, cause=cause, fix=fix))
        return
    else:
        place = box.root.joinpath(top, *rest)
    if mount.source.is_dir():
        _folder(place)
    else:
        _folder(place.parent)
        place.touch()
