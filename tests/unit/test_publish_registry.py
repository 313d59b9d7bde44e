from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError

from builder.errors import BadInputError, CuveeError, EngineOrNetworkError
from builder.publish import transport
from builder.publish.authority import challenges
from builder.publish.blob import Blob, even
from builder.publish.credentials import Credentials, config_folder, find
from builder.publish.pull import fetch_blob, remote_manifest
from builder.publish.reference import Reference
from builder.publish.registry import Registry
from builder.publish.transport import Patience, Refused
from builder.shell import Finished
from tests.memory_registry import HOST, Dropping, MemoryRegistry, answer, pieces, sha256

CONTENT = b"grapes" * 100
DIGEST = sha256(CONTENT)


def who(user: str, word: str, **more: str) -> Credentials:
    return Credentials(user=user, secret=word, **more)


USER = who("user", "word")
MANY = 4


def blob(content: bytes = CONTENT, **changed: Any) -> Blob:
    told = {"title": "torch", "digest": sha256(content), "size": len(content)}
    return Blob(**{"open": lambda: pieces(content), **told, **changed})


@pytest.fixture
def server() -> MemoryRegistry:
    return MemoryRegistry()


def told(caught: pytest.ExceptionInfo[CuveeError]) -> tuple[str, str, str]:
    [fault] = caught.value.faults
    return fault.place, fault.cause, fault.fix


# Blobs


def test_a_blob_is_there_or_not(server: MemoryRegistry) -> None:
    server.put("vat", CONTENT)
    assert server.client().has("vat", DIGEST)
    assert not server.client().has("other", DIGEST)
    assert server.asked == [f"HEAD /v2/vat/blobs/{DIGEST}", f"HEAD /v2/other/blobs/{DIGEST}"]


def test_a_blob_is_sent_in_one_request_to_where_the_registry_says(server: MemoryRegistry) -> None:
    assert server.client().upload("vat", blob()) == "sent"
    assert server.blobs["vat"][DIGEST] == CONTENT
    assert server.asked == ["POST /v2/vat/blobs/uploads/", "PUT /v2/up/1"]
    assert server.headers[1]["Content-Length"] == str(len(CONTENT))
    assert server.headers[1]["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/v2/up/1", f"https://{HOST}/v2/up/1?"),
        ("/v2/up/1?_state=a%2B&b=", f"https://{HOST}/v2/up/1?_state=a%2B&b=&"),
        ("2?a=b", f"https://{HOST}/v2/vat/blobs/uploads/2?a=b&"),
        # A proxy in front of the registry ends TLS, and the registry does not know.
        (f"http://{HOST}/v2/up/1?a", f"https://{HOST}/v2/up/1?a&"),
        ("https://else.test/up", "https://else.test/up?"),
    ],
)
def test_an_upload_goes_on_at_any_location(server: MemoryRegistry, location: str, url: str) -> None:
    server.location, urls = location, []
    send = server.send

    def noted(request: requests.PreparedRequest, *given: Any, **options: Any) -> requests.Response:
        urls.append(request.url)
        return send(request, *given, **options) if request.method == "POST" else answer(201)

    server.send = noted  # type: ignore[method-assign]
    server.client().upload("vat", blob())
    assert urls[1] == f"{url}digest={DIGEST}"


@pytest.mark.parametrize("location", ["", "http://[", "nonsense://"])
def test_a_registry_that_does_not_say_where_is_told(server: MemoryRegistry, location: str) -> None:
    server.location = location
    with pytest.raises(EngineOrNetworkError) as caught:
        server.client().upload("vat", blob())
    assert told(caught)[0] == "torch"


def test_an_empty_blob_is_sent_too(server: MemoryRegistry) -> None:
    assert server.client().upload("vat", blob(b"")) == "sent"
    assert server.blobs["vat"] == {sha256(b""): b""}


def test_pieces_are_evened_out_without_changing_a_byte() -> None:
    content = os.urandom(1000)
    for sizes in ([1000], [1] * 1000, [99, 1, 100, 101, 399, 300], [5, 995], [250] * 4):
        places = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
        uneven = [content[start:end] for start, end in pairwise(places)]
        found = [bytes(piece) for piece in even(uneven, 100)]
        assert b"".join(found) == content
        assert [len(piece) for piece in found] == [100] * 10, sizes


