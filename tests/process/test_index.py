"""A row with a further index, through the real uv: one server like PyPI, and one like PyTorch's own."""

from __future__ import annotations

import hashlib
import html
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from builder.engines.buildkit import index_exports
from builder.errors import CannotResolveError, EngineOrNetworkError
from builder.lock.record import Lock
from builder.lock.resolve import TOOLS, resolve
from builder.matrix import Row, parse
from builder.plan import Plan
from builder.wheels.fetch import fetch_all
from builder.wheels.index import extra_index
from tests.wheelmaker import wheel

MATRIX = Path(__file__).parents[2] / "matrix.yaml"
JSON = "application/vnd.pypi.simple.v1+json"
BEFORE, AFTER = "2024-11-11T11:11:11.000000Z", "2026-02-02T02:02:02.000000Z"
"""Upload times, on either side of the row's day."""

ANY, LINUX, WINDOWS = "py3-none-any", "cp311-cp311-linux_x86_64", "cp311-cp311-win_amd64"
MANYLINUX = "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"
NVIDIA = "py3-none-manylinux1_x86_64"
TORCH = f"torch-2.5.1+cu121-{LINUX}.whl"
TORCH_BRINGS = ("nvidia-cuda-runtime-cu12==12.1.105", "nvidia-cudnn-cu12==9.1.0.70", "jinja2")

PLAN = Plan(
    row="cu121-seed",
    summary="",
    base_image="",
    base_packages=(),
    system_packages=(),
    suite="bookworm",
    suites=(),
    index="pytorch",
    python="3.11",
    environments=(),
    layers=(),
    tools=(),
    loader=(),
    links=(),
    environment=(),
    labels=(),
)


@dataclass(frozen=True, kw_only=True)
class File:
    """A wheel on an index."""

    name: str
    version: str
    tag: str = ANY
    requires: tuple[str, ...] = ()
    uploaded: str = BEFORE
    note: bytes = b""

    @property
    def file(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}-{self.tag}.whl"

    @property
    def metadata(self) -> bytes:
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {self.name}",
            f"Version: {self.version}",
            *(f"Requires-Dist: {one}" for one in self.requires),
        ]
        return "\n".join([*lines, ""]).encode()

    def content(self, folder: Path) -> bytes:
        module, info = self.name.replace("-", "_"), f"{self.file.split('-py3')[0].split('-cp3')[0]}.dist-info"
        form = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {self.tag}\n".encode()
        files = {
            f"{module}/__init__.py": self.note,
            f"{info}/METADATA": self.metadata,
            f"{info}/WHEEL": form,
        }
        return wheel(folder, files, name=self.file, info=info).read_bytes()


ON_PYPI = (
    File(name="ctranslate2", version="4.4.0", tag=MANYLINUX),
    File(name="ctranslate2", version="4.8.1", tag=MANYLINUX, uploaded=AFTER),
    File(name="whisperx", version="3.3.1", requires=("ctranslate2<4.5", "torch>=2")),
    File(name="pyannote-audio", version="3.3.2", requires=("torchaudio>=2.2", "jinja2")),
    File(name="torch", version="2.5.1", tag=MANYLINUX, requires=TORCH_BRINGS),
    File(name="torch", version="2.9.0", tag=MANYLINUX, uploaded=AFTER),
    File(name="torchaudio", version="2.5.1", tag=MANYLINUX, requires=("torch==2.5.1",)),
    File(name="nvidia-cuda-runtime-cu12", version="12.1.105", tag=NVIDIA),
    File(name="nvidia-cudnn-cu12", version="9.1.0.70", tag=NVIDIA),
    File(name="nvidia-cudnn-cu12", version="8.9.2.26", tag=NVIDIA),
    File(name="jinja2", version="3.1.5"),
    File(name="jinja2", version="3.1.9", uploaded=AFTER),
    *(File(name=name, version="1.0") for name in ("pip", "imageio-ffmpeg", *TOOLS)),
    *(File(name=name, version="2.0", uploaded=AFTER) for name in ("pip", *TOOLS)),
)
ON_PYTORCHS = (
    File(name="torch", version="2.5.1+cu121", tag=LINUX, requires=TORCH_BRINGS),
    File(name="torch", version="2.5.1+cu121", tag=WINDOWS),
    File(name="torch", version="2.6.0+cu121", tag=LINUX, requires=TORCH_BRINGS),
    File(name="torchaudio", version="2.5.1+cu121", tag=LINUX, requires=("torch==2.5.1",)),
    # Copies of others' packages: of the same version and a newer one, and not of the same bytes.
    File(name="jinja2", version="3.1.5", note=b"# a copy\n"),
    File(name="jinja2", version="3.1.8", note=b"# a copy\n"),
    File(name="nvidia-cudnn-cu12", version="9.1.0.70", tag=NVIDIA, note=b"# a copy\n"),
)


