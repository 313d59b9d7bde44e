"""Checks that `signatures.yaml` is sound, and describes what `cuvee explain --json` prints.

Not on the way of a log: it takes longer than explaining one. The tests run it, and whoever edits the file.
"""

# Not `from __future__ import annotations`: pydantic reads the annotations of these classes as they are made.

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from builder.errors import BadInputError, Fault
from builder.explain.explaining import Explanation
from builder.explain.matching import CUT, needle
from builder.explain.page import FORMAT
from builder.explain.signatures import PLACEHOLDER, PLACES, SURE
from builder.matrix import yamlfile
from builder.matrix.faults import choice, kind, problems, wrong
from builder.matrix.row import Record
from builder.matrix.values import Name, Text
from builder.matrix.yamlfile import Document, KeyPath

_SHORTEST_NEEDLE = 5
_ESCAPED = re.compile(r"\\.")
_CLASS = re.compile(r"\[\^?\]?[^\]]*\]")
_USELESS = re.compile(r"environ\W{1,5}LD_LIBRARY_PATH")
_THREAD = r"[\w.-]+/[\w.-]+#\d+"


def _expression(value: str) -> str:
    try:
        compiled = re.compile(value)
    except re.error as error:
        raise wrong(f'"{value}" is not a regular expression ({error.msg})', "Mend it there") from error
    if compiled.search(""):
        raise wrong(f'"{value}" matches an empty text', "Write what must be there")
    if re.search(r"[*+]|\{\d+,\}", _CLASS.sub("", _ESCAPED.sub("", value))):
        raise wrong(f'"{value}" repeats something without end', "Say how often at most, such as {1,40}")
    return value


def _pattern(value: str) -> str:
    _expression(value)
    if "|" in _without_groups(_CLASS.sub("", _ESCAPED.sub("", value))):
        raise wrong(f'"{value}" chooses outside of brackets', "Write a further pattern")
    if len(needle(value)) < _SHORTEST_NEEDLE:
        raise wrong(f'"{value}" has no word that is always there', "Add a word that no choice is made of")
    return value


def _without_groups(value: str) -> str:
    while (outer := re.sub(r"\([^()]*\)", "", value)) != value:
        value = outer
    return value


def _one_of(options: Sequence[str]) -> BeforeValidator:
    def check(value: object) -> object:
        if value not in options:
            raise wrong(f"{kind(value)} where one of {', '.join(options)} belongs", choice(value, options))
        return value

    return BeforeValidator(check)


def _thread(value: str) -> str:
    if not re.fullmatch(_THREAD, value):
        raise wrong(f'"{value}" is not a thread', "Write it as owner/repo#number")
    return value


def _command(value: str) -> str:
    if _USELESS.search(value):
        raise wrong(
            "os.environ cannot change where the running process looks for libraries",
            "Set LD_LIBRARY_PATH in the shell, or load the library by its path",
        )
    return value


