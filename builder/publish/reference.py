"""The name of an image in a registry, read as Docker reads it.

Pure. The rules are those of the distribution project's `reference` package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from builder.errors import BadInputError, Fault

HUB = "docker.io"
"""What Docker calls its own registry; its API has another address."""

DEFAULT_TAG = "latest"
LONGEST_REPOSITORY = 255
MOST_PORT = 65535

_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?P<name>\[[0-9A-Fa-f:.]+\]|{_WORD}(?:\.{_WORD})*)(?::(?P<port>[0-9]{{1,5}}))?")
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CREDENTIALS = re.compile(r"[^/\s]+@(?=[^@]*/)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An image, or the name for one, in a registry.

    Attributes:
        registry: The registry's host and port as Docker names it: `localhost:5000`, `docker.io`.
        repository: `cuvee/cu121`.
        tag: `latest`, or None where only a digest was given.
        digest: `sha256:…`, or None.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a text as Docker does: `debian` is short for `docker.io/library/debian:latest`.

        Raises:
            BadInputError: It is none; all that is wrong with it is told.
        """
        name, _, digest = text.partition("@")
        registry, path = _registry(name)
        repository, tag = _tagged(path)
        if faults := tuple(_faults(text, registry, repository, tag, digest)):
            raise BadInputError(*faults)
        return cls(
            registry=registry,
            repository=repository,
            tag=tag or (None if digest else DEFAULT_TAG),
            digest=digest or None,
        )

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest where there is one, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    def plain(self, insecure: Iterable[str] = ()) -> bool:
        """Whether its registry is spoken to without TLS: on this machine, or one of `insecure`.

        Args:
            insecure: Hosts, with or without a port.
        """
        return loopback(self.registry) or bool({self.registry, host_name(self.registry)} & set(insecure))

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def host_name(registry: str) -> str:
    """A registry's host without its port and brackets."""
    found = _HOST.fullmatch(registry)
    return (found["name"] if found else registry).strip("[]")


def loopback(registry: str) -> bool:
    """Whether a registry is on this machine, as far as its name tells."""
    name = host_name(registry)
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _registry(name: str) -> tuple[str, str]:
    """The registry, and what is left of a name: its first part is a host when it looks like one."""
    first, slash, rest = name.partition("/")
    if slash and (set(first) & set(".:[") or first == "localhost" or first != first.lower()):
        host, path = first, rest
    else:
        host, path = HUB, name
    if host in {HUB, f"index.{HUB}"}:
        return HUB, path if "/" in path else f"library/{path}"
    return host, path


def _tagged(path: str) -> tuple[str, str | None]:
    repository, colon, tag = path.partition(":")
    return repository, tag if colon else None


def _faults(text: str, registry: str, repository: str, tag: str | None, digest: str) -> Iterator[Fault]:
    place = f'image "{_CREDENTIALS.sub("", text)}"'
    if "://" in text:
        yield Fault(place=place, cause="an image's name has no scheme", fix="Leave out what stands up to ://")
        return
    if not _is_host(registry):
        yield Fault(
            place=place,
            cause="what stands before the first / is no host",
            fix="Write HOST or HOST:PORT there, as in localhost:5000/cuvee:cu121",
        )
    if not all(map(_PART.fullmatch, repository.split("/"))):
        yield Fault(
            place=place,
            cause="its repository has what no repository may have",
            fix="Use lower-case letters and digits, with single dots, underscores or dashes between them",
        )
    if len(repository) > LONGEST_REPOSITORY:
        yield Fault(
            place=place,
            cause=f"its repository has {len(repository)} characters",
            fix=f"Shorten it to {LONGEST_REPOSITORY}",
        )
    if tag is not None and not _TAG.fullmatch(tag):
        yield Fault(
            place=place,
            cause="its tag is none",
            fix="Use up to 128 letters, digits, underscores, dots and dashes, neither of the last two first",
        )
    if "@" in text and not _DIGEST.fullmatch(digest):
        yield Fault(
            place=place, cause="its digest is none", fix="Write @sha256: and 64 lower-case hex digits"
        )


def _is_host(registry: str) -> bool:
    found = _HOST.fullmatch(registry)
    return found is not None and int(found["port"] or 1) in range(1, MOST_PORT + 1)
