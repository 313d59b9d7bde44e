"""The library of facts: records by wheel, first the project's committed ones, then this machine's cache."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.abi.facts import FORMAT, BaseFacts, WheelFacts
from builder.errors import BadInputError, Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """Folders of facts, one file a wheel, named like it.

    Attributes:
        folders: Where records are looked for, in order.
    """

    folders: tuple[Path, ...]

    def wheel(self, file: str, sha256: str) -> WheelFacts | None:
        """The facts of a wheel, or None where there are none for that hash.

        Raises:
            BadInputError: A record is there and cannot be read.
        """
        for folder in self.folders:
            facts = _wheel(folder / f"{file}.json")
            if facts and facts.sha256 == sha256:
                return facts
        return None

    def base(self, name: str) -> BaseFacts:
        """The facts of a base.

        Raises:
            BadInputError: There are none, or they cannot be read.
        """
        for folder in self.folders:
            path = folder / base_file(name)
            if path.is_file():
                return _base(path)
        raise BadInputError(
            Fault(
                place=f"base {name}",
                cause="the libraries it has are not recorded",
                fix=f"Run `cuvee facts --base {name.partition('+')[0]}`",
            )
        )


def base_file(name: str) -> str:
    """The file of a base's facts."""
    return f"base-{name}.json"


def cache_folder() -> Path:
    """Where this machine keeps the facts that it has harvested, for all projects: beside the wheel store.

    Facts of another format are never met there.
    """
    chosen = os.environ.get("CUVEE_CACHE")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(chosen) if chosen else caches / "cuvee") / f"facts-{FORMAT}"


def text(facts: WheelFacts | BaseFacts) -> str:
    """The text of a record's file: one line a binary, so that a difference reads well."""
    data = facts.to_json()
    binaries = data.pop("binaries", [])
    head = json.dumps(data, indent=1, sort_keys=True).removesuffix("\n}")
    lines = ",\n".join(f"  {json.dumps(one, separators=(',', ':'))}" for one in binaries)
    return f'{head},\n "binaries": [\n{lines}\n ]\n}}\n' if binaries else f"{head}\n}}\n"


def _wheel(path: Path) -> WheelFacts | None:
    if not path.is_file():
        return None
    data = _read(path)
    try:
        return WheelFacts.from_json(data)
    except (TypeError, ValueError, AttributeError) as error:
        raise BadInputError(_fault(path, str(error))) from error


def _base(path: Path) -> BaseFacts:
    data = _read(path)
    try:
        return BaseFacts.from_json(data)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise BadInputError(_fault(path, str(error))) from error


def _read(path: Path) -> Mapping[str, Any]:
    try:
        data: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(_fault(path, str(error))) from error
    return data


def _fault(path: Path, cause: str) -> Fault:
    return Fault(
        place=str(path), cause=f"it is no record of facts: {cause}", fix="Delete it and run `cuvee facts`"
    )


def complete(library: Library, file: str, sha256: str) -> bool:
    """Whether all of a wheel is recorded."""
    facts = library.wheel(file, sha256)
    return facts is not None and facts.complete