def test_a_blob_is_mounted_where_the_registry_does_that(server: MemoryRegistry) -> None:
    server.put("other", CONTENT)
    never = blob(open=lambda: pytest.fail("it was read"))
    assert server.client().upload("vat", never, mount_from="other") == "mounted"
    assert server.blobs["vat"] == {DIGEST: CONTENT}
    assert len(server.asked) == 1


def test_a_mount_that_is_not_done_goes_on_as_an_upload(server: MemoryRegistry) -> None:
    assert server.client().upload("vat", blob(), mount_from="other") == "sent"
    assert server.asked == ["POST /v2/vat/blobs/uploads/", "PUT /v2/up/1"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_a_mount_that_is_refused_becomes_an_upload(server: MemoryRegistry, status: int) -> None:
    server.troubles = [("POST", answer(status))]
    assert server.client().upload("vat", blob(), mount_from="other") == "sent"
    assert server.asked == ["POST /v2/vat/blobs/uploads/"] * 2 + ["PUT /v2/up/1"]


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_blob_of_another_size_is_not_sent(server: MemoryRegistry, size: int) -> None:
    with pytest.raises(EngineOrNetworkError, match=r"torch: what was to be sent has more or fewer bytes"):
        server.client().upload("vat", blob(size=size))
    assert server.blobs == {}


def test_a_blob_of_another_digest_is_refused_by_the_registry_and_told_once(server: MemoryRegistry) -> None:
    with pytest.raises(EngineOrNetworkError) as caught:
        server.client().upload("vat", blob(digest=sha256(b"")))
    assert told(caught)[1] == "the registry refused (400 Said So: DIGEST_INVALID, it differs)"
    assert len(server.sent("PUT")) == 1


def test_a_registry_that_stores_something_else_is_told(server: MemoryRegistry) -> None:
    server.troubles = [("PUT", answer(201, headers={"Docker-Content-Digest": sha256(b"")}))]
    with pytest.raises(EngineOrNetworkError, match=f"its digest should be {DIGEST}, and at the registry"):
        server.client().upload("vat", blob())


def test_a_blob_that_cannot_be_read_is_no_fault_of_the_registry(server: MemoryRegistry) -> None:
    def broken() -> Iterator[bytes]:
        yield b"grapes"
        raise OSError(5, "Input/output error")

    with pytest.raises(EngineOrNetworkError, match="torch: what was to be sent cannot be read: Input/output"):
        server.client().upload("vat", blob(open=broken))
    assert len(server.sent("PUT")) == 1


# Troubles


def drop() -> requests.ConnectionError:
    return requests.ConnectionError(ProtocolError("Connection aborted.", BrokenPipeError()))


@pytest.mark.parametrize("trouble", [drop, *(lambda s=s: answer(s) for s in (408, 429, 500, 502, 503, 504))])
def test_what_passes_is_tried_again_from_the_first_byte(
    server: MemoryRegistry, trouble: Callable[[], Any]
) -> None:
    server.troubles = [("PUT", trouble()), ("PUT", trouble()), ("PUT", trouble())]
    assert server.client().upload("vat", blob()) == "sent"
    assert server.blobs["vat"][DIGEST] == CONTENT
    assert server.sent("POST") == ["/v2/vat/blobs/uploads/"] * MANY


UNREACHED = requests.ConnectionError(
    MaxRetryError(None, "/", NewConnectionError(None, "refused"))  # type: ignore[arg-type]
)
STUCK = requests.ConnectionError(ProtocolError("Connection aborted.", TimeoutError("timed out")))


@pytest.mark.parametrize(
    ("trouble", "tries", "cause", "fix"),
    [
        (
            answer(401),
            1,
            "the registry wants to know who asks, and Docker's",
            f"Run `docker login {HOST}`, and",
        ),
        (
            answer(403),
            1,
            "the registry does not allow this user to do that (403",
            "Ask the repository's owner",
        ),
        (
            answer(404),
            1,
            "the registry does not have it, or hides it",
            "Check the name, create the repository",
        ),
        (answer(405), 1, "the registry takes no images (405", "Push to another one"),
        (
            answer(413),
            1,
            "it is larger than the registry, or a proxy",
            "Raise that limit (in nginx: client_max",
        ),
        (answer(418), 1, "the registry refused (418 Said So)", "See its log"),
        (answer(429), MANY, "the registry had too many requests, 4 times (429", "Wait some minutes"),
        (answer(500), MANY, "the registry failed 4 times (500", "See its log, and whether its disk is full"),
        (answer(501), 1, "the registry failed once (501", "See its log"),
        (
            requests.ReadTimeout(),
            2,
            f"{HOST} was silent for 0.2 seconds, 2 times",
            "See whether the registry",
        ),
        (STUCK, 2, f"{HOST} was silent for 0.2 seconds, 2 times", "See whether the registry still works"),
        (drop(), MANY, f"the connection to {HOST} broke 4 times", "See the network and the registry's log"),
        (UNREACHED, 2, f"nothing answers at {HOST}", "See that the registry runs"),
        (requests.exceptions.SSLError(), 1, f"the certificate of {HOST} is not trusted", "Set SSL_CERT_FILE"),
        (requests.exceptions.ProxyError(), 1, "the proxy did not let the request", "Check HTTPS_PROXY"),
        (requests.exceptions.InvalidURL(), 1, f"{HOST} named an address that cannot", "Tell the registry's"),
    ],
)
@pytest.mark.parametrize("at", ["POST", "PUT"])
def test_each_trouble_is_told_as_what_it_is_and_ends_with_5(
    server: MemoryRegistry, at: str, trouble: Any, tries: int, cause: str, fix: str
) -> None:
    server.troubles = [(at, trouble)] * 10
    with pytest.raises(EngineOrNetworkError) as caught:
        server.client().upload("vat", blob())
    place, found, way_out = told(caught)
    assert place == "torch"
    assert found.startswith(cause)
    assert way_out.startswith(fix)
    assert caught.value.exit_code == 5
    assert len(server.sent(at)) == tries
    assert server.blobs == {}


def test_what_a_registry_says_of_an_error_is_told_on_one_line_and_not_endlessly(
    server: MemoryRegistry,
) -> None:
    words = {"code": "DENIED", "message": f"no\n\x1b[31m{'x' * 1000}"}
    server.troubles = [("HEAD", answer(403, json.dumps({"errors": [words]}).encode()))]
    with pytest.raises(EngineOrNetworkError) as caught:
        server.client().has("vat", DIGEST)
    cause = told(caught)[1]
    assert "(403 Said So: DENIED, no [31mxxx" in cause
    assert len(cause) < 400
    assert cause.isprintable()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"errors": []}', b'{"errors": [7]}', b"\xff" * 99])
