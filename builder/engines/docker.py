"""The Docker engine: builds go through `docker buildx`, all else through the SDK.

The SDK cannot drive BuildKit (docker-py issue 2230).
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests

from builder.engines.container import Image
from builder.engines.dockercontainer import TEST_LABEL, DockerContainer, answering, running
from builder.engines.private import PrivateEngine
from builder.errors import EngineOrNetworkError, Fault
from builder.shell import SYSTEM, Finished, Shell

ROW_LABEL = "cuvee.row"
_API_SECONDS = 120
DEFAULT_SOCKET = "/var/run/docker.sock"
_LOCAL = "http+docker://localhost"  # what the SDK makes of a unix:// address
_NO_BUILDX = re.compile(
    r"unknown flag: --progress|'buildx' is not a docker command|unknown command: docker buildx"
)


class DockerEngine:
    """One reachable Docker engine.

    Attributes:
        environment: Variables that make the `docker` client use it; empty for the user's own.
        build_network: The network that build steps need to be given, or None for the engine's default.
        shell: What starts the client.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        environment: Mapping[str, str],
        build_network: str | None,
        shell: Shell = SYSTEM,
    ) -> None:
        self._client = client
        self.environment = dict(environment)
        self.build_network = build_network
        self.shell = shell

    @property
    def client(self) -> docker.DockerClient:
        """What speaks with it."""
        return self._client

    def close(self) -> None:
        """Give its connections back."""
        self._client.close()

    @answering()
    def describe(self) -> dict[str, str]:
        """What it is: its version, storage driver, system and architecture."""
        info = self._client.info()
        return {
            "version": str(info["ServerVersion"]),
            "storage": str(info["Driver"]),
            "system": str(info["OperatingSystem"]),
            "kernel": str(info["KernelVersion"]),
            "cpus": str(info["NCPU"]),
        }

    @answering()
    def data_root(self) -> Path | None:
        """Where it keeps images, if that is a folder of this machine."""
        if self._client.api.base_url != _LOCAL:
            return None  # another machine's folder may have the name of one of ours
        root = Path(str(self._client.info()["DockerRootDir"]))
        return root if root.is_dir() else None

    @answering()
    def image_id(self, reference: str) -> str | None:
        """The id of an image that the engine has, or None."""
        try:
            return str(self._client.images.get(reference).id)
        except docker.errors.ImageNotFound:
            return None

    @answering()
    def image(self, tag: str) -> Image:
        """An image that the engine has.

        Raises:
            EngineOrNetworkError: It has no such image.
        """
        try:
            found = self._client.images.get(tag)
        except docker.errors.ImageNotFound as error:
            row = tag.partition(":")[2]
            raise EngineOrNetworkError(
                Fault(place=tag, cause="the engine has no such image", fix=f"Run `cuvee build {row}`")
            ) from error
        return Image(
            tag=tag,
            id=str(found.id),
            size=int(found.attrs["Size"]),
            layers=len(found.attrs["RootFS"]["Layers"]),
            labels=dict(found.labels or {}),
        )

    def pull(self, reference: str) -> bool:
        """Fetch an image from its registry; False when no registry gives it."""
        try:
            self._client.images.pull(reference)
        except (docker.errors.APIError, requests.RequestException):
            return False
        return True

    @answering()
    def import_archive(self, archive: Path, tag: str) -> None:
        """Make an image from the archive of a root file system."""
        repository, _, version = tag.partition(":")
        self._client.api.import_image_from_file(str(archive), repository=repository, tag=version)

    @answering()
    def name_too(self, tag: str, other: str) -> None:
        """Give an image that the engine has another name as well; what had that name loses it."""
        repository, _, version = other.partition(":")
        self._client.api.tag(tag, repository, version)

    @answering()
    def remove_image(self, tag: str) -> bool:
        """Delete an image; False when there was none."""
        try:
            self._client.images.remove(tag, force=True)
        except docker.errors.ImageNotFound:
            return False
        return True

    @answering()
    def remove_replaced_images(self) -> int:
        """Delete rows' images that have lost their tag to a newer build; returns the bytes freed.

        One that a container still runs stays.
        """
        filters = {"dangling": True, "label": ROW_LABEL}
        return int(self._client.images.prune(filters=filters)["SpaceReclaimed"] or 0)

    def suite_arguments(self, tag: str) -> list[str]:
        """None: `tests/images` connects as we did, and finds the image by its row."""
        del tag
        return []

    @answering()
    def test_containers(self) -> tuple[Any, ...]:
        """The containers of tests, running or left behind by tests that were killed."""
        return tuple(self._client.containers.list(all=True, filters={"label": TEST_LABEL}))

    @answering()
    def remove_test_containers(self) -> int:
        """Delete containers that killed tests left behind; returns how many."""
        left = self.test_containers()
        for container in left:
            with suppress(docker.errors.NotFound):
                container.remove(force=True)
        return len(left)

    @answering()
    def prune_cache(self) -> int:
        """Delete BuildKit's unused cache; returns the bytes freed."""
        return int(self._client.api.prune_builds()["SpaceReclaimed"])

    def buildx(self, arguments: Sequence[str], on_line: Callable[[str], None]) -> Finished:
        """Run `docker buildx build`.

        Raises:
            EngineOrNetworkError: There is no `docker` client with buildx.
        """
        try:
            done = self.shell.run(
                ["docker", "buildx", "build", *arguments], env=self.environment, on_line=on_line
            )
        except FileNotFoundError as error:
            raise EngineOrNetworkError(_no_buildx()) from error
        if not done.ok and _NO_BUILDX.search(done.out):
            raise EngineOrNetworkError(_no_buildx())
        return done

    @contextmanager
    def container(
        self, tag: str, *, gpus: bool = False, binds: Mapping[Path, str] | None = None
    ) -> Iterator[DockerContainer]:
        """See `Engine.container`; it ends itself after six hours at the latest."""
        with running(self._client, self.image(tag), gpus=gpus, binds=binds or {}) as container:
            yield container


