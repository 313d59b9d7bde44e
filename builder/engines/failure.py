"""Why a build failed, read from the words of the tools that ran in it: uv, pip, apt and BuildKit itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_NETWORK = (
    r"dns error|resolving DNS|no such host|Name or service not known|Temporary failure in name resolution"
    r"|Temporary failure resolving|Connection (?:refused|reset|timed out)|connection (?:broken|closed)"
    r"|establish a new connection|error sending request|client error \(Connect\)|timed out|unreachable"
)
_KNOWN = (  # what a message says, and what to do then; the first that any message says counts
    (
        r"(?i)no space left on device",
        "Run `cuvee clean` or `docker system prune` to make room, and build again",
    ),
    (
        r"(?i)hash mismatch|do not match the hashes",
        "A file on the index is not the locked one: do not use that mirror",
    ),
    (r"exit code: 137", "Give the engine's machine more memory, and build again"),
    (
        r"(?i)certificate",
        "Set SSL_CERT_FILE to the CA bundle of your network, which re-signs TLS, and build again",
    ),
    (
        r"401 Unauthorized|403 Forbidden",
        "Check the user and the password in UV_DEFAULT_INDEX, and build again",
    ),
    (_NETWORK, "Check the network and the proxy (HTTPS_PROXY, UV_DEFAULT_INDEX), and build again"),
    (
        r"code = Unavailable|Cannot connect to the Docker daemon",
        "See the engine's log, start it again (`make engine` for the private one), and build again",
    ),
    (
        r"not found in the package registry|there is no version of|No matching distribution",
        "Use an index that mirrors all of PyPI (UV_DEFAULT_INDEX), or lock the row again",
    ),
    (
        r"^\S+:\d+:\d+: (?:fatal )?error: |(?i:command .*failed)|No such file or directory: '\S*(?:gcc|g\+\+|cc)'",
        "A base has no compiler: demand a version that has a wheel",
    ),
    (r"Unable to locate package", "See the base's packages in matrix.yaml: its suite does not have this one"),
)

_MESSAGE = re.compile(r"(?:(?:error|ERROR|E|cause|Caused by|(?P<aside>hint|help)):|(?P<tree>[×├╰](?:─▶)?)) +(.*)")
_COMPILER = re.compile(r"\S+:\d+:\d+: (?:fatal )?error: ")
_RETRY = re.compile(r"connection broken by '.*?((?:Failed to establish|certificate verify failed)[^']*)")
_PROCESS = re.compile(r'process ".*" did not complete successfully: ', re.DOTALL)


@dataclass(slots=True)
class _Message:
    """One message, and whether it is only advice, and whether it goes on in the next line."""

    text: str
    aside: bool = False
    wrapped: bool = False


def explain(words: Sequence[str], unknown: str) -> tuple[str, str]:
    """The cause of a failure and the next step.

    Args:
        words: What the step said, line by line, with BuildKit's own word on it last.
        unknown: The next step where no message is a known one.
    """
    messages = list(_messages(words))
    told = [message.text for message in messages if not message.aside] or [word for word in words[-1:] if word]
    if not told:
        return "it said nothing", unknown
    known = _known([*told, *(message.text for message in messages if message.aside)])
    reason, fix = known or (told[-1], unknown)
    # The first message says what failed, the known one says why.
    cause = ": ".join(dict.fromkeys(text.rstrip(" .:?") for text in (told[0], reason)))
    return cause, fix


def _known(texts: Iterable[str]) -> tuple[str, str] | None:
    return next(
        ((text, fix) for pattern, fix in _KNOWN for text in reversed(list(texts)) if re.search(pattern, text)),
        None,
    )


def _messages(words: Iterable[str]) -> Iterator[_Message]:
    """The lines that are messages: not those which only have the word "error" in a name or an option."""
    last: _Message | None = None
    for word in words:
        if found := _message(word.strip()):
            if last:
                yield last
            last = found
        elif last and last.wrapped and word.strip():
            last.text += f" {word.strip()}"
        elif last:
            last.wrapped = False
    if last:
        yield last


def _message(line: str) -> _Message | None:
    line = _PROCESS.sub("", line)
    if match := _MESSAGE.match(line):
        aside = bool(match["aside"])
        return _Message(match[3], aside=aside, wrapped=aside or bool(match["tree"]))
    if match := _RETRY.search(line):
        return _Message(match[1])
    if _COMPILER.match(line) or "no space left on device" in line.lower() or line == "exit code: 137":
        return _Message(line)
    return None
