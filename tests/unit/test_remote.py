from __future__ import annotations

import io
import random
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st
from requests.adapters import BaseAdapter, HTTPAdapter

from builder.errors import BadInputError, CuveeError, EngineOrNetworkError
from builder.wheels import network, remote
from builder.wheels.members import opened_wheel
from builder.wheels.remote import RemoteWheel, Wheel

NAME = "vat-1.0-py3-none-any.whl"
URL = f"https://user:secret@index.test/files/{NAME}?token=secret"
NOISE = random.Random(7).randbytes(3_000_000)  # noqa: S311 - bytes that do not compress, not a secret


class Server(BaseAdapter):
    """A server with one file; it remembers which parts it was asked for."""

    def __init__(self, content: bytes, *, ranges: bool = True) -> None:
        super().__init__()
        self.content, self.ranges = content, ranges
        self.asked: list[str] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.asked.append(request.headers["Range"])
        response = requests.Response()
        response.status_code, response.url, body = 200, request.url or "", self.content
        if self.ranges:
            start, last = map(int, re.findall(r"\d+", self.asked[-1]))
            body = self.content[start : last + 1]
            response.status_code = 206
            response.headers["Content-Range"] = f"bytes {start}-{last}/{len(self.content)}"
        response.raw = io.BytesIO(body)
        return response

    def close(self) -> None: ...