def connect(private: PrivateEngine, shell: Shell = SYSTEM) -> DockerEngine:
    """The engine to use: the user's own where it answers, else the private one where it runs.

    Raises:
        EngineOrNetworkError: Neither answers, or not the one that DOCKER_HOST names.
    """
    own = _own_host(shell)
    if client := _client(own):
        return DockerEngine(client, {}, None, shell)
    _require_no_wish()
    if client := _client(private.host):
        return DockerEngine(client, private.environment, "host", shell)
    raise EngineOrNetworkError(
        Fault(
            place="Docker engine",
            cause=f"none answers at {own or 'its default socket'}",
            fix="Start Docker, or run `make engine` (Debian, as root) for a private one",
        )
    )


def reachable(private: PrivateEngine, shell: Shell = SYSTEM) -> str | None:
    """Where an engine answers, the user's own or the private one; None where none does.

    Raises:
        EngineOrNetworkError: The one that DOCKER_HOST names does not answer; no other is used then.
    """
    own = _own_host(shell)
    if _answers(own):
        return own or "its default socket"
    _require_no_wish()
    return private.host if _answers(private.host) else None


def _answers(host: str | None) -> bool:
    if client := _client(host):
        client.close()
    return client is not None


def _require_no_wish() -> None:
    """See that the user has not named an engine, which did not answer."""
    if host := os.environ.get("DOCKER_HOST"):
        raise EngineOrNetworkError(
            Fault(
                place="DOCKER_HOST",
                cause=f"no engine answers at {host}",
                fix="Start that engine, or unset DOCKER_HOST to use one of this machine",
            )
        )


def _own_host(shell: Shell) -> str | None:
    """Where the user's `docker` goes: DOCKER_HOST, else the current context's endpoint."""
    if host := os.environ.get("DOCKER_HOST"):
        return host
    if not shutil.which("docker"):
        return None
    asked = shell.run(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"])
    return asked.out.strip() or None if asked.ok else None


def _client(host: str | None) -> docker.DockerClient | None:
    if not _listens(host):
        return None
    environment = {**os.environ, "DOCKER_HOST": host} if host else dict(os.environ)
    try:
        client = docker.from_env(environment=environment, timeout=_API_SECONDS)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException, OSError):
        return None
    return client


def _listens(host: str | None) -> bool:
    """Whether someone listens on a local socket; other addresses are only asked by the client itself."""
    address = host or f"unix://{DEFAULT_SOCKET}"
    if not address.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address.removeprefix("unix://"))
        except OSError:
            return False
    return True


def _no_buildx() -> Fault:
    return Fault(
        place="docker buildx",
        cause="there is no `docker` client with buildx on the path",
        fix="Install it: the package docker-buildx of Debian, or docker-buildx-plugin of Docker",
    )
