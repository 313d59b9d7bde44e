"""The whole of a consultation, and its JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from builder.doctor.patient.advising import Advice, advice
from builder.doctor.patient.case import BROKEN, WILL_FAIL, Finding
from builder.doctor.patient.facts import Examination, examination, plain
from builder.doctor.patient.judging import findings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.doctor.patient.case import Case

FORMAT = 1


class Report(NamedTuple):
    """What was seen, what follows from it, and what to use instead.

    Attributes:
        seen: The examination.
        findings: Worst first.
        advice: The row to use.
    """

    seen: Examination
    findings: tuple[Finding, ...]
    advice: Advice

    @property
    def serious(self) -> tuple[Finding, ...]:
        """The findings that something fails of."""
        return tuple(one for one in self.findings if one.severity in {BROKEN, WILL_FAIL})


def reported(case: Case) -> Report:
    """Judge a case."""
    found = findings(case)
    return Report(case.seen, found, advice(case, found))


def as_json(report: Report) -> dict[str, Any]:
    """A report as JSON has it; `builder/doctor.schema.json` describes it."""
    return {
        "format": FORMAT,
        "healthy": not report.serious,
        "findings": plain(report.findings),
        "advice": plain(report.advice),
        "examination": plain(report.seen),
    }


def from_json(data: Mapping[str, Any]) -> Report:
    """The report that `as_json` gave.

    Raises:
        ValueError: It is of another format.
        KeyError: A part is missing.
        TypeError: There is a field that this version does not know.
    """
    if data["format"] != FORMAT:
        raise ValueError(f"its format is {data['format']!r}, this cuvee reads {FORMAT}")
    lists = {"evidence", "commands", "install", "preload", "source", "limits", "how"}
    frozen: list[dict[str, Any]] = [
        {name: tuple(value) if name in lists else value for name, value in one.items()}
        for one in (*data["findings"], data["advice"])
    ]
    return Report(
        examination(data["examination"]), tuple(Finding(**one) for one in frozen[:-1]), Advice(**frozen[-1])
    )
