"""Containers made by crun or runc: one that sleeps, in which commands are run, as Docker does it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from builder.engines.direct.sandbox.box import HOST, Box, Mount
from builder.engines.direct.sandbox.runtime import Runtime
from builder.engines.direct.sandbox.way import CAPABILITIES, ENV, Call
from builder.shell import Finished, Shell

_LONGEST = 6 * 3600  # seconds; one whose program was killed ends by itself some day
_SLEEP = f"exec </dev/null >/dev/null 2>&1; exec sleep {_LONGEST}"  # it must not hold our pipes open
_UNSHARE = "/usr/bin/unshare"

_BOUNDED = ("timeout", "--foreground", "--kill-after=1", str(_LONGEST))
"""Ends `runc exec` on Ctrl-C: runc 1.1 itself hears no signal while its command runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oci:
    """A container of crun's or runc's.

    Attributes:
        runtime: Which, and where it is.
        box: The container's folder.
        id: Its name among the containers of the host: control groups bear it.
        rootful: Whether we are root. Without root, a user namespace maps our one user to root; a command of
            another user gets a second one, made by the image's own `unshare` (the package util-linux).
    """

    runtime: Runtime
    box: Box
    id: str
    rootful: bool

    def start(self, shell: Shell) -> tuple[Finished, ...]:
        """See `Way.start`."""
        bundle = self.box.folder / "bundle"
        bundle.mkdir()
        config = configuration(self.box, rootful=self.rootful)
        (bundle / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        return (shell.run([*self._program, "run", "--detach", "--bundle", str(bundle), self.id]),)

    def stop(self, shell: Shell) -> None:
        """See `Way.stop`."""
        shell.run([*self._program, "delete", "--force", self.id])

    def argv(self, call: Call) -> list[str]:
        """See `Way.argv`."""
        mapped = call.root or self.rootful
        user = f"{call.user}:{call.group}" if mapped else "0:0"
        variables = [
            part for name, value in sorted(call.environment.items()) for part in ("--env", f"{name}={value}")
        ]
        before = ENV if mapped else (_UNSHARE, f"--map-user={call.user}", f"--map-group={call.group}", "--")
        options = ["--no-new-privs", "--cwd", "/", "--user", user, *variables]
        return [*_BOUNDED, *self._program, "exec", *options, self.id, *before, *call.words]

    @property
    def _program(self) -> list[str]:
        # runc has no such option: as root it must be let make control groups, else it does without.
        without = ["--cgroup-manager=disabled"] if self.runtime.kind == "crun" else []
        return [str(self.runtime.program), "--root", str(self.box.folder / "state"), *without]


def configuration(box: Box, *, rootful: bool) -> dict[str, Any]:
    """What the OCI runtime specification 1.0 calls `config.json`."""
    namespaces = ("mount", "network", "pid", "ipc", "uts", *(() if rootful else ("user",)))
    return {
        "ociVersion": "1.0.2",
        "hostname": HOST,
        "root": {"path": str(box.root), "readonly": False},
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", _SLEEP],
            "env": [f"{name}={value}" for name, value in sorted(box.environment.items())],
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": {part: list(CAPABILITIES) for part in ("bounding", "effective", "permitted")},
        },
        "mounts": [*_KERNEL, *map(_bind, box.mounts)],
        "linux": {
            "namespaces": [{"type": name} for name in namespaces],
            "readonlyPaths": ["/proc/bus", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            **({} if rootful else _mappings(os.geteuid(), os.getegid())),
            **({"resources": {"devices": [{"allow": True, "access": "rwm"}]}} if box.devices else {}),
        },
    }


def _mounted(kind: str, target: str, *options: str) -> dict[str, Any]:
    return {"type": kind, "source": kind, "destination": target, "options": ["nosuid", *options]}


_KERNEL = (
    _mounted("proc", "/proc", "noexec", "nodev"),
    _mounted("tmpfs", "/dev", "mode=755"),
    _mounted("devpts", "/dev/pts", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
    _mounted("tmpfs", "/dev/shm", "nodev", "mode=1777"),  # noqa: S108 - inside the container
    _mounted("sysfs", "/sys", "noexec", "nodev", "ro"),
)


def _bind(mount: Mount) -> dict[str, Any]:
    access = "rw" if mount.writable or mount.device else "ro"
    options = ["rbind", "nosuid", access, *([] if mount.device else ["nodev"])]
    return {"type": "bind", "source": str(mount.source), "destination": mount.target, "options": options}


def _mappings(user: int, group: int) -> dict[str, Any]:
    return {
        "uidMappings": [{"containerID": 0, "hostID": user, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": group, "size": 1}],
    }
