"""Rows against today's index: asked, their new wheels read, and proven; no file of the project is written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from builder.abi.library import Library, cache_folder, complete
from builder.ci.drift import Drift, examine, on
from builder.errors import BadInputError, Fault
from builder.lock import record
from builder.lock.record import Lock
from builder.lock.resolve import resolve
from builder.matrix import Row
from builder.project import Project
from builder.report.gathering import gather_all
from builder.verdict.expect import faults
from builder.verdict.prove import prove
from builder.verdict.setting import to_account

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Today:
    """What today's index makes of a project's rows.

    Attributes:
        project: Whose locks and facts.
        day: Today, or any other day.
        say: Told what takes long.
    """

    project: Project
    day: date
    say: Say

    def drift(self, row: Row) -> Drift:
        """What becomes of a row; wheels that are new to this machine are fetched whole, to be read."""
        self.say(f"{row.id}: resolving as of {self.day}")
        moved = on(row, self.day)
        found = examine(
            row, self._locked(row), lambda: resolve(moved), lambda lock: self._faults(moved, lock)
        )
        # Places are told as they are called in any checkout.
        says = tuple(text.replace(f"{self.project.root}{os.sep}", "") for text in found.says)
        return replace(found, says=says)

    def _locked(self, row: Row) -> Lock | None:
        path = self.project.image(row.id) / record.FILE
        try:
            return record.read(path) if path.is_file() else None
        except BadInputError:
            return None  # `cuvee lock --check` tells of it

    def _faults(self, row: Row, lock: Lock) -> Sequence[Fault]:
        with tempfile.TemporaryDirectory(prefix="cuvee-drift-") as scratch:
            # The survey's records of large wheels are not whole: before others, they would hide these.
            folders = (self.project.facts, Path(scratch), cache_folder(), self.project.survey / "facts")
            library = Library(folders=folders)
            lacking = [one for one in to_account(lock) if not complete(library, one.file, one.sha256)]
            if lacking:
                gather_all(lacking, Path(scratch), self.say)
            return faults(row, prove(row, lock, library))
