"""The wheel store: files by their hash, fetched once.

A lock names files by name, hash and size, and no address; `find` asks the index for the address of the day.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urljoin, urlsplit

from packaging.utils import canonicalize_name

from builder.errors import CannotResolveError, EngineOrNetworkError, Fault
from builder.wheels.network import file_name, reported
from builder.wheels.remote import RemoteWheel, Wheel

if TYPE_CHECKING:
    import requests

CHUNK = 1024 * 1024
PARTIAL = ".partial-"
STALE_S = 24 * 3600
"""Seconds after which a partial file belongs to no download that could still be running."""

INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
PAGE_TYPES = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"

_ABSENT = (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN)
"""What an index answers for a project that it does not have: PyTorch's lies in a bucket and says 403."""


def default_folder() -> Path:
    """Where wheels are kept: below CUVEE_CACHE, else XDG_CACHE_HOME/cuvee, else ~/.cache/cuvee."""
    if chosen := os.environ.get("CUVEE_CACHE"):
        return Path(chosen) / "wheels"
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "cuvee" / "wheels"


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelStore:
    """A folder of wheels and source archives, each at `<sha256>/<file name>`.

    Safe under two at once and under kill -9: a file gets its place by one rename, when all of it was checked.

    Attributes:
        folder: The store's root; it is made when first needed.
        session: What downloads go through.
    """

    folder: Path
    session: requests.Session

    def path(self, name: str, sha256: str) -> Path:
        """Where the file `name` with that hash is, or would be."""
        return self.folder / sha256 / name

    def holds(self, name: str, sha256: str, size: int) -> bool:
        """Whether the store has the file, as far as its name and size tell."""
        try:
            found = self.path(name, sha256).stat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == size

    def open(self, name: str, sha256: str, size: int, url: str) -> Wheel:
        """The wheel for reading parts of it: the stored file, or the one on the server."""
        if self.holds(name, sha256, size):
            return self.path(name, sha256)
        whole = partial(self.fetch, name, sha256, size, url)
        return RemoteWheel(url, size, self.session, whole)

    def fetch(self, name: str, sha256: str, size: int, url: str) -> Path:
        """The stored file, downloaded first when the store lacks it.

        Args:
            name: The file's name, as installers read it.
            sha256: Its hash, as 64 lower-case hex digits.
            size: Its size in bytes.
            url: Where it is.

        Raises:
            EngineOrNetworkError: It could not be downloaded or written, or its size or hash is another.
        """
        target = self.path(name, sha256)
        if self.holds(name, sha256, size):
            return target
        with _written(name, target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._sweep()
            with _partial(self.folder) as part:
                _same(name, "sha256", sha256, self._download(name, size, url, part))
                part.replace(target)
        return target

    def _download(self, name: str, size: int, url: str, part: Path) -> str:
        """Write the file at `url` to `part`; returns its sha256."""
        digest, count = hashlib.sha256(), 0
        with (
            reported(name),
            self.session.get(url, stream=True, headers={"Accept-Encoding": "identity"}) as response,
            part.open("xb") as file,
        ):
            response.raise_for_status()
            for chunk in response.iter_content(CHUNK):
                digest.update(chunk)
                count += file.write(chunk)
        _same(name, "size", size, count)
        return digest.hexdigest()

    def _sweep(self) -> None:
        """Delete what downloads that were killed have left behind."""
        for part in self.folder.glob(f"{PARTIAL}*"):
            # Another process may sweep at the same time, so the file may be gone at any moment.
            if _age_s(part) > STALE_S:
                part.unlink(missing_ok=True)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """A name no one else uses, for a file that is deleted again unless it was renamed."""
    part = folder / f"{PARTIAL}{secrets.token_hex(8)}"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _written(name: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineOrNetworkError(
            Fault(
                place=name,
                cause=f"cannot be stored in {folder}: {error.strerror or error}",
                fix="Free some space there, or set CUVEE_CACHE to another folder",
            )
        ) from error


def _same(name: str, what: str, expected: str | int, found: str | int) -> None:
    if expected != found:
        raise EngineOrNetworkError(
            Fault(
                place=name,
                cause=f"its {what} should be {expected} and is {found}",
                fix="Do not use that file: try again, then another mirror, and tell the index's owner",
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _IndexFile:
    """A file as an index's page lists it; the hash is "" where the page gives none."""

    name: str
    url: str
    sha256: str


def find(  # noqa: PLR0913, PLR0917 - a file, and where it is looked for
    session: requests.Session,
    name: str,
    version: str,
    filename: str,
    sha256: str,
    extra: str | None = None,
) -> str:
    """The address of a file today, from the simple index (PEP 503 or, as JSON, PEP 691).

    Args:
        session: What the request goes through.
        name: The project's name.
        version: The file's version, for the message only: an index lists files, not versions.
        filename: The file to find.
        sha256: The hash it must have.
        extra: The address of an index to ask first: that of a row which has one.

    Raises:
        CannotResolveError: No index has such a file, or no index is known.
        EngineOrNetworkError: An index does not answer, or has that file with another hash.
    """
    project = canonicalize_name(name)
    found = _named(filename, _page(session, project, filename, extra)) if extra else []
    if not any(file.sha256 == sha256 for file in found):
        found += _named(filename, _page(session, project, filename, index_address()))
    if not found:
        raise CannotResolveError(
            Fault(
                place=filename,
                cause=f"the index does not have this file of {name} {version}",
                fix="Use an index that mirrors all of PyPI (UV_DEFAULT_INDEX), or lock the row again",
            )
        )
    chosen = min(found, key=lambda file: (file.sha256 != sha256, file.sha256))  # its own hash, none, another
    _same(filename, "sha256", sha256, chosen.sha256 or sha256)
    return chosen.url


def _named(filename: str, files: Iterable[_IndexFile]) -> list[_IndexFile]:
    return [file for file in files if file.name == filename]


def file_names(session: requests.Session, name: str) -> tuple[str, ...]:
    """The names of all files of a project, as the index lists them.

    Raises:
        CannotResolveError: No index is known.
        EngineOrNetworkError: The index does not answer, or not as an index does.
    """
    return tuple(file.name for file in _page(session, canonicalize_name(name), name, index_address()))


def index_address() -> str:
    """The simple index to ask: the one that uv or pip is told to use, else pip's own default.

    Raises:
        CannotResolveError: No index is set, and pip is not installed.
    """
    chosen = (os.environ[name] for name in INDEX_VARIABLES if os.environ.get(name))
    address = next(chosen, None) or _default_index()
    return re.sub(r"^[\w.-]+=", "", address)  # uv lets an index have a name: NAME=ADDRESS


def _default_index() -> str:
    # Files here name no registry's address, so that a mirror serves as well. No public constant of a library
    # gives it either; this private one of pip has been in its place since 2018.
    try:
        from pip._internal.models.index import PyPI
    except ImportError as error:
        raise CannotResolveError(
            Fault(
                place="UV_DEFAULT_INDEX",
                cause="is not set, and pip, which knows the default index, is not installed",
                fix="Set it to the address of a package index that has the simple API",
            )
        ) from error
    return PyPI.simple_url


def _page(session: requests.Session, project: str, filename: str, address: str) -> tuple[_IndexFile, ...]:
    url = f"{address.rstrip('/')}/{project}/"
    with reported(filename):
        response = session.get(url, headers={"Accept": PAGE_TYPES})
        if response.status_code in _ABSENT and address != index_address():
            return ()  # an extra index has few projects
        response.raise_for_status()
    listed = _from_json if "json" in response.headers.get("Content-Type", "") else _from_html
    try:
        return listed(response)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise EngineOrNetworkError(
            Fault(
                place=filename,
                cause="the server answers, but not as a package index does",
                fix="Check UV_DEFAULT_INDEX: it is the address under which each project has a page",
            )
        ) from error


def _from_json(response: requests.Response) -> tuple[_IndexFile, ...]:
    return tuple(
        _IndexFile(
            name=file["filename"],
            url=urljoin(response.url, file["url"]),
            sha256=file["hashes"].get("sha256", ""),
        )
        for file in response.json()["files"]
    )


def _from_html(response: requests.Response) -> tuple[_IndexFile, ...]:
    anchors = _Anchors()
    anchors.feed(response.text)
    return tuple(_from_link(urljoin(response.url, link)) for link in anchors.links)


class _Anchors(HTMLParser):
    """Collects the addresses that a page links to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links.append(dict(attrs).get("href") or "")


def _from_link(link: str) -> _IndexFile:
    parts = urlsplit(link)
    return _IndexFile(
        name=file_name(link),
        url=parts._replace(fragment="").geturl(),
        sha256=parse_qs(parts.fragment).get("sha256", [""])[0],
    )
