"""A registry in memory, as an adapter of `requests`, with troubles where a test wants some."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import requests
from requests.adapters import BaseAdapter

from builder.publish.registry import Registry
from builder.publish.transport import Patience

HOST = "registry.test"
TOKENS = "tokens.test"
IDENTITY = "identity"
QUICK = Patience(pause_s=0.0, longest_pause_s=0.0, timeout_s=0.2)


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Dropping(io.BytesIO):
    """An answer whose connection breaks when it has been read."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            raise requests.ConnectionError("dropped")
        return data


@dataclass
class MemoryRegistry(BaseAdapter):
    """Some repositories, and what was asked of them.

    Attributes:
        blobs: Of each repository its blobs by digest.
        manifests: Of each repository its manifests by tag and digest.
        asked: Methods and paths, in their order.
        headers: The headers that went with them.
        troubles: What happens to a request instead, once each, by `METHOD PATH` with PATH's beginning.
        wants: "", "basic" or "bearer".
        password: With which `user` is let in.
        tokens: The token service's answers: of each token its scopes.
        mounts: Whether it mounts.
        digests: Whether it says the digests of what it has.
        location: Where uploads go on.
    """

    blobs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    manifests: dict[str, dict[str, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    troubles: list[tuple[str, requests.Response | Exception]] = field(default_factory=list)
    wants: str = ""
    password: str = "word"  # noqa: S105 - a test's
    expires_in: int = 300
    tokens: dict[str, tuple[str, ...]] = field(default_factory=dict)
    forms: list[dict[str, str]] = field(default_factory=list)
    mounts: bool = True
    digests: bool = True
    location: str = "/v2/up/1?state=a%3D"
    lock: Any = field(default_factory=threading.Lock)

    def client(self, **options: Any) -> Registry:
        session = requests.Session()
        session.mount("https://", self)
        session.mount("http://", self)
        return Registry(HOST, session=session, **{"patience": QUICK, **options})

    def put(self, repository: str, *contents: bytes) -> None:
        self.blobs.setdefault(repository, {}).update({sha256(content): content for content in contents})

    def sent(self, method: str) -> list[str]:
        return [line.partition(" ")[2] for line in self.asked if line.startswith(f"{method} ")]

    def close(self) -> None: ...

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        with self.lock:
            response = self._answer(request)
        response.url, response.request = request.url or "", request
        return response

    def _answer(self, request: requests.PreparedRequest) -> requests.Response:
        url = urlsplit(request.url or "")
        line = f"{request.method} {url.path if url.netloc == HOST else f'//{url.netloc}{url.path}'}"
        self.asked.append(line)
        self.headers.append(dict(request.headers))
        body = received(request)
        for number, (start, trouble) in enumerate(self.troubles):
            if line.startswith(start):
                del self.troubles[number]
                if isinstance(trouble, Exception):
                    raise trouble
                return again(trouble)
        if url.netloc == TOKENS:
            return self._token(request, parse_qs(url.query), body)
        if url.netloc == HOST and not self._allowed(request):
            challenge = f'Bearer realm="https://{TOKENS}/token",service="{HOST}",scope="a:b:c"'
            return answer(
                401,
                b'{"errors": [{"code": "UNAUTHORIZED", "message": "who?"}]}',
                {"WWW-Authenticate": challenge if self.wants == "bearer" else 'Basic realm="r"'},
            )
        return self._serve(request, url.path, parse_qs(url.query), body)

    def _allowed(self, request: requests.PreparedRequest) -> bool:
        sent = request.headers.get("Authorization", "")
        if self.wants == "basic":
            return sent == requests.auth._basic_auth_str("user", self.password)
        if self.wants == "bearer":
            repository = urlsplit(request.url or "").path.split("/")[2]
            scopes = self.tokens.get(sent.removeprefix("Bearer "), ())
            need = "pull" if request.method in {"GET", "HEAD"} else "push"
            return any(
                scope.startswith(f"repository:{repository}:") and need in scope for scope in scopes
            ) or (repository == "up" and bool(scopes))
        return True

    def _token(
        self, request: requests.PreparedRequest, query: dict[str, list[str]], body: bytes
    ) -> requests.Response:
        if request.method == "POST":
            form = dict(parse_qsl(body.decode()))
            self.forms.append(form)
            scopes, good = tuple(form["scope"].split()), form["refresh_token"] == IDENTITY
        else:
            scopes = tuple(query.get("scope", ()))
            sent = request.headers.get("Authorization")
            good = sent in {None, requests.auth._basic_auth_str("user", self.password)}
            if sent is None:  # anyone may pull
                scopes = tuple(scope.replace(",push", "") for scope in scopes)
        if not good:
            return answer(401, b"{}")
        token = f"token-{len(self.tokens)}"
        self.tokens[token] = scopes
        return answer(200, json.dumps({"token": token, "expires_in": self.expires_in}).encode())

    def _serve(
        self, request: requests.PreparedRequest, path: str, query: dict[str, list[str]], body: bytes
    ) -> requests.Response:
        if path.startswith("/v2/up/"):
            return self._uploaded(path, query["digest"][0], body)
        repository, kind, name = path.removeprefix("/v2/").rsplit("/", 2)
        if name == "" and request.method == "POST":
            return self._begun(repository.removesuffix("/blobs"), query)
        if kind == "manifests" and request.method == "PUT":
            return self._publish(repository, name, body)
        table = self.blobs if kind == "blobs" else self.manifests
        found = table.get(repository, {}).get(name)
        if found is None:
            return answer(404, b'{"errors": [{"code": "UNKNOWN"}]}')
        head = {"Docker-Content-Digest": sha256(found)} if self.digests else {}
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=")[:-1])
        status = 206 if start else 200
        return answer(status, b"" if request.method == "HEAD" else found[start:], head)

    def _begun(self, repository: str, query: dict[str, list[str]]) -> requests.Response:
        other = query.get("from", [""])[0]
        digest = query.get("mount", [""])[0]
        if self.mounts and digest in self.blobs.get(other, {}):
            self.put(repository, self.blobs[other][digest])
            return answer(201)
        self.manifests.setdefault(repository, {})
        self._to = repository
        return answer(202, headers={"Location": self.location})

    def _uploaded(self, path: str, digest: str, body: bytes) -> requests.Response:
        del path
        if sha256(body) != digest:
            return answer(400, b'{"errors": [{"code": "DIGEST_INVALID", "message": "it differs"}]}')
        self.put(self._to, body)
        return answer(201, headers={"Docker-Content-Digest": digest} if self.digests else {})

    def _publish(self, repository: str, name: str, body: bytes) -> requests.Response:
        document = json.loads(body)
        for one in [document["config"], *document["layers"]]:
            if one["digest"] not in self.blobs.get(repository, {}):
                return answer(400, b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}')
        self.manifests.setdefault(repository, {}).update({name: body, sha256(body): body})
        return answer(201, headers={"Docker-Content-Digest": sha256(body)} if self.digests else {})


def received(request: requests.PreparedRequest) -> bytes:
    """The body of a request, which has the length that it says."""
    body: Any = request.body or b""
    data = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else b"".join(body)
    assert len(data) == int(request.headers.get("Content-Length", 0))
    assert "Transfer-Encoding" not in request.headers
    return data


def answer(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> requests.Response:
    response = requests.Response()
    response.status_code, response.reason = status, {401: "Unauthorized"}.get(status, "Said So")
    response.headers.update(headers or {})
    response.raw = io.BytesIO(body)
    return response


def again(trouble: requests.Response) -> requests.Response:
    """The same answer, unread."""
    fresh = requests.Response()
    fresh.__dict__.update(trouble.__dict__)
    if isinstance(fresh.raw, io.BytesIO):
        fresh.raw = type(fresh.raw)(fresh.raw.getvalue())
    return fresh


def pieces(content: bytes, size: int = 7) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))
