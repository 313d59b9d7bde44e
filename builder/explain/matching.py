"""Finds patterns in a log: line by line, and across line breaks that a terminal put into the middle of words.

A pattern is a regular expression in which a blank stands for any blanks and line breaks. Most windows of a
log hold nothing: a pattern is only tried where the longest word that it always needs is there.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import accumulate, islice

from builder.explain.normalise import BREAK, Window

CUT = "\u2026"
"""At the end of a pattern: the rest of a word, and the end of the line or an ellipsis."""

EXCERPT = 300
"""Characters of a log's line that are shown."""

_FRAGMENT = 6
_SHORTEST = 4  # as long as the shortest needle allows
_MANY = 32  # of one pattern in one window; no more are looked at
_LINE_ENDS = r"\S{0,40}?(?=\.{3}|\u2026|[\n\v]|\Z)"

# How the source of a pattern is read; `_ANY` stands for what may differ from match to match.
_ANY = "\0"
_PRIVATE = 0xE000
_MEANT = {_PRIVATE + code: code for code in range(128)}
_CLASS = re.compile(r"(?<!\\)\[\^?\]?(?:\\.|[^\]\\])*\]")
_CLASS_OR_BLANK = re.compile(rf"{_CLASS.pattern}| ")
_ESCAPE = re.compile(r"\\(.)")
_OFTEN = r"(?:[?*+]|\{\d+(?:,\d*)?\})[?+]?"
_GROUP = re.compile(rf"\((?P<kind>\?(?:P<\w+>|P=\w+|:|<?[=!]))?(?P<inside>[^()]*)\)(?P<often>{_OFTEN})?")
_ABSENT = re.compile(r".(?:[?*]|\{0,?\d*\})[?+]?")
_REPEATED = re.compile(r"(.)(?:\+|\{\d+(?:,\d*)?\})[?+]?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A place of a log where a pattern matches.

    Attributes:
        line: The number of the line that it begins on, counted from 1.
        last: The number of the line that it ends on.
        text: The line, readable; lines that were wrapped are put together again.
        said: What matched, without blanks.
        values: What the groups of the pattern caught, by name.
    """

    line: int
    last: int
    text: str
    said: str
    values: Mapping[str, str] = field(default_factory=dict)

    def within(self, other: Sighting) -> bool:
        """Whether what it says is a part of what another one says, in the same place."""
        return other.line <= self.line and self.last <= other.last and self.said in other.said


class View:
    """A window as it is searched: as lines, and with every line break taken out."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.lines = window.text

    @cached_property
    def squeezed(self) -> str:
        """Without any blank; whatever a wrapped message says is in it in one piece."""
        return self.lines.replace("\n", "").replace(" ", "").replace("\t", "").replace(BREAK, "")

    @cached_property
    def joined(self) -> str:
        """The lines, without the blanks at their ends, as one."""
        return "".join(self._stripped)

    @cached_property
    def line_starts(self) -> list[int]:
        """Where each line begins in `lines`."""
        return [0, *(found.end() for found in re.finditer("\n", self.lines))]

    @cached_property
    def joined_starts(self) -> list[int]:
        """Where each line begins in `joined`."""
        return [0, *accumulate(map(len, self._stripped))][:-1]

    @cached_property
    def _stripped(self) -> list[str]:
        return [line.strip() for line in self.lines.split("\n")]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression over a readable log.

    Attributes:
        source: As it is written, with blanks for blanks and line breaks.
        cut: Whether it is what is left of a line that was cut.
    """

    source: str
    cut: bool = False

    @property
    def needle(self) -> str:
        """The longest text without blanks that every match has in it."""
        return needle(self.source)

    @property
    def expression(self) -> re.Pattern[str]:
        """It, for text whose words are not broken."""
        return _compiled(self.source, r"\s+")

    def sightings(self, view: View) -> Iterator[Sighting]:
        """Where it matches in a window; across broken words only if it does not match otherwise."""
        if self.needle in view.squeezed:
            yield from self._in_lines(view) or self._across_lines(view)

    def all_sightings(self, view: View) -> Iterator[Sighting]:
        """Where it matches in a window, across broken words or not; a place may come twice."""
        if self.needle in view.squeezed:
            yield from self._in_lines(view)
            yield from self._across_lines(view)

    def _in_lines(self, view: View) -> list[Sighting]:
        found = islice(self.expression.finditer(view.lines), _MANY)
        return [_sighting(match, view, view.line_starts, view.lines, " ") for match in found]

    def _across_lines(self, view: View) -> list[Sighting]:
        found = islice(_compiled(self.source, r"\s*").finditer(view.joined), _MANY)
        return [_sighting(match, view, view.joined_starts, view.joined, "") for match in found]


class Sieve:
    """Finds those of many patterns that may match in a window.

    Most windows have none of the words that any pattern needs. So the words are sought by a few fragments
    first, at least one of which is in each word.
    """

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._patterns: dict[str, list[Pattern]] = {}
        for pattern in dict.fromkeys(patterns):
            self._patterns.setdefault(pattern.needle, []).append(pattern)
        self._words = _fragments(self._patterns)

    @property
    def patterns(self) -> Iterator[Pattern]:
        """All of them."""
        return (pattern for some in self._patterns.values() for pattern in some)

    def candidates(self, view: View) -> Iterator[Pattern]:
        """The patterns whose needles are in a window."""
        text = view.squeezed
        for fragment, words in self._words.items():
            if fragment in text:
                for word in words:
                    if word in text:
                        yield from self._patterns[word]


def _fragments(words: Iterable[str]) -> dict[str, list[str]]:
    """Few fragments, each with the words that it stands for; the most frequent one is taken first."""
    found: dict[str, list[str]] = {}
    for word in words:
        for fragment in {word[start : start + _FRAGMENT] for start in range(len(word) - _SHORTEST + 1)}:
            found.setdefault(fragment, []).append(word)
    chosen: dict[str, list[str]] = {}
    waiting = {word for some in found.values() for word in some}
    for fragment in sorted(found, key=lambda one: (len(found[one]), len(one), one), reverse=True):
        if not waiting.isdisjoint(found[fragment]):
            chosen[fragment] = [word for word in found[fragment] if word in waiting]
            waiting.difference_update(found[fragment])
    return chosen


@cache
def needle(source: str) -> str:
    """The longest text without blanks that every match of a pattern has in it.

    It is read from the pattern's source: groups are opened from the inside out, save those that look around,
    choose or may be absent.
    """
    rest = _ESCAPE.sub(_kept, _CLASS.sub(_ANY, source.replace(CUT, "")))
    while (opened := _GROUP.sub(_opened, rest)) != rest:
        rest = opened
    rest = _REPEATED.sub(rf"\1{_ANY}", _ABSENT.sub(_ANY, rest))
    runs = re.split(rf"[{_ANY}.^$]", rest.replace(" ", ""))
    return max(runs, key=len).translate(_MEANT)


def _kept(escape: re.Match[str]) -> str:
    """A character that is escaped, so that it is not taken for what it would otherwise mean."""
    return _ANY if escape[1].isalnum() else chr(_PRIVATE + ord(escape[1]))


def _opened(group: re.Match[str]) -> str:
    if group["kind"] not in {None, "?:"} and not group["kind"].startswith("?P<"):
        return "" if group["kind"].startswith(("?=", "?!", "?<")) else _ANY
    if "|" in group["inside"] or (group["often"] or "").startswith(("?", "*", "{0")):
        return _ANY
    return f"{_ANY}{group['inside']}{_ANY}" if group["often"] else group["inside"]


@cache
def _compiled(source: str, blank: str) -> re.Pattern[str]:
    written = _CLASS_OR_BLANK.sub(lambda found: blank if found[0] == " " else found[0], source)
    return re.compile(written.replace(CUT, _LINE_ENDS))


def _sighting(match: re.Match[str], view: View, starts: list[int], text: str, between: str) -> Sighting:
    first = bisect_right(starts, match.start()) - 1
    last = bisect_right(starts, max(match.start(), match.end() - 1)) - 1
    end = starts[last + 1] if last + 1 < len(starts) else len(text)
    return Sighting(
        line=view.window.first + first,
        last=view.window.first + last,
        text=_excerpt(text, starts[first], match, end, between),
        said="".join(match[0].split()),
        values={name: value for name, value in match.groupdict().items() if value},
    )


def _excerpt(text: str, start: int, match: re.Match[str], end: int, between: str) -> str:
    """The lines of a match in one, cut around it when they are long."""
    start = max(start, match.start() - EXCERPT // 3, match.end() - 2 * EXCERPT)
    shown = text[start : min(end, start + EXCERPT)]
    before = shown.rfind(BREAK, 0, match.start() - start) + 1
    return " ".join(between.join(shown[before:].split("\n")).split())
