"""The images of a Docker engine, and what of another image it has already, whichever image store it uses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from itertools import takewhile
from typing import Any, Final

import docker
import docker.errors
import requests

from builder.engines.direct.image import Layer, OciImage
from builder.engines.failure import explain
from builder.errors import EngineOrNetworkError, Fault

PATIENCE: Final = 1800
"""Seconds without a word from the engine after which it counts as dead. It says nothing while it unpacks."""

_PLACE = "Docker engine"
_HERE = "http+docker://localhost"  # what the SDK makes of a unix:// address
_LISTINGS = 5  # containerd's store says 404 where an image goes while it lists them
_SNAPSHOTTER = "io.containerd.snapshotter.v1"
# Two loads of one image at a time may trip over each other's nameless images: then all is sent once more.
_LACKS = re.compile(r"no such (?:file|image)|not found|moby-dangling\S+: already exists", re.IGNORECASE)
_NOT_UNPACKED = "Error unpacking image"  # newer engines say this, and that all is well


class LacksError(Exception):
    """The engine needs something that was not sent, since it seemed to have it."""


class ImageStore:
    """The image store of an engine.

    Attributes:
        containerd: Whether it is containerd's. That keeps layers as they were sent, too, and an image's id is
            the digest of its manifest; graph drivers keep them unpacked only, and it is its configuration's.
        near: Whether the engine listens on this machine, where compressing costs more than it saves.
    """

    def __init__(self, client: docker.DockerClient) -> None:
        """Ask it what it is.

        Raises:
            EngineOrNetworkError: It does not answer.
        """
        self._client = client
        with _answering():
            status = client.info().get("DriverStatus") or ()
        self.containerd = ["driver-type", _SNAPSHOTTER] in [list(pair) for pair in status]
        self.near = client.api.base_url == _HERE

    def id(self, image: OciImage) -> str:
        """The id that an image has here, or would have."""
        return image.digest if self.containerd else image.config_digest

    def ids(self) -> frozenset[str]:
        """The ids of the images that are whole, those without a name included.

        Raises:
            EngineOrNetworkError: It does not answer.
        """
        api = self._client.api
        with _answering():
            for _ in range(_LISTINGS):
                # Engines before 28 ignore `manifests`: they list no image that is not whole.
                answer = api.get(_url(self._client, "images/json"), params={"all": "1", "manifests": "1"})
                if answer.status_code != HTTPStatus.NOT_FOUND:
                    break
            answer.raise_for_status()
            return frozenset(one["Id"] for one in answer.json() if _whole(one))

    def lacking(self, image: OciImage) -> tuple[Layer, ...]:
        """The layers of an image that must be sent, as far as can be known.

        A graph driver knows a layer together with all that is below it; containerd keeps blobs. That an image
        here has a layer with the same content does not prove that it is the same blob.

        Raises:
            EngineOrNetworkError: It does not answer.
        """
        stacks = [stack for one in self.ids() if (stack := self._stack(one))]
        if self.containerd:
            known = {diff_id for stack in stacks for diff_id in stack}
            return tuple(layer for layer in image.layers if layer.diff_id not in known)
        wanted = [layer.diff_id for layer in image.layers]
        return image.layers[max((_common(wanted, stack) for stack in stacks), default=0) :]

    def load(self, archive: Iterator[bytes]) -> None:
        """Load an archive as it comes.

        Raises:
            LacksError: The engine misses what is not in the archive.
            EngineOrNetworkError: It refuses, or does not answer any more.
            CuveeError: As `archive`.
        """
        with _answering():
            answer = self._client.api.post(
                _url(self._client, "images/load"),
                data=archive,
                params={"quiet": "1"},
                headers={"Content-Type": "application/x-tar"},
                timeout=PATIENCE,
            )
        if refusal := _refusal(answer):
            raise (LacksError if _LACKS.search(refusal) else _refused)(refusal)

    def require(self, image: OciImage) -> None:
        """See that an image is here and whole.

        Raises:
            LacksError: It is not.
            EngineOrNetworkError: It does not answer.
        """
        if self.id(image) not in self.ids():
            raise LacksError("it has not all layers of it")

    def name(self, image: OciImage) -> None:
        """Give an image that is here its name; another image that had it loses it.

        Raises:
            LacksError: It is not here any more.
            EngineOrNetworkError: It refuses, or does not answer.
        """
        repository, _, tag = image.name.rpartition(":")
        with _answering():
            try:
                self._client.api.tag(self.id(image), repository, tag)
            except docker.errors.NotFound as error:
                raise LacksError(str(error.explanation)) from error

    def forget(self, ids: Iterable[str]) -> None:
        """Delete images without a name, where they are still here and nothing uses them."""
        for one in ids:
            try:
                self._client.api.remove_image(one)
            except docker.errors.APIError:
                continue
            except (docker.errors.DockerException, requests.RequestException):
                return

    def _stack(self, one: str) -> list[str]:
        """The layers of an image here, by the digests of their content; none where it has just gone."""
        with _answering():
            try:
                told = self._client.images.get(one).attrs
            except docker.errors.NotFound:
                return []
        return list((told.get("RootFS") or {}).get("Layers") or ())


def _common(wanted: list[str], stack: list[str]) -> int:
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(wanted, stack, strict=False))))


def _whole(one: dict[str, Any]) -> bool:
    manifests = one.get("Manifests") or ()
    return not manifests or any(told["Kind"] == "image" and told["Available"] for told in manifests)


def _url(client: docker.DockerClient, path: str) -> str:
    """Where the engine answers: the SDK's own methods know no time limit of a single request."""
    return f"{client.api.base_url}/v{client.api.api_version}/{path}"


def _refusal(answer: requests.Response) -> str:
    """What the engine did not like; it says so behind a status of success, too."""
    if not answer.ok:
        return str(_parsed(answer.text).get("message") or answer.text or answer.reason)
    for line in answer.text.splitlines():
        told = _parsed(line)
        if told.get("error") or _NOT_UNPACKED in str(told.get("stream")):
            return str(told.get("error") or told["stream"]).strip()
    return ""


def _parsed(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


@contextmanager
def _answering() -> Iterator[None]:
    """Turn what the SDK raises into an error for users."""
    try:
        yield
    except docker.errors.APIError as error:
        raise _refused(str(error.explanation or error)) from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EngineOrNetworkError(
            Fault(
                place=_PLACE,
                cause="it does not answer any more, and the image has not reached it",
                fix="See whether it runs and has room (`docker info`, `docker system df`), and try again",
            )
        ) from error


def _refused(said: str) -> EngineOrNetworkError:
    cause, fix = explain([f"error: {said}"], "See `docker info` and the engine's log, and try again")
    return EngineOrNetworkError(Fault(place=_PLACE, cause=cause, fix=fix))
