"""A registry, as the OCI distribution specification 1.1 describes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import requests

from builder.engines.direct.image import MANIFEST
from builder.publish import credentials, transport
from builder.publish.authority import Authority
from builder.publish.blob import Blob, Body, Check
from builder.publish.client import Answer, Client, Scopes
from builder.publish.faults import strange
from builder.publish.manifest import ACCEPTED, Manifest
from builder.publish.reference import Reference
from builder.shell import SYSTEM, Shell

INSECURE_VARIABLE = "CUVEE_INSECURE_REGISTRIES"
"""Registries without TLS, `HOST` or `HOST:PORT`, separated by commas or blanks."""

Actions = Literal["pull", "pull,push"]
PULL: Actions = "pull"
PUSH: Actions = "pull,push"

How = Literal["sent", "mounted", "present"]
"""How a blob came to be in a repository."""

_DIGEST = "Docker-Content-Digest"
_STORED = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})


class Registry:
    """One registry; several threads may use it at once, each on a connection of its own.

    Whatever it is asked raises EngineOrNetworkError where it does not do its part, after a few attempts.

    Attributes:
        host: Host and port as a reference names it.
    """

    def __init__(
        self,
        host: str,
        *,
        plain: bool = False,
        session: requests.Session | None = None,
        find: Callable[[], credentials.Credentials | None] = lambda: None,
        patience: transport.Patience | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            host: Host and port as a reference names it.
            plain: Whether it is spoken to without TLS.
            session: What requests go through; one of `transport.session` where none is given.
            find: Looks for credentials when the registry wants some.
            patience: How long it is waited for.
        """
        self.host = host
        session, patience = session or transport.session(), patience or transport.Patience()
        authority = Authority(host, session, find, patience, plain=plain)
        base = f"{'http' if plain else 'https'}://{_address(host)}/v2/"
        self._client = Client(host, base, session, authority, patience)

    @classmethod
    def of(
        cls,
        reference: Reference,
        *,
        shell: Shell = SYSTEM,
        session: requests.Session | None = None,
        patience: transport.Patience | None = None,
    ) -> Registry:
        """The registry of a reference, with what is known of it here: credentials, and whether it has TLS."""
        insecure = os.environ.get(INSECURE_VARIABLE, "").replace(",", " ").split()
        return cls(
            reference.registry,
            plain=reference.plain(insecure),
            session=session,
            find=partial(credentials.find, reference.registry, shell),
            patience=patience,
        )

    def close(self) -> None:
        """Give its connections back."""
        self._client.close()

    def stop(self) -> None:
        """Make all threads that use it end now; it serves no more afterwards."""
        self._client.stop()

    # Blobs

    def has(self, repository: str, digest: str, actions: Actions = PULL) -> bool:
        """Whether a repository has a blob.

        Args:
            repository: Its name.
            digest: The blob's.
            actions: What else will be done there, so that one token serves for all of it.
        """
        path, scopes = f"{repository}/blobs/{digest}", _scopes(repository, actions)
        answer = self._patient(repository, "HEAD", path, scopes, absent=True)
        return answer.status != HTTPStatus.NOT_FOUND

    def upload(self, repository: str, blob: Blob, mount_from: str | None = None) -> How:
        """Put a blob into a repository, by mounting it from another one where the registry does that.

        Each attempt to send it begins with its first byte. Memory stays constant.

        Raises:
            CuveeError: The blob cannot be read.
        """
        return self._client.patiently(blob.title, lambda: self._put(repository, blob, mount_from))

    def _put(self, repository: str, blob: Blob, mount_from: str | None) -> How:
        begun = self._mount(repository, blob, mount_from) if mount_from else None
        if begun and begun.status == HTTPStatus.CREATED:
            return "mounted"
        body = Body(blob, self._client.go_on)
        body.begin()
        begun = begun or self._client.ask("POST", f"{repository}/blobs/uploads/", _scopes(repository, PUSH))
        self._send(repository, blob, body, self._place(begun, blob.title))
        return "sent"

    def _mount(self, repository: str, blob: Blob, other: str) -> Answer | None:
        """Ask for a mount: 201 when it is done, 202 when an upload is begun instead.

        None where the registry will not have the other repository spoken of at all.
        """
        scopes = (*_scopes(repository, PUSH), *_scopes(other, PULL))
        query = {"mount": blob.digest, "from": other}
        try:
            return self._client.ask("POST", f"{repository}/blobs/uploads/", scopes, params=query)
        except transport.Refused as answer:
            if answer.status in transport.AGAIN:
                raise
            return None

    def _place(self, begun: Answer, title: str) -> str:
        """Where an upload that is begun goes on."""
        ours = urlsplit(self._client.base)
        with suppress(ValueError):
            place = urlsplit(urljoin(begun.url, begun.header("Location")))
            if begun.status == HTTPStatus.ACCEPTED and begun.header("Location"):
                # Behind a proxy that ends TLS, registries often believe to be spoken to without it.
                return place._replace(
                    scheme=ours.scheme if place.netloc == ours.netloc else place.scheme
                ).geturl()
        raise strange(title, "the registry does not say where to send it to")

    def _send(self, repository: str, blob: Blob, body: Body, place: str) -> None:
        answer = self._client.ask(
            "PUT",
            f"{place}{'&' if urlsplit(place).query else '?'}digest={blob.digest}",
            _scopes(repository, PUSH),
            data=body if blob.size else b"",
            headers={"Content-Type": "application/octet-stream"},
            timeout=self._client.patience.timeout(blob.size),
        )
        _stored(blob.title, answer)
        _same(blob.title, blob.digest, answer.header(_DIGEST) or blob.digest)

    def read(self, repository: str, digest: str, size: int) -> Iterator[bytes]:
        """A blob's bytes as they come; where the connection breaks, the rest is asked for.

        Raises:
            EngineOrNetworkError: Also when its size or digest is another, which may show only at its end.
        """
        place = f"{repository}@{digest}"
        check, failures = Check(place, digest, size), 0
        while check.count < size:
            try:
                with self._open(repository, digest, check.count) as response:
                    for piece in _rest(response, check.count):
                        self._client.go_on()
                        check.add(piece)
                        yield piece
                    break
            except (transport.Refused, requests.RequestException) as error:
                self._client.failed(place, error, failures)
                failures += 1
        check.end()

    def _open(self, repository: str, digest: str, start: int) -> requests.Response:
        headers = {"Range": f"bytes={start}-"} if start else {}
        return self._client.stream(
            "GET", f"{repository}/blobs/{digest}", _scopes(repository, PULL), headers=headers
        )

    # Manifests

    def manifest(self, repository: str, target: str) -> Manifest:
        """A manifest by tag or digest; of an index, its image for Linux on x86-64."""
        place, found = _named(repository, target), self._manifest(repository, target)
        if found.is_index:
            found = self._manifest(repository, found.chosen(place))
        found.require_layers(place)
        return found

    def _manifest(self, repository: str, target: str) -> Manifest:
        place, path = _named(repository, target), f"{repository}/manifests/{target}"
        answer = self._patient(place, "GET", path, _scopes(repository, PULL), headers={"Accept": ACCEPTED})
        found = Manifest.read(answer.body, place)
        _same(place, target if ":" in target else answer.header(_DIGEST) or found.digest, found.digest)
        return found

    def manifest_digest(self, repository: str, target: str, actions: Actions = PULL) -> str | None:
        """The digest of what a tag names, or None where it names nothing, or the registry does not say."""
        place, path = _named(repository, target), f"{repository}/manifests/{target}"
        scopes, headers = _scopes(repository, actions), {"Accept": ACCEPTED}
        answer = self._patient(place, "HEAD", path, scopes, headers=headers, absent=True)
        return None if answer.status == HTTPStatus.NOT_FOUND else answer.header(_DIGEST) or None

    def put_manifest(self, repository: str, target: str, manifest: bytes) -> str:
        """Publish a manifest, whose blobs are all there; return the digest that the registry gives it."""
        place, path = _named(repository, target), f"{repository}/manifests/{target}"
        scopes, headers = _scopes(repository, PUSH), {"Content-Type": MANIFEST}
        answer = self._patient(place, "PUT", path, scopes, headers=headers, data=manifest)
        _stored(place, answer)
        found = answer.header(_DIGEST) or self.manifest_digest(repository, target, PUSH)
        return found or self._manifest(repository, target).digest

    def _patient(self, place: str, method: str, path: str, scopes: Scopes, **options: Any) -> Answer:
        return self._client.patiently(place, lambda: self._client.ask(method, path, scopes, **options))


