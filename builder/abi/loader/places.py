"""The places where the loader looks, and the files that it finds there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DRIVER = "driver"
"""The path of what comes from the host's driver."""


class Rule(StrEnum):
    """Why a file was taken."""

    PROGRAM = "program"
    LOADED = "loaded already"
    PATH = "path"
    RPATH = "RPATH"
    LIBRARY_PATH = "LD_LIBRARY_PATH"
    RUNPATH = "RUNPATH"
    CACHE = "cache"
    DRIVER = "driver"
    DEFAULT = "default folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place that is searched.

    Attributes:
        rule: Why it is searched.
        folder: Its path as the loader spells it, tokens replaced, with a slash at its end. For the cache, the
            path of the file that it names, or "". For a name with a slash, that name.
        of: The file whose RPATH or RUNPATH says so, else "".
        there: Whether the folder is there. A relative folder is not, since the current folder is not known.
    """

    rule: Rule
    folder: str = ""
    of: str = ""
    there: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One file that was loaded.

    Attributes:
        name: The name that it was asked for by.
        path: Its path, as `World.files` has it; `driver` for a library of the host's driver.
        spelled: Its path as the loader spells it in messages and in `ldd`: the search folder and the name.
        by: The path of the file that asked for it first, "" for a program that is not known.
        place: Where it was found.
    """

    name: str
    path: str
    spelled: str
    by: str
    place: Place
