"""Pushing over real connections: to Debian's docker-registry, and to servers that mean no good."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from builder import bases
from builder.engines.direct import base as layers
from builder.engines.direct import baselock
from builder.engines.direct.image import Layer, OciImage, configuration, sha256
from builder.errors import EngineOrNetworkError
from builder.project import Project, write
from builder.publish.pull import fetch_blob, remote_manifest
from builder.publish.push import push
from builder.publish.reference import Reference
from builder.publish.registry import Registry
from builder.publish.transport import Patience
from builder.shell import SYSTEM

PATIENCE_S = 20
MB = 1_000_000
QUICK = Patience(pause_s=0.01, timeout_s=PATIENCE_S)
PIECE = bytes(range(256)) * 4096
USER = "user:$2y$05$abcdefghijklmnopqrstuuQDoL5Sa/TtfS/XN4AY/jgq.HBbO1BTu"  # and the password is: word


def layer(title: str, content: bytes) -> Layer:
    def blob() -> Iterator[bytes]:
        return (content[start : start + 500_000] for start in range(0, len(content), 500_000))

    digest = sha256(content)
    return Layer(title=title, digest=digest, size=len(content), diff_id=digest, blob=blob, tar=blob)


def image(*layers: Layer) -> OciImage:
    layers = layers or tuple(layer(name, name.encode() * MB) for name in ("base", "torch", "small"))
    config = configuration(
        environment=[("A", "b")],
        labels=[],
        layers=[(one.title, one.diff_id) for one in layers],
        created="2025-01-20T00:00:00Z",
    )
    return OciImage(name="cuvee:cu121", config=config, layers=layers)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Debian's registry


@dataclass
class Daemon:
    """A docker-registry of a test's own."""

    folder: Path
    users: str = ""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "storage")}},
            "http": {"addr": f"127.0.0.1:{self.port}"},
        }
        if self.users:
            (self.folder / "users").write_text(f"{self.users}\n")
            config["auth"] = {"htpasswd": {"realm": "cellar", "path": str(self.folder / "users")}}
        (self.folder / "config.json").write_text(json.dumps(config))  # which is YAML too
        with (self.folder / "log").open("ab") as log:
            argv = ["docker-registry", "serve", str(self.folder / "config.json")]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, env={"PATH": "/usr/bin:/bin"})
        deadline = time.monotonic() + PATIENCE_S
        while not self.answers():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def reference(self, repository: str = "cuvee/cu121", tag: str = "today") -> Reference:
        return Reference.parse(f"localhost:{self.port}/{repository}:{tag}")


@contextmanager
def running(daemon: Daemon) -> Iterator[Daemon]:
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.kill()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(Daemon(tmp_path)) as started:
        yield started


def test_an_image_is_pushed_once_and_is_what_others_read(daemon: Daemon, tmp_path: Path) -> None:
    whole, reference = image(), daemon.reference()
    found = push(whole, reference)
    assert (found.digest, found.sent, found.present) == (whole.digest, 4, 0)
    again = push(whole, reference)
    assert (again.sent, again.sent_bytes, again.mounted, again.present) == (0, 0, 0, 4)
    manifest = remote_manifest(reference)
    assert manifest.digest == whole.digest
    assert manifest.document == json.loads(whole.manifest)
    for one in whole.layers:
        fetch_blob(reference, one.digest, one.size, tmp_path / "blob")
        assert (tmp_path / "blob").read_bytes() == b"".join(one.blob())


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_what_was_pushed(daemon: Daemon, tmp_path: Path) -> None:
    # skopeo compresses what is not compressed yet.
    whole = image(*(layer(name, gzip.compress(name.encode() * MB, mtime=0)) for name in ("base", "torch")))
    reference = daemon.reference()
    push(whole, reference)
    argv = [
        "skopeo",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        f"docker://{reference}",
        f"oci:{tmp_path}/out:t",
    ]
    subprocess.run(argv, check=True, capture_output=True)
    blobs = {path.name for path in (tmp_path / "out/blobs/sha256").iterdir()}
    assert blobs == {
        digest.removeprefix("sha256:")
        for digest in (whole.digest, whole.config_digest, *(one.digest for one in whole.layers))
    }


