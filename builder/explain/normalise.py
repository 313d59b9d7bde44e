"""Makes a log readable: what terminals, loggers, containers and web pages add to its lines is taken off.

A log of any size is read in windows, so that memory is bounded. A line stays a line: none is joined or
dropped, and the numbers that are told are those of the log as it was given.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

SIZE = 1 << 20
"""Characters of a window; a longer line is cut."""

OVERLAP = 8192
"""Characters that a window repeats of the one before, so that a message on its edge is seen whole."""

_FEW = 64

BREAK = "\v"
"""Stands for a carriage return within a line: what a progress bar overwrote."""

# The escape character, as itself or as editors, JSON and notebooks write it, and what it begins: colours,
# movements of the cursor, titles of windows, character sets.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]{0,40}[ -/]{0,4}[@-~]|\][^\x07\x1b\n]{0,400}(?:\x07|\x1b\\)?"
    r"|[()*+][0-9A-B]|[=>78MDEHNOZc])?"
)
_ESCAPES_WRITTEN = re.compile(r"(?:\x9b|(?:\\x1b|\\u001b|\\033|\\e|\^\[|\u241b)\[)[0-9;?]{0,40}[A-Za-z]")
_WRITTEN = ("1b[", "033[", "\\e[", "^[[", "\u241b", "\x9b")
_COLOURS_LEFT = re.compile(r"\[\d{1,3}(?:;\d{1,3}){0,8}m")  # what remains when the escape character was lost
_CONTROLS = tuple(map(chr, (*range(9), *range(14, 32), 127)))
_ENTITIES = re.compile(r"&(?:#\d{1,5}|#x[0-9a-fA-F]{1,4}|lt|gt|amp|quot|apos|nbsp);")
_TAGS = re.compile(r"</?(?:span|pre|code|div|b|i|br|p|font)\b[^<>\n]{0,200}>")
_JSON_ESCAPES = re.compile(r"\\u(?:00[2-7]|0[1-9a-fA-F][\da-fA-F]|[1-9a-cA-CeEfF][\da-fA-F]{2})[\da-fA-F]")
_TYPOGRAPHY = {
    "\u00a0": " ",
    "\u200b": "",
    "\u200c": "",
    "\u200d": "",
    "\ufeff": "",
    "\u00ad": "",
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\uff1a": ":",
}

# What stands before the words of a line: each alternative is tried at a line's start, and several may follow
# each other. All are bounded or possessive, so that a line costs the same however it is made.
_PREFIX = r"""
    (?:[ \t]{0,40}+(?:
        >{1,2}(?=[ ])                                               # a quote of GitHub or of a letter
      | [\u2502\u2503\u2506\u254e](?=[ ])                           # the frame of a rich traceback
      | \[?\d{4}[-/]\d\d[-/]\d\d[T ,]{1,2}\d\d:\d\d:\d\d(?:[.,:]\d{1,9})?
          (?:[ ]?(?:Z|UTC|[+-]\d\d:?\d\d))?\]?(?=[\s|])             # ISO: docker logs -t, Actions, logging
      | [A-Z][a-z]{2}[ ]{1,2}\d{1,2}[ ]\d\d:\d\d:\d\d[ ]            # syslog and journald
          (?:[\w.-]{1,64}+[ ][\w./@-]{1,64}+(?:\[\d{1,10}\])?:(?=\s))?
      | \[?\d{1,2}:\d\d:\d\d(?:[.,-]\d{1,6})?\]?(?=[\s|])           # a time of day
      | \[[ ]{0,8}\d{1,9}\.\d{3,6}\](?=[ ])                         # dmesg
      | \[pod/[^\]\n]{1,200}\](?=[ ])                               # kubectl logs --prefix
      | (?:stdout|stderr)[ ][FP](?=[ ])                             # containerd
      | [\w.-]{1,64}+[ ]{0,60}+\|(?=[ \n])                          # docker compose
      | \|[ ](?:TRACE|DEBUG|INFO|SUCCESS|WARNING|ERROR|CRITICAL)[ ]{1,9}\|    # loguru
      | \#\d{1,4}(?:[ ]\d{1,6}\.\d{1,3})?(?=[ ])                    # BuildKit
      | \d{1,5}\.\d{3}(?=[ ])                                       # BuildKit's excerpt
      | \#\#\[(?:error|warning|notice|debug|command|group)\]        # GitHub Actions
      | [^\t\n]{1,80}+\t[^\t\n]{1,80}+\t(?=\d{4}-)                  # gh run view --log
      | E(?=[ ]{3})                                                 # pytest
      )[ \t]?
    ){1,6}"""
_AT_LINES = re.compile(rf"\n(?=[^\n]){_PREFIX}", re.VERBOSE)
_AT_BREAKS = re.compile(rf"\v{_PREFIX}", re.VERBOSE)

# The loader's own report (LD_DEBUG) tells of misses by the thousand in programs that work.
_LOADER = re.compile(
    r"""\n(?=[ \t\d])[ \t]{0,12}\d{1,10}:[ \t]{1,8}(?:
        (?:find[ ]library|search[ ](?:path|cache)|trying[ ]file|file|symbol)=
      | calling[ ]|initialize[ ]|transferring[ ]|binding[ ]file|relocation[ ]|opening[ ]|closing[ ]
      | destroying[ ]|checking[ ]for[ ]version|add[ ]|\S{1,400}[ ]error:[ ](?:symbol|version)[ ]lookup
    )[^\n]*""",
    re.VERBOSE,
)
_FRAME_END = re.compile(r"[ \t]{1,200}[\u2502\u2503](?=\n)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of a log.

    Attributes:
        first: The number of its first line in the log, counted from 1.
        raw: As it was given.
        text: As it is read; it has as many line breaks as `raw`.
    """

    first: int
    raw: str
    text: str