def _address(registry: str) -> str:
    """The host of a registry's API; Docker's own is where Docker logs in to."""
    key = credentials.key(registry)
    return urlsplit(key).netloc if "://" in key else key


def _scopes(repository: str, actions: Actions) -> Scopes:
    return (f"repository:{repository}:{actions}",)


def _named(repository: str, target: str) -> str:
    return f"{repository}{'@' if ':' in target else ':'}{target}"


def _rest(response: requests.Response, start: int) -> Iterator[bytes]:
    """The bytes from `start` on, also of a registry that sends them all again."""
    skip = 0 if response.status_code == HTTPStatus.PARTIAL_CONTENT else start
    for piece in response.iter_content(transport.PIECE):
        yield piece[skip:]
        skip = max(0, skip - len(piece))


def _stored(place: str, answer: Answer) -> None:
    if answer.status not in _STORED:
        raise strange(place, f"the registry answered {answer.status} to all of it")


def _same(place: str, expected: str, found: str) -> None:
    if expected != found:
        raise strange(place, f"its digest should be {expected}, and at the registry it is {found}")


@contextmanager
def using(registry: Registry | None, reference: Reference) -> Iterator[Registry]:
    """The registry that is given, or that of the reference, which is closed again."""
    used = registry or Registry.of(reference)
    try:
        yield used
    finally:
        if registry is None:
            used.close()
