"""A registry and a package index on loopback, each empty or full as the benchmark wants it."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import socket
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from packaging.utils import canonicalize_name

from builder.errors import EngineOrNetworkError, Fault
from builder.shell import SYSTEM

PATIENCE_S = 30.0


@contextmanager
def registry(home: Path) -> Iterator[str]:
    """Debian's docker-registry with nothing in it; gives its address. Its data is deleted at the end.

    Raises:
        EngineOrNetworkError: It is not installed, or does not start.
    """
    program = shutil.which("docker-registry")
    if program is None:
        raise EngineOrNetworkError(_no_registry("it is not installed"))
    home.mkdir()
    address = f"127.0.0.1:{_free_port()}"
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(home / "storage")}},
        "http": {"addr": address},
    }
    (home / "config.json").write_text(json.dumps(config))  # which is YAML too
    pid = SYSTEM.spawn([program, "serve", str(home / "config.json")], log=home / "log")
    try:
        _wait_for(address, home / "log")
        yield address
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        shutil.rmtree(home, ignore_errors=True)


def _wait_for(address: str, log: Path) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.02)
    raise EngineOrNetworkError(_no_registry(log.read_text(errors="replace")[-300:]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _no_registry(cause: str) -> Fault:
    return Fault(place="docker-registry", cause=cause, fix="Install Debian's package docker-registry")


class Locked(Protocol):
    """A file that a lock names."""

    @property
    def name(self) -> str: ...

    @property
    def file(self) -> str: ...

    @property
    def sha256(self) -> str: ...


@contextmanager
def index(files: Iterable[Locked], wheels: Path) -> Iterator[str]:
    """A package index that has the files of a wheel store; gives its address."""
    with _Index(("127.0.0.1", 0), _Handler, files=files, wheels=wheels) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/simple"
        finally:
            server.shutdown()
            thread.join()


def pages(files: Iterable[Locked]) -> dict[str, str]:
    """The pages of projects, by the projects' names (PEP 503, and PEP 658: metadata has an address too)."""
    links: dict[str, list[str]] = {}
    for one in files:
        told = (
            ' data-core-metadata="true" data-dist-info-metadata="true"' if one.file.endswith(".whl") else ""
        )
        address = f"/files/{one.sha256}/{one.file}#sha256={one.sha256}"
        link = f'<a href="{escape(address)}"{told}>{escape(one.file)}</a><br>'
        links.setdefault(canonicalize_name(one.name), []).append(link)
    head, tail = "<!DOCTYPE html><html><body>", "</body></html>\n"
    return {name: "\n".join([head, *found, tail]) for name, found in links.items()}


@functools.cache
def metadata(wheel: Path) -> bytes:
    """The METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [
            name
            for name in archive.namelist()
            if name.count("/") == 1 and name.endswith(".dist-info/METADATA")
        ]
        return archive.read(name)


def wanted(header: str | None, size: int) -> tuple[int, int]:
    """The first byte that a request wants of a file, and the one after the last."""
    first, dash, last = (header or "").removeprefix("bytes=").partition("-")
    if not dash or "," in last:
        return 0, size
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


class _Index(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *given: Any, files: Iterable[Locked], wheels: Path) -> None:
        super().__init__(*given)
        known = {(one.sha256, one.file): one for one in files}
        self.pages: Mapping[str, str] = pages(known.values())
        self.files = {f"/files/{sha}/{name}": wheels / sha / name for sha, name in known}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients break connections off when they have what they wanted."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Index

    def log_message(self, *_: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        wheel = path.removesuffix(".metadata")
        if path in self.server.files:
            self._file(self.server.files[path])
        elif wheel in self.server.files:
            self._answer(metadata(self.server.files[wheel]), "application/octet-stream")
        elif page := self.server.pages.get(path.removeprefix("/simple/").strip("/")):
            self._answer(page.encode(), "text/html; charset=utf-8")
        else:
            self.send_error(404)

    def _answer(self, content: bytes, kind: str) -> None:
        self._head(200, len(content), kind)
        if self.command == "GET":
            self.wfile.write(content)

    def _file(self, path: Path) -> None:
        size = path.stat().st_size
        begin, end = wanted(self.headers["Range"], size)
        part = {"Content-Range": f"bytes {begin}-{end - 1}/{size}"} if end - begin < size else {}
        self._head(206 if part else 200, end - begin, "application/octet-stream", part)
        if self.command == "GET":
            with path.open("rb") as file, suppress(OSError):
                self.connection.sendfile(file, begin, end - begin)

    def _head(self, status: int, length: int, kind: str, also: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(length),
            "Accept-Ranges": "bytes",
            **(also or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
