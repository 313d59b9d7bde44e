"""The network as the host has set it up: its certificates, its proxies, and patience with both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from builder.errors import EngineOrNetworkError, Fault

TIMEOUT_S = 30.0
"""Seconds without a byte after which a server counts as silent."""

CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
CA_FILES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),  # Debian, Ubuntu
    Path("/etc/pki/tls/certs/ca-bundle.crt"),  # Fedora, RHEL
)

_FAILURES: tuple[tuple[type[requests.RequestException], str, str], ...] = (
    # From the narrow to the wide: the first three are all ConnectionErrors too.
    (
        requests.exceptions.SSLError,
        "the server's certificate is not trusted",
        "Set SSL_CERT_FILE to the CA bundle of your network",
    ),
    (
        requests.exceptions.ProxyError,
        "the proxy did not let the request through",
        "Check HTTPS_PROXY and NO_PROXY",
    ),
    (
        requests.exceptions.Timeout,
        f"the server was silent for {TIMEOUT_S:.0f} seconds",
        "Run the command again, or set UV_DEFAULT_INDEX to a nearer mirror",
    ),
    (
        requests.exceptions.ConnectionError,
        "no connection to the server, or it broke",
        "Check the network and UV_DEFAULT_INDEX, then run the command again",
    ),
    (
        requests.exceptions.ChunkedEncodingError,
        "the connection broke in the middle of the file",
        "Run the command again",
    ),
    (
        requests.RequestException,
        "its address, or the index's, cannot be used",
        "Check UV_DEFAULT_INDEX: it must begin with https:// or http://",
    ),
)


def ca_bundle() -> Path | None:
    """The file of certificates that the host trusts, or None where only the built-in ones are known.

    The variables come before the system's own files, so that a bundle someone chose wins.
    """
    chosen = (Path(os.environ[name]) for name in CA_VARIABLES if os.environ.get(name))
    return next((path for path in (*chosen, *CA_FILES) if path.is_file()), None)


class _PatientAdapter(HTTPAdapter):
    """Retries, times out, and trusts `ca_bundle`.

    The bundle is set here and not as `Session.verify`, because REQUESTS_CA_BUNDLE silently overrides the
    latter, even with a file that does not exist.
    """

    def __init__(self) -> None:
        again = Retry(
            total=5, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False
        )
        super().__init__(max_retries=again)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        options["timeout"] = options.get("timeout") or TIMEOUT_S
        options["verify"] = str(ca_bundle() or True)
        return super().send(request, *args, **options)


def session() -> requests.Session:
    """A session that retries with back-off, never hangs, and honours the host's proxies and certificates."""
    patient = requests.Session()
    patient.mount("https://", _PatientAdapter())
    patient.mount("http://", _PatientAdapter())
    return patient


def file_name(url: str) -> str:
    """The name of the file at an address, without folders, query and escapes."""
    return unquote(PurePosixPath(urlsplit(url).path).name)


@contextmanager
def reported(filename: str) -> Iterator[None]:
    """Turn what `requests` raises inside into one error about `filename`.

    The error names the file and never its address: an index address may carry a password.

    Raises:
        EngineOrNetworkError: Something in the block failed on the network.
    """
    try:
        yield
    except requests.HTTPError as error:
        raise EngineOrNetworkError(_refused(filename, error.response)) from error
    except requests.RequestException as error:
        cause, fix = next((cause, fix) for kind, cause, fix in _FAILURES if isinstance(error, kind))
        raise EngineOrNetworkError(Fault(place=filename, cause=cause, fix=fix)) from error


def _refused(filename: str, response: requests.Response) -> Fault:
    return Fault(
        place=filename,
        cause=f"the server answered {response.status_code} {response.reason}",
        fix="Check that the index in UV_DEFAULT_INDEX has this file and lets you read it",
    )
