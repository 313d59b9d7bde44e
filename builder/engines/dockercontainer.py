"""Containers of a Docker engine, and what it answers when it does not do as it is asked."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests

from builder.engines.container import Image
from builder.engines.failure import explain
from builder.errors import EngineOrNetworkError, Fault
from builder.shell import Finished

TEST_LABEL = "cuvee.test"
_LONGEST = 6 * 3600  # seconds; a test that was killed leaves none behind for longer


@contextmanager
def answering() -> Iterator[None]:
    """Turn what the SDK raises into an error for users.

    Raises:
        EngineOrNetworkError: The engine refused, or answers no more.
    """
    try:
        yield
    except docker.errors.APIError as error:
        said = str(error.explanation or error)
        cause, fix = explain([f"error: {said}"], "See `docker info` and the engine's log, and try again")
        raise EngineOrNetworkError(Fault(place="Docker engine", cause=cause, fix=fix)) from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        fix = "See whether it still runs (`docker info`), and try again"
        fault = Fault(place="Docker engine", cause="it does not answer any more", fix=fix)
        raise EngineOrNetworkError(fault) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerContainer:
    """A container of an engine; see `builder.engines.container.Container`.

    Attributes:
        name: The name of its image.
        labels: The labels of its image.
        size: The bytes of its image on disk.
        sdk: What the SDK knows it as.
    """

    name: str
    labels: Mapping[str, str]
    size: int
    sdk: Any

    @property
    def id(self) -> str:
        """What `docker exec` names it by."""
        return str(self.sdk.id)

    @answering()
    def run(
        self, words: Sequence[str], *, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> Finished:
        """See `Container.run`."""
        code, (out, err) = self.sdk.exec_run(
            list(words), user=user or "", environment=dict(env or {}), demux=True
        )
        return Finished(argv=tuple(words), code=code, out=_text(out), err=_text(err))

    @answering()
    def copy_in(self, source: Path, folder: str) -> None:
        """See `Container.copy_in`."""
        with tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w") as tar:
                tar.add(source, arcname=source.name, filter=_public)
            archive.seek(0)
            self.sdk.put_archive(folder, archive)


@contextmanager
def running(
    client: docker.DockerClient, image: Image, *, gpus: bool, binds: Mapping[Path, str]
) -> Iterator[DockerContainer]:
    """A running container without a network, which ends itself after six hours at the latest.

    Args:
        client: What speaks with the engine.
        image: The image, which the engine has.
        gpus: Whether it sees the host's GPUs.
        binds: Folders or files of the engine's host, and where they appear, read-only.

    Raises:
        EngineOrNetworkError: It does not start.
    """
    container = _started(client, image.tag, gpus=gpus, binds=binds)
    try:
        yield DockerContainer(name=image.tag, labels=image.labels, size=image.size, sdk=container)
    finally:
        with suppress(docker.errors.NotFound, docker.errors.APIError):
            container.remove(force=True)


def _started(client: docker.DockerClient, tag: str, *, gpus: bool, binds: Mapping[Path, str]) -> Any:
    """A started container, as the SDK knows it."""
    wanted = [docker.types.DeviceRequest(count=-1, capabilities=[["gpu"]])] if gpus else []
    try:
        return client.containers.run(
            tag,
            ["sleep", str(_LONGEST)],
            detach=True,
            auto_remove=True,
            init=False,
            network_mode="none",
            labels={TEST_LABEL: "1"},
            # Where the NVIDIA runtime is the default one, the image's own setting would show it all GPUs.
            environment={} if gpus else {"NVIDIA_VISIBLE_DEVICES": "void"},
            device_requests=wanted,
            volumes={str(host): {"bind": inside, "mode": "ro"} for host, inside in binds.items()},
        )
    except docker.errors.APIError as error:
        said = str(error.explanation or error)
        raise EngineOrNetworkError(_not_started(tag, said, gpus=gpus)) from error


def _not_started(tag: str, cause: str, *, gpus: bool) -> Fault:
    fix = "Install the NVIDIA driver and the NVIDIA Container Toolkit, or leave out --gpus"
    return Fault(
        place=tag,
        cause=f"the container does not start: {cause}",
        fix=fix if gpus else "See `docker info`",
    )


def _public(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.mode |= 0o755 if member.isdir() else 0o444
    return member


def _text(said: bytes | None) -> str:
    return (said or b"").decode(errors="replace")
