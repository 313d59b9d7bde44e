"""The signatures: kinds of failure, each with the message it prints, its cause and what helps.

They are read plainly from `builder/data/signatures.yaml`, because a log is explained in less time than it
takes to validate them; that the file is sound is checked by `checking`, which the tests run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import yaml

from builder.explain.matching import Pattern, Sieve

FILE = Path(__file__).parents[1] / "data" / "signatures.yaml"

Place: TypeAlias = Literal["docker", "colab", "venv"]
PLACES: tuple[Place, ...] = get_args(Place)
Sure: TypeAlias = Literal["certain", "likely", "possible"]
SURE: tuple[Sure, ...] = get_args(Sure)
PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_INSTALLS = ("pip install", "pip uninstall", "uv pip install")
_PLAIN = re.compile(r"[\w.+-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do.

    Attributes:
        do: What and when, for people; no full stop at its end.
        paste: The command, cell or lines of a file; empty if there is nothing to paste.
    """

    do: str
    paste: str


Fixes: TypeAlias = Mapping[Place, tuple[Step, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What is said of a failure. Texts may name what the log's message has, as `{{library}}`.

    Attributes:
        title: One line.
        sure: How sure the cause is, given the text.
        cause: What it means and why, in a few sentences.
        fixes: The steps for each place.
    """

    title: str
    sure: Sure
    cause: str
    fixes: Fixes

    def filled(self, values: Mapping[str, str]) -> Telling:
        """The same, with what the log has instead of the names in braces."""

        def fill(text: str) -> str:
            return PLACEHOLDER.sub(lambda name: values.get(name[1], name[1]), text)

        # A log may come from a stranger: what goes into a command must be a plain name.
        plain = {name: value for name, value in values.items() if _PLAIN.fullmatch(value)}

        def command(text: str) -> str:
            return PLACEHOLDER.sub(lambda name: plain.get(name[1], name[1].upper()), text)

        fixes = {
            place: tuple(Step(do=fill(step.do), paste=command(step.paste)) for step in steps)
            for place, steps in self.fixes.items()
        }
        return Telling(title=fill(self.title), sure=self.sure, cause=fill(self.cause), fixes=fixes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is said instead when the log shows more.

    Attributes:
        where: What groups of the message must have caught, as regular expressions by the group's name.
        beside: One of these must be in the log; none where there are none.
        telling: What is said then.
    """

    where: Mapping[str, str]
    beside: tuple[Pattern, ...]
    telling: Telling

    def fits(self, values: Mapping[str, str]) -> bool:
        """Whether the message's own values are those of this case."""
        return all(re.search(pattern, values.get(group, "")) for group, pattern in self.where.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A kind of failure that prints a known message.

    Attributes:
        id: Its name in verdicts, explanations and the doctor's findings.
        patterns: What it prints; those that are cut come last.
        telling: What is said of it, unless a case fits.
        cases: The first that fits counts.
        defaults: Words for groups that a pattern does not have.
        echoes: Signatures that merely follow from this one.
        general: Whether it leaves alone what a particular signature matches.
        threads: Upstream, as `owner/repo#number`.
        source: Where the text and its cause were seen.
    """

    id: str
    patterns: tuple[Pattern, ...]
    telling: Telling
    cases: tuple[Case, ...]
    defaults: Mapping[str, str]
    echoes: tuple[str, ...]
    general: bool
    threads: tuple[str, ...]
    source: str

    def all_patterns(self) -> Iterator[Pattern]:
        """Its own patterns and those of its cases."""
        yield from self.patterns
        for case in self.cases:
            yield from case.beside


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """A text that tells where a log comes from."""

    place: Place
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """All that is known of logs.

    Attributes:
        signatures: By id, in the order of causes.
        hints: Of places; the first that a log has counts.
        harmless: What looks like a failure and is none.
        collect: What to gather for a message that is not known.
        claiming: The patterns of signatures, without those that only choose a case.
        sieve: Over all patterns of the signatures and their cases.
    """

    signatures: Mapping[str, Signature]
    hints: tuple[Hint, ...]
    harmless: tuple[Pattern, ...]
    collect: tuple[Step, ...]
    claiming: frozenset[Pattern]
    sieve: Sieve


@cache
def load() -> Book:
    """The signatures that come with cuvee."""
    return book(FILE.read_text(encoding="utf-8"))


def book(text: str) -> Book:
    """The signatures in a text that is known to be sound."""
    data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    signatures = {id_: _signature(id_, written) for id_, written in data["signatures"].items()}
    return Book(
        signatures=signatures,
        hints=tuple(Hint(place=one["place"], pattern=re.compile(one["pattern"])) for one in data["places"]),
        harmless=tuple(Pattern(one["pattern"]) for one in data["harmless"]),
        collect=tuple(_steps(data["collect"])),
        claiming=frozenset(pattern for one in signatures.values() for pattern in one.patterns),
        sieve=Sieve(pattern for one in signatures.values() for pattern in one.all_patterns()),
    )


def _signature(id_: str, written: Mapping[str, Any]) -> Signature:
    telling = Telling(
        title=written["title"],
        sure=written["sure"],
        cause=written["cause"],
        fixes=_fixes(written["fixes"]),
    )
    return Signature(
        id=id_,
        patterns=(*map(Pattern, written["patterns"]), *_cuts(written.get("cut", ()))),
        telling=telling,
        cases=tuple(_case(case, telling) for case in written.get("cases", ())),
        defaults=written.get("defaults", {}),
        echoes=tuple(written.get("echoes", ())),
        general=written.get("general", False),
        threads=tuple(written["threads"]),
        source=written["source"],
    )


def _cuts(written: Iterable[str]) -> Iterator[Pattern]:
    return (Pattern(source, cut=True) for source in written)


def _case(written: Mapping[str, Any], usual: Telling) -> Case:
    telling = replace(
        usual,
        **{key: written[key] for key in ("title", "sure", "cause") if key in written},
        fixes={**usual.fixes, **_fixes(written.get("fixes", {}))},
    )
    beside = tuple(map(Pattern, written.get("beside", ())))
    return Case(where=written.get("where", {}), beside=beside, telling=telling)


def _fixes(written: Mapping[Place, list[Mapping[str, str]]]) -> Fixes:
    fixes = {place: tuple(_steps(steps)) for place, steps in written.items()}
    if "docker" in fixes:
        fixes["docker"] = tuple(replace(step, paste=_in_dockerfile(step.paste)) for step in fixes["docker"])
    return fixes


def _in_dockerfile(paste: str) -> str:
    """What is installed into a running container is lost with it: in an image it must be a RUN."""
    if not paste.startswith(_INSTALLS):
        return paste
    return "RUN " + " \\\n && ".join(paste.split("\n"))


def _steps(written: list[Mapping[str, str]]) -> Iterator[Step]:
    for step in written:
        yield Step(do=step["do"].strip(), paste=step.get("paste", "").rstrip("\n"))