def test_another_repository_mounts_what_the_first_one_has(daemon: Daemon, tmp_path: Path) -> None:
    push(image(), daemon.reference(), memory=tmp_path)
    found = push(image(), daemon.reference("cuvee/cu124"), memory=tmp_path)
    assert (found.mounted, found.sent) == (3, 1)
    found = push(image(), daemon.reference("other"), mount_from=["nothing", "cuvee/cu121"])
    assert (found.mounted, found.sent) == (4, 0)
    assert remote_manifest(daemon.reference("other")).digest == image().digest


def test_memory_stays_small_whatever_the_layers_size(daemon: Daemon) -> None:
    count = 192

    def blob() -> Iterator[bytes]:
        return (PIECE for _ in range(count))

    digest = hashlib.sha256()
    for piece in blob():
        digest.update(piece)
    name = f"sha256:{digest.hexdigest()}"
    large = Layer(title="l", digest=name, size=count * len(PIECE), diff_id=name, blob=blob, tar=blob)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert push(image(large), daemon.reference()).sent == 2
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kb < 50_000


def test_a_registry_that_wants_a_password_gets_dockers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(Daemon(tmp_path, users=USER)) as daemon:
        config = tmp_path / "docker" / "config.json"
        config.parent.mkdir()
        monkeypatch.setenv("DOCKER_CONFIG", str(config.parent))
        with pytest.raises(
            EngineOrNetworkError, match=f"Run `docker login localhost:{daemon.port}`, and try"
        ):
            push(image(), daemon.reference())
        for password, good in (("wrong", False), ("word", True)):
            auth = base64.b64encode(f"user:{password}".encode()).decode()
            config.write_text(json.dumps({"auths": {f"localhost:{daemon.port}": {"auth": auth}}}))
            if good:
                assert push(image(), daemon.reference()).digest == image().digest
            else:
                with pytest.raises(EngineOrNetworkError, match="does not accept the credentials"):
                    push(image(), daemon.reference())


def test_a_registry_that_dies_half_way_has_nothing_partial_and_takes_it_later(daemon: Daemon) -> None:
    reference, whole = daemon.reference(), image()
    read = whole.layers[1].blob

    def fatal() -> Iterator[bytes]:
        for number, piece in enumerate(read()):
            if number == 4:
                daemon.kill()
            yield piece

    torch = whole.layers[1]
    doomed = Layer(
        title="torch", digest=torch.digest, size=torch.size, diff_id=torch.diff_id, blob=fatal, tar=fatal
    )
    with pytest.raises(EngineOrNetworkError) as caught:
        push(
            image(whole.layers[0], doomed, whole.layers[2]),
            reference,
            registry=Registry.of(reference, patience=QUICK),
        )
    assert len(caught.value.faults) == 1
    daemon.start()
    listed = requests.get(f"http://localhost:{daemon.port}/v2/cuvee/cu121/tags/list", timeout=PATIENCE_S)
    assert "today" not in listed.text
    assert push(whole, reference).digest == whole.digest


# Servers that mean no good


class Hostile(ThreadingHTTPServer):
    """A registry that begins uploads, and treats each blob that it is sent as it likes.

    Attributes:
        treat: What it does with a blob.
        uploads: How many blobs were begun.
        manifests: Which manifests were put.
        over: Lets those who wait go home.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, treat: Callable[[Handler], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.treat = treat
        self.uploads = 0
        self.manifests: list[str] = []
        self.over = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: connections break here on purpose."""

    @property
    def reference(self) -> Reference:
        return Reference.parse(f"127.0.0.1:{self.server_address[1]}/vat:t")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hostile

    def log_message(self, *_: Any) -> None: ...

    def answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def take(self, most: int = 1 << 40) -> None:
        left = min(most, int(self.headers["Content-Length"] or 0))
        while left:
            left -= len(self.rfile.read(min(left, MB)))

    def do_HEAD(self) -> None:
        self.answer(404)

    def do_POST(self) -> None:
        self.answer(202, Location=f"{self.path}1")

    def do_PUT(self) -> None:
        if "/manifests/" in self.path:
            self.server.manifests.append(self.path)
        self.server.uploads += 1
        self.server.treat(self)