class Broken(BaseAdapter):
    """A server that fails in one way."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self.failure = failure

    def send(self, *_: Any, **__: Any) -> requests.Response:
        raise self.failure

    def close(self) -> None: ...


def session_to(server: BaseAdapter) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", server)
    return session


def never() -> Path:
    raise AssertionError("the whole wheel was fetched")


def remote_wheel(server: Server) -> RemoteWheel:
    return RemoteWheel(URL, len(server.content), session_to(server), never)


def wheel_of(**files: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


def members(wheel: Wheel) -> tuple[str, ...]:
    with opened_wheel(wheel) as archive:
        return tuple(member.path for member in archive.members)


def read(wheel: Wheel, path: str) -> bytes:
    with opened_wheel(wheel) as archive:
        [wanted] = [member for member in archive.members if member.path == path]
        return archive.read(wanted, 10_000_000)


def stored(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / NAME
    path.write_bytes(content)
    return path


def test_a_remote_wheel_reads_as_the_same_wheel_on_disk(tmp_path: Path) -> None:
    content = wheel_of(small=b"abc", big=NOISE)
    local, far = stored(tmp_path, content), remote_wheel(Server(content))

    assert members(far) == members(local) == ("small", "big")
    assert read(far, "small") == read(local, "small") == b"abc"
    assert read(far, "big") == read(local, "big") == NOISE


def test_listing_a_wheel_asks_for_its_end_once() -> None:
    server = Server(wheel_of(big=NOISE, small=b"abc"))
    far = remote_wheel(server)

    assert members(far) == members(far)
    size = len(server.content)
    assert server.asked == [f"bytes={size - remote.TAIL}-{size - 1}"]
    assert far.transferred == remote.TAIL


def test_a_directory_larger_than_the_end_costs_one_request_more() -> None:
    server = Server(wheel_of(**{f"{i:05}{'x' * 90}": b"" for i in range(2000)}))

    assert len(members(remote_wheel(server))) == 2000
    assert len(server.asked) == 2


def test_a_big_member_costs_two_requests() -> None:
    server = Server(wheel_of(before=NOISE, big=NOISE, after=NOISE))
    far = remote_wheel(server)
    members(far)

    assert read(far, "big") == NOISE
    assert len(server.asked) == 1 + 2
    assert far.transferred < 1.1 * len(NOISE)


def test_small_reads_in_a_row_are_joined() -> None:
    server = Server(NOISE)
    far = remote_wheel(server)

    assert b"".join(iter(lambda: far.read(4096), b"")) == NOISE
    assert len(server.asked) < 10
    assert far.transferred < 1.01 * len(NOISE)


@example([(0, 290_000), (100_000, 10), (0, 0), (300_000, 1)])
@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.integers(0, 310_000), st.integers(0, 250_000))))
def test_every_read_gives_the_bytes_of_that_place(reads: list[tuple[int, int]]) -> None:
    content = NOISE[:300_000]
    far = remote_wheel(Server(content))

    for start, size in reads:
        far.seek(start)
        assert far.read(size) == content[start : start + size]
        assert far.tell() == max(start, min(start + size, len(content)))


def test_a_server_without_ranges_is_asked_for_the_whole_wheel_once(tmp_path: Path) -> None:
    content = wheel_of(small=b"abc", big=NOISE)
    fetched: list[Path] = []

    def whole() -> Path:
        fetched.append(stored(tmp_path, content))
        return fetched[-1]

    server = Server(content, ranges=False)
    far = RemoteWheel(URL, len(content), session_to(server), whole)

    assert members(far) == ("small", "big")
    assert read(far, "big") == NOISE
    assert len(fetched) == len(server.asked) == 1


def test_a_file_of_another_size_than_the_locked_one_is_refused() -> None:
    server = Server(wheel_of(big=NOISE))
    far = RemoteWheel(URL, len(server.content) - 1, session_to(server), never)

    with pytest.raises(EngineOrNetworkError) as caught:
        members(far)

    (fault,) = caught.value.faults
    assert fault.place == NAME
    assert f"/{len(server.content)}" in fault.cause
    assert "lock again" in fault.fix


@pytest.mark.parametrize(
    ("failure", "cause", "fix"),
    [
        (requests.exceptions.SSLError(URL), "certificate is not trusted", "SSL_CERT_FILE"),
        (requests.exceptions.ProxyError(URL), "proxy", "HTTPS_PROXY"),
        (requests.exceptions.ConnectTimeout(URL), "silent for 30 seconds", "Run the command again"),
        (requests.exceptions.ReadTimeout(URL), "silent for 30 seconds", "Run the command again"),
        (requests.exceptions.ConnectionError(URL), "no connection", "Check the network"),
        (requests.exceptions.ChunkedEncodingError(URL), "in the middle", "Run the command again"),
        (requests.exceptions.InvalidSchema(URL), "cannot be used", "UV_DEFAULT_INDEX"),
    ],
)
def test_a_network_failure_says_what_to_do_and_keeps_the_address(
    failure: Exception, cause: str, fix: str
) -> None:
    far = RemoteWheel(URL, 100, session_to(Broken(failure)), never)

    with pytest.raises(EngineOrNetworkError) as caught:
        members(far)

    (fault,) = caught.value.faults
    assert fault.place == NAME
    assert cause in fault.cause
    assert fix in fault.fix
    assert caught.value.exit_code == 5
    assert "secret" not in str(caught.value)


def test_a_refusal_is_told_with_its_status() -> None:
    class Refusing(Server):
        def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
            response = super().send(request)
            response.status_code, response.reason = 404, "Not Found"
            return response

    with pytest.raises(EngineOrNetworkError, match=f"{NAME}: the server answered 404 Not Found. Check"):
        members(remote_wheel(Refusing(NOISE)))


@pytest.mark.parametrize("keep", [0, 1, 21, 100, 2_999_000])
def test_a_truncated_wheel_is_one_error(tmp_path: Path, keep: int) -> None:
    path = stored(tmp_path, wheel_of(big=NOISE)[:keep])

    with pytest.raises(BadInputError) as caught:
        members(path)

    (fault,) = caught.value.faults
    assert fault.place == NAME
    assert "cannot be read as a wheel" in fault.cause
    assert fault.fix == "Delete it and fetch it again"


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=20))
def test_a_damaged_wheel_gives_its_bytes_or_one_error(damage: list[tuple[int, int]]) -> None:
    content = bytearray(wheel_of(one=b"abc" * 100, two=NOISE[:200]))
    for place, value in damage:
        content[place % len(content)] = value
    far = remote_wheel(Server(bytes(content)))

    try:
        for name in members(far):
            read(far, name)
    except CuveeError as error:
        assert error.faults  # noqa: PT017 - damage may also hit what nothing reads


def test_a_missing_wheel_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="No such file"):
        members(tmp_path / "absent.whl")


def test_the_bundle_someone_chose_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, system = tmp_path / "chosen.pem", tmp_path / "system.pem"
    for bundle in (chosen, system):
        bundle.touch()
    for name in network.CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(network, "CA_FILES", (tmp_path / "absent.pem", system))

    assert network.ca_bundle() == system
    monkeypatch.setenv("PIP_CERT", str(chosen))
    assert network.ca_bundle() == chosen
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    assert network.ca_bundle() == chosen
    monkeypatch.delenv("PIP_CERT")
    monkeypatch.setattr(network, "CA_FILES", ())
    assert network.ca_bundle() is None


def test_every_request_has_a_timeout_retries_and_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def send(adapter: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        seen.update(options, retries=adapter.max_retries.total)
        return Server(b"").send(request)

    monkeypatch.setattr(HTTPAdapter, "send", send)
    bundle = tmp_path / "bundle.pem"
    bundle.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "absent.pem")

    network.session().get("https://index.test/", headers={"Range": "bytes=0-0"})

    assert seen["timeout"] == 30
    assert seen["verify"] == str(bundle)
    assert seen["retries"] == 5
