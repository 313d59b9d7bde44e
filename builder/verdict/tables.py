"""The tables that verdicts are judged by, from `builder/data`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """What is printed when a library cannot be loaded: see `data/openers.yaml`."""

    how: str
    why: str
    files: str
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedBefore:
    """What is loaded before some libraries open others by name: see `data/optional.yaml`."""

    files: str
    seed: str
    reason: str


@cache
def data(name: str) -> Any:
    """The content of a file in `builder/data`."""
    text = files("builder").joinpath(f"data/{name}").read_text(encoding="utf-8")
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - both are safe loaders


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast, where there is one


@cache
def openers() -> tuple[Opener, ...]:
    """What libraries print that cannot open another, the special before the general."""
    return tuple(
        Opener(
            how=entry.get("how", ""),
            why=entry.get("why", ""),
            files=entry["files"],
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
def loaded_before() -> tuple[LoadedBefore, ...]:
    """What is loaded before some libraries open others."""
    entries = data("optional.yaml")["loaded_before"]
    return tuple(
        LoadedBefore(files=entry["files"], seed=entry["seed"], reason=entry["reason"]) for entry in entries
    )


@cache
def gpus() -> Mapping[int, str]:
    """The generation of each compute capability, times ten, from old to new."""
    return {int(number): entry["name"] for number, entry in sorted(data("gpus.yaml")["gpus"].items())}


@cache
def toolkit_drivers() -> Mapping[str, str]:
    """The driver that came with each CUDA toolkit."""
    drivers: Mapping[str, str] = data("cuda.yaml")["toolkit_driver"]
    return drivers