@contextmanager
def hostile(treat: Callable[[Handler], None]) -> Iterator[Hostile]:
    with Hostile(treat) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def says(status: int, **headers: str) -> Callable[[Handler], None]:
    def treat(handler: Handler) -> None:
        handler.take()
        handler.answer(status, **headers)

    return treat


def says_at_once(status: int) -> Callable[[Handler], None]:
    def treat(handler: Handler) -> None:
        handler.answer(status, Connection="close")
        handler.close_connection = True

    return treat


def drops(handler: Handler) -> None:
    handler.take(MB)
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def hangs(handler: Handler) -> None:
    handler.take()
    handler.server.over.wait(PATIENCE_S)
    handler.close_connection = True


def takes_nothing(handler: Handler) -> None:
    handler.server.over.wait(PATIENCE_S)
    handler.close_connection = True


def speaks_nonsense(handler: Handler) -> None:
    handler.take()
    handler.wfile.write(b"grapes\r\n\r\n")
    handler.close_connection = True


def assert_no_threads_are_left() -> None:
    deadline = time.monotonic() + PATIENCE_S
    while [thread for thread in threading.enumerate() if thread.name == "cuvee"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


SOON = Patience(pause_s=0.01, longest_pause_s=0.05, timeout_s=0.4)
SOON_BUT_PATIENT = replace(SOON, timeout_s=PATIENCE_S)
"""For servers that answer: on a busy machine that may take them longer."""


@pytest.mark.parametrize(
    ("treat", "tries", "cause"),
    [
        (says(401, WWW_Authenticate='Basic realm="r"'), 1, "the registry wants to know who asks"),
        (says(403), 1, "the registry does not allow this user"),
        (says(404), 1, "the registry does not have it"),
        (says(413), 1, "it is larger than the registry"),
        (says_at_once(413), 0, ""),  # a client may or may not hear of it before the connection breaks
        (says(429, Retry_After="3600"), 4, "the registry had too many requests, 4 times"),
        (says(500), 4, "the registry failed 4 times (500"),
        (says(302, Location="/elsewhere"), 1, "the registry answered 302 to all of it"),
        (hangs, 2, "{host} was silent for 0.4 seconds, 2 times"),
        (takes_nothing, 2, "{host} was silent for 0.4 seconds, 2 times"),
        (drops, 4, "the connection to {host} broke 4 times"),
        (speaks_nonsense, 4, "the connection to {host} broke 4 times"),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_a_hostile_registry_gives_one_error_and_gets_no_manifest(
    treat: Callable[[Handler], None], tries: int, cause: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    large = image(layer("torch", PIECE * 8))
    soon = SOON if treat in {hangs, takes_nothing} else SOON_BUT_PATIENT
    with hostile(treat) as server:
        reference, began = server.reference, time.monotonic()
        with pytest.raises(EngineOrNetworkError) as caught:
            push(large, reference, registry=Registry.of(reference, patience=soon))
    [fault] = caught.value.faults
    assert fault.place == "torch"
    assert fault.cause.startswith(cause.format(host=reference.registry))
    assert fault.fix
    assert caught.value.exit_code == 5
    assert server.uploads == tries or not tries
    assert server.manifests == []
    assert time.monotonic() - began < PATIENCE_S
    assert_no_threads_are_left()


def test_a_registry_that_stops_in_the_middle_of_a_blob_is_asked_for_the_rest(tmp_path: Path) -> None:
    content, ranges = PIECE * 3, []

    class Stingy(Handler):
        def do_GET(self) -> None:
            ranges.append(self.headers["Range"])
            start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=")[:-1])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : start + len(PIECE) + 1000])
            self.close_connection = True

    with hostile(hangs) as server:
        server.RequestHandlerClass = Stingy
        registry = Registry.of(server.reference, patience=SOON_BUT_PATIENT)
        fetch_blob(server.reference, sha256(content), len(content), tmp_path / "blob", registry=registry)
        registry.close()
    assert (tmp_path / "blob").read_bytes() == content
    assert len(ranges) == 3


@pytest.mark.parametrize("treat", [hangs, takes_nothing])
def test_ctrl_c_ends_uploads_at_once_wherever_they_are(treat: Callable[[Handler], None]) -> None:
    layers = [layer(f"layer {number}", PIECE * 6 + bytes([number])) for number in range(6)]
    with hostile(treat) as server:

        def press() -> None:
            deadline = time.monotonic() + PATIENCE_S
            while server.uploads < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.1)  # so that they are all in the middle of it
            pressed.append(time.monotonic())
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        pressed: list[float] = []
        finger = threading.Thread(target=press)
        finger.start()
        patient = Patience(timeout_s=600)
        with pytest.raises(KeyboardInterrupt):
            push(
                image(*layers),
                server.reference,
                registry=Registry.of(server.reference, patience=patient),
                jobs=3,
            )
        ended = time.monotonic()
        finger.join()
        assert_no_threads_are_left()
    assert ended - pressed[0] < PATIENCE_S / 2
    assert server.manifests == []


def test_one_layer_that_fails_ends_the_others_at_once() -> None:
    def treat(handler: Handler) -> None:
        (says(403) if handler.headers["Content-Length"] == "1" else hangs)(handler)

    layers = [layer(f"layer {number}", PIECE + bytes([number])) for number in range(3)]
    with hostile(treat) as server:
        began = time.monotonic()
        with pytest.raises(EngineOrNetworkError, match="small: the registry does not allow"):
            push(
                image(*layers, layer("small", b"x")),
                server.reference,
                registry=Registry.of(server.reference, patience=Patience(timeout_s=600)),
            )
    assert time.monotonic() - began < PATIENCE_S / 2
    assert_no_threads_are_left()


def test_a_registry_that_is_not_there_is_told() -> None:
    reference = Reference.parse(f"127.0.0.1:{free_port()}/vat:t")
    with pytest.raises(EngineOrNetworkError, match=f"nothing answers at {reference.registry}. See that the"):
        push(image(), reference, registry=Registry.of(reference, patience=SOON))


def test_a_base_is_taken_from_an_image_that_lies_on_it(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, reference = image(), daemon.reference()
    push(whole, reference)
    lowest = whole.layers[0]
    here, real = Project(tmp_path / "project"), Project(Path(__file__).parents[2])
    base = bases.named(real, "bookworm")
    locked = replace(baselock.read(real.bases, base, ()), digest=lowest.digest, size=lowest.size)
    write(baselock.file(here.bases, base, ()), locked.text())
    monkeypatch.setenv("CUVEE_CACHE", str(tmp_path / "store"))

    assert bases.fetch(here, base, (), str(reference), lambda _: None) == lowest.digest
    found = layers.provide(here.bases, base, (), tmp_path / "store", SYSTEM, lambda _: None, offline=True)
    assert b"".join(found.blob()) == b"".join(lowest.blob())

    another = replace(locked, digest=f"sha256:{'0' * 64}")
    write(baselock.file(here.bases, base, ()), another.text())
    with pytest.raises(EngineOrNetworkError):
        bases.fetch(here, base, (), str(reference), lambda _: None)
    assert [path.parent.name for path in (tmp_path / "store" / "bases").glob("*/*")] == [locked.hex]
