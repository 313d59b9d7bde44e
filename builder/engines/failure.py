"""Why a build failed, read from the words of the tools that ran in it: uv, pip, apt, a compiler, BuildKit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_STATUS = "exit code: "
_KILLED = 128 + 9
_NETWORK = (
    r"dns error|resolving DNS|no such host|Name or service not known|Temporary failure (?:in name )?resol"
    r"|Connection (?:refused|reset|timed out)|establish a new connection|error sending request"
    r"|client error \(Connect\)|timed out|unreachable"
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
    (f"{_STATUS}{_KILLED}", "It was killed: give the engine's machine more memory, and build again"),
    (r"(?i)certificate", "Set SSL_CERT_FILE to the CA bundle of your network, and build again"),
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
    (r"^\S+:\d+:\d+: (?:fatal )?error: ", "Demand a version that has a wheel: a base is no place to compile"),
    (
        r"(?i)command .*failed|No such file or directory: '\S*(?:gcc|g\+\+|cc)'",
        "Demand a version that has a wheel: a base has no compiler",
    ),
    (r"Unable to locate package", "See the base's packages in matrix.yaml: its suite does not have this one"),
)

# uv 0.5 draws a tree and wraps its lines; later ones, and most other tools, write a word and a colon.
_MESSAGE = re.compile(r"(?:(error|ERROR|E|cause|Caused by|W|hint|help):|[\u00d7\u251c\u2570](?:─▶)?) +(.*)")
_ASIDES = ("W", "hint", "help")
_WRAPPING = (None, "hint", "help")
_RETRY = re.compile(r"connection broken by '.*?((?:Failed to establish|certificate verify failed)[^']*)")
_WHOLE_LINE = re.compile(
    r"\S+:\d+:\d+: (?:fatal )?error: |[A-Z]\w*(?:Error|Exception): |.*(?i:no space left on device)"
)
_PROCESS = re.compile(r'process ".*" did not complete successfully: ')


@dataclass(slots=True)
class _Message:
    """What a tool said in a line, or in more where it wraps; an aside may say why, but never what."""

    text: str
    aside: bool = False
    wrapped: bool = False


def explain(words: Sequence[str], otherwise: str) -> tuple[str, str]:
    """The cause of a failure and the next step.

    A line is a message when it begins like one: "error" is also in the names of packages and of options.

    Args:
        words: What the failed step said, line by line, with BuildKit's own word on it last.
        otherwise: The next step where no message is a known one.
    """
    messages = [*_messages(words)] or [_Message(word) for word in words[-1:]] or [_Message("it said nothing")]
    asides = [message.text for message in messages if message.aside]
    told = [message.text for message in messages if not message.aside]
    reason, fix = _known([*asides, *told]) or ([*asides, *told][-1], otherwise)
    # The first message says what failed, the known one or the last says why.
    return ": ".join(dict.fromkeys(text.rstrip(" .:?") for text in (*told[:1], reason))), fix


def _known(texts: Sequence[str]) -> tuple[str, str] | None:
    """The message that counts, and its next step; of several the last, which is nearest to the root."""
    found = ((text, fix) for pattern, fix in _KNOWN for text in reversed(texts) if re.search(pattern, text))
    return next(found, None)


def _messages(words: Iterable[str]) -> Iterator[_Message]:
    last: _Message | None = None
    for word in words:
        line = _PROCESS.sub("", word.strip())
        if found := _message(line):
            if last:
                yield last
            last = found
        elif last and last.wrapped and line and not line.startswith(_STATUS):
            last.text += f" {line}"
        elif last:
            last.wrapped = False
    if last:
        yield last


def _message(line: str) -> _Message | None:
    if match := _MESSAGE.match(line):
        return _Message(match[2], aside=match[1] in _ASIDES, wrapped=match[1] in _WRAPPING)
    if match := _RETRY.search(line):
        return _Message(match[1], aside=True)
    return _Message(line) if _WHOLE_LINE.match(line) or line == f"{_STATUS}{_KILLED}" else None
