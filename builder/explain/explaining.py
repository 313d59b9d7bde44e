"""From a log to its explanation: which failures it tells of, the cause first, and what helps.

Pure: a text in, a record out. Any text gets an answer; a signature is claimed only for words that nothing but
its failure prints.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from builder.explain.matching import Pattern, Sighting, View
from builder.explain.normalise import windows
from builder.explain.signatures import SURE, Book, Case, Fixes, Place, Signature, Step, Sure, load
from builder.explain.suspects import Suspects
from builder.explain.versions import Versions

Outcome: TypeAlias = Literal["explained", "unknown", "healthy"]

_ENOUGH = 64  # sightings of a pattern; further ones tell nothing new
_SHOWN = 5  # further places of a finding
_EARLY = 4  # windows: programs tell versions when they start, or near what matches
_HINTED = 1 << 15  # characters of each window that are searched for hints of a place
_VALUE = 120  # characters of a value


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A line of a log.

    Attributes:
        line: Its number, counted from 1.
        text: As it is read: without colours and prefixes, put together if it was wrapped, cut if it is long.
    """

    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A failure that a log tells of.

    Attributes:
        id: The signature's id.
        title: What it is, in one line.
        sure: How sure the cause is, given the text.
        quote: The line that tells it first.
        values: What the message has: the library's name, versions.
        cause: What it means and why, in a few sentences.
        fixes: The steps for each place.
        echo_of: The finding that this one merely follows from, or None.
        also: Further lines that say something else of it.
        times: How many lines tell it; counting ends at 64.
        threads: Upstream, as `owner/repo#number`.
        source: Where the message and its cause were seen.
    """

    id: str
    title: str
    sure: Sure
    quote: Quote
    values: Mapping[str, str]
    cause: str
    fixes: Fixes
    echo_of: str | None
    also: tuple[Quote, ...]
    times: int
    threads: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a log says.

    Attributes:
        outcome: `explained` if it tells of known failures, `unknown` if it looks like a failure that is not
            known, `healthy` if there is no sign of one.
        findings: The failures, the cause first and each followed by its echoes.
        place: Where the log comes from, or None if it does not show.
        hint: The text that shows it; empty where none does.
        versions: The versions that the log tells of, by name.
        suspects: Of an unknown failure, the lines that look most like it.
        collect: Of an unknown failure, what to gather.
        rows: Rows that do not have these failures; filled by who knows the rows (see `rows_without`).
        lines: How many lines the log has.
    """

    outcome: Outcome
    findings: tuple[Finding, ...]
    place: Place | None
    hint: str
    versions: Mapping[str, str]
    suspects: tuple[Quote, ...]
    collect: tuple[Step, ...]
    rows: tuple[str, ...] = ()
    lines: int

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its findings."""
        return tuple(finding.id for finding in self.findings)


def explain(log: str, known: Book | None = None) -> Explanation:
    """Explain a log, a traceback or a message.

    Args:
        log: The text, as it was copied.
        known: The signatures; those that come with cuvee if not given.
    """
    return explain_parts([log], known)


def explain_parts(parts: Iterable[str], known: Book | None = None) -> Explanation:
    """Explain a log that comes in parts, as from a file that is too large to hold.

    Args:
        parts: Its text, in order; a line may be spread over several.
        known: The signatures; those that come with cuvee if not given.
    """
    log = _Log(known or load())
    for window in windows(parts):
        log.read(View(window))
    return log.explanation()


def rows_without(ids: Iterable[str], verdicts: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """The rows that do not have certain failures; those that have no other either come first.

    Args:
        ids: The signatures that a row must not have.
        verdicts: For each row's id, the signatures that it is known to give.
    """
    unwanted = frozenset(ids)
    rows = (row for row, has in verdicts.items() if not has & unwanted)
    return tuple(sorted(rows, key=lambda row: len(verdicts[row])))


class _Log:
    """Gathers what is in the windows of a log, and tells it."""

    def __init__(self, known: Book) -> None:
        self._known = known
        self._seen: dict[Pattern, dict[int, Sighting]] = defaultdict(dict)
        self._hint = (len(known.hints), "")
        self._versions = Versions()
        self._suspects = Suspects(known.harmless)
        self._claims = False
        self._lines = 0
        self._windows = 0

    def read(self, view: View) -> None:
        """Take in a window."""
        found = {
            pattern: [*pattern.sightings(view)]
            for pattern in self._known.sieve.candidates(view)
            if len(self._seen[pattern]) < _ENOUGH
        }
        excused = [*self._harmless(view)] if any(found.values()) else []
        for pattern, sightings in found.items():
            for sighting in sightings:
                if not any(map(sighting.within, excused)):
                    self._seen[pattern].setdefault(sighting.line, sighting)
                    self._claims = self._claims or pattern in self._known.claiming
        self._read_hints(view.window.raw[:_HINTED])
        if found or self._windows < _EARLY:
            self._versions.read(f"\n{view.lines}\n")
        self._windows += 1
        if not self._claims:
            self._suspects.read(view)
        unended = bool(view.lines) and not view.lines.endswith("\n")
        self._lines = view.window.first - 1 + view.lines.count("\n") + unended

    def _harmless(self, view: View) -> Iterator[Sighting]:
        for pattern in self._known.harmless:
            yield from pattern.all_sightings(view)

    def explanation(self) -> Explanation:
        """What the windows say."""
        findings = tuple(_in_order(self._findings(), self._known.signatures))
        suspects = () if findings else self._suspects.found()
        rank, hint = self._hint
        return Explanation(
            outcome="explained" if findings else "unknown" if suspects else "healthy",
            findings=findings,
            place=self._known.hints[rank].place if hint else None,
            hint=hint,
            versions=self._versions.found(),
            suspects=tuple(map(_quote, suspects)),
            collect=self._known.collect if suspects else (),
            lines=self._lines,
        )

    def _read_hints(self, raw: str) -> None:
        rank, _ = self._hint
        for index, hint in enumerate(self._known.hints[:rank]):
            if found := hint.pattern.search(raw):
                self._hint = (index, " ".join(found[0].split()))
                return

    def _findings(self) -> Iterator[Finding]:
        whole = {one.id: self._sightings(one, cut=False) for one in self._known.signatures.values()}
        special = [id_ for id_ in whole if not self._known.signatures[id_].general]
        taken = {id_: _lines(whole[id_]) for id_ in special}
        for signature in self._known.signatures.values():
            others = set[int]().union(*(taken[id_] for id_ in special if id_ != signature.id))
            found = _apart(whole[signature.id], others) if signature.general else whole[signature.id]
            parts = [] if found else _apart(self._sightings(signature, cut=True), others)
            if found or parts:
                yield self._finding(signature, found or parts, cut=not found)

    def _sightings(self, signature: Signature, *, cut: bool) -> list[Sighting]:
        """In the order of the log, one a line; of several in one line the first pattern's."""
        by_line: dict[int, Sighting] = {}
        for pattern in signature.patterns:
            if pattern.cut == cut:
                by_line = self._seen[pattern] | by_line
        return [by_line[line] for line in sorted(by_line)]

    def _finding(self, signature: Signature, sightings: Sequence[Sighting], *, cut: bool) -> Finding:
        first = sightings[0]
        caught = _values(sightings)
        case, beside = self._case(signature, caught)
        values = caught | {name: value for name, value in beside.items() if name not in caught}
        telling = (case.telling if case else signature.telling).filled({**signature.defaults, **values})
        also = [one for one in sightings[1:] if one.values and one.values != first.values]
        return Finding(
            id=signature.id,
            title=telling.title,
            sure=_less(telling.sure) if cut else telling.sure,
            quote=_quote(first),
            values=values,
            cause=telling.cause,
            fixes=telling.fixes,
            echo_of=None,
            also=tuple(map(_quote, also[:_SHOWN])),
            times=min(len(sightings), _ENOUGH),
            threads=signature.threads,
            source=signature.source,
        )

    def _case(self, signature: Signature, values: Mapping[str, str]) -> tuple[Case | None, Mapping[str, str]]:
        """The first case that fits, and what the rest of the log adds to the message's own values."""
        for case in signature.cases:
            beside = [one for pattern in case.beside for one in self._seen[pattern].values()]
            if case.fits(values) and (beside or not case.beside):
                return case, _values(beside)
        return None, {}


