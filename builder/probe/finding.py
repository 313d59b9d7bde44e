"""What a check ends with: passed, failed, or skipped with a reason."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Sequence


class Finding(NamedTuple):
    """The end of one check.

    Attributes:
        outcome: `passed`, `failed` or `skipped`.
        reason: Why it failed or was skipped, in one line; for a pass, what was seen.
        details: Facts for machines and for whoever looks into a failure. JSON values only.
    """

    outcome: str
    reason: str
    details: Dict[str, Any]


def passed(reason: str, **details: Any) -> Finding:
    """What was claimed holds."""
    return Finding("passed", reason, details)


def failed(reason: str, **details: Any) -> Finding:
    """What was claimed does not hold."""
    return Finding("failed", reason, details)


def skipped(reason: str, **details: Any) -> Finding:
    """There was nothing to check, which is no pass."""
    return Finding("skipped", reason, details)


def several(words: Sequence[str], most: int = 5) -> str:
    """Faults as one line: some of them, and how many more there are. The details have them all."""
    more = ["and {} more".format(len(words) - most)] if len(words) > most else []
    return "; ".join([*words[:most], *more])


def judged(fault: str, praise: str, **details: Any) -> Finding:
    """A failure if there is a `fault` to name, else a pass."""
    return failed(fault, **details) if fault else passed(praise, **details)
