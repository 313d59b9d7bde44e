"""What a verdict has to be: a good row holds, a known-bad one fails with the message that it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from builder.errors import Fault
from builder.matrix import Row
from builder.verdict.record import Finding, Verdict


def faults(row: Row, verdict: Verdict) -> tuple[Fault, ...]:
    """Why a verdict is not what the row says of itself; nothing where it is."""
    return tuple(_unpredicted(row, verdict) if row.fails_with else _failing(verdict))


def brief(verdict: Verdict) -> Fault:
    """How many findings a verdict has, for those who have them before their eyes."""
    count = sum(finding.outcome == "fails" for finding in verdict.findings)
    first = verdict.findings[0]
    return Fault(
        place=f"row {verdict.row}",
        cause=f"it will fail by {count} finding{'' if count == 1 else 's'}, the first is {first.signature}",
        fix="See what helps beside each",
    )


def _failing(verdict: Verdict) -> Iterator[Fault]:
    for finding in verdict.findings:
        if finding.outcome == "fails":
            yield Fault(
                place=f"row {verdict.row}, {finding.place}",
                cause=f"it will fail with `{finding.message}`, since {finding.cause}",
                fix=finding.fix,
            )


def _unpredicted(row: Row, verdict: Verdict) -> Iterator[Fault]:
    failing = [finding for finding in verdict.findings if finding.outcome == "fails"]
    meant = {wanted: _signatures(failing, wanted) for wanted in _wanted(row)}
    others = [finding.message for finding in failing if finding.signature not in set().union(*meant.values())]
    for wanted in (text for text, found in meant.items() if not found):
        said = "; ".join(others) or "nothing at all"
        yield Fault(
            place=row.place("fails_with"),
            cause=f"the row says that it fails with `{wanted}`, and the proof predicts {said}",
            fix="Correct the row, or the rule that should have seen it (builder/data)",
        )
    if others and all(meant.values()):
        yield Fault(
            place=row.place("fails_with"),
            cause=f"it fails for other reasons too: {'; '.join(others)}",
            fix='Mend these, so that the row shows one failure, or name them under "also"',
        )


def _wanted(row: Row) -> tuple[str, ...]:
    """All that a known-bad row says of its failures: the one that is met first, and those behind it."""
    said = row.fails_with
    return (said.message, *said.also) if said else ()


def _signatures(failing: Iterable[Finding], wanted: str) -> set[str]:
    return {finding.signature for finding in failing if wanted in finding.message}
