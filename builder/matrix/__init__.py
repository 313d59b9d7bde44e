"""The model of `matrix.yaml`: which combinations of versions we want.

`load` reads the file and tells everything that is wrong with it at once; rows are in `row`.
"""

# Not `from __future__ import annotations`: pydantic reads the annotations of `_Sections` as it is made.

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, Field, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from builder.errors import BadInputError, Fault, NothingSelectedError
from builder.matrix import yamlfile
from builder.matrix.faults import Problem, problems
from builder.matrix.row import (
    MAIN,
    ONLY_NAMES,
    Base,
    Budget,
    Defaults,
    Demand,
    FailsWith,
    Isolated,
    Origin,
    Overlay,
    Record,
    Row,
)
from builder.matrix.values import CHECKS, Name
from builder.matrix.yamlfile import Document, KeyPath

__all__ = [
    "CHECKS",
    "MAIN",
    "Base",
    "Budget",
    "Demand",
    "FailsWith",
    "Isolated",
    "Matrix",
    "Overlay",
    "Row",
    "load",
    "parse",
    "schema",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """All of `matrix.yaml`, sound.

    Attributes:
        file: The file's name as the user gave it.
        bases: In the order of the file.
        rows: In the order of the file.
    """

    file: str
    bases: tuple[Base, ...]
    rows: tuple[Row, ...]

    def select(self, ids: Sequence[str]) -> tuple[Row, ...]:
        """The rows with these ids or aliases, in the order of the file; all rows where none is given.

        Raises:
            NothingSelectedError: An id is no row's; one fault each.
        """
        known = tuple(name for row in self.rows for name in (row.id, *row.aliases))
        unknown = tuple(dict.fromkeys(wanted for wanted in ids if wanted not in known))
        if unknown:
            raise NothingSelectedError(*(self._no_row(wanted, known) for wanted in unknown))
        return tuple(row for row in self.rows if not ids or {row.id, *row.aliases} & set(ids))

    def _no_row(self, wanted: str, known: Sequence[str]) -> Fault:
        near = difflib.get_close_matches(wanted, known)
        fix = f"Nearest: {', '.join(near)}" if near else f"The rows are {', '.join(known)}"
        return Fault(place=f"row {wanted}", cause=f"{self.file} has no such row", fix=fix)


_B = TypeVar("_B")
_D = TypeVar("_D")
_R = TypeVar("_R")
_M = TypeVar("_M", bound=Record)


class _Sections(Record, Generic[_B, _D, _R]):
    """Which CUDA environments for speech we want: the only file about versions that people write."""

    model_config = ConfigDict(title="matrix.yaml")

    bases: Mapping[Name, _B] = Field(json_schema_extra=ONLY_NAMES)
    """The systems that rows are built on, each under its name."""
    defaults: _D
    """Values for rows that do not have their own."""
    rows: Mapping[Name, _R] = Field(json_schema_extra=ONLY_NAMES)
    """The combinations; a row's key is its folder, its tag and its test's id."""


def load(path: Path) -> Matrix:
    """Read the matrix at `path`.

    Raises:
        BadInputError: The file cannot be read or something in it is wrong; one fault for each mistake.
    """
    return _Reader(yamlfile.read(path)).matrix()


def parse(text: str, name: str = "matrix.yaml") -> Matrix:
    """Read the matrix in `text`, which is told to users as `name`.

    Raises:
        BadInputError: Something in it is wrong; one fault for each mistake.
    """
    return _Reader(yamlfile.parse(text, name)).matrix()


def schema() -> str:
    """The text of `matrix.schema.json`: what editors know about `matrix.yaml`."""
    described = _Sections[Base, Defaults, Row].model_json_schema()
    head = {"$schema": GenerateJsonSchema.schema_dialect, "description": _Sections.__doc__}
    return json.dumps(head | described, indent=2) + "\n"


class _Reader:
    """Reads a document entry by entry, so that a mistake in one hides none in another.

    What merely follows from a mistake is not told again: that a row's base, or a default it takes, is wrong.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        data = document.data if isinstance(document.data, dict) else {}
        self._sections = {name: section for name, section in data.items() if isinstance(section, dict)}
        self._bases: dict[str, Base] = {}
        self._faults: list[tuple[KeyPath, Fault]] = []

    def matrix(self) -> Matrix:
        """All entries, or all faults."""
        self._read(_Sections[Any, dict[str, Any], Any], (), self._document.data)
        for name, written in self._sections.get("bases", {}).items():
            if base := self._read(Base, ("bases", name), written):
                self._bases[name] = base
        if "defaults" in self._sections:
            defaults = self._sections["defaults"]
            self._read(Defaults, ("defaults",), defaults, told=self._told_of_base(defaults))
        rows = [self._row(name, written) for name, written in self._sections.get("rows", {}).items()]
        self._note_taken_names(rows)
        self._stop_at_faults()
        bases = tuple(self._bases.values())
        return Matrix(file=self._document.name, bases=bases, rows=tuple(filter(None, rows)))

    def _row(self, name: str, written: object) -> Row | None:
        if not isinstance(written, dict):
            return self._read(Row, ("rows", name), written)
        defaults = self._sections.get("defaults", {})
        # A default of null is none: each row then needs its own.
        data = {key: value for key, value in defaults.items() if value is not None} | written
        told = self._told_of_base(data) | (self._bad_defaults() - written.keys())
        return self._read(Row, ("rows", name), data, told=told)

    def _note_taken_names(self, rows: Sequence[Row | None]) -> None:
        """An alias that is a row's name, or another row's alias, would stand for two."""
        owners = {str(name): str(name) for name in self._sections.get("rows", {})}
        for row in filter(None, rows):
            for position, alias in enumerate(row.aliases):
                owner = owners.setdefault(alias, row.id)
                if owner != row.id or alias == row.id:
                    problem = Problem(
                        keys=(), cause=f'the name "{alias}" is {owner}\'s', fix="Choose another alias"
                    )
                    self._note(("rows", row.id, "aliases", position), problem)

    def _told_of_base(self, data: Mapping[str, Any]) -> set[str]:
        """The key "base", if the base that `data` names is there but wrong."""
        bases = self._sections.get("bases")
        name = data.get("base")
        bad = bases is None or (isinstance(name, str) and name in bases and name not in self._bases)
        return {"base"} if bad else set()

    def _bad_defaults(self) -> set[str]:
        """The keys that rows cannot inherit because of a mistake in the defaults, which is told there."""
        known = Defaults.model_fields.keys()
        if "defaults" not in self._sections:
            return set(known)
        bad = {str(keys[1]) for keys, _ in self._faults if keys[:1] == ("defaults",)}
        # A key that is not known may be any of those that are missing, misspelt.
        return bad | (known - self._sections["defaults"].keys()) if bad - known else bad

    def _read(
        self, model: type[_M], path: KeyPath, data: object, told: Collection[str] = frozenset()
    ) -> _M | None:
        """`data` as `model`; None after noting its faults, save those of keys that are `told` elsewhere."""
        origin = Origin(document=self._document, path=path, bases=self._bases)
        try:
            return model.model_validate(data, context=origin)
        except ValidationError as error:
            for problem in problems(error, model):
                if not problem.keys or problem.keys[0] not in told:
                    self._note((*path, *problem.keys), problem)
            return None

    def _note(self, keys: KeyPath, problem: Problem) -> None:
        place = self._document.place(keys)
        self._faults.append((keys, Fault(place=place, cause=problem.cause, fix=problem.fix)))

    def _stop_at_faults(self) -> None:
        if self._faults:
            in_order = sorted(self._faults, key=lambda found: self._document.line(found[0]))
            raise BadInputError(*(fault for _, fault in in_order))
