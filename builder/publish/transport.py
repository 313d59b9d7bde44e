"""Requests to a registry: few repetitions, none of them behind our back, and all of them can be ended."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from socket import SHUT_RDWR, socket
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from builder.publish.reference import loopback
from builder.wheels import network

MOST_CONNECTIONS = 16
"""Connections to one host that are kept open; each thread uses one at a time."""

MOST_TEXT = 4 * 1024**2
"""The most bytes of an answer that is no blob: registries must take such manifests (OCI distribution)."""

PIECE = 1024**2
"""The bytes that are handed to a connection at once."""

AGAIN = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Answers that may be others a little later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a registry is waited for.

    Attributes:
        attempts: How often something is tried.
        silences: How often, when the registry says nothing at all.
        timeout_s: Seconds without a byte after which it counts as silent.
        pause_s: Seconds before the second attempt; each further pause is twice as long.
        longest_pause_s: The longest pause, whatever the registry asks for.
        commit_rate: Bytes a second that a registry has at least checked of a blob before it answers.
    """

    attempts: int = 4
    silences: int = 2
    timeout_s: float = network.TIMEOUT_S
    pause_s: float = 0.5
    longest_pause_s: float = 30.0
    commit_rate: float = 20e6

    def pause(self, attempt: int, asked: float | None) -> float:
        """Seconds to wait after an attempt, the first being 0; `asked` is what the registry wants."""
        return min(self.longest_pause_s, max(self.pause_s * 2.0**attempt, asked or 0.0))

    def timeout(self, size: int) -> tuple[float, float]:
        """Seconds for a connection or a piece of a blob, and for the answer to a blob of that size."""
        return self.timeout_s, self.timeout_s + size / self.commit_rate


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """The work was given up, by Ctrl-C or because other work failed."""


class Refused(Exception):  # noqa: N818 - said of a registry
    """An answer that is none of those hoped for.

    Attributes:
        status: Its status.
        reason: Its status in words.
        said: What the registry says of it, or "".
        retry_after_s: The seconds after which it wants to be asked again, or None.
    """

    def __init__(self, response: requests.Response, said: str) -> None:
        super().__init__(f"{response.status_code} {response.reason}")
        self.status = response.status_code
        self.reason = str(response.reason or "").strip()
        self.said = said
        self.retry_after_s = _seconds(response.headers.get("Retry-After", ""))


class Authorized(AuthBase):
    """Sends a header of authorization, or none.

    Without it, requests would look for a password in ~/.netrc and send that one instead.
    """

    def __init__(self, header: str | None) -> None:
        self._header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put it into a request."""
        if self._header:
            request.headers["Authorization"] = self._header
        return request


class Adapter(HTTPAdapter):
    """Trusts the host's certificates, repeats nothing, goes past proxies on this machine, and can be cut."""

    def __init__(self) -> None:
        self._open: WeakSet[HTTPConnection] = WeakSet()
        self._lock = threading.Lock()
        self._is_cut = False
        super().__init__(max_retries=0, pool_maxsize=MOST_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make a pool whose connections are known here."""
        super().init_poolmanager(*args, **options)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """Likewise for connections through a proxy."""
        manager = super().proxy_manager_for(*args, **options)
        self._watch(manager)
        return manager

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send it once."""
        options["timeout"] = options.get("timeout") or network.TIMEOUT_S
        options["verify"] = str(network.ca_bundle() or True)
        if loopback(urlsplit(request.url or "").netloc):
            options["proxies"] = {}  # as Go's programs do, Docker among them
        return super().send(request, *args, **options)

    def cut(self) -> None:
        """End all connections, those included on which threads wait, and make no others."""
        with self._lock:
            self._is_cut = True
            for connection in list(self._open):
                self._end(connection)

    def opened(self, connection: HTTPConnection) -> None:
        """Take note of a connection."""
        with self._lock:
            self._open.add(connection)
            if self._is_cut:
                self._end(connection)

    @staticmethod
    def _end(connection: HTTPConnection) -> None:
        # Not by the method of a TLS socket, which forgets its encryption first and may be sending right now.
        if isinstance(connection.sock, socket):
            with suppress(OSError):
                socket.shutdown(connection.sock, SHUT_RDWR)

    def _watch(self, manager: PoolManager) -> None:
        adapter = self

        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                adapter.opened(self)

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                adapter.opened(self)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


def session() -> requests.Session:
    """A session for a registry: the host's proxies and certificates, and one attempt a request."""
    made = network.session()
    adapter = Adapter()
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    return made


def text_of(response: requests.Response, most: int = MOST_TEXT) -> bytes:
    """The body of an answer, at most so many bytes of it; its connection can be used again afterwards.

    Raises:
        requests.RequestException: The connection broke.
    """
    body = bytearray()
    with response:
        for piece in response.iter_content(PIECE):
            body += piece
            if len(body) > most:
                break
    return bytes(body[:most])


def _seconds(text: str) -> float | None:
    """What Retry-After says: seconds, or a date."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
