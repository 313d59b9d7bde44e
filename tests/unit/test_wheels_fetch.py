from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter

from builder.errors import CannotResolveError, EngineOrNetworkError
from builder.lock.record import Package
from builder.wheels import fetch
from builder.wheels.fetch import AT_ONCE, fetch_all, lacking

INDEX = "https://index.test/simple"
FILES = "https://files.test"


@dataclass
class Index(BaseAdapter):
    """An index with some files, and the server that has them.

    Attributes:
        files: By name.
        asked: The addresses that were asked for.
        troubles: What happens to an address instead.
        at_once: How many files were on their way at most.
    """

    files: dict[str, bytes]
    asked: list[str] = field(default_factory=list)
    troubles: dict[str, Callable[[], bytes | int]] = field(default_factory=dict)
    at_once: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._lock, self._now = threading.Lock(), 0

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        url = request.url or ""
        with self._lock:
            self.asked.append(url)
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        try:
            return self._answer(url)
        finally:
            with self._lock:
                self._now -= 1

    def _answer(self, url: str) -> requests.Response:
        trouble = self.troubles.get(url)
        body = trouble() if trouble else self._body(url)
        response = requests.Response()
        response.url = url
        response.status_code = body if isinstance(body, int) else 200
        response.headers["Content-Type"] = "text/html"
        response.raw = io.BytesIO(body if isinstance(body, bytes) else b"")
        return response

    def _body(self, url: str) -> bytes:
        if url.startswith(FILES):
            return self.files[url.removeprefix(f"{FILES}/")]
        project = url.removeprefix(f"{INDEX}/").rstrip("/")
        named = [name for name in self.files if name.startswith(f"{project}-")]
        links = (f'<a href="{FILES}/{name}#sha256={sha256(self.files[name])}">x</a>' for name in named)
        return "".join(links).encode()

    def close(self) -> None: ...

    def session(self) -> requests.Session:
        made = requests.Session()
        made.trust_env = False
        made.mount("https://", self)
        return made


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def package(name: str, content: bytes) -> Package:
    return Package(
        name=name, version="1.0", file=f"{name}-1.0.whl", sha256=sha256(content), size=len(content)
    )


WINES = {name: name.encode() * number for number, name in enumerate(("merlot", "malbec", "syrah"), 1)}
PACKAGES = [package(name, content) for name, content in WINES.items()]


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Index:
    found = Index({one.file: WINES[one.name] for one in PACKAGES})
    monkeypatch.setenv("UV_DEFAULT_INDEX", INDEX)
    monkeypatch.setattr(fetch, "session", found.session)
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_that_is_lacking_comes_into_the_store(index: Index, tmp_path: Path) -> None:
    said: list[str] = []
    fetch_all(PACKAGES, tmp_path, said.append)
    assert files(tmp_path) == {f"{one.sha256}/{one.file}": WINES[one.name] for one in PACKAGES}
    assert said == ["wheels: fetching 3, 0 MB"]
    assert len(index.asked) == 6


def test_where_nothing_is_lacking_nothing_is_asked_or_said(index: Index, tmp_path: Path) -> None:
    fetch_all(PACKAGES, tmp_path, lambda _: None)
    index.asked.clear()
    said: list[str] = []
    fetch_all(PACKAGES, tmp_path, said.append)
    fetch_all([], tmp_path, said.append)
    assert (index.asked, said) == ([], [])


def test_only_what_is_lacking_is_asked_for(index: Index, tmp_path: Path) -> None:
    fetch_all(PACKAGES[:2], tmp_path, lambda _: None)
    index.asked.clear()
    assert lacking(PACKAGES, tmp_path) == (PACKAGES[2],)
    fetch_all(PACKAGES, tmp_path, lambda _: None)
    assert index.asked == [f"{INDEX}/syrah/", f"{FILES}/syrah-1.0.whl"]


def test_a_wheel_that_two_environments_have_is_fetched_once(index: Index, tmp_path: Path) -> None:
    said: list[str] = []
    fetch_all([PACKAGES[0], PACKAGES[1], PACKAGES[0]], tmp_path, said.append)
    assert said == ["wheels: fetching 2, 0 MB"]
    assert len(index.asked) == 4