@dataclass
class Server:
    """A server on the loopback.

    Attributes:
        files: Type and content by the path as it is written in a request: S3 takes a bare "+" for a space.
        asked: Methods and paths, in order.
        heads: How it answers HEAD: with the length, without it, or not at all.
        missing: The status of what it does not have.
    """

    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    heads: str = "length"
    missing: int = 404
    address: str = ""

    def answer(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((method, path))
        if path not in self.files:
            return self.missing, {"Content-Length": "0"}, b""
        if method == "HEAD" and self.heads == "none":
            return 405, {"Content-Length": "0"}, b""
        kind, body = self.files[path]
        silent = method == "HEAD" and self.heads == "silent"
        length = {} if silent else {"Content-Length": str(len(body))}
        return 200, {"Content-Type": kind, **length}, body


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = server.answer(self.command, self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own
            del format, args

    return Handler


class Quiet(ThreadingHTTPServer):
    """A client that has enough of an answer hangs up, as uv does, and that is no error."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@dataclass
class World:
    """Both indexes, and where the links of the second lead.

    Attributes:
        first: Like PyPI: JSON with hashes, sizes and upload times.
        second: Like PyTorch's: plain HTML.
        far: The host with the second index's files.
        bytes_of: The files of the first and of the second, by name.
    """

    folder: Path
    first: Server = field(default_factory=Server)
    second: Server = field(default_factory=Server)
    far: Server = field(default_factory=Server)
    bytes_of: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"first": {}, "second": {}})

    def serve_first(self, files: tuple[File, ...] = ON_PYPI) -> None:
        pages: dict[str, list[dict[str, object]]] = {}
        for one in files:
            content = one.content(self.folder / "first")
            self.bytes_of["first"][one.file] = content
            self.first.files |= {
                f"/files/{one.file}": ("application/octet-stream", content),
                f"/files/{one.file}.metadata": ("application/octet-stream", one.metadata),
            }
            pages.setdefault(one.name, []).append(
                {
                    "filename": one.file,
                    "url": f"../../files/{one.file}",
                    "hashes": {"sha256": sha256(content)},
                    "core-metadata": {"sha256": sha256(one.metadata)},
                    "size": len(content),
                    "upload-time": one.uploaded,
                    "yanked": False,
                }
            )
        for name, listed in pages.items():
            page = {"meta": {"api-version": "1.1"}, "name": name, "versions": [], "files": listed}
            self.first.files[f"/simple/{name}/"] = (JSON, json.dumps(page).encode())

    def serve_second(self, files: tuple[File, ...] = ON_PYTORCHS, *, hashes: bool = True) -> None:
        pages: dict[str, list[str]] = {}
        for one in files:
            content = one.content(self.folder / "second")
            self.bytes_of["second"][one.file] = content
            path = f"/whl/cu121/{quote(one.file)}"
            self.far.files |= {
                path: ("binary/octet-stream", content),
                f"{path}.metadata": ("binary/octet-stream", one.metadata),
            }
            fragment = f"#sha256={sha256(content)}" if hashes else ""
            data = f"sha256={sha256(one.metadata)}"
            pages.setdefault(one.name, []).append(
                f'<a href="{self.far.address}{path}{fragment}" data-dist-info-metadata="{data}" '
                f'data-core-metadata="{data}">{html.escape(one.file)}</a><br/>'
            )
        for name, links in pages.items():
            head = f"<!DOCTYPE html>\n<html>\n  <body>\n    <h1>Links for {name}</h1>\n"
            text = head + "\n".join(links) + "\n  </body>\n</html>\n<!--TIMESTAMP 1729000000-->"
            self.second.files[f"/whl/cu121/{name}/"] = ("text/html", text.encode())

    def time_of_second(self) -> None:
        """Let the second index be a modern one, that says when its files were uploaded."""
        for name in {one.name for one in ON_PYTORCHS}:
            files = [
                {
                    "filename": one.file,
                    "url": f"{self.far.address}/whl/cu121/{quote(one.file)}",
                    "hashes": {"sha256": sha256(self.bytes_of["second"][one.file])},
                    "upload-time": BEFORE,
                }
                for one in ON_PYTORCHS
                if one.name == name and one.version != "3.1.8"
            ]
            page = {"meta": {"api-version": "1.1"}, "name": name, "versions": [], "files": files}
            self.second.files[f"/whl/cu121/{name}/"] = (JSON, json.dumps(page).encode())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path)
    running = []
    for server, host in ((world.first, "127.0.0.1"), (world.second, "127.0.0.1"), (world.far, "localhost")):
        listening = Quiet(("127.0.0.1", 0), handler(server))
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        server.address = f"http://{host}:{listening.server_address[1]}"
        running.append(listening)
    for name, value in settings(world).items():
        monkeypatch.setenv(name, value)
    for name in ("UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX", "UV_EXCLUDE_NEWER", "UV_INDEX_STRATEGY"):
        monkeypatch.delenv(name, raising=False)
    world.serve_first()
    world.serve_second()
    yield world
    for listening in running:
        listening.shutdown()
        listening.server_close()


def settings(world: World) -> Mapping[str, str]:
    return {
        "UV_DEFAULT_INDEX": f"{world.first.address}/simple/",
        "PIP_INDEX_URL": f"{world.first.address}/simple/",
        "CUVEE_INDEX_PYTORCH": f"{world.second.address}/whl/cu121",
        "CUVEE_CACHE": str(world.folder / "cuvee"),
        "UV_CACHE_DIR": str(world.folder / "uv"),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def seed(*changes: tuple[str, str]) -> Row:
    """The real row, or the row of the real matrix with some words of it changed."""
    text = MATRIX.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return next(row for row in parse(text).rows if row.id == "cu121-seed")


def file_of(lock: Lock, name: str) -> tuple[str, str, int]:
    found = lock.main.package(name)
    assert found
    return found.file, found.sha256, found.size


def fetched(lock: Lock, folder: Path) -> None:
    files = (*lock.packages(), *lock.tools)
    fetch_all(files, folder, lambda _: None, extra=lambda: extra_index("pytorch", "row cu121-seed"))


# Resolving


def test_torch_comes_from_its_own_index_with_hash_and_size_and_all_else_from_the_first(world: World) -> None:
    lock = resolve(seed())
    for name in ("torch", "torchaudio"):
        file = f"{name}-2.5.1+cu121-{LINUX}.whl"
        content = world.bytes_of["second"][file]
        assert file_of(lock, name) == (file, sha256(content), len(content))
    others = [one for one in (*lock.packages(), *lock.tools) if "+" not in one.version]
    assert {one.file: (one.sha256, one.size) for one in others} == {
        one.file: (sha256(content), len(content))
        for one in others
        for content in [world.bytes_of["first"][one.file]]
    }
    assert {one.name for one in others} == {
        "ctranslate2", "whisperx", "pyannote-audio", "nvidia-cuda-runtime-cu12", "nvidia-cudnn-cu12",
        "jinja2", "pip", "imageio-ffmpeg", *TOOLS,
    }  # fmt: skip


def test_a_version_that_both_indexes_have_is_taken_from_the_first(world: World) -> None:
    world.time_of_second()
    lock = resolve(seed())
    file = f"jinja2-3.1.5-{ANY}.whl"
    assert file_of(lock, "jinja2")[:2] == (file, sha256(world.bytes_of["first"][file]))
    assert file_of(lock, "torch")[0] == TORCH


def test_no_address_stands_in_the_lock(world: World) -> None:
    text = resolve(seed()).text()
    assert "://" not in text
    assert "127.0.0.1" not in text
    assert "%2B" not in text
    assert world.far.asked


def test_of_the_first_index_nothing_is_taken_that_was_uploaded_after_the_rows_day(world: World) -> None:
    lock = resolve(seed(("ctranslate2: 4.4.0", "ctranslate2: 4.*")))
    every = {one.name: one.version for one in (*lock.packages(), *lock.tools)}
    assert every["ctranslate2"] == "4.4.0"
    assert every["jinja2"] == "3.1.5"
    assert {every[name] for name in ("pip", *TOOLS)} == {"1.0"}
    # The same question with a later day has another answer: it is the day that decides.
    later = resolve(seed(("as_of: 2025-01-20", "as_of: 2026-03-01"), ("whisperx==3.3.1", "jinja2")))
    assert file_of(later, "jinja2")[0] == f"jinja2-3.1.9-{ANY}.whl"
    assert world.first.asked


@pytest.mark.parametrize(
    ("heads", "methods"), [("length", {"HEAD"}), ("silent", {"HEAD", "GET"}), ("none", {"HEAD", "GET"})]
)
def test_a_size_that_the_index_does_not_say_is_asked_of_the_files_server(
    world: World, heads: str, methods: set[str]
) -> None:
    world.far.heads = heads
    content = world.bytes_of["second"][TORCH]
    assert file_of(resolve(seed()), "torch") == (TORCH, sha256(content), len(content))
    assert methods <= {method for method, path in world.far.asked if path == f"/whl/cu121/{quote(TORCH)}"}


def test_of_a_link_without_a_hash_uv_reads_the_file_and_the_lock_has_its_hash(world: World) -> None:
    world.serve_second(hashes=False)
    content = world.bytes_of["second"][TORCH]
    assert file_of(resolve(seed()), "torch") == (TORCH, sha256(content), len(content))


def test_a_version_that_no_index_has_is_told_at_its_line(world: World) -> None:
    assert world.second.address
    with pytest.raises(CannotResolveError) as caught:
        resolve(seed(("2.5.1+cu121", "2.5.7+cu121")))
    assert [(fault.place.split()[-1], fault.cause) for fault in caught.value.faults] == [
        ("rows.cu121-seed.torch", "torch==2.5.7+cu121 does not exist as of 2025-01-20"),
        ("rows.cu121-seed.requirements[0]", "torchaudio==2.5.7+cu121 does not exist as of 2025-01-20"),
    ]


# Another file than the locked one


def changed() -> tuple[File, ...]:
    first, *others = ON_PYTORCHS
    return (
        File(name="torch", version=first.version, tag=LINUX, requires=TORCH_BRINGS, note=b"evil"),
        *others,
    )


def test_a_file_whose_hash_has_changed_on_the_second_index_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = resolve(seed())
    world.serve_second(changed())
    monkeypatch.setenv("UV_CACHE_DIR", str(world.folder / "another"))  # a page is cached for some minutes
    with pytest.raises(CannotResolveError) as caught:
        resolve(seed(), lock)
    [fault] = caught.value.faults
    assert fault.place == TORCH
    assert fault.cause.startswith(
        f"its sha256 was {file_of(lock, 'torch')[1]} when row cu121-seed was locked"
    )


@pytest.mark.parametrize("hashes", [True, False])
def test_another_file_than_the_locked_one_does_not_get_into_the_store(world: World, *, hashes: bool) -> None:
    lock = resolve(seed())
    world.serve_second(changed(), hashes=hashes)
    store = world.folder / "store"
    with pytest.raises(EngineOrNetworkError) as caught:
        fetched(lock, store)
    [fault] = caught.value.faults
    assert fault.place == TORCH
    assert fault.cause.startswith(("its sha256 should be", "its size should be"))
    assert fault.fix.startswith("Do not use that file")
    assert not (store / file_of(lock, "torch")[1]).exists() or not list(
        (store / file_of(lock, "torch")[1]).iterdir()
    )
    assert not list(store.rglob(".partial-*"))


# Installing


def installed(lock: Lock, folder: Path, monkeypatch: pytest.MonkeyPatch) -> subprocess.CompletedProcess[str]:
    """What a build step does with a row's packages: the secret with the indexes is read, then uv installs."""
    (folder / "index").write_text(index_exports(PLAN), encoding="utf-8")
    lines = [f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n" for one in lock.main.packages]
    (folder / "requirements.txt").write_text("".join(lines), encoding="utf-8")
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    step = (
        f". ./index && {Path(sys.executable).with_name('uv')} pip install --python {sys.executable}"
        " --target site --no-deps --require-hashes --requirement requirements.txt"
    )
    return subprocess.run(["sh", "-c", step], cwd=folder, capture_output=True, text=True, check=False)


def test_a_build_step_installs_the_locked_files_though_the_second_index_has_other_copies(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = resolve(seed())
    done = installed(lock, world.folder, monkeypatch)
    assert done.returncode == 0, done.stderr
    site = world.folder / "site"
    assert (site / "torch-2.5.1+cu121.dist-info").is_dir()
    assert (site / "jinja2" / "__init__.py").read_bytes() == b""
    assert (site / "nvidia_cudnn_cu12" / "__init__.py").read_bytes() == b""


def test_a_build_step_refuses_another_file_than_the_locked_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = resolve(seed())
    world.serve_second(changed())
    monkeypatch.setenv("UV_CACHE_DIR", str(world.folder / "another"))
    done = installed(lock, world.folder, monkeypatch)
    assert done.returncode != 0
    assert not (world.folder / "site" / "torch").exists()


# Fetching


def test_all_files_of_the_lock_are_fetched_by_hash_each_from_the_index_that_has_it(world: World) -> None:
    lock = resolve(seed())
    store = world.folder / "store"
    fetched(lock, store)
    every = [*lock.packages(), *lock.tools]
    assert {str(path.relative_to(store)) for path in store.rglob("*.whl")} == {
        f"{one.sha256}/{one.file}" for one in every
    }
    assert all(sha256((store / one.sha256 / one.file).read_bytes()) == one.sha256 for one in every)


@pytest.mark.parametrize("missing", [404, 403])
def test_what_the_second_index_does_not_have_it_may_refuse_as_pytorchs_does(
    world: World, missing: int
) -> None:
    lock = resolve(seed())
    world.second.missing = missing  # a bucket that nobody may list answers 403
    fetched(lock, world.folder / "store")
    assert ("GET", "/whl/cu121/whisperx/") in world.second.asked


def test_the_second_index_is_not_asked_for_an_address_where_the_store_has_all(world: World) -> None:
    lock = resolve(seed())
    store = world.folder / "store"
    fetched(lock, store)
    world.second.asked.clear()
    fetch_all([*lock.packages()], store, lambda _: None, extra=lambda: pytest.fail("asked for the index"))
    assert world.second.asked == []
