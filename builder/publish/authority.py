"""The right to do something at a registry: its challenges, and the tokens that answer them."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from builder.errors import EngineOrNetworkError, Fault
from builder.publish.credentials import Credentials
from builder.publish.reference import loopback
from builder.publish.transport import Authorized, Patience, Refused, text_of

CLIENT = "cuvee"
SHORTEST_S, MARGIN_S = 60, 10
"""Seconds that a token is good for at least, and how long before its end it is renewed."""

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9-]*)\s+(?=[A-Za-z_-]+\s*=)")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


def challenges(header: str) -> dict[str, dict[str, str]]:
    """What WWW-Authenticate asks for: its schemes in lower case, and their parameters (RFC 9110, 11)."""
    found: dict[str, dict[str, str]] = {}
    place = 0
    while scheme := _SCHEME.match(header, place):
        parameters = found.setdefault(scheme[1].lower(), {})
        place = scheme.end()
        while parameter := _PARAMETER.match(header, place):
            name, quoted, bare = parameter.groups()
            parameters[name.lower()] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            place = parameter.end()
    return found


class Authority:
    """Answers one registry's challenges; several threads may ask at once.

    Attributes:
        known: Whether there are credentials for the registry; None while nobody has asked.
    """

    def __init__(
        self,
        registry: str,
        session: requests.Session,
        find: Callable[[], Credentials | None],
        patience: Patience,
        *,
        plain: bool,
    ) -> None:
        """Ask nothing yet.

        Args:
            registry: What an error calls the registry.
            session: What tokens are asked for with.
            find: Looks for credentials; called once, and only when the registry wants some.
            patience: How long a token is waited for.
            plain: Whether the registry is spoken to without TLS, so that its token service may be too.
        """
        self.known: bool | None = None
        self._registry, self._session, self._find, self._plain = registry, session, find, plain
        self._patience = patience
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        self._asked: Mapping[str, Mapping[str, str]] = {}
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}

    def header(self, scopes: tuple[str, ...]) -> str | None:
        """What to send as Authorization, or None before the registry has asked for anything.

        Raises:
            Refused: The token service gives none.
            requests.RequestException: It cannot be reached.
        """
        with self._lock:
            return self._header(scopes)

    def renew(self, header: str, scopes: tuple[str, ...], used: str | None) -> bool:
        """Answer a 401; return whether another try may end otherwise.

        Args:
            header: Its WWW-Authenticate.
            scopes: What the request needs.
            used: What the request had sent as Authorization.

        Raises:
            CuveeError: Docker's credentials cannot be read, or the challenge is none.
            Refused: The token service gives no token.
            requests.RequestException: It cannot be reached.
        """
        with self._lock:
            if self.known is None:
                self._credentials = self._find()
                self.known = self._credentials is not None
            if self._asked and self._header(scopes) != used:
                return True  # another thread has been here
            self._asked = challenges(header)
            self._tokens.pop(scopes, None)
            return self._header(scopes) not in {None, used}

    def scrub(self, text: str) -> str:
        """A registry's text without what it may have repeated of our secrets."""
        held = self._credentials or Credentials()
        tokens = (token for token, _ in list(self._tokens.values()))
        for secret in (held.secret, held.identity, _pair(held), *tokens):
            text = text.replace(secret, "…") if secret else text
        return text

    def _header(self, scopes: tuple[str, ...]) -> str | None:
        if "bearer" in self._asked:
            return f"Bearer {self._token(scopes)}"
        if "basic" in self._asked:
            return self._basic()
        return None

    def _basic(self) -> str | None:
        held = self._credentials
        return f"Basic {_pair(held)}" if held and held.user else None

    def _token(self, scopes: tuple[str, ...]) -> str:
        token, end = self._tokens.get(scopes, ("", 0.0))
        if time.monotonic() >= end:
            given = self._given(scopes)
            token = str(given.get("token") or given.get("access_token") or "")
            if not re.fullmatch(r"[\x21-\x7e]+", token):
                raise self._unusable("its token service gives no token")
            seconds = given.get("expires_in")
            good = max(SHORTEST_S, seconds) if isinstance(seconds, int) else SHORTEST_S
            self._tokens[scopes] = token, time.monotonic() + good - MARGIN_S
        return token

    def _given(self, scopes: tuple[str, ...]) -> dict[str, Any]:
        """The answer of the token service."""
        response = self._request(scopes)
        body = text_of(response)
        if not response.ok:
            raise Refused(response, "")
        try:
            given = json.loads(body)
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise self._unusable("its token service does not answer as one does")
        return given

    def _request(self, scopes: tuple[str, ...]) -> requests.Response:
        """Ask for a token, by Docker's token specification or its variant for OAuth 2."""
        asked = self._asked["bearer"]
        address, service = self._realm(asked.get("realm", "")), asked.get("service", "")
        if not self._credentials or not self._credentials.identity:
            query = [("service", service), *(("scope", scope) for scope in scopes)]
            return self._send("GET", address, self._basic(), params=[pair for pair in query if pair[1]])
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self._credentials.identity,
            "service": service,
            "client_id": CLIENT,
            "scope": " ".join(scopes),
        }
        return self._send("POST", address, None, data=form)

    def _send(self, method: str, address: str, header: str | None, **options: Any) -> requests.Response:
        return self._session.request(
            method,
            address,
            auth=Authorized(header),
            stream=True,
            timeout=self._patience.timeout_s,
            allow_redirects=method == "GET",
            **options,
        )

    def _realm(self, address: str) -> str:
        """The address of the token service; passwords go to none without TLS."""
        try:
            parts = urlsplit(address)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in {"https", "http"} or not parts.netloc:
            raise self._unusable("it names no token service that can be asked")
        if parts.scheme == "http" and not self._plain and not loopback(parts.netloc):
            raise self._unusable("its token service wants passwords without TLS")
        return address

    def _unusable(self, cause: str) -> EngineOrNetworkError:
        return EngineOrNetworkError(
            Fault(place=self._registry, cause=cause, fix="Tell the registry's owner, or use another registry")
        )


def _pair(held: Credentials) -> str:
    """User and password as Basic sends them."""
    if not held.user:
        return ""
    return base64.b64encode(f"{held.user}:{held.secret}".encode()).decode()