def test_an_error_may_have_any_body(server: MemoryRegistry, body: bytes) -> None:
    server.troubles = [("HEAD", answer(403, body))]
    with pytest.raises(EngineOrNetworkError, match=r"\(403 Said So\)"):
        server.client().has("vat", DIGEST)


def test_pauses_grow_and_are_as_long_as_the_registry_asks_but_not_longer_than_we_are_patient() -> None:
    patience = Patience(pause_s=0.5, longest_pause_s=30)
    assert [patience.pause(attempt, None) for attempt in range(3)] == [0.5, 1, 2]
    assert patience.pause(0, 7) == 7
    assert patience.pause(2, 1) == 2
    assert patience.pause(0, 3600) == 30


def in_s(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        (lambda: "7", 7, 7),
        (lambda: " 7 ", 7, 7),
        (lambda: in_s(100), 50, 101),
        (lambda: in_s(-100), 0, 0),
    ],
    ids=["seconds", "with spaces", "a date", "a date that is over"],
)
def test_when_to_come_again_is_said_in_seconds_or_as_a_date(
    said: Callable[[], str], least: float, most: float
) -> None:
    text = said()
    found = Refused(answer(429, headers={"Retry-After": text}), "").retry_after_s
    assert found is not None
    assert least <= found <= most


@pytest.mark.parametrize("text", ["", "soon", "-1", "1e9", "Wed, 99 Foo"])
def test_when_to_come_again_may_not_be_said_at_all(text: str) -> None:
    assert Refused(answer(429, headers={"Retry-After": text}), "").retry_after_s is None


def test_a_large_blob_may_take_a_registry_longer_to_check() -> None:
    assert Patience(timeout_s=30, commit_rate=20e6).timeout(3_000_000_000) == (30, 180)


# Who asks


def test_a_token_is_got_once_for_all_requests_of_one_kind(server: MemoryRegistry) -> None:
    server.wants = "bearer"
    server.put("other", CONTENT)
    client = server.client(find=lambda: USER)
    assert not client.has("vat", DIGEST, "pull,push")
    assert client.upload("vat", blob(b"1")) == "sent"
    assert client.upload("vat", blob(), mount_from="other") == "mounted"
    push = "repository:vat:pull,push"
    assert list(server.tokens.values()) == [(push,), (push, "repository:other:pull")]
    assert [line.split()[0] for line in server.asked].count("GET") == 2


