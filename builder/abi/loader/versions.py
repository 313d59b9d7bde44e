"""Symbol versions: whether a library provides those that another one needs of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

_GROWING = re.compile(r"(GLIBC|GLIBCXX|CXXABI|GCC)_(\d+(?:\.\d+)*)")
"""Families whose later versions imply the earlier ones; facts keep only the highest of each."""


def lacking(needed: Iterable[str], provided: tuple[str, ...]) -> str | None:
    """The first needed version that is not provided, or None.

    A library without any version satisfies every need, as in glibc's `match_symbol`: it stands in for one
    that has them.
    """
    if not provided:
        return None
    highest = _highest(provided)
    return next((name for name in needed if not _is_in(name, provided, highest)), None)


@lru_cache
def _highest(versions: tuple[str, ...]) -> Mapping[str, tuple[int, ...]]:
    """The highest version of each growing family."""
    highest: dict[str, tuple[int, ...]] = {}
    for match in filter(None, map(_GROWING.fullmatch, versions)):
        highest[match[1]] = max(_numbers(match[2]), highest.get(match[1], ()))
    return highest


def _is_in(name: str, provided: tuple[str, ...], highest: Mapping[str, tuple[int, ...]]) -> bool:
    match = _GROWING.fullmatch(name)
    return name in provided if match is None else _numbers(match[2]) <= highest.get(match[1], ())


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
