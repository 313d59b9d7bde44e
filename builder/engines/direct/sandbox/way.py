"""What the runtimes have in common: who runs something, and with which rights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from builder.shell import Finished, Shell

CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
"""What root may do in a container: Docker's default, less the making of devices and of raw packets."""

ENV = ("/usr/bin/env", "--")
"""Starts a command, and ends with 127 where there is none: so does `docker exec`, and the runtimes do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A command to run in a container.

    Attributes:
        words: The command.
        user: The number of its user.
        group: The number of its group.
        environment: All its variables.
    """

    words: Sequence[str]
    user: int
    group: int
    environment: Mapping[str, str]

    @property
    def root(self) -> bool:
        """Whether root runs it."""
        return self.user == 0


class Way(Protocol):
    """How a runtime runs commands in one container."""

    def start(self, shell: Shell) -> tuple[Finished, ...]:
        """Start the container; the commands that did, where there is something to start."""
        ...

    def argv(self, call: Call) -> list[str]:
        """The command of the host that runs a command of the container."""
        ...

    def stop(self, shell: Shell) -> None:
        """End everything that runs in it; nothing happens where it did not start."""
        ...


def user_and_group(user: str | None) -> tuple[int, int]:
    """The numbers in `uid:gid`; the group is the user's number where only that is given.

    Raises:
        ValueError: They are none.
    """
    first, _, second = (user or "0:0").partition(":")
    return int(first), int(second or first)
