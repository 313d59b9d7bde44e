"""An explanation as a page for people, and as JSON for machines."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from builder.explain.explaining import Explanation, Finding, Quote
from builder.explain.signatures import PLACES, Place, Step

FORMAT = 1
WIDTH = 80

_CALLED: dict[Place, str] = {"docker": "in Docker", "colab": "in Colab", "venv": "in a virtual environment"}
_THREADS = 4
_QUOTED = 4  # lines


def to_json(explanation: Explanation) -> str:
    """The text of an explanation as JSON; `builder/explain.schema.json` describes it."""
    return json.dumps({"format": FORMAT, **asdict(explanation)}, indent=1)


def page(explanation: Explanation, place: Place | None = None) -> str:
    """An explanation for people, 80 columns wide save for what is to be pasted.

    Args:
        explanation: What is told.
        place: Where it must be mended; the log's own place if not given, and all if it does not show.
    """
    match explanation.outcome:
        case "explained":
            blocks = [*_findings(explanation, place), *_around(explanation)]
        case "unknown":
            blocks = [*_unknown(explanation), *_around(explanation)]
        case "healthy":
            blocks = [_healthy(explanation)]
    return "\n\n".join(blocks)


def _findings(explanation: Explanation, place: Place | None) -> Iterator[str]:
    where = place or explanation.place
    for finding in explanation.findings:
        yield _heading(finding)
        if finding.echo_of:
            yield _prose(f"It follows from {finding.echo_of}, and should go away with it: mend that first.")
        else:
            yield _prose(f"{finding.cause} (The cause is {finding.sure}.)")
            yield from _fixes(finding, where)
            if finding.threads:
                yield _prose(f"Upstream: {_some(finding.threads)}")


def _heading(finding: Finding) -> str:
    name = click.style(finding.id, bold=True)
    title = textwrap.fill(f"{finding.id}: {finding.title}", WIDTH).replace(finding.id, name, 1)
    return "\n".join([title, *map(_quoted, [finding.quote, *finding.also]), *_times(finding)])


def _times(finding: Finding) -> Iterator[str]:
    further = finding.times - 1 - len(finding.also)
    if further > 0:
        yield f"  and on {further} more line{'s' if further > 1 else ''}"


def _quoted(quote: Quote) -> str:
    start = f"  line {quote.line}: "
    indent = " " * len(start)
    lines = textwrap.wrap(quote.text, WIDTH, initial_indent=start, subsequent_indent=indent)
    return "\n".join([*lines[:_QUOTED], *([f"{indent}..."] if lines[_QUOTED:] else [])])


def _fixes(finding: Finding, where: Place | None) -> Iterator[str]:
    for place in (where,) if where else PLACES:
        yield f"  What helps {_CALLED[place]}:\n{_steps(finding.fixes[place])}"
    if where:
        others = " or ".join(f"--place {place}" for place in PLACES if place != where)
        yield _prose(f"For elsewhere, add {others}.")


def _steps(steps: Sequence[Step]) -> str:
    return "\n".join(_step(number, step) for number, step in enumerate(steps, 1))


def _step(number: int, step: Step) -> str:
    start = f"  {number}. "
    indent = " " * len(start)
    end = ":" if step.paste else "."
    said = textwrap.fill(f"{step.do}{end}", WIDTH, initial_indent=start, subsequent_indent=indent)
    # What is pasted is never wrapped: a command must stay one.
    return "\n".join([said, *(f"{indent}    {line}" for line in step.paste.splitlines())])


def _around(explanation: Explanation) -> Iterator[str]:
    """What the log says besides, and the rows to use instead."""
    if explanation.hint:
        told = _CALLED[explanation.place] if explanation.place else ""
        yield _prose(f'The log seems to come from a program {told}: it has "{explanation.hint}".', indent="")
    if explanation.versions:
        told = ", ".join(f"{name} {version}" for name, version in explanation.versions.items())
        yield _prose(f"The log tells of {told}.", indent="")
    if explanation.rows:
        several = "these failures" if len(explanation.findings) > 1 else "this failure"
        yield _prose(f"Rows that do not have {several}: {', '.join(explanation.rows)}.", indent="")


def _unknown(explanation: Explanation) -> Iterator[str]:
    yield _prose("Nothing that is known here fits this log. What looks most like the failure:", indent="")
    yield "\n".join(map(_quoted, explanation.suspects))
    yield f"To find out more, gather:\n{_steps(explanation.collect)}"


def _healthy(explanation: Explanation) -> str:
    lines = "1 line" if explanation.lines == 1 else f"{explanation.lines} lines"
    return _prose(
        f"There is no sign of a failure in this log ({lines}). If there was one, its message may have gone "
        "to standard error: capture both, as in `docker logs NAME 2>&1 | cuvee explain`.",
        indent="",
    )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _THREADS
    return ", ".join(names[:_THREADS]) + (f" and {more} more (--json has them all)" if more > 0 else "")


def _prose(text: str, indent: str = "  ") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