def test_threads_that_are_asked_who_they_are_at_once_get_one_token(server: MemoryRegistry) -> None:
    server.wants = "bearer"
    server.put("vat", CONTENT)
    client = server.client(find=lambda: USER)
    threads = [threading.Thread(target=client.has, args=("vat", DIGEST)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.tokens) == 1


def test_a_token_that_has_run_out_is_renewed(server: MemoryRegistry) -> None:
    server.wants = "bearer"
    server.put("vat", CONTENT)
    client = server.client(find=lambda: USER)
    assert client.has("vat", DIGEST)
    server.tokens.clear()  # the registry has forgotten it
    server.tokens["another"] = ()
    assert client.has("vat", DIGEST)


def test_a_blob_is_sent_again_when_its_token_ran_out_meanwhile(server: MemoryRegistry) -> None:
    server.wants = "bearer"
    server.troubles = [
        ("PUT", answer(401, headers={"WWW-Authenticate": 'Bearer realm="https://tokens.test/"'}))
    ]
    assert server.client(find=lambda: USER).upload("vat", blob()) == "sent"
    assert server.blobs["vat"][DIGEST] == CONTENT


def test_an_identity_token_gets_access_tokens(server: MemoryRegistry) -> None:
    server.wants = "bearer"
    client = server.client(find=lambda: Credentials(identity="identity"))
    assert client.upload("vat", blob()) == "sent"
    [form] = server.forms
    assert form == {
        "grant_type": "refresh_token",
        "refresh_token": "identity",
        "service": HOST,
        "client_id": "cuvee",
        "scope": "repository:vat:pull,push",
    }


def test_anyone_may_pull_what_is_public_and_push_nothing(server: MemoryRegistry) -> None:
    server.wants = "bearer"
    server.put("vat", CONTENT)
    assert server.client().has("vat", DIGEST)
    with pytest.raises(EngineOrNetworkError) as caught:
        server.client().upload("vat", blob())
    _, cause, fix = told(caught)
    assert cause.startswith("the registry wants to know who asks, and Docker's config.json has nothing for")
    assert fix == f"Run `docker login {HOST}`, and try again"


def test_a_password_is_sent_where_the_registry_asks_for_one(server: MemoryRegistry) -> None:
    server.wants = "basic"
    server.put("vat", CONTENT)
    client = server.client(find=lambda: USER)
    assert client.has("vat", DIGEST)
    assert client.has("vat", DIGEST)
    assert ["Authorization" in headers for headers in server.headers] == [False, True, True]


@pytest.mark.parametrize("wants", ["basic", "bearer"])
def test_a_wrong_password_is_told_and_not_shown(server: MemoryRegistry, wants: str) -> None:
    server.wants, server.password = wants, "right"
    with pytest.raises(EngineOrNetworkError) as caught:
        server.client(find=lambda: who("user", "wrong")).upload("vat", blob())
    place, cause, fix = told(caught)
    assert place == "torch"
    assert cause.startswith("the registry does not accept the credentials that Docker's config.json has for")
    assert fix.startswith(f"Run `docker login {HOST}` again")
    assert "wrong" not in str(caught.value)
    assert len(server.asked) == 2


def test_what_a_registry_repeats_of_a_secret_is_not_told(server: MemoryRegistry) -> None:
    server.wants = "bearer"
    client = server.client(find=lambda: USER)
    assert not client.has("vat", DIGEST)
    basic = base64.b64encode(b"user:word").decode()
    body = {"errors": [{"code": "X", "message": f"token-0 word {basic}"}]}
    server.troubles = [("HEAD", answer(403, json.dumps(body).encode()))]
    with pytest.raises(EngineOrNetworkError, match="X, … … …"):
        client.has("vat", DIGEST)


def test_secrets_are_not_in_the_text_of_anything() -> None:
    assert repr(who("user", "word", identity="me")) == "Credentials()"


def test_a_token_goes_to_no_other_host(server: MemoryRegistry) -> None:
    server.wants, server.location = "bearer", "https://else.test/up"
    server.troubles = [("PUT //else.test", answer(201))]
    server.client(find=lambda: USER).upload("vat", blob())
    assert server.asked[-1] == "PUT //else.test/up"
    assert "Authorization" not in server.headers[-1]
    assert "Authorization" in server.headers[-2]


def test_a_password_of_netrc_is_never_sent(
    server: MemoryRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(f"machine {HOST} login user password word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.client().has("vat", DIGEST)
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    ("challenge", "cause"),
    [
        ('Bearer realm="http://tokens.test/"', "its token service wants passwords without TLS"),
        ('Bearer realm="file:///etc/passwd"', "it names no token service that can be asked"),
        ('Bearer service="a"', "it names no token service that can be asked"),
        ('Bearer realm="http://["', "it names no token service that can be asked"),
        ('Bearer realm="https://odd.test/"', "its token service does not answer as one does"),
        ('Bearer realm="https://none.test/"', "its token service gives no token"),
        ('Bearer realm="https://split.test/"', "its token service gives no token"),
    ],
)
def test_a_token_service_that_cannot_be_used_is_told(
    server: MemoryRegistry, challenge: str, cause: str
) -> None:
    server.troubles = [
        ("HEAD", answer(401, headers={"WWW-Authenticate": challenge})),
        ("GET //odd.test", answer(200, b"[]")),
        ("GET //none.test", answer(200, b"{}")),
        ("GET //split.test", answer(200, b'{"token": "a\\r\\nb"}')),
    ]
    with pytest.raises(EngineOrNetworkError) as caught:
        server.client(find=lambda: USER).has("vat", DIGEST)
    assert told(caught)[:2] == (HOST, cause)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", {}),
        ("Basic", {}),
        ('Basic realm="a b"', {"basic": {"realm": "a b"}}),
        ("Basic realm=x", {"basic": {"realm": "x"}}),
        (
            'Bearer realm="https://a/t?b=c",service="s", scope="repository:a/b:pull,push"',
            {"bearer": {"realm": "https://a/t?b=c", "service": "s", "scope": "repository:a/b:pull,push"}},
        ),
        (
            'BASIC Realm="x, Bearer y=z", bearer realm="r\\"q\\\\" , error="e"',
            {"basic": {"realm": "x, Bearer y=z"}, "bearer": {"realm": 'r"q\\', "error": "e"}},
        ),
        ('Bearer realm="unended', {"bearer": {}}),
    ],
)
def test_a_challenge_is_read(header: str, found: dict[str, dict[str, str]]) -> None:
    assert challenges(header) == found