def test_a_file_cut_short_in_the_store_is_fetched_again(index: Index, tmp_path: Path) -> None:
    fetch_all(PACKAGES, tmp_path, lambda _: None)
    [path] = tmp_path.glob("*/merlot-1.0.whl")
    path.write_bytes(b"mer")
    index.asked.clear()
    fetch_all(PACKAGES, tmp_path, lambda _: None)
    assert path.read_bytes() == b"merlot"
    assert index.asked == [f"{INDEX}/merlot/", f"{FILES}/merlot-1.0.whl"]


def test_the_largest_begin_and_few_come_at_a_time(index: Index, tmp_path: Path) -> None:
    contents = {f"w{number}": b"x" * number for number in range(1, 15)}
    wanted = [package(name, content) for name, content in contents.items()]
    index.files = {one.file: contents[one.name] for one in wanted}
    fetch_all(wanted, tmp_path, lambda _: None)
    assert len(files(tmp_path)) == 14
    assert index.at_once <= AT_ONCE
    first = {
        url.removeprefix(f"{INDEX}/").rstrip("/") for url in index.asked[:AT_ONCE] if url.startswith(INDEX)
    }
    assert first <= {f"w{number}" for number in range(14 - AT_ONCE, 15)}


# Troubles


@pytest.mark.parametrize(
    ("address", "answer", "kind", "cause"),
    [
        (f"{FILES}/malbec-1.0.whl", b"x" * 12, EngineOrNetworkError, "its sha256 should be "),
        (f"{FILES}/malbec-1.0.whl", b"malbec", EngineOrNetworkError, "its size should be 12 and is 6"),
        (f"{FILES}/malbec-1.0.whl", 500, EngineOrNetworkError, ""),
        (f"{FILES}/malbec-1.0.whl", 404, EngineOrNetworkError, ""),
        (f"{INDEX}/malbec/", b"", CannotResolveError, "the index does not have this file"),
        (f"{INDEX}/malbec/", 401, EngineOrNetworkError, ""),
    ],
)
def test_a_file_that_cannot_be_had_is_one_error_and_nothing_partial_stays(
    address: str,
    answer: bytes | int,
    kind: type[EngineOrNetworkError],
    cause: str,
    index: Index,
    tmp_path: Path,
) -> None:
    index.troubles[address] = lambda: answer
    with pytest.raises(kind) as caught:
        fetch_all(PACKAGES, tmp_path, lambda _: None)
    [fault] = caught.value.faults
    assert fault.place == "malbec-1.0.whl"
    assert cause in fault.cause
    assert fault.fix
    assert not [name for name in files(tmp_path) if "malbec" in name or ".partial-" in name]

    index.troubles.clear()
    fetch_all(PACKAGES, tmp_path, lambda _: None)
    assert len(files(tmp_path)) == 3


def test_a_connection_that_breaks_half_way_is_one_error(index: Index, tmp_path: Path) -> None:
    def broken() -> bytes:
        raise requests.ConnectionError("dropped")

    index.troubles[f"{FILES}/syrah-1.0.whl"] = broken
    with pytest.raises(EngineOrNetworkError) as caught:
        fetch_all(PACKAGES, tmp_path, lambda _: None)
    assert caught.value.faults[0].place == "syrah-1.0.whl"
    assert not [name for name in files(tmp_path) if ".partial-" in name]


def test_after_a_failure_what_has_not_begun_does_not_begin(index: Index, tmp_path: Path) -> None:
    contents = {f"w{number:02}": b"x" * (50 - number) for number in range(40)}
    wanted = [package(name, content) for name, content in contents.items()]
    index.files = {one.file: contents[one.name] for one in wanted}
    index.troubles[f"{INDEX}/w00/"] = lambda: 500
    with pytest.raises(EngineOrNetworkError):
        fetch_all(wanted, tmp_path, lambda _: None)
    assert len(files(tmp_path)) < 40


# A row's own index


def test_a_rows_own_index_is_asked_first_and_only_when_something_is_lacking(
    index: Index, tmp_path: Path
) -> None:
    own = "https://own.test/simple"
    listed = f'<a href="{FILES}/merlot-1.0.whl#sha256={PACKAGES[0].sha256}">x</a>'.encode()
    index.troubles[f"{own}/merlot/"] = lambda: listed
    fetch_all(PACKAGES[:1], tmp_path, lambda _: None, lambda: own)
    assert index.asked == [f"{own}/merlot/", f"{FILES}/merlot-1.0.whl"]

    def unasked() -> str:
        raise AssertionError("the address was asked for")

    fetch_all(PACKAGES[:1], tmp_path, lambda _: None, unasked)
