"""A private Docker engine, unpacked from Debian's packages into `.engine/`.

For machines that have no engine but are Debian and root. Nothing is installed into the system: daemon,
client, buildx, runc and mmdebstrap are unpacked, not installed. The daemon has its own socket and data root,
and makes no bridge and no firewall rule: builds use the host's network, containers have none unless they ask
for it (`--network host`).

Measured on Debian 12: trixie's docker.io 26.1, containerd 1.7 and docker-buildx 0.13 run on bookworm's glibc
2.36; trixie's runc wants glibc 2.38, so runc comes from the host's own release.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.errors import EngineOrNetworkError, Fault
from builder.shell import SYSTEM, Finished, Shell

SUITE = "trixie"
FROM_SUITE = ("docker.io", "docker-cli", "containerd", "docker-buildx")
FROM_HOST = ("runc", "mmdebstrap")

_START_SECONDS = 60
_STOP_SECONDS = 60
_LONGEST_SOCKET = 100  # sun_path holds 108 bytes; dockerd appends to it


@dataclass(frozen=True, slots=True)
class PrivateEngine:
    """Where the private engine of one project lives.

    Attributes:
        home: The folder that holds all of it: the project's `.engine`, as an absolute path.
    """

    home: Path

    @property
    def root(self) -> Path:
        """The unpacked packages."""
        return self.home / "root"

    @property
    def runtime(self) -> Path:
        """Sockets and state that die with the machine; under /run because a socket's path must be short."""
        return Path("/run") / f"cuvee-{hashlib.sha256(str(self.home).encode()).hexdigest()[:10]}"

    @property
    def socket(self) -> Path:
        """The daemon's socket."""
        here = self.home / "docker.sock"
        return here if len(str(here)) <= _LONGEST_SOCKET else self.runtime / "docker.sock"

    @property
    def host(self) -> str:
        """The daemon's address, as DOCKER_HOST wants it."""
        return f"unix://{self.socket}"

    @property
    def pidfile(self) -> Path:
        """Where dockerd writes its process id."""
        return self.runtime / "docker.pid"

    @property
    def log(self) -> Path:
        """What dockerd says."""
        return self.home / "dockerd.log"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make `docker` and `docker buildx` use this engine and its own client."""
        return {
            "PATH": f"{self.root}/usr/sbin:{self.root}/usr/bin:{os.environ.get('PATH', os.defpath)}",
            "DOCKER_HOST": self.host,
            "DOCKER_CONFIG": str(self.home / "config"),
        }

    def alive(self) -> bool:
        """Whether something answers on the socket."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                return False
        return True


def start(engine: PrivateEngine, shell: Shell = SYSTEM) -> None:
    """Unpack the engine if needed and start it; nothing happens when it already runs.

    Raises:
        EngineOrNetworkError: This machine cannot have one (not Linux x86-64, not Debian, not root), Debian's
            packages cannot be had, or the daemon does not start.
    """
    _require_able()
    with _locked(engine):
        if engine.alive():
            return
        if not engine.root.is_dir():
            _unpack(engine, shell)
        _launch(engine, shell)


def stop(engine: PrivateEngine) -> bool:
    """End the daemon by its process id, and wait until it has ended; return whether one was running."""
    if not engine.home.is_dir():
        return False
    with _locked(engine):
        pid = _daemon_pid(engine)
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        _wait_for_end(pid)
        shutil.rmtree(engine.runtime, ignore_errors=True)
    return True


def _require_able() -> None:
    faults = []
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        faults.append(f"it needs Linux on x86-64, this is {platform.system()} on {platform.machine()}")
    elif _os_id() != "debian":
        faults.append(f"it is unpacked from Debian's packages, and this system is {_os_id()!r}")
    if os.geteuid() != 0:
        faults.append("dockerd needs root, and this user is not")
    if faults:
        raise EngineOrNetworkError(
            *(
                Fault(
                    place="private engine",
                    cause=cause,
                    fix="Install Docker Engine 23 or newer with its buildx plugin, start it, and try again",
                )
                for cause in faults
            )
        )


def _os_id() -> str:
    try:
        return platform.freedesktop_os_release().get("ID", "unknown")
    except OSError:
        return "unknown"


