"""Containers made by bubblewrap: each command gets new namespaces around the same folder.

Bubblewrap mounts no sysfs, and the host's would show the host's network devices. So one bubblewrap makes the
network namespace and mounts a sysfs in it, and a second one inside makes the rest of the container.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.engines.direct.sandbox.box import HOST, Box, Mount
from builder.engines.direct.sandbox.way import CAPABILITIES, ENV, Call
from builder.shell import Finished, Shell

_SYSFS = 'mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$0" && exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Bubblewrap:
    """A container of bubblewrap's.

    Attributes:
        program: Bubblewrap.
        box: The container's folder.
        rootful: Whether we are root. Without root, a user namespace maps our one user to the one asked for.
    """

    program: Path
    box: Box
    rootful: bool

    def start(self, shell: Shell) -> tuple[Finished, ...]:
        """Nothing runs between commands."""
        del shell
        return ()

    def stop(self, shell: Shell) -> None:
        """Each command's processes end with it."""
        del shell

    def argv(self, call: Call) -> list[str]:
        """See `Way.argv`."""
        return [*self._outer(), *self._inner(call), *self._before(call), *call.words]

    def _outer(self) -> Iterator[str]:
        """The network namespace, with a sysfs of its own."""
        yield from (str(self.program), "--die-with-parent", "--dev-bind", "/", "/", "--unshare-net")
        if not self.rootful:
            yield from ("--unshare-user", "--uid", "0", "--gid", "0")
        yield from ("--cap-add", "ALL", "--", "/bin/sh", "-c", _SYSFS, str(self._sysfs))

    def _inner(self, call: Call) -> Iterator[str]:
        yield from (str(self.program), "--die-with-parent", "--hostname", HOST)
        yield from ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
        yield from self._rights(call)
        yield "--clearenv"
        for name, value in sorted(call.environment.items()):
            yield from ("--setenv", name, value)
        yield from ("--bind", str(self.box.root), "/", "--proc", "/proc", "--dev", "/dev")
        yield from ("--perms", "1777", "--tmpfs", "/dev/shm", "--ro-bind", str(self._sysfs), "/sys")  # noqa: S108 - inside
        for mount in self.box.mounts:
            yield from (_option(mount), str(mount.source), mount.target)
        yield from ("--chdir", "/", "--")

    def _rights(self, call: Call) -> Iterator[str]:
        """Root's, or those needed to become somebody else, or none."""
        yield from ("--cap-drop", "ALL")
        if call.root or self.rootful:
            for capability in CAPABILITIES:
                yield from ("--cap-add", capability)
        else:
            yield from ("--unshare-user", "--uid", str(call.user), "--gid", str(call.group))

    def _before(self, call: Call) -> tuple[str, ...]:
        """What starts the command: the image's own chroot where a real root must become its user."""
        if self.rootful:
            return ("/usr/sbin/chroot", f"--userspec={call.user}:{call.group}", "--groups=", "/")
        return ENV

    @property
    def _sysfs(self) -> Path:
        return self.box.folder / "sys"


def _option(mount: Mount) -> str:
    if mount.device:
        return "--dev-bind"
    return "--bind" if mount.writable else "--ro-bind"