def windows(pieces: Iterable[str]) -> Iterator[Window]:
    """A log in windows of bounded size, cut between lines where lines allow it.

    Args:
        pieces: The log's text, in parts of any size.
    """
    held, first = "", 1
    for part in _parts(pieces):
        held += part
        while len(held) >= SIZE + OVERLAP:
            end = _end(held, SIZE)
            yield _window(first, held[:end])
            kept = _start(held, end - OVERLAP)
            first += held.count("\n", 0, kept)
            held = held[kept:]
    yield _window(first, held)


def _parts(pieces: Iterable[str]) -> Iterator[str]:
    """The same text, in parts that are cheap to hold."""
    for piece in pieces:
        for start in range(0, len(piece), SIZE):
            yield piece[start : start + SIZE]


def _window(first: int, raw: str) -> Window:
    return Window(first=first, raw=raw, text=readable(raw))


def _end(text: str, size: int) -> int:
    """Where a window ends: after the last line break near its size, or there where the line is too long."""
    return text.rfind("\n", size - OVERLAP // 2, size) + 1 or size


def _start(text: str, near: int) -> int:
    """Where the next window starts: at a line near `near`, or there where the line is too long."""
    return text.find("\n", near, near + OVERLAP // 2) + 1 or near


def readable(raw: str) -> str:
    """A text without colours, carriage returns, controls, prefixes and frames; its line breaks stay."""
    text = _plain(_without_escapes(_without_returns(raw)))
    text = _AT_LINES.sub("\n", _LOADER.sub("\n", f"\n{text}"))
    if BREAK in text:
        text = _AT_BREAKS.sub(BREAK, text)
    if "\u2502" in text or "\u2503" in text:
        text = _FRAME_END.sub("", text)
    return text[1:]


def _without_returns(text: str) -> str:
    if "\0" in text:  # UTF-16 that was read as UTF-8
        text = text.replace("\0", "")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", BREAK)
    return text


def _without_escapes(text: str) -> str:
    if "\x1b" in text:
        text = _each(_ESCAPES, _nothing, text)
    if any(mark in text for mark in _WRITTEN):
        text = _each(_ESCAPES_WRITTEN, _nothing, text)
    if "[0m" in text or "[39m" in text:
        text = _each(_COLOURS_LEFT, _nothing, text)
    for control in _CONTROLS:
        if control in text:
            text = text.replace(control, "")
    return text


def _plain(text: str) -> str:
    """Without what web pages, notebooks and JSON do to characters."""
    if "&" in text:
        text = _each(_ENTITIES, _entity, text)
    if "</" in text or "<br" in text:
        text = _each(_TAGS, _nothing, text)
    if "\\u" in text:
        text = _each(_JSON_ESCAPES, _json_escape, text)
    if "\\_" in text:  # Markdown
        text = text.replace("\\_", "_")
    if not text.isascii():
        for special, meant in _TYPOGRAPHY.items():
            text = text.replace(special, meant)
    return text


def _each(pattern: re.Pattern[str], meaning: Callable[[str], str], text: str) -> str:
    """Replace all that a pattern finds; a log has the same few colours very often, and each goes at once."""
    found = sorted(set(pattern.findall(text)), key=len, reverse=True)
    if len(found) > _FEW:
        return pattern.sub(lambda match: meaning(match[0]), text)
    for one in found:
        text = text.replace(one, meaning(one))
    return text


def _nothing(_: str) -> str:
    return ""


def _entity(written: str) -> str:
    return html.unescape(written).replace("\n", BREAK)


def _json_escape(written: str) -> str:
    return chr(int(written[-4:], 16))
