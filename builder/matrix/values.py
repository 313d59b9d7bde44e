"""The kinds of value that `matrix.yaml` has: dates, versions, requirements, names.

Each is a type for pydantic: a check that says what is wrong and what the nearest right value is, and a JSON
Schema for editors. Versions are texts here, but editors read `12.1` as a number, so their schema takes both.
"""

# Not `from __future__ import annotations`: pydantic reads these types while the module is imported.

import re
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Literal, TypeAlias, get_args

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from builder.matrix.faults import choice, kind, wrong

OWN_KEYS = ("torch", "ctranslate2")
"""Packages that a row names by a key, because the rest of the row follows from their version."""

_NAME = r"[a-z0-9][a-z0-9-]*"
_DEBIAN_NAME = r"[a-z0-9][a-z0-9+.-]+"
_SITE_PATH = r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/(?!\*\*)[A-Za-z0-9_*][A-Za-z0-9_.*-]*)+"
_DAY = r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})"
# Slips that are seen in requirements, and what was meant: "a=1", "a 1".
_SLIPS = ((r"(?<![=<>!~])=(?!=)", "=="), (r"^(\S+)\s+(\d)", r"\1==\2"))


def _text(value: str) -> str:
    if not value.strip():
        raise wrong("there is an empty text", "Write a few words")
    return value


def _reason(value: object) -> object:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise wrong("there is no reason", "Say why, for the one who looks at it in a year")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(_NAME, value):
        near = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")
        fix = f"Write {near}, the nearest" if near else "Write small letters, digits and dashes"
        raise wrong(f'"{value}" cannot be a name: small letters, digits and dashes can', fix)
    return value


def _index_name(value: str) -> str:
    if "://" in value:
        raise wrong("there is an address where a name belongs", "Write a name such as pytorch")
    return _name(value)


def _debian_package(value: str) -> str:
    if not re.fullmatch(_DEBIAN_NAME, value):
        near = re.split(r"[=<>\s]", value.strip().lower().replace("_", "-"))[0]
        fix = (
            f"Write {near}, the nearest" if re.fullmatch(_DEBIAN_NAME, near) else "Write one as apt names it"
        )
        raise wrong(f'"{value}" cannot be the name of a Debian package', fix)
    return value


def _package(value: str) -> str:
    requirement = _parsed(value)
    near = canonicalize_name(requirement.name) if requirement else None
    if near != value:
        fix = f"Write {near}, the nearest" if near else "Write it as the package index does, in small letters"
        raise wrong(f'"{value}" cannot be the name of a package', fix)
    return value


def _site_path(value: str) -> str:
    if not re.fullmatch(_SITE_PATH, value):
        near = "/".join(part for part in value.split("/") if part not in {"", ".", "..", "**"})
        fix = f'Write "{near}", the nearest' if re.fullmatch(_SITE_PATH, near) else 'Such as "pandas/tests"'
        raise wrong(f'"{value}" is not a path below a package', fix)
    return value


def _two_numbers(value: str) -> str:
    if not re.fullmatch(r"\d+\.\d+", value):
        near = re.search(r"(\d+)\.(\d+)", value) or re.fullmatch(r"cu(\d\d)(\d)", value)
        fix = f'Write "{".".join(near.groups())}"' if near else 'Write them with a dot between, such as "1.2"'
        raise wrong(f'"{value}" is not a version of two numbers', fix)
    return value


def _exact(value: str) -> str:
    if _canonical(value) != value:
        near = _canonical(re.sub(r"^[=<>~!^\s]+", "", value).replace(".*", ".0"))
        fix = f'Write "{near}", the nearest' if near else 'Write all its numbers, such as "1.2.3"'
        raise wrong(f'"{value}" is not an exact version', fix)
    return value


def _exact_or_prefix(value: str) -> str:
    prefix = re.sub(r"\.[xX]$", ".*", value)
    if not re.fullmatch(r"\d+(\.\d+)*\.\*", prefix):
        return _exact(value)
    if prefix != value:
        raise wrong(f'"{value}" is not a version', f'Write "{prefix}", the nearest')
    return value


def _canonical(value: str) -> str | None:
    try:
        return str(Version(value))
    except InvalidVersion:
        return None


def _day(value: object) -> date:
    found = re.fullmatch(_DAY, value) if isinstance(value, str) else None
    day = _nearest_day(*map(int, found.groups())) if found else None
    if not day:
        raise wrong(f"{kind(value)} where a date belongs", "Write it as YYYY-MM-DD, e.g. 2025-01-20")
    if day.isoformat() == value:
        return day
    raise wrong(f'there is no day "{value}"', f"Write it as YYYY-MM-DD; the nearest real date is {day}")


