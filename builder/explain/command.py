"""`cuvee explain`: reads a log, and prints what it means and what helps.

The command is a `click.Command` to be added to a group. If the group's context object (`ctx.obj`) has a
method `verdicts`, which returns for each row's id the signatures that the row is known to give
(`Mapping[str, frozenset[str]]`), the rows that do not have the log's failures are told too. Leave out of it
what nobody should be advised to use. It is called only when something was explained, and if it raises a
`CuveeError`, as outside of a project, no rows are told: a log can be explained anywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

import click

from builder.errors import BadInputError, CheckFailedError, CuveeError, Fault

if TYPE_CHECKING:
    from builder.explain.explaining import Explanation
    from builder.explain.signatures import Place

_STANDARD_INPUT = "-"
_END_OF_INPUT = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D"


@click.command
@click.argument("file", default=_STANDARD_INPUT, metavar="[FILE|-]")
@click.option(
    "--place",
    type=click.Choice(["docker", "colab", "venv"]),
    help="Where it must be mended; guessed from the log when not given.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; builder/explain.schema.json describes it.")
@click.pass_context
def explain(ctx: click.Context, file: str, place: Place | None, as_json: bool) -> None:
    """Explain a log, a traceback or a message: what it means, why, and what helps.

    It is read from FILE, or from standard input. The exit code is 1 when nothing known fits, and 0 when
    something was explained or there is no sign of a failure.
    """
    from builder.explain.page import page, to_json

    explanation = _with_rows(_explained(file), ctx.obj)
    click.echo(to_json(explanation) if as_json else page(explanation, place))
    if explanation.outcome == "unknown":
        fault = Fault(
            place=_called(file),
            cause="it looks like a failure, and nothing known fits it",
            fix="Gather what is listed, and ask where the program comes from",
        )
        raise CheckFailedError(fault)


def _explained(file: str) -> Explanation:
    from builder.explain.explaining import explain_parts
    from builder.explain.reading import parts

    with _opened(file) as stream:
        explanation = explain_parts(parts(stream))
    if not explanation.lines:
        fix = "Give it what the program printed, standard error too: `program 2>&1 | cuvee explain`"
        raise BadInputError(Fault(place=_called(file), cause="there is no text in it", fix=fix))
    return explanation


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    try:
        if file == _STANDARD_INPUT:
            if sys.stdin.isatty():
                click.echo(f"Paste the log, then press {_END_OF_INPUT}", err=True)
            yield sys.stdin.buffer
        else:
            with open(file, "rb") as stream:  # noqa: PTH123 - a Path would take "log.txt/" for "log.txt"
                yield stream
    except OSError as error:
        cause = f"it cannot be read ({error.strerror})"
        fix = "Check its name, or pipe the log into the command"
        raise BadInputError(Fault(place=_called(file), cause=cause, fix=fix)) from error


def _with_rows(explanation: Explanation, project: object) -> Explanation:
    from dataclasses import replace

    from builder.explain.explaining import rows_without

    verdicts = getattr(project, "verdicts", None)
    if not (verdicts and explanation.findings):
        return explanation
    try:
        known = cast("Mapping[str, frozenset[str]]", verdicts())
    except CuveeError:
        return explanation
    return replace(explanation, rows=rows_without(explanation.ids, known))


def _called(file: str) -> str:
    return "standard input" if file == _STANDARD_INPUT else file
