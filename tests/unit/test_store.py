from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter

from builder.errors import CannotResolveError, CuveeError, EngineOrNetworkError
from builder.wheels.remote import RemoteWheel
from builder.wheels.store import STALE_S, WheelStore, default_folder, find, index_address

NAME = "vat-1.0-py3-none-any.whl"
CONTENT = b"grapes" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)
URL = f"https://files.test/ab/{NAME}"
INDEX = "https://user:secret@index.test/simple/"
PAGE = "https://user:secret@index.test/simple/vat-of-wine/"


class Server(BaseAdapter):
    """A server with some files, each with its type; it ignores ranges and remembers what it was asked for."""

    def __init__(self, files: dict[str, tuple[str, bytes]]) -> None:
        super().__init__()
        self.files = files
        self.asked: list[str] = []
        self.on_send: Callable[[], object] = lambda: None

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.asked.append(request.url or "")
        self.on_send()
        response = requests.Response()
        response.status_code, response.url = 200, self.asked[-1]
        response.headers["Content-Type"], body = self.files[self.asked[-1]]
        response.raw = io.BytesIO(body)
        return response

    def close(self) -> None: ...


def session_to(server: Server) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", server)
    return session


def store_with(folder: Path, content: bytes = CONTENT) -> tuple[WheelStore, Server]:
    server = Server({URL: ("application/octet-stream", content)})
    return WheelStore(folder=folder, session=session_to(server)), server


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_fetched_file_stands_below_its_hash_and_is_fetched_once(tmp_path: Path) -> None:
    store, server = store_with(tmp_path)

    path = store.fetch(NAME, SHA256, SIZE, URL)

    assert path == store.fetch(NAME, SHA256, SIZE, URL) == tmp_path / SHA256 / NAME
    assert path.read_bytes() == CONTENT
    assert files_below(tmp_path) == [f"{SHA256}/{NAME}"]
    assert server.asked == [URL]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"g" + CONTENT[1:-1] + b"x", f"its sha256 should be {SHA256} and is "),
        (CONTENT[:-1], f"its size should be {SIZE} and is {SIZE - 1}"),
        (CONTENT + b"x", f"its size should be {SIZE} and is {SIZE + 1}"),
    ],
)
def test_another_file_than_the_locked_one_is_refused(tmp_path: Path, content: bytes, cause: str) -> None:
    store, _ = store_with(tmp_path, content)

    with pytest.raises(EngineOrNetworkError) as caught:
        store.fetch(NAME, SHA256, SIZE, URL)

    (fault,) = caught.value.faults
    assert fault.place == NAME
    assert fault.cause.startswith(cause)
    assert fault.fix.startswith("Do not use that file")
    assert files_below(tmp_path) == []


def test_two_at_once_end_with_one_whole_file(tmp_path: Path) -> None:
    first, server = store_with(tmp_path)
    second, _ = store_with(tmp_path)
    server.on_send = lambda: second.fetch(NAME, SHA256, SIZE, URL)

    assert first.fetch(NAME, SHA256, SIZE, URL).read_bytes() == CONTENT
    assert files_below(tmp_path) == [f"{SHA256}/{NAME}"]


def test_what_a_killed_download_left_is_swept_after_a_day(tmp_path: Path) -> None:
    old, young = tmp_path / ".partial-old", tmp_path / ".partial-young"
    for part in (old, young):
        part.touch()
    yesterday = time.time() - STALE_S - 60
    os.utime(old, (yesterday, yesterday))
    store, _ = store_with(tmp_path)

    store.fetch(NAME, SHA256, SIZE, URL)

    assert files_below(tmp_path) == [young.name, f"{SHA256}/{NAME}"]


def test_a_file_cut_short_by_a_power_failure_is_fetched_again(tmp_path: Path) -> None:
    store, _ = store_with(tmp_path)
    store.path(NAME, SHA256).parent.mkdir()
    store.path(NAME, SHA256).touch()

    assert store.fetch(NAME, SHA256, SIZE, URL).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_told_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store, _ = store_with(tmp_path / "file")

    with pytest.raises(EngineOrNetworkError, match=f"{NAME}: cannot be stored in .*Not a dir.*CUVEE_CACHE"):
        store.fetch(NAME, SHA256, SIZE, URL)


def test_a_wheel_is_opened_from_the_store_when_it_is_there(tmp_path: Path) -> None:
    store, server = store_with(tmp_path)

    assert isinstance(store.open(NAME, SHA256, SIZE, URL), RemoteWheel)
    assert server.asked == []
    path = store.fetch(NAME, SHA256, SIZE, URL)
    assert store.open(NAME, SHA256, SIZE, URL) == path


def test_a_wheel_on_a_server_without_ranges_goes_into_the_store(tmp_path: Path) -> None:
    store, server = store_with(tmp_path)
    wheel = store.open(NAME, SHA256, SIZE, URL)
    assert isinstance(wheel, RemoteWheel)

    assert wheel.read() == CONTENT
    assert files_below(tmp_path) == [f"{SHA256}/{NAME}"]
    assert server.asked == [URL, URL]