def _nearest_day(year: int, month: int, day: int) -> date:
    year, month = max(year, 1), min(max(month, 1), 12)
    return date(year, month, min(max(day, 1), monthrange(year, month)[1]))


def _past(value: date) -> date:
    today = datetime.now(UTC).date()
    if value > today:
        raise wrong(
            f"{value} is in the future, whose packages nobody knows", f"Write {today} or a day before it"
        )
    return value


def _parsed(value: str) -> Requirement | None:
    try:
        return Requirement(value)
    except InvalidRequirement:
        return None


def _requirement(value: str) -> str:
    requirement = _parsed(value)
    if not requirement:
        repaired = (re.sub(slip, meant, value) for slip, meant in _SLIPS)
        near = next(filter(_parsed, repaired), None)
        fix = (
            f'Write "{near}", the nearest'
            if near
            else 'Write a name and a version, such as "name==1.2.3" or "name<2"'
        )
        raise wrong(f'"{value}" is not a requirement', fix)
    if requirement.url:
        raise wrong(f'"{value}" names an address', f"Write {requirement.name} and its version")
    return value


def _without_own_key(value: str) -> str:
    name = canonicalize_name(Requirement(value).name)
    if name in OWN_KEYS:
        raise wrong(
            f"{name} has a key of its own in the row", f'Remove it here and write the version at "{name}"'
        )
    return value


@dataclass(frozen=True, slots=True)
class _Repeated:
    """Stands in a list for a requirement whose package is there before, until pydantic comes to that item."""

    name: str
    first: str


def _mark_repeated(value: object) -> object:
    if not isinstance(value, list):
        return value
    first: dict[str, str] = {}
    marked: list[object] = []
    for item in value:
        requirement = _parsed(item) if isinstance(item, str) else None
        name = canonicalize_name(requirement.name) if requirement else ""
        marked.append(_Repeated(name, first[name]) if name in first else item)
        if name:
            first.setdefault(name, item)
    return marked


def _not_repeated(value: object) -> object:
    if isinstance(value, _Repeated):
        raise wrong(f'{value.name} is listed twice, first as "{value.first}"', "Keep one of the two")
    return value


def _not_empty(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise wrong("there is an empty list", 'Write at least one requirement, such as "- name==1.2.3"')
    return value


def _one_of(options: Sequence[str]) -> BeforeValidator:
    def check(value: object) -> object:
        if value not in options:
            raise wrong(f"{kind(value)} where one of {', '.join(options)} belongs", choice(value, options))
        return value

    return BeforeValidator(check)


def _pattern(regex: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{regex}$"})


_NUMBER_TOO = WithJsonSchema({"type": ["string", "number"]})

Check: TypeAlias = Literal[
    "lock", "libraries", "opened", "cudnn", "orders", "versions", "copies", "transcribe", "speakers"
]
CHECKS: tuple[str, ...] = get_args(Check)
Ffmpeg: TypeAlias = Literal["static", "pyav", "shared", "none"]
Status: TypeAlias = Literal["good", "known-bad", "untested"]

CheckName = Annotated[Check, _one_of(CHECKS)]
FfmpegChoice = Annotated[Ffmpeg, _one_of(get_args(Ffmpeg))]
StatusChoice = Annotated[Status, _one_of(get_args(Status))]

Text = Annotated[str, AfterValidator(_text)]
Reason = Annotated[str, BeforeValidator(_reason)]
Name = Annotated[str, AfterValidator(_name), _pattern(_NAME)]
IndexName = Annotated[str, AfterValidator(_index_name), _pattern(_NAME)]
DebianPackage = Annotated[str, AfterValidator(_debian_package), _pattern(_DEBIAN_NAME.replace("-]", r"\-]"))]
Package = Annotated[str, AfterValidator(_package)]
SitePath = Annotated[str, AfterValidator(_site_path), _pattern(_SITE_PATH)]

Gigabytes = Annotated[float, Field(gt=0, lt=1000)]
TwoNumbers = Annotated[str, AfterValidator(_two_numbers), _NUMBER_TOO]
Exact = Annotated[str, AfterValidator(_exact), _NUMBER_TOO]
ExactOrPrefix = Annotated[str, AfterValidator(_exact_or_prefix), _NUMBER_TOO]
PastDay = Annotated[date, AfterValidator(_past), BeforeValidator(_day)]

RequirementText = Annotated[str, AfterValidator(_requirement)]
_Listed = Annotated[RequirementText, BeforeValidator(_not_repeated)]
RowRequirements = Annotated[
    tuple[Annotated[_Listed, AfterValidator(_without_own_key)], ...], BeforeValidator(_mark_repeated)
]
OverlayRequirements = Annotated[
    tuple[_Listed, ...], BeforeValidator(_mark_repeated), AfterValidator(_not_empty)
]
