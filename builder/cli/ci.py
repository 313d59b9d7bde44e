"""Commands for CI systems: the matrix as their jobs, and the rows against today's index."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from builder.cli.common import Context, rows_argument, say

if TYPE_CHECKING:
    from builder.lock.record import Lock
    from builder.matrix import Row
    from builder.project import Project


@click.command()
@rows_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["github", "gitlab", "json"]),
    default="json",
    show_default=True,
    help="A workflow's matrices by stage; a child pipeline; or all, by builder/ci.schema.json.",
)
@click.option("--runner", metavar="LABEL", help="The machines that jobs run on.")
@click.option("--gpu-runner", metavar="LABEL", help="The machines with a GPU.")
@click.pass_obj
def ci(
    context: Context, rows: tuple[str, ...], form: str, runner: str | None, gpu_runner: str | None
) -> None:
    """Print the matrix as jobs for a CI system: each layer is made once, and each row is proven.

    Rows that nobody has tried yet have a job only when they are named; it may fail.
    """
    from builder import pipeline
    from builder.ci import formats
    from builder.ci.job import Runners
    from builder.ci.planning import jobs
    from builder.engines.direct.compression import ZSTD

    chosen = pipeline.rows(context.project, rows)
    given = {"plain": runner, "gpu": gpu_runner}
    runners = Runners(**{key: label for key, label in given.items() if label})
    found = jobs(chosen, _locks(context.project, chosen), runners, zstd=ZSTD, named=bool(rows))
    if form == "gitlab":
        text = formats.as_gitlab(found, tagged=runner is not None)
    else:
        text = formats.as_github(found) if form == "github" else formats.as_json(found)
    click.echo(text, nl=False)


def _locks(project: Project, rows: tuple[Row, ...]) -> dict[str, Lock]:
    from builder.lock import record

    paths = {row.id: project.image(row.id) / record.FILE for row in rows}
    return {row: record.read(path) for row, path in paths.items() if path.is_file()}


@click.command()
@rows_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a page in Markdown.")
@click.pass_obj
def drift(context: Context, rows: tuple[str, ...], as_json: bool) -> None:
    """Resolve rows against today's index, write nothing, and tell what moved and what would break."""
    from datetime import UTC, datetime

    from builder import pipeline
    from builder.ci.drift import markdown, to_json
    from builder.errors import CheckFailedError, EngineOrNetworkError, Fault
    from builder.report.drifting import Today

    day = datetime.now(UTC).date()
    today = Today(project=context.project, day=day, say=say)
    chosen = [row for row in pipeline.rows(context.project, rows) if rows or row.status != "untested"]
    found = [today.drift(row) for row in chosen]
    if as_json:
        click.echo(json.dumps(to_json(found, day), indent=1))
    else:
        click.echo(markdown(found, day), nl=False)

    def told(outcome: str, cause: str, fix: str) -> list[Fault]:
        return [
            Fault(place=f"row {one.row}", cause=cause, fix=fix) for one in found if one.outcome == outcome
        ]

    if broken := told(
        "breaks",
        "with today's packages it is not what it says of itself",
        "Its lock holds; limit what moved, with a reason",
    ):
        raise CheckFailedError(*broken)
    if unknown := told("unknown", "the index did not answer", "Try again"):
        raise EngineOrNetworkError(*unknown)