def _not_empty(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise wrong("there is an empty list", "Write at least one")
    return value


class _Step(Record):
    """One thing to do."""

    do: Text
    """What to do, and when; without a full stop at its end."""
    paste: Annotated[Text, AfterValidator(_command)] | None = None
    """The command, cell or lines of a file."""


def _can_be_pasted(steps: tuple[_Step, ...]) -> tuple[_Step, ...]:
    if not any(step.paste for step in steps):
        raise wrong("none of the steps can be pasted", 'Add "paste" to one of them: a command or a cell')
    return steps


def _whole(value: str) -> str:
    if CUT in value:
        raise wrong(f'"{value}" has "{CUT}", which is for lines that were cut', 'Write it under "cut"')
    return _pattern(value)


def _beginning(value: str) -> str:
    if CUT in value[:-1]:
        raise wrong(f'"{value}" goes on after "{CUT}"', "End it there")
    return _pattern(value)


_PatternText = Annotated[Text, AfterValidator(_whole)]
_CutText = Annotated[Text, AfterValidator(_beginning)]
_Expression = Annotated[Text, AfterValidator(_expression)]
_Patterns = Annotated[tuple[_PatternText, ...], AfterValidator(_not_empty)]
_Steps = Annotated[tuple[_Step, ...], AfterValidator(_can_be_pasted)]
_PlaceWord = Annotated[str, _one_of(PLACES)]
_SureWord = Annotated[str, _one_of(SURE)]


class _Fixes(Record):
    """What helps in each place."""

    docker: _Steps
    """In a container or its Dockerfile."""
    colab: _Steps
    """In a notebook of Colab or Kaggle."""
    venv: _Steps
    """In a virtual environment of a machine."""


class _SomeFixes(Record):
    """What helps in some places, instead of the signature's own."""

    docker: _Steps | None = None
    """In a container or its Dockerfile."""
    colab: _Steps | None = None
    """In a notebook of Colab or Kaggle."""
    venv: _Steps | None = None
    """In a virtual environment of a machine."""


class _Case(Record):
    """What is said instead when the log shows more."""

    where: Mapping[str, _Expression] = {}
    """What groups of the message must have caught."""
    beside: tuple[_PatternText, ...] = ()
    """What else the log must have, one of these."""
    title: Text | None = None
    """One line."""
    sure: _SureWord | None = None
    """How sure the cause is."""
    cause: Text | None = None
    """What it means and why."""
    fixes: _SomeFixes = Field(default_factory=_SomeFixes)
    """What helps."""


class _Signature(Record):
    """A kind of failure that prints a known message."""

    title: Text
    """One line that a person understands."""
    patterns: _Patterns
    """What it prints."""
    cut: tuple[_CutText, ...] = ()
    """What is left of it when a line was cut."""
    sure: _SureWord
    """How sure the cause is, given the text."""
    cause: Text
    """What it means and why, in two to four sentences."""
    fixes: _Fixes
    """What helps."""
    cases: tuple[_Case, ...] = ()
    """The first that fits counts."""
    defaults: Mapping[str, Text] = {}
    """Words for groups that a pattern does not have."""
    echoes: tuple[str, ...] = ()
    """Signatures that merely follow from this one."""
    general: bool = False
    """Whether it leaves alone what a particular signature matches."""
    threads: tuple[Annotated[str, AfterValidator(_thread)], ...]
    """Upstream."""
    source: Text
    """Where the message and its cause were seen."""


class _Hint(Record):
    """A text that tells where a log comes from."""

    place: _PlaceWord
    """The place."""
    pattern: _Expression
    """The text."""


class _Harmless(Record):
    """What looks like a failure and is none."""

    pattern: _Expression
    """The text."""
    because: Text
    """Why it is none."""


class _File(Record):
    """All that is known of logs."""

    places: Annotated[tuple[_Hint, ...], AfterValidator(_not_empty)]
    """Hints of places; the first that a log has counts."""
    collect: Annotated[tuple[_Step, ...], AfterValidator(_not_empty)]
    """What to gather for a message that is not known."""
    harmless: tuple[_Harmless, ...]
    """What looks like a failure and is none."""
    signatures: Mapping[Name, _Signature]
    """The signatures, in the order of causes."""


def check(path: Path) -> None:
    """Check a file of signatures.

    Raises:
        BadInputError: It cannot be read or something in it is wrong; one fault for each mistake.
    """
    _check(yamlfile.read(path))


def check_text(text: str, name: str = "signatures.yaml") -> None:
    """Check signatures in a text, which is told to users as `name`.

    Raises:
        BadInputError: Something in it is wrong; one fault for each mistake.
    """
    _check(yamlfile.parse(text, name))


def schema() -> str:
    """The text of `explain.schema.json`: what `cuvee explain --json` prints."""
    described = TypeAdapter(Explanation).json_schema(mode="serialization")
    described["properties"] = {"format": {"const": FORMAT}, **described["properties"]}
    described["required"] = list(described["properties"])
    for record in (described, *described["$defs"].values()):
        if "properties" in record:
            record["additionalProperties"] = False
            record["required"] = list(record["properties"])
    described["title"] = "cuvee explain --json"
    return json.dumps({"$schema": GenerateJsonSchema.schema_dialect, **described}, indent=2) + "\n"


def _check(document: Document) -> None:
    try:
        sound = _File.model_validate(document.data)
    except ValidationError as error:
        found = [(problem.keys, problem.cause, problem.fix) for problem in problems(error, _File)]
    else:
        found = list(_disagreements(sound))
    found.sort(key=lambda one: document.line(one[0]))
    if found:
        raise BadInputError(
            *(Fault(place=document.place(keys), cause=cause, fix=fix) for keys, cause, fix in found)
        )


def _disagreements(sound: _File) -> Iterator[tuple[KeyPath, str, str]]:
    """What is wrong between parts that are sound by themselves: the keys, the cause and the fix."""
    for id_, signature in sound.signatures.items():
        keys = ("signatures", id_)
        yield from _unknown_echoes(keys, signature, tuple(sound.signatures))
        yield from _unfilled(keys, signature)
        for number, case in enumerate(signature.cases):
            yield from _bad_case((*keys, "cases", number), signature, case)
    echoes = {id_: signature.echoes for id_, signature in sound.signatures.items()}
    try:
        TopologicalSorter(echoes).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        cause = f"it is an echo of itself: {' of '.join(circle)}"
        yield ("signatures", circle[0], "echoes"), cause, "Remove one of these echoes"


def _unknown_echoes(
    keys: KeyPath, signature: _Signature, ids: Sequence[str]
) -> Iterator[tuple[KeyPath, str, str]]:
    for number, echo in enumerate(signature.echoes):
        if echo not in ids:
            yield (*keys, "echoes", number), f'there is no signature "{echo}"', choice(echo, ids)


def _groups(pattern: str) -> set[str]:
    return set(re.compile(pattern).groupindex)


def _always(patterns: Sequence[str]) -> set[str]:
    """The groups that every one of these patterns has."""
    return set.intersection(*map(_groups, patterns)) if patterns else set()


def _unfilled(keys: KeyPath, signature: _Signature) -> Iterator[tuple[KeyPath, str, str]]:
    known = _always((*signature.patterns, *signature.cut)) | set(signature.defaults)
    yield from _missing(keys, _texts(signature), known)


def _bad_case(keys: KeyPath, signature: _Signature, case: _Case) -> Iterator[tuple[KeyPath, str, str]]:
    if not (case.where or case.beside):
        yield keys, "it would always fit", 'Add "where" or "beside"'
    groups = set[str]().union(*map(_groups, (*signature.patterns, *signature.cut)))
    for group in case.where:
        if group not in groups:
            cause = f'no pattern of the signature has a group "{group}"'
            yield (*keys, "where", group), cause, choice(group, sorted(groups))
    known = _always((*signature.patterns, *signature.cut)) | set(signature.defaults)
    yield from _missing(keys, _texts(case), known | set(case.where) | _always(case.beside))


def _texts(telling: _Signature | _Case) -> str:
    steps = [step for place in PLACES for step in getattr(telling.fixes, place) or ()]
    return "\n".join(
        text or "" for text in (telling.title, telling.cause, *(f"{one.do} {one.paste}" for one in steps))
    )


def _missing(keys: KeyPath, text: str, known: set[str]) -> Iterator[tuple[KeyPath, str, str]]:
    for name in sorted(set(PLACEHOLDER.findall(text)) - known):
        fix = 'Give it words under "defaults", or catch it in every pattern'
        yield keys, f"{{{{{name}}}}} stands in a text, and not every pattern catches it", fix
