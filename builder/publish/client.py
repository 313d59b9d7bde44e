"""One registry's HTTP: authorized, repeated where that may help, ended when work is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests

from builder.publish import faults
from builder.publish.authority import Authority
from builder.publish.transport import AGAIN, Adapter, Authorized, Patience, Refused, Stopped, text_of

Scopes = tuple[str, ...]
"""What a request needs the right to, as `repository:NAME:pull,push`."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a registry answered, all of it.

    Attributes:
        status: Its status.
        url: Where it came from.
        headers: Its headers.
        body: Its body, or as much of it as a manifest may have.
    """

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        """A header, or ""."""
        return (self.headers.get(name) or "").strip()


class Client:
    """Speaks to one registry.

    Attributes:
        base: The address of its API.
        patience: How long it is waited for.
    """

    def __init__(
        self, host: str, base: str, session: requests.Session, authority: Authority, patience: Patience
    ) -> None:
        self.base, self.patience = base, patience
        self._host, self._session, self._authority = host, session, authority
        self._stopped = threading.Event()

    def close(self) -> None:
        """Give its connections back."""
        self._session.close()

    def stop(self) -> None:
        """Make every thread that waits for the registry fail now, and those that want to, too."""
        self._stopped.set()
        for adapter in self._session.adapters.values():
            if isinstance(adapter, Adapter):
                adapter.cut()

    def go_on(self) -> None:
        """See that work is not given up.

        Raises:
            Stopped: It is.
        """
        if self._stopped.is_set():
            raise Stopped

    def ask(self, method: str, path: str, scopes: Scopes, *, absent: bool = False, **options: Any) -> Answer:
        """Ask once, and read the answer.

        Args:
            method: GET, HEAD, POST or PUT; the latter two follow no redirection.
            path: An address, or what follows `base` in it.
            scopes: What it needs.
            absent: Whether 404 is an answer like others.
            options: For `requests`.

        Raises:
            Refused: The answer is an error.
            requests.RequestException: There was none.
        """
        response = self.stream(method, path, scopes, absent=absent, **options)
        return Answer(
            status=response.status_code,
            url=response.url or self.base,
            headers=response.headers,
            body=text_of(response),
        )

    def stream(
        self, method: str, path: str, scopes: Scopes, *, absent: bool = False, **options: Any
    ) -> requests.Response:
        """The same, but the body is left to be read."""
        url = urljoin(self.base, path)
        known = self._authority.header(scopes) if self._ours(url) else None
        response = self._send(method, url, known, **options)
        if response.status_code == HTTPStatus.UNAUTHORIZED and self._ours(url):
            challenge = response.headers.get("WWW-Authenticate", "")
            said = faults.said(text_of(response))
            if not self._authority.renew(challenge, scopes, known):
                raise Refused(response, self._authority.scrub(said))
            response = self._send(method, url, self._authority.header(scopes), **options)
        if response.status_code >= HTTPStatus.BAD_REQUEST and not (
            absent and response.status_code == HTTPStatus.NOT_FOUND
        ):
            raise Refused(response, self._authority.scrub(faults.said(text_of(response))))
        return response

    def _send(self, method: str, url: str, authorization: str | None, **options: Any) -> requests.Response:
        self.go_on()
        headers = {"Accept-Encoding": "identity", **options.pop("headers", {})}
        timeout = options.pop("timeout", self.patience.timeout_s)
        return self._session.request(
            method,
            url,
            headers=headers,
            auth=Authorized(authorization),
            timeout=timeout,
            allow_redirects=method in {"GET", "HEAD"},
            stream=True,
            **options,
        )

    def _ours(self, url: str) -> bool:
        """Whether an address is the registry's own: only there go our credentials."""
        return urlsplit(url)[:2] == urlsplit(self.base)[:2]

    def patiently(self, place: str, once: Callable[[], T]) -> T:
        """Do something until it succeeds, or further attempts are in vain.

        Args:
            place: What an error is about.
            once: One attempt, from its beginning.

        Raises:
            EngineOrNetworkError: The registry does not do its part.
            Stopped: Work was given up.
        """
        failures = 0
        while True:
            try:
                return once()
            except (Refused, requests.RequestException) as error:
                self.failed(place, error, failures)
                failures += 1

    def failed(self, place: str, error: Exception, before: int) -> None:
        """Wait before the next attempt, where there is one.

        Args:
            place: What an error is about.
            error: How an attempt failed.
            before: How many have failed before it.

        Raises:
            EngineOrNetworkError: It was the last one.
            Stopped: Work was given up.
        """
        self.go_on()
        if before + 1 >= self._limit(error):
            raise self._told(place, error, before + 1) from error
        asked = error.retry_after_s if isinstance(error, Refused) else None
        self._stopped.wait(self.patience.pause(before, asked))
        self.go_on()

    def _limit(self, error: Exception) -> int:
        """How many attempts may end so."""
        if isinstance(error, Refused):
            return self.patience.attempts if error.status in AGAIN else 1
        if faults.silent(error) or faults.unreached(error):
            return self.patience.silences
        return self.patience.attempts if faults.passing(error) else 1

    def _told(self, place: str, error: Exception, attempts: int) -> Exception:
        if isinstance(error, Refused):
            known = bool(self._authority.known)
            return faults.refused(place, self._host, error, known=known, attempts=attempts)
        seconds = self.patience.timeout_s
        return faults.broken(place, self._host, error, timeout_s=seconds, attempts=attempts)