@given(st.text(alphabet='Ba =",\\:', max_size=40))
def test_any_header_is_some_challenges(header: str) -> None:
    assert isinstance(challenges(header), dict)


# Docker's configuration


class Helper:
    """A shell with one credential helper, which remembers what it was asked."""

    def __init__(self, out: str, code: int = 0, error: Exception | None = None) -> None:
        self.out, self.code, self.error = out, code, error
        self.asked: list[tuple[tuple[str, ...], str | None]] = []

    def run(self, argv: Any, *, stdin: str | None = None, on_line: Any = None, **_: Any) -> Finished:
        assert on_line, "a shell that echoes would show the secret"
        self.asked.append((tuple(argv), stdin))
        if self.error:
            raise self.error
        return Finished(argv=tuple(argv), code=self.code, out=self.out, err="")

    def spawn(self, argv: Any, **_: Any) -> int:
        raise AssertionError(argv)


NO_HELPER = Helper("", error=AssertionError("no helper is named"))
AUTH = base64.b64encode(b"user:pass:word").decode()
SECRET = who("user", "pass:word")


def docker(folder: Path, **config: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({"auth": AUTH}, SECRET),
        ({"username": "user", "password": "pass:word"}, SECRET),
        ({"identitytoken": "me"}, Credentials(identity="me")),
        (
            {"auth": base64.b64encode(b"user:").decode(), "identitytoken": "me"},
            Credentials(user="user", identity="me"),
        ),
        ({}, None),
        ("nonsense", None),
    ],
)
def test_credentials_stand_in_dockers_configuration(
    tmp_path: Path, entry: Any, found: Credentials | None
) -> None:
    assert find(HOST, NO_HELPER, docker(tmp_path, auths={HOST: entry})) == found


@pytest.mark.parametrize("name", [HOST, f"https://{HOST}", f"http://{HOST}/v1/", f"https://{HOST}/v2/"])
def test_a_registry_may_be_an_address_there(tmp_path: Path, name: str) -> None:
    assert find(HOST, NO_HELPER, docker(tmp_path, auths={"a.test": {}, name: {"auth": AUTH}})) == SECRET


