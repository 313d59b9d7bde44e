"""The tables that verdicts are judged by, from `builder/data`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

from builder.known import data


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """What is printed when a library cannot be loaded: see `data/openers.yaml`."""

    how: str
    why: str
    files: str
    names: tuple[str, ...]
    signature: str
    message: str
    cause: str
    fix: str
    order: tuple[str, ...]
    functions: Mapping[str, str]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A name that a binary holds and that need not be there: see `data/optional.yaml`."""

    files: str
    names: tuple[str, ...]
    reason: str


@cache
def openers() -> tuple[Opener, ...]:
    """What libraries print that cannot open another, the special before the general."""
    return tuple(
        Opener(
            how=entry.get("how", ""),
            why=entry.get("why", ""),
            files=entry["files"],
            names=tuple(entry.get("names", ("*",))),
            signature=entry["signature"],
            message=entry["message"],
            cause=entry["cause"],
            fix=entry["fix"],
            order=tuple(entry.get("order", ())),
            functions=entry.get("functions", {}),
            sources=tuple(entry["sources"]),
        )
        for entry in data("openers.yaml")["openers"]
    )


@cache
def waivers() -> tuple[Waiver, ...]:
    """Names that need not be found."""
    return tuple(
        Waiver(files=entry["files"], names=tuple(entry["names"]), reason=entry["reason"])
        for entry in data("optional.yaml")["optional"]
    )


@cache
def gpus() -> Mapping[int, str]:
    """The generation of each compute capability, times ten, from old to new; without boards for aarch64."""
    entries = sorted(data("gpus.yaml")["gpus"].items())
    return {int(number): entry["name"] for number, entry in entries if not entry.get("board")}


@cache
def _unused() -> tuple[tuple[str, int], ...]:
    return tuple((entry["packages"], int(entry["before"])) for entry in data("gpus.yaml")["unused"])


def is_used(package: str, gpu: int) -> bool:
    """Whether anything is asked of a package on a GPU, given by its compute capability times ten."""
    return not any(fnmatchcase(package, pattern) and gpu < before for pattern, before in _unused())


def stem(name: str) -> str:
    """A library's name without its versions: `libcudnn_ops` of `libcudnn_ops.so.9`."""
    return name.partition(".so")[0]


def first_use(name: str) -> int:
    """When a library is opened, by the orders in `data/openers.yaml`; last where it is in none."""
    found = (one.order.index(stem(name)) for one in openers() if stem(name) in one.order)
    return next(found, _LAST)


_LAST = 99


def toolkit_driver(cuda: str) -> str:
    """The driver that came with a CUDA toolkit such as `12.4`.

    Of a toolkit that the table does not have, the next newer one's, which is enough; past its end the last
    one's, which is the least that can be said.
    """
    drivers: Mapping[str, str] = data("cuda.yaml")["toolkit_driver"]
    known = sorted(drivers, key=numbers)
    return drivers[next((release for release in known if numbers(release) >= numbers(cuda)), known[-1])]


def numbers(version: str) -> tuple[int, ...]:
    """A version of numbers alone, to be compared: `535.54.03` is (535, 54, 3)."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())
