"""Docker engines for tests alone, one for each kind of image store, of the private engine's programs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from builder.engines.docker import DockerEngine
from builder.engines.private import PrivateEngine
from builder.project import find
from builder.shell import SYSTEM

STORES = {"containerd": True, "overlay2": False}
"""The kinds of image store, and what the engine's feature `containerd-snapshotter` is for them."""

PATIENCE = 60


class OwnEngine(DockerEngine):
    """An engine that nobody else uses."""

    @property
    def client(self) -> docker.DockerClient:
        """What speaks with it."""
        return self._client

    def empty(self) -> None:
        """Delete all that it has."""
        for container in self.client.containers.list(all=True):
            container.remove(force=True)
        for image in self.client.api.images(quiet=True, all=True):
            self.client.api.remove_image(image, force=True)


class Daemon:
    """A dockerd that has all its data in one folder.

    Attributes:
        home: The folder.
        pid: Its process id while it runs.
    """

    def __init__(self, home: Path, store: str) -> None:
        self.home = home
        self.pid = 0
        (home / "config.json").write_text(json.dumps({"features": {"containerd-snapshotter": STORES[store]}}))

    def start(self) -> OwnEngine:
        """Start it, and connect."""
        programs = find(Path.cwd()).engine
        self.pid = SYSTEM.spawn(self._command(programs), log=self.home / "log", env=programs.environment)
        deadline = time.monotonic() + PATIENCE
        while self._running() and time.monotonic() < deadline:
            if self._listens():
                client = docker.DockerClient(base_url=f"unix://{self.home / 'sock'}", timeout=PATIENCE)
                return OwnEngine(client, {}, None)
            time.sleep(0.1)
        raise AssertionError((self.home / "log").read_text()[-2000:])

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and containerd with it, which dockerd starts."""
        for pid in (self.pid, self._containerd()):
            deadline = time.monotonic() + PATIENCE
            while pid and _alive(pid) and time.monotonic() < deadline:
                os.kill(pid, how)
                time.sleep(0.1)
        for left in (self.home / "pid", self.home / "exec" / "containerd" / "containerd.pid"):
            left.unlink(missing_ok=True)

    def _command(self, programs: PrivateEngine) -> list[str]:
        return [
            str(programs.root / "usr/sbin/dockerd"),
            f"--config-file={self.home / 'config.json'}",
            f"--host=unix://{self.home / 'sock'}",
            f"--data-root={self.home / 'data'}",
            f"--exec-root={self.home / 'exec'}",
            f"--pidfile={self.home / 'pid'}",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
        ]

    def _running(self) -> bool:
        return _alive(self.pid)

    def _listens(self) -> bool:
        """Asked without the SDK, which does not close a socket that failed."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.home / "sock")) == 0

    def _containerd(self) -> int:
        try:
            return int((self.home / "exec" / "containerd" / "containerd.pid").read_text())
        except (OSError, ValueError):
            return 0


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def own_daemon(store: str, megabytes: int = 0) -> Iterator[Daemon]:
    """A daemon that is ended at the end, and its data deleted.

    Args:
        store: The kind of its image store.
        megabytes: The room that it has, in memory; on disk without a limit when 0.
    """
    if os.geteuid() != 0 or not find(Path.cwd()).engine.root.is_dir():
        pytest.skip("no engine of our own can be started here: run `make engine` first, as root")
    home = Path(tempfile.mkdtemp(prefix="cuvee-"))
    daemon = Daemon(home, store)
    data = home / "data"
    data.mkdir()
    if megabytes:
        mounted = SYSTEM.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(data)])
        assert mounted.ok, mounted.err
    try:
        yield daemon
    finally:
        daemon.end()
        if megabytes:
            SYSTEM.run(["umount", "--lazy", str(data)])
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=sorted(STORES), scope="module")
def store(request: pytest.FixtureRequest) -> str:
    """One kind of image store after the other."""
    return str(request.param)


@pytest.fixture(scope="module")
def _shared(store: str) -> Iterator[OwnEngine]:
    with own_daemon(store) as daemon:
        engine = daemon.start()
        yield engine
        engine.close()


@pytest.fixture
def own_engine(_shared: OwnEngine) -> OwnEngine:
    """An engine with that store and no image."""
    _shared.empty()
    return _shared
