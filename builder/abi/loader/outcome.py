"""What came of opening a name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from builder.abi.loader.places import Found, Place, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One file asks for one name.

    Attributes:
        by: The path of the file that asks, "" for a program that is not known.
        name: What it asks for.
    """

    by: str
    name: str

    def __str__(self) -> str:
        return f"{self.by or 'the program'} needs {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A name was opened.

    Attributes:
        name: The name.
        path: The path of its file, as `World.files` has it; `driver` for a library of the host's driver.
        rule: Why that file was taken; `Rule.LOADED` if it was there before, by its name or by its file.
        new: What was loaded for it, in the loader's order: itself, then what it needs, breadth first.
    """

    name: str
    path: str
    rule: Rule
    new: tuple[Found, ...] = ()


class Cause(StrEnum):
    """Why a name could not be opened."""

    MISSING = "missing"
    WRONG_CLASS = "wrong class"
    VERSION = "version"
    EXECUTABLE_STACK = "executable stack"
    INCONSISTENT = "inconsistent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A name could not be opened, and nothing of what it brought stays loaded.

    Attributes:
        text: glibc's words, as `dlerror` has them. At the start of a program, that is what follows
            `error while loading shared libraries: `.
        cause: What is wrong.
        name: The name that lacks: of a library that is not found, or that cannot be loaded; for a symbol
            version that of the library which does not provide it.
        by: The path of the file that asks for it, "" for a program that is not known.
        version: The symbol version, else "".
        chain: Who asked for whom, from the opened name down to `name`.
        searched: The places where a missing name was looked for, in order.
    """

    text: str
    cause: Cause
    name: str
    by: str
    version: str = ""
    chain: tuple[Need, ...]
    searched: tuple[Place, ...] = ()


def explain(failed: Failed) -> str:
    """Who needs a missing name, and the places that were searched for it, one a line and in order."""
    return "\n".join((*map(str, failed.chain), *_places(failed)))


def _places(failed: Failed) -> Iterator[str]:
    if failed.searched:
        yield f"{failed.name} is not here, or not for this machine:"
    for (rule, of), places in groupby(failed.searched, lambda place: (place.rule, place.of)):
        owner = f" of {of}" if of else ""
        yield f"  {rule}{owner}: {', '.join(map(_told, places))}"
    rules = {place.rule for place in failed.searched}
    if rules and not rules & {Rule.PATH, Rule.LIBRARY_PATH}:
        yield f"  {Rule.LIBRARY_PATH}: not set"


def _told(place: Place) -> str:
    if place.rule is Rule.CACHE:
        return place.folder or "no such name"
    folder = place.folder.rstrip("/") or "/"
    if place.there or place.rule is Rule.PATH:
        return folder
    return f"{folder} (no such folder)" if folder.startswith("/") else f"{folder} (relative)"