def test_dockers_own_registry_has_another_name_there(tmp_path: Path) -> None:
    from docker.auth import INDEX_URL

    assert find("docker.io", NO_HELPER, docker(tmp_path, auths={INDEX_URL: {"auth": AUTH}})) == SECRET


def test_nothing_is_known_without_a_configuration(tmp_path: Path) -> None:
    assert find(HOST, NO_HELPER, tmp_path / "none") is None
    assert find(HOST, NO_HELPER, docker(tmp_path)) is None
    assert find(HOST, NO_HELPER, docker(tmp_path, auths={"a.test": {"auth": AUTH}})) is None


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is no JSON object"),
        (
            '{"auths": {"registry.test": {"auth": "!secret!"}}}',
            "has an entry for registry.test that is not base",
        ),
        ('{"credsStore": "../evil"}', "names a credential helper that no program can be called"),
    ],
)
def test_a_damaged_configuration_is_told_without_what_is_in_it(tmp_path: Path, text: str, cause: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadInputError) as caught:
        find(HOST, NO_HELPER, tmp_path)
    place, found, fix = told(caught)
    assert place == str(tmp_path / "config.json")
    assert found.startswith(cause)
    assert "docker login" in fix
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "config", [{"credHelpers": {HOST: "own"}, "credsStore": "all"}, {"credsStore": "own"}]
)
def test_a_helper_is_asked_for_the_registry_of_its_own_first(tmp_path: Path, config: dict[str, Any]) -> None:
    helper = Helper('warning: old\n{"ServerURL": "x", "Username": "user", "Secret": "pass:word"}\n')
    assert find(HOST, helper, docker(tmp_path, **config)) == SECRET
    assert helper.asked == [(("docker-credential-own", "get"), f"{HOST}\n")]


def test_a_helper_may_keep_an_identity_token(tmp_path: Path) -> None:
    helper = Helper('{"Username": "<token>", "Secret": "me"}')
    assert find(HOST, helper, docker(tmp_path, credsStore="x")) == Credentials(identity="me")


def test_what_a_helper_does_not_have_may_stand_in_the_configuration(tmp_path: Path) -> None:
    helper = Helper("credentials not found in native keychain", code=1)
    assert find(HOST, helper, docker(tmp_path, credsStore="x", auths={HOST: {"auth": AUTH}})) == SECRET
    assert find(HOST, helper, docker(tmp_path, credsStore="x", auths={HOST: {}})) is None


class TimeoutExpired(Exception):  # noqa: N818 - subprocess calls it so
    pass


@pytest.mark.parametrize(
    ("helper", "cause"),
    [
        (Helper("", error=FileNotFoundError()), "is not installed"),
        (Helper("", error=TimeoutExpired()), "did not end within 60 seconds"),
        (Helper("secret", code=3), "failed with status 3"),
        (Helper("secret"), "did not answer as a credential helper does"),
        (Helper('{"secret'), "did not answer as a credential helper does"),
    ],
)
def test_a_helper_that_does_not_help_is_told_without_its_words(
    tmp_path: Path, helper: Helper, cause: str
) -> None:
    with pytest.raises(EngineOrNetworkError) as caught:
        find(HOST, helper, docker(tmp_path, credsStore="x"))
    assert told(caught)[:2] == ("docker-credential-x", cause)
    assert "secret" not in str(caught.value)


def test_the_configuration_is_where_docker_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert config_folder() == tmp_path
    monkeypatch.delenv("DOCKER_CONFIG")
    assert config_folder() == Path.home() / ".docker"


def test_credentials_are_not_looked_for_where_nobody_asks(server: MemoryRegistry) -> None:
    server.client(find=lambda: pytest.fail("looked for")).has("vat", DIGEST)


# Which address


@pytest.mark.parametrize(
    ("name", "insecure", "address"),
    [
        ("localhost:5000/a", "", "http://localhost:5000/v2/"),
        ("a.test/a", "", "https://a.test/v2/"),
        ("a.test/a", "b.test, a.test", "http://a.test/v2/"),
        ("a.test:1/a", "b.test a.test:1", "http://a.test:1/v2/"),
    ],
)
def test_a_registry_has_tls_unless_it_is_here_or_named_as_insecure(
    monkeypatch: pytest.MonkeyPatch, name: str, insecure: str, address: str
) -> None:
    monkeypatch.setenv("CUVEE_INSECURE_REGISTRIES", insecure)
    assert Registry.of(Reference.parse(name))._client.base == address


