"""What the stages know of an engine, whichever it is: its images, and containers to run commands in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from builder.shell import Finished, Shell


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image in an engine.

    Attributes:
        tag: Its name, `cuvee:cu121`.
        id: Its id, `sha256:…`.
        size: Bytes on disk, base included.
        layers: How many file system layers it has.
        labels: Its labels.
    """

    tag: str
    id: str
    size: int
    layers: int
    labels: Mapping[str, str] = field(default_factory=dict)


class Container(Protocol):
    """A running container: without a network, and gone when its engine's context manager ends."""

    @property
    def name(self) -> str:
        """The name of its image, `cuvee:cu121`."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of its image."""
        ...

    @property
    def size(self) -> int:
        """The bytes of its image on disk, base included."""
        ...

    def run(
        self, words: Sequence[str], *, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> Finished:
        """Run a command to its end.

        Args:
            words: The command; a program without a slash is looked for on the image's PATH.
            user: As `uid:gid`; the image's own user, who is root, when None.
            env: Variables laid over those of the image. Nothing of our own environment is seen.

        Returns:
            The command, its exit code, which is 128 + n where signal n ended it, and what it said.

        Raises:
            EngineOrNetworkError: The engine does not answer any more.
        """
        ...

    def copy_in(self, source: Path, folder: str) -> None:
        """Copy a file or a folder of ours into a folder of the container, readable by everybody.

        Args:
            source: What is copied; it keeps its name, and replaces what has that name.
            folder: The folder in the container, which is there already. Every engine lets `/tmp` be written
                to; not every one lets the folders of the image be.

        Raises:
            EngineOrNetworkError: The engine does not answer any more.
        """
        ...


class Engine(Protocol):
    """What has images and makes containers of them."""

    @property
    def shell(self) -> Shell:
        """What starts processes of this machine."""
        ...

    def describe(self) -> dict[str, str]:
        """What it is, for the evidence: its version, its system, its kernel and processors."""
        ...

    def image(self, tag: str) -> Image:
        """An image that the engine has.

        Raises:
            EngineOrNetworkError: It has no such image.
        """
        ...

    def container(
        self, tag: str, *, gpus: bool = False, binds: Mapping[Path, str] | None = None
    ) -> AbstractContextManager[Container]:
        """A container of an image.

        Args:
            tag: The image.
            gpus: Whether it sees the host's GPUs.
            binds: Folders or files of the engine's host, and where they appear, read-only.
        """
        ...

    def suite_arguments(self, tag: str) -> list[str]:
        """What `tests/images` must be told beyond the row, to find this engine and that image."""
        ...
