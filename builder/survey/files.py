"""The survey's files, and the steps that write them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from builder.abi.library import Library
from builder.errors import CheckFailedError, Fault
from builder.known import data
from builder.matrix import Base
from builder.project import Project, differing, write
from builder.survey import releases as asked
from builder.survey.table import Survey, survey

if TYPE_CHECKING:
    from builder.engines.docker import DockerEngine

Say = Callable[[str], None]
SMALL = 12 * 1024 * 1024
"""Bytes that a member of a wheel may take for the survey to read it; see `harvest` for those read anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyFiles:
    """One survey of a project.

    Attributes:
        project: The project.
        base: What the pairs run on.
        python: The Python they are for, `3.11`.
        library: Recorded facts.
    """

    project: Project
    base: Base
    python: str
    library: Library

    @property
    def releases(self) -> Path:
        """What the index had."""
        return self.project.survey / f"releases-py{self.python}.json"

    @property
    def _update(self) -> str:
        return f"cuvee survey --base {self.base.id} --python {self.python} --update"

    @property
    def _name(self) -> str:
        return f"{self.base.id}-py{self.python}"

    def table(self) -> Survey:
        """Prove every pair, from recorded facts.

        Raises:
            BadInputError: Releases or facts are not recorded.
        """
        return survey(asked.read(self.releases, self._update), self.library, self.library.base(self.base.id))

    def texts(self, table: Survey) -> Mapping[str, str]:
        """The table's files by name."""
        return {f"{self._name}.json": table.data(), f"{self._name}.md": table.page()}

    def update(self, as_of: date, say: Say) -> None:
        """Ask the index for all releases, record the facts of those that are new, and forget the others'."""
        from builder.report.gathering import gather_all

        found = asked.resolve(as_of, self.python, self.base.glibc, data("survey.yaml")["added"], say)
        lacking = [one for one in found.wheels() if not self.library.wheel(one.file, one.sha256)]
        engines = [one for one in lacking if one.name == "ctranslate2"]
        folder = self.project.survey / "facts"
        if engines:
            gather_all(engines, folder, say, most=max(one.size for one in engines))
        if others := [one for one in lacking if one.name != "ctranslate2"]:
            gather_all(others, folder, say, most=SMALL)
        write(self.releases, found.text())
        told = asked.named_in(self.project.survey)
        for path in folder.glob("*.json"):
            if path.name.removesuffix(".json") not in told:
                path.unlink()

    def save(self, table: Survey) -> tuple[str, ...]:
        """Write the table's files; returns the names of those that changed."""
        texts = self.texts(table)
        return tuple(name for name, text in texts.items() if write(self.project.survey / name, text))

    def check(self, table: Survey) -> None:
        """See that the table's files are what would be written.

        Raises:
            CheckFailedError: One is not.
        """
        faults = [
            Fault(
                place=f"survey/{name}",
                cause="it is not what `cuvee survey` writes",
                fix="Run `cuvee survey` and commit it",
            )
            for name in differing(self.project.survey, self.texts(table))
        ]
        if faults:
            raise CheckFailedError(*faults)

    def confirm(self, engine: DockerEngine, say: Say) -> None:
        """Run the sample with the real loader, and write down what was seen.

        Raises:
            CheckFailedError: Prediction and loader disagree somewhere.
        """
        from builder.engines import base as bases
        from builder.survey.confirm import Laboratory, confirm, to_json

        image = bases.provide(self.base, engine, say)
        with tempfile.TemporaryDirectory(prefix="cuvee-survey-") as scratch:
            Path(scratch).chmod(0o755)  # a container's user must read it
            laboratory = Laboratory(
                engine=engine,
                image=image.reference,
                base=self.library.base(self.base.id),
                library=self.library,
                folder=Path(scratch),
                say=say,
            )
            found = []
            for one in confirm(asked.read(self.releases, self._update), laboratory):
                say(f"CTranslate2 {one.ctranslate2}, torch {one.torch}: {one.title}")
                found.append(one)
        write(self.project.survey / f"confirmed-{self._name}.json", to_json(found))
        faults = [one.fault() for one in found if not one.agree]
        if faults:
            raise CheckFailedError(*faults)


def survey_files(project: Project, base: Base, python: str | None) -> SurveyFiles:
    """The survey of a base, for a Python; for the base's own where none is given."""
    return SurveyFiles(project=project, base=base, python=python or base.python, library=project.library)