def test_dockers_own_registry_has_its_api_elsewhere() -> None:
    base = Registry.of(Reference.parse("debian"))._client.base
    assert base.startswith("https://")
    assert base != "https://docker.io/v2/"


def test_no_request_is_repeated_behind_our_back_and_none_waits_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[dict[str, Any]] = []

    def send(_: Any, request: Any, *__: Any, **options: Any) -> requests.Response:
        del request
        seen.append(options)
        return answer(200)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", "")
    session = transport.session()
    session.get("http://localhost:5000/v2/")
    session.get("http://a.test/v2/")
    here, there = seen
    assert here["timeout"] == there["timeout"] == 30
    assert here["proxies"] == {}
    assert there["proxies"]["http"] == "http://proxy.test:3128"
    for address in ("http://a.test", "https://a.test"):
        adapter = session.get_adapter(address)
        assert isinstance(adapter, transport.Adapter)
        assert adapter.max_retries.total == 0


# What is there


def manifest(**changed: Any) -> bytes:
    layers = [{"digest": DIGEST, "size": len(CONTENT)}]
    return json.dumps({"schemaVersion": 2, "config": {}, "layers": layers, **changed}).encode()


def platforms(*listed: tuple[str, str, bytes]) -> bytes:
    return json.dumps(
        {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {"digest": sha256(data), "platform": {"os": system, "architecture": machine}}
                for system, machine, data in listed
            ],
        }
    ).encode()


def serve(server: MemoryRegistry, *manifests: bytes) -> Registry:
    """A registry whose first manifest has a tag."""
    server.manifests["vat"] = {"t": manifests[0], **{sha256(data): data for data in manifests}}
    return server.client()


VAT = Reference(registry=HOST, repository="vat", tag="t")


def test_a_manifest_is_told_with_its_digest(server: MemoryRegistry) -> None:
    found = remote_manifest(VAT, registry=serve(server, manifest()))
    assert found.digest == sha256(manifest())
    assert found.document["layers"][0]["digest"] == DIGEST
    accepted = server.headers[0]["Accept"]
    assert "application/vnd.oci.image.index.v1+json" in accepted
    assert "application/vnd.docker.distribution.manifest.v2+json" in accepted


def test_of_an_index_the_image_for_linux_on_x86_64_is_chosen(server: MemoryRegistry) -> None:
    arm, ours = manifest(config={"arm": 1}), manifest()
    index = platforms(("linux", "arm64", arm), ("windows", "amd64", arm), ("linux", "amd64", ours))
    assert remote_manifest(VAT, registry=serve(server, index, arm, ours)).digest == sha256(ours)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "the registry does not answer with a manifest"),
        (b"<html>", "the registry does not answer with a manifest"),
        (b"[" * 100_000, "the registry does not answer with a manifest"),
        (b"[]", "the registry does not answer with a manifest"),
        (b"{}", "what the registry has is no image of layers"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "what the registry has is no image of layers"),
        (manifest(layers=[7]), "what the registry has is no image of layers"),
        (manifest(layers=[{"digest": 1, "size": 2}]), "what the registry has is no image of layers"),
        (platforms(), "it has no image for Linux on x86-64"),
        (platforms(("linux", "arm64", b"")), "it has no image for Linux on x86-64"),
        (b'{"manifests": 7}', "it has no image for Linux on x86-64"),
        (b'{"manifests": [7]}', "it has no image for Linux on x86-64"),
        (
            b'{"manifests": [{"platform": {"os": "linux", "architecture": "amd64"}}]}',
            "it has no image for Linux",
        ),
    ],
)
def test_what_is_no_image_is_told(server: MemoryRegistry, data: bytes, cause: str) -> None:
    with pytest.raises(EngineOrNetworkError) as caught:
        remote_manifest(VAT, registry=serve(server, data))
    place, found, _ = told(caught)
    assert place == "vat:t"
    assert found.startswith(cause)


def test_an_index_of_indexes_ends(server: MemoryRegistry) -> None:
    inner = platforms(("linux", "amd64", b""))
    outer = platforms(("linux", "amd64", inner))
    with pytest.raises(EngineOrNetworkError, match="is no image of layers"):
        remote_manifest(VAT, registry=serve(server, outer, inner))