def _values(sightings: Iterable[Sighting]) -> dict[str, str]:
    """What the messages have; the first that has a value counts."""
    values: dict[str, str] = {}
    for sighting in sightings:
        for name, value in sighting.values.items():
            values.setdefault(name, " ".join(value.split())[:_VALUE])
    return values


def _quote(sighting: Sighting) -> Quote:
    return Quote(line=sighting.line, text=sighting.text)


def _lines(sightings: Iterable[Sighting]) -> set[int]:
    return {line for one in sightings for line in range(one.line, one.last + 1)}


def _apart(sightings: Iterable[Sighting], taken: set[int]) -> list[Sighting]:
    """Those on lines that are not taken."""
    return [one for one in sightings if not taken & _lines([one])]


def _less(sure: Sure) -> Sure:
    return SURE[min(SURE.index(sure) + 1, len(SURE) - 1)]


def _in_order(findings: Iterable[Finding], signatures: Mapping[str, Signature]) -> Iterator[Finding]:
    """The causes in the order of the signatures, each followed by its echoes."""
    waiting = {finding.id: finding for finding in findings}
    echoes = {echo for id_ in waiting for echo in signatures[id_].echoes}
    for id_ in [id_ for id_ in waiting if id_ not in echoes]:
        yield from _with_echoes(id_, None, waiting, signatures)


def _with_echoes(
    id_: str, cause: str | None, waiting: dict[str, Finding], signatures: Mapping[str, Signature]
) -> Iterator[Finding]:
    finding = waiting.pop(id_)
    yield replace(finding, echo_of=cause)
    for echo in signatures[id_].echoes:
        if echo in waiting:
            yield from _with_echoes(echo, id_, waiting, signatures)
