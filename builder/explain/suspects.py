"""Which lines of a log look like a failure, when none of them is a known one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from heapq import nlargest
from itertools import islice

from builder.explain.matching import EXCERPT, Pattern, Sighting, View

_MOST = 5
_MANY = 500  # in one window

# One of these is in every line that looks like a failure; most windows have none.
_WORDS = (
    "rror", "xception", "ERR", "FATAL", "CRITICAL", "raceback", "bort", "fault", "fatal", "terminate",
    "illed", "rashed", "died", "estart", "Interrupt", "xit", "STATUS_", "ot found", "undefined", "cannot",
    "non-zero", "complete", "Illegal", "SIG", "bad_alloc", "No module",
)  # fmt: skip

_LEVEL = r"(?:ERROR|CRITICAL|FATAL)"
# How much a line looks like the failure, and what it says.
_LOOKS = (
    (5, r"(?<=\n)[ \t]{0,8}(?:[A-Za-z_]\w{0,60}\.){0,6}\w{0,60}(?:Error|Exception)(?=:[ \n]|\n)"),
    (5, r"terminate called|Segmentation fault|core dumped|Fatal Python error|Illegal instruction|Bus error"),
    (5, r"(?<=\n)(?:Aborted|Killed)\b|SIG(?:ABRT|SEGV|KILL|ILL|BUS)\b|std::bad_alloc"),
    (4, r"CUDA (?:error|failed)|cu(?:DNN|BLAS) (?:error|failed)"),
    (4, r"CU(?:DNN|BLAS)_STATUS_(?!SUCCESS|NOT_SUPPORTED)[A-Z]"),
    (4, r"undefined symbol|cannot open shared object|symbol lookup error|not found \(required by"),
    (4, r"Your session crashed|[Kk]ernel (?:appears to have )?died|Kernel Restarting|KernelRestarter"),
    (3, r"exited with code [1-9]|exit (?:code|status):? [1-9]|non-zero exit|did not complete successfully"),
    (3, r"(?<=\n)[ \t]{0,8}(?:[\w.-]{1,40}: )?(?:error|fatal|ERROR|FATAL)(?=:| \d)"),
    (3, rf"(?<=\n){_LEVEL}\b|(?: - |\[|\| |level=|\] )(?:{_LEVEL}|error)(?= - |\]| {{0,8}}\||[ :])"),
    (2, r"Traceback \(most recent call last\)|KeyboardInterrupt|command not found|No module named"),
)
_LOOKS_LIKE = tuple((score, re.compile(pattern)) for score, pattern in _LOOKS)


class Suspects:
    """Gathers the lines of a log that look most like a failure."""

    def __init__(self, harmless: Sequence[Pattern]) -> None:
        self._harmless = harmless
        self._found: dict[int, tuple[int, str]] = {}

    def read(self, view: View) -> None:
        """Take in a part of a log."""
        text = f"\n{view.lines}"
        if not any(word in text for word in _WORDS):
            return
        excused = [found.span() for pattern in self._harmless for found in pattern.expression.finditer(text)]
        for score, start, end in _looking(text):
            if not any(first <= start < last for first, last in excused):
                self._keep(score, view.window.first + text.count("\n", 0, start) - 1, _line(text, start, end))
        best = nlargest(_MOST, self._found.items(), key=lambda one: (one[1][0], one[0]))
        self._found = dict(best)

    def found(self) -> tuple[Sighting, ...]:
        """The most suspicious lines, in the order of the log; of equal ones the last."""
        return tuple(
            Sighting(line=line, last=line, text=text, said="")
            for line, (_, text) in sorted(self._found.items())
        )

    def _keep(self, score: int, line: int, text: str) -> None:
        if score > self._found.get(line, (0, ""))[0]:
            self._found[line] = (score, text)


def _looking(text: str) -> Iterator[tuple[int, int, int]]:
    """The score, the start and the end of what looks like a failure."""
    for score, pattern in _LOOKS_LIKE:
        for found in islice(pattern.finditer(text), _MANY):
            yield score, found.start(), found.end()


def _line(text: str, start: int, end: int) -> str:
    first = max(text.rfind("\n", 0, start) + 1, start - EXCERPT // 3)
    last = text.find("\n", end)
    return " ".join(text[first : min(last if last >= 0 else len(text), first + EXCERPT)].split())