def test_another_manifest_than_the_one_asked_for_is_refused(server: MemoryRegistry) -> None:
    registry = serve(server, manifest())
    server.manifests["vat"][DIGEST] = manifest()
    with pytest.raises(EngineOrNetworkError, match=f"vat@{DIGEST}: its digest should be {DIGEST}, and"):
        registry.manifest("vat", DIGEST)
    server.troubles = [("GET", answer(200, manifest(), {"Docker-Content-Digest": DIGEST}))]
    with pytest.raises(EngineOrNetworkError, match=f"vat:t: its digest should be {DIGEST}, and"):
        registry.manifest("vat", "t")


def test_an_endless_manifest_is_not_read_to_its_end(server: MemoryRegistry) -> None:
    class Endless:
        count = 0

        def read(self, size: int) -> bytes:
            self.count += size
            return b" " * size

        def close(self) -> None: ...

    trouble = answer(200)
    trouble.raw = endless = Endless()
    server.troubles = [("GET", trouble)]
    with pytest.raises(EngineOrNetworkError, match="does not answer with a manifest"):
        server.client().manifest("vat", "t")
    assert endless.count < 10 * 1024**2


def test_an_image_that_is_not_there_is_told(server: MemoryRegistry) -> None:
    with pytest.raises(EngineOrNetworkError, match=r"vat:t: the registry does not have it, or hides it"):
        remote_manifest(VAT, registry=server.client())


def fetch(server: MemoryRegistry, into: Path, **changed: Any) -> None:
    expected = {"digest": DIGEST, "size": len(CONTENT), **changed}
    fetch_blob(VAT, into=into, registry=server.client(), **expected)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_blob_is_fetched_into_a_file(server: MemoryRegistry, tmp_path: Path) -> None:
    server.put("vat", CONTENT)
    fetch(server, tmp_path / "deep" / "blob")
    assert (tmp_path / "deep" / "blob").read_bytes() == CONTENT
    assert files_below(tmp_path) == ["deep/blob"]


def test_an_empty_blob_is_fetched_too(server: MemoryRegistry, tmp_path: Path) -> None:
    fetch(server, tmp_path / "blob", digest=sha256(b""), size=0)
    assert (tmp_path / "blob").read_bytes() == b""


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_taken_up_where_it_broke(
    server: MemoryRegistry, tmp_path: Path, ranges: bool
) -> None:
    server.put("vat", CONTENT)
    trouble = answer(200)
    trouble.raw = Dropping(CONTENT[:100])
    server.troubles = [("GET", trouble), ("GET", drop())]
    if not ranges:
        server.troubles.append(("GET", answer(200, CONTENT)))
    fetch(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == CONTENT
    assert [headers.get("Range") for headers in server.headers] == [None, "bytes=100-", "bytes=100-"]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (CONTENT[:-1], f"the registry sends {len(CONTENT) - 1} of its {len(CONTENT)} bytes"),
        (CONTENT + b"x", f"the registry sends more than the {len(CONTENT)} bytes that it has"),
        (b"x" * len(CONTENT), "what the registry sends has the digest sha256:"),
    ],
)
def test_another_blob_than_the_one_asked_for_leaves_nothing(
    server: MemoryRegistry, tmp_path: Path, content: bytes, cause: str
) -> None:
    server.troubles = [("GET", answer(200, content))]
    with pytest.raises(EngineOrNetworkError) as caught:
        fetch(server, tmp_path / "blob")
    place, found, _ = told(caught)
    assert place == f"vat@{DIGEST}"
    assert found.startswith(cause)
    assert files_below(tmp_path) == []


def test_a_connection_that_breaks_again_and_again_leaves_nothing(
    server: MemoryRegistry, tmp_path: Path
) -> None:
    server.troubles = [("GET", drop())] * 10
    with pytest.raises(EngineOrNetworkError, match="broke 4 times"):
        fetch(server, tmp_path / "blob")
    assert files_below(tmp_path) == []


def test_a_full_disk_is_told_with_the_folder(server: MemoryRegistry, tmp_path: Path) -> None:
    server.put("vat", CONTENT)
    (tmp_path / "file").touch()
    with pytest.raises(EngineOrNetworkError, match=r"blob: cannot be stored in .*file: .*Free some space"):
        fetch(server, tmp_path / "file" / "blob")


def test_the_digest_of_these_tests_is_one() -> None:
    assert f"sha256:{hashlib.sha256(CONTENT).hexdigest()}" == DIGEST