@contextmanager
def _locked(engine: PrivateEngine) -> Iterator[None]:
    """Let only one process at a time start or stop this engine."""
    engine.home.mkdir(parents=True, exist_ok=True)
    with (engine.home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unpack(engine: PrivateEngine, shell: Shell) -> None:
    """Download the packages and unpack them; `root` appears only when all of it is there."""
    packages, staging = engine.home / "packages", engine.home / "root.part"
    for leftover in (packages, staging):
        shutil.rmtree(leftover, ignore_errors=True)
    packages.mkdir(parents=True)
    if not shell.run(["apt-cache", "show", "--no-all-versions", *FROM_HOST]).ok:
        _apt(["apt-get", "update", "-qq"], packages, shell)  # a fresh machine has no lists yet
    config = _suite_config(packages, shell)
    # Without --error-on, apt goes on without the lists that it cannot have.
    _apt(["apt-get", *config, "update", "-qq", "--error-on=any"], packages, shell)
    _apt(["apt-get", *config, "download", "-qq", *FROM_SUITE], packages, shell)
    _apt(["apt-get", "download", "-qq", *FROM_HOST], packages, shell)
    for package in sorted(packages.glob("*.deb")):
        _apt(["dpkg-deb", "-x", str(package), str(staging)], packages, shell)
    plugins = engine.home / "config" / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    plugin = plugins / "docker-buildx"
    plugin.unlink(missing_ok=True)
    plugin.symlink_to(engine.root / "usr/libexec/docker/cli-plugins/docker-buildx")
    staging.rename(engine.root)
    shutil.rmtree(packages)


def _suite_config(packages: Path, shell: Shell) -> list[str]:
    """Options that give apt a private state with one source: the suite, from the mirror the host uses."""
    for folder in ("lists/partial", "cache/archives/partial", "empty"):
        (packages / folder).mkdir(parents=True)
    source = packages / "suite.sources"
    source.write_text(
        f"Types: deb\nURIs: {_mirror(shell)}\nSuites: {SUITE}\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )
    options = {
        "Dir::Etc::sourcelist": source,
        "Dir::Etc::sourceparts": packages / "empty",
        "Dir::Etc::preferencesparts": packages / "empty",
        "Dir::State::lists": packages / "lists",
        "Dir::Cache": packages / "cache",
        "APT::Sandbox::User": "root",  # the downloads land in a folder that only root may enter
    }
    return [part for key, value in options.items() for part in ("-o", f"{key}={value}")]


def _mirror(shell: Shell) -> str:
    """The mirror of Debian that this host's own apt uses: we never write one down.

    apt lists only what it has downloaded lists of.
    """
    listing = shell.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(ORIGIN)", "Created-By: Packages"]
    )
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    for line in listing.out.splitlines():
        match line.split():
            case [address, release] | [address, release, "Debian"] if release == codename:
                return address
    raise EngineOrNetworkError(
        Fault(
            place="private engine",
            cause=f"this system's apt has no source for {codename or 'its own release'}",
            fix="Add Debian's main archive to /etc/apt/sources.list.d, run `apt-get update`, and try again",
        )
    )


def _apt(argv: list[str], folder: Path, shell: Shell) -> Finished:
    done = shell.run(argv, cwd=folder, env={"DEBIAN_FRONTEND": "noninteractive"})
    if not done.ok:
        raise EngineOrNetworkError(
            Fault(
                place="private engine",
                cause=f"{argv[0]} failed: {_first_error(done.err or done.out)}",
                fix="See that this machine reaches Debian's packages (`apt-get update`), and try again",
            )
        )
    return done


def _launch(engine: PrivateEngine, shell: Shell) -> None:
    engine.runtime.mkdir(parents=True, exist_ok=True)
    engine.socket.unlink(missing_ok=True)
    engine.log.write_text("")
    pid = shell.spawn(
        [
            str(engine.root / "usr/sbin/dockerd"),
            f"--host={engine.host}",
            f"--data-root={engine.home / 'data'}",
            f"--exec-root={engine.runtime / 'exec'}",
            f"--pidfile={engine.pidfile}",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
        ],
        log=engine.log,
        env=engine.environment,
    )
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if engine.alive():
            return
        if not _running(pid):
            break
        time.sleep(0.1)
    raise EngineOrNetworkError(
        Fault(
            place=str(engine.log),
            cause=f"dockerd did not start: {_last_line(engine.log.read_text(errors='replace'))}",
            fix="Read that file; in a container, dockerd needs --privileged",
        )
    )


def _daemon_pid(engine: PrivateEngine) -> int | None:
    """The process id of our own dockerd: a stale file may name a stranger."""
    try:
        pid = int(engine.pidfile.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(engine.pidfile) in command else None


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + _STOP_SECONDS
    while _running(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline += _STOP_SECONDS
        time.sleep(0.1)


def _running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _first_error(text: str) -> str:
    errors = [line.removeprefix("E: ") for line in text.splitlines() if line.startswith("E: ")]
    return errors[0] if errors else _last_line(text)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