def test_the_store_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/vintner")
    monkeypatch.delenv("CUVEE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    assert default_folder() == Path("/home/vintner/.cache/cuvee/wheels")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_folder() == Path("/caches/cuvee/wheels")
    monkeypatch.setenv("CUVEE_CACHE", "/cellar")
    assert default_folder() == Path("/cellar/wheels")


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("UV_DEFAULT_INDEX", INDEX)
    return INDEX


def json_page(**changes: object) -> Server:
    file = {"filename": NAME, "url": URL, "hashes": {"sha256": SHA256}} | changes
    body = json.dumps({"meta": {"api-version": "1.1"}, "files": [file]}).encode()
    return Server({PAGE: ("application/vnd.pypi.simple.v1+json", body)})


def found(server: Server) -> str:
    return find(session_to(server), "Vat_of.Wine", "1.0", NAME, SHA256)


@pytest.mark.usefixtures("index")
def test_the_index_is_asked_under_the_normalised_name() -> None:
    assert found(json_page()) == URL


@pytest.mark.usefixtures("index")
def test_a_relative_address_is_seen_from_the_page() -> None:
    assert found(json_page(url=f"../../files/{NAME}")) == f"https://user:secret@index.test/files/{NAME}"


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize("fragment", [f"#sha256={SHA256}", ""])
def test_a_mirror_that_knows_only_html_serves_as_well(fragment: str) -> None:
    name = NAME.replace("-", "%2D")
    page = f'<html><a href="">up</a><a href="../../files/{name}{fragment}" data-x>{NAME}</a>'
    server = Server({PAGE: ("text/html; charset=utf-8", page.encode())})

    assert found(server) == f"https://user:secret@index.test/files/{name}"


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize(
    ("server", "kind", "cause", "fix"),
    [
        (
            json_page(filename="other.whl"),
            CannotResolveError,
            "does not have this file of Vat",
            "lock the row",
        ),
        (
            json_page(hashes={"sha256": "0" * 64}),
            EngineOrNetworkError,
            f"its sha256 should be {SHA256} and is {'0' * 64}",
            "another mirror",
        ),
        (json_page(hashes=None), EngineOrNetworkError, "not as a package index does", "UV_DEFAULT_INDEX"),
        (
            Server({PAGE: ("text/json", b"{")}),
            EngineOrNetworkError,
            "not as a package index",
            "UV_DEFAULT_INDEX",
        ),
        (
            Server({PAGE: ("text/html", b"log in")}),
            CannotResolveError,
            "does not have this file",
            "lock the row",
        ),
    ],
)
def test_an_index_that_cannot_help_is_told_without_its_address(
    server: Server, kind: type[CuveeError], cause: str, fix: str
) -> None:
    with pytest.raises(kind) as caught:
        found(server)

    (fault,) = caught.value.faults
    assert fault.place == NAME
    assert cause in fault.cause
    assert fix in fault.fix
    assert "secret" not in str(caught.value)


def test_the_index_is_the_one_uv_or_pip_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)

    assert index_address().startswith("https://")
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.test/simple?a=b")
    assert index_address() == "https://pip.test/simple?a=b"
    monkeypatch.setenv("UV_INDEX_URL", "https://old.test/simple")
    assert index_address() == "https://old.test/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "mirror=https://new.test/simple")
    assert index_address() == "https://new.test/simple"


def test_without_an_index_and_without_pip_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "pip._internal.models.index", None)

    with pytest.raises(CannotResolveError, match=r"UV_DEFAULT_INDEX: is not set.*Set it to the address"):
        index_address()


def test_a_rows_own_index_is_asked_first_and_the_default_one_for_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def page(url: str) -> str:
        own = {"torch": '<a href="torch-1+cu.whl#sha256=aa">torch-1+cu.whl</a>'}
        all_others = {"click": '<a href="click-8.whl#sha256=bb">click-8.whl</a>'}
        return {"own.test": own, "all.test": all_others}[url.split("/")[2]].get(url.split("/")[-2], "")

    class Answer:
        def __init__(self, url: str) -> None:
            self.url, self.text, self.headers = url, page(url), {"Content-Type": "text/html"}
            self.status_code, self.reason = (200, "OK") if self.text else (404, "Not Found")

        def raise_for_status(self) -> None:
            if not self.text:
                raise requests.HTTPError(response=self)  # type: ignore[arg-type]

    class Network:
        def get(self, url: str, **_: object) -> Answer:
            return Answer(url)

    network: Any = Network()
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://all.test/simple")
    extra = "http://own.test/simple"
    assert (
        find(network, "torch", "1", "torch-1+cu.whl", "aa", extra)
        == "http://own.test/simple/torch/torch-1+cu.whl"
    )
    assert (
        find(network, "click", "8", "click-8.whl", "bb", extra) == "http://all.test/simple/click/click-8.whl"
    )
    with pytest.raises(EngineOrNetworkError):
        find(network, "nosuch", "1", "nosuch-1.whl", "cc", extra)
