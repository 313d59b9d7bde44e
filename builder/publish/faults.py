"""What went wrong at a registry, as one error with a cause and a next step."""

from __future__ import annotations

import json
import re
from http import HTTPStatus

import requests
from urllib3.exceptions import NewConnectionError

from builder.errors import EngineOrNetworkError, Fault
from builder.publish.transport import Refused

MOST_SAID = 200
"""Characters of a registry's own words that are told."""

_AGAIN = "what arrived is kept and is not sent again"
_STATUS: dict[int, tuple[str, str]] = {
    HTTPStatus.FORBIDDEN: (
        "the registry does not allow this user to do that",
        "Ask the repository's owner for the right to push or pull, or `docker login {host}` as another user",
    ),
    HTTPStatus.NOT_FOUND: (
        "the registry does not have it, or hides it from this user",
        "Check the name, create the repository where a registry wants that first, or `docker login {host}`",
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: (
        "the registry takes no images",
        "Push to another one: this one only reads, as a mirror does",
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        "it is larger than the registry, or a proxy before it, takes at once",
        "Raise that limit (in nginx: client_max_body_size 0), and push again",
    ),
    HTTPStatus.TOO_MANY_REQUESTS: (
        "the registry had too many requests, {times}",
        f"Wait some minutes and try again: {_AGAIN}",
    ),
}
_FAILED = (
    "the registry failed {times}",
    f"See its log, and whether its disk is full, and try again: {_AGAIN}",
)
_OTHER = (
    "the registry refused",
    "See its log; a registry of OCI's distribution specification takes it",
)
_UNKNOWN_USER = (
    "the registry wants to know who asks, and Docker's config.json has nothing for {host}",
    "Run `docker login {host}`, and try again",
)
_WRONG_USER = (
    "the registry does not accept the credentials that Docker's config.json has for {host}",
    "Run `docker login {host}` again, as a user who may do this",
)


def refused(place: str, host: str, answer: Refused, *, known: bool, attempts: int) -> EngineOrNetworkError:
    """The error for an answer.

    Args:
        place: What was asked for: a layer, or an image.
        host: The registry.
        answer: What it answered.
        known: Whether there were credentials for it.
        attempts: How often it answered so.
    """
    if answer.status == HTTPStatus.UNAUTHORIZED:
        cause, fix = _WRONG_USER if known else _UNKNOWN_USER
    elif answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        cause, fix = _FAILED
    else:
        cause, fix = _STATUS.get(answer.status, _OTHER)
    told = f"{answer.status} {answer.reason}".strip() + (f": {answer.said}" if answer.said else "")
    cause, fix = (text.format(host=host, times=_times(attempts)) for text in (cause, fix))
    return EngineOrNetworkError(Fault(place=place, cause=f"{cause} ({told})", fix=fix))


def broken(
    place: str, host: str, error: Exception, *, timeout_s: float, attempts: int
) -> EngineOrNetworkError:
    """The error for a connection that did not come about, or broke.

    Args:
        place: What was asked for.
        host: The registry.
        error: What `requests` says.
        timeout_s: Seconds after which a registry counts as silent.
        attempts: How often it was tried.
    """
    cause, fix = _connection(error)
    cause = cause.format(seconds=f"{timeout_s:g}", times=_times(attempts), host=host)
    return EngineOrNetworkError(Fault(place=place, cause=cause, fix=fix.format(host=host)))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _connection(error: Exception) -> tuple[str, str]:
    """Cause and next step; from the narrow to the wide."""
    if isinstance(error, requests.exceptions.SSLError):
        return (
            "the certificate of {host} is not trusted, or it does not speak TLS",
            "Set SSL_CERT_FILE to your network's CA bundle, or put {host} into CUVEE_INSECURE_REGISTRIES",
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy did not let the request through to {host}", "Check HTTPS_PROXY and NO_PROXY"
    if silent(error):
        return (
            "{host} was silent for {seconds} seconds, {times}",
            f"See whether the registry still works, and try again: {_AGAIN}",
        )
    if unreached(error):
        return "nothing answers at {host}", "See that the registry runs, and that its name and port are right"
    if passing(error):
        return (
            "the connection to {host} broke {times}",
            f"See the network and the registry's log, and try again: {_AGAIN}",
        )
    return "{host} named an address that cannot be used", "Tell the registry's owner"


def silent(error: Exception) -> bool:
    """Whether the time for an answer, or for sending a piece, ran out."""
    if isinstance(error, requests.exceptions.Timeout):
        return True
    return any(isinstance(part, TimeoutError) for whole in error.args for part in getattr(whole, "args", ()))


def passing(error: Exception) -> bool:
    """Whether a connection broke, so that another one may hold."""
    lasting = (requests.exceptions.SSLError, requests.exceptions.ProxyError)
    broke = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, broke) and not isinstance(error, lasting)


def unreached(error: Exception) -> bool:
    """Whether no connection came about at all."""
    return any(isinstance(getattr(part, "reason", part), NewConnectionError) for part in error.args)


def said(body: bytes) -> str:
    """A registry's own words in an answer that is an error, or "".

    The OCI distribution specification has them as `{"errors": [{"code": …, "message": …}]}`.
    """
    try:
        first = json.loads(body)["errors"][0]
        words = [str(first[key]) for key in ("code", "message") if first.get(key)]
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    text = re.sub(r"[^\x20-\x7e]+", " ", ", ".join(words)).strip()
    return text if len(text) <= MOST_SAID else f"{text[:MOST_SAID]}…"


def strange(place: str, cause: str) -> EngineOrNetworkError:
    """The error for a registry that does not do as the specification says."""
    return EngineOrNetworkError(
        Fault(
            place=place,
            cause=cause,
            fix="Try again; if it stays so, tell the registry's owner, and use another registry",
        )
    )
