"""Which of a package's files an environment takes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

if TYPE_CHECKING:  # what asks uv also brings an HTTP client
    from builder.lock.uv import Candidate, Resolved

# Older names of manylinux, by the glibc they stand for (PEP 600).
_LEGACY = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
_OLDEST = (2, 5)


def best_wheel(package: Resolved, python: str, glibc: str) -> Candidate | None:
    """The wheel that pip would take on x86-64 Linux, or None where the package has none for it.

    Args:
        package: The package with all its wheels.
        python: CPython's version, `3.11`.
        glibc: The base's C library, `2.36`.
    """
    order = {tag: rank for rank, tag in enumerate(supported_tags(python, glibc))}

    def rank(wheel: Candidate) -> tuple[int, int, str]:
        _, _, build, tags = parse_wheel_filename(wheel.file)
        number, suffix = build or (-1, "")
        # Among wheels with the same tag, the one that was built last wins.
        return -min((order[tag] for tag in tags if tag in order), default=len(order)), number, suffix

    fitting = [wheel for wheel in package.wheels if -rank(wheel)[0] < len(order)]
    return max(fitting, key=rank, default=None)


@cache
def supported_tags(python: str, glibc: str) -> tuple[Tag, ...]:
    """The tags of wheels that CPython on x86-64 Linux takes, the best first."""
    major, minor = (int(part) for part in python.split("."))
    platforms = [*_platforms(glibc), "linux_x86_64"]
    interpreter = f"cp{major}{minor}"
    return (
        *cpython_tags((major, minor), platforms=platforms),
        *compatible_tags((major, minor), interpreter=interpreter, platforms=platforms),
    )


def _platforms(glibc: str) -> Iterable[str]:
    major, newest = (int(part) for part in glibc.split("."))
    for minor in range(newest, _OLDEST[1] - 1, -1):
        yield f"manylinux_{major}_{minor}_x86_64"
        if (major, minor) in _LEGACY:
            yield f"{_LEGACY[major, minor]}_x86_64"
