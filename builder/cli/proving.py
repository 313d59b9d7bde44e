"""Commands that make images and prove them: build, test, and run for a recording of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from builder.cli.common import (
    Context,
    compression_option,
    engine_option,
    errors_of,
    has_lock,
    raise_all,
    rows_argument,
    say,
    some_rows_argument,
)
from builder.errors import CheckFailedError, CuveeError, Fault

NO_DOCKER = "leave out --engine docker, or unset CUVEE_ENGINE"

if TYPE_CHECKING:
    from builder.engines.direct.image import Compression
    from builder.matrix import Row
    from builder.verify.evidence import Evidence


@click.command()
@some_rows_argument
@click.option("--test/--no-test", default=True, help="Prove the image when it is built (the default).")
@click.option("--gpus", is_flag=True, help="Prove it on the GPU too; fails where there is none.")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@engine_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Put it into this folder as an OCI image layout; without an engine.",
)
@compression_option
@click.pass_obj
def build(  # noqa: PLR0913, PLR0917 - a command's options
    context: Context,
    rows: tuple[str, ...],
    test: bool,
    gpus: bool,
    dry_run: bool,
    wish: str,
    output: Path | None,
    compression: Compression,
) -> None:
    """Lock if needed, render, build and prove the images of rows."""
    from rich.console import Console

    from builder import direct, pipeline
    from builder.report import tables

    project = context.project
    chosen = pipeline.rows(project, rows)
    if dry_run:
        for row in chosen:
            Console().print(tables.planned(pipeline.intended(project, row)))
        return
    engine = context.docker(_without_engine(wish, output, compression))
    evidence = []
    for row in chosen:
        pipeline.lock(project, row, say)
        pipeline.facts(project, row, say)
        pipeline.require_verdict(row, pipeline.prove(project, row))
        pipeline.render(project, row)
        if engine:
            image = pipeline.build(project, row, engine, say, verbose=context.verbose)
            say(f"{row.id}: built {image.tag}, {image.size / 1e9:.2f} GB, {image.layers} layers")
        else:
            made = pipeline.assemble(project, row, say, output=output, compression=compression)
            say(f"{row.id}: built {made.name}, {made.size / 1e9:.2f} GB to pull, {len(made.layers)} layers")
            say(f"{row.id}: {made.digest}")
        if test:
            using = engine or direct.engine(project, say)
            evidence.append(pipeline.test(project, row, using, say, gpus=gpus))
    if test:
        Console().print(tables.built(evidence))
        _require_all_hold(chosen, evidence)


def _without_engine(wish: str, output: Path | None, compression: str) -> str:
    """The wish for an engine, which options that only the direct one has decide."""
    only = "--output" if output else "--compression" if compression != "passthrough" else ""
    if only and wish == "docker":
        raise click.UsageError(f"{only} is of the direct engine: {NO_DOCKER}")
    return "direct" if only else wish


@click.command()
@rows_argument
@click.option("--gpus", is_flag=True, help="Run the GPU checks too; they fail where there is no GPU.")
@click.option("--all", "every", is_flag=True, help="Build and test rows, two at a time; all rows by default.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Prove this root file system, which somebody unpacked, instead of an image.",
)
@click.option(
    "--python",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Prove the environment of this interpreter, with the row's own library path, instead of an image.",
)
@engine_option
@click.pass_obj
def test(  # noqa: PLR0913, PLR0917 - a command's options
    context: Context,
    rows: tuple[str, ...],
    gpus: bool,
    every: bool,
    root: Path | None,
    python: Path | None,
    wish: str,
) -> None:
    """Prove the images of rows, and write the evidence.

    With --all each row is built without an engine, tested, and its unpacked image deleted again; one that
    fails does not keep the others from it. With --root or --python it is done where no image can be.
    """
    from rich.console import Console

    from builder import elsewhere, pipeline
    from builder.report import tables

    project = context.project
    chosen = pipeline.rows(project, rows)
    if every:
        if root or python:
            raise click.UsageError("--all makes images: leave out --root and --python")
        from builder.cli.sweeping import steps, sweep

        if wish == "docker":
            raise click.UsageError(f"--all works without an engine: {NO_DOCKER}")
        found = sweep(project, chosen, say, steps(project, say, gpus=gpus))
        Console().print(tables.swept(found))
        raise_all([CheckFailedError(tables.failed(one)) for one in found if one.outcome == "failed"])
        return
    errors: list[CuveeError] = []
    if root or python:
        if wish == "docker" and _was_typed("wish"):
            raise click.UsageError("--root and --python have no use for an engine: leave out --engine docker")
        row = _alone(chosen, rows, root, python)
        if root:
            evidence = [elsewhere.test_root(project, row, root, say, gpus=gpus)]
        elif python:
            evidence = [elsewhere.test_environment(project, row, python, say, gpus=gpus)]
    else:
        engine = context.either(wish)
        tried = (
            chosen if rows else [row for row in chosen if row.status != "untested" or has_lock(project, row)]
        )
        evidence, errors = _each(tried, lambda row: pipeline.test(project, row, engine, say, gpus=gpus))
    if evidence:
        Console().print(tables.built(evidence))
    raise_all([*errors, *errors_of([partial(_require_all_hold, chosen, evidence)])])


def _each(rows: Sequence[Row], test: Callable[[Row], Evidence]) -> tuple[list[Evidence], list[CuveeError]]:
    """Test every row: what one lacks does not keep the others from it."""
    found: list[Evidence] = []
    errors = errors_of(partial(lambda row: found.append(test(row)), row) for row in rows)
    return found, errors


def _was_typed(option: str) -> bool:
    """Whether an option comes from the command line, and not from a variable."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def _alone(chosen: Sequence[Row], named: Sequence[str], root: Path | None, python: Path | None) -> Row:
    """The one row that lies somewhere else than in an image."""
    if root and python:
        raise click.UsageError("--root and --python are two places: give one of both")
    if len(named) != 1:
        raise click.UsageError("--root and --python are of one row: name it")
    return chosen[0]


@click.command()
@click.argument("row")
@click.argument("audio", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder with a Whisper model in CTranslate2's format.",
)
@click.option("--gpus", is_flag=True, help="Use the GPU; fails where there is none.")
@click.option("--language", help="What is spoken, such as en; detected when not given.")
@click.option(
    "--speakers",
    type=click.Path(path_type=Path, exists=True),
    help="Tell speakers apart, with this folder of a pyannote.audio pipeline.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "srt", "vtt", "tsv", "json"]),
    default="text",
    show_default=True,
)
@click.option(
    "--with",
    "tool",
    type=click.Choice(["transcribe", "faster-whisper", "whisperx"]),
    default="transcribe",
    show_default=True,
    help="The image's own command, or one of its packages, for the text alone.",
)
@engine_option
@click.pass_obj
def run(  # noqa: PLR0913, PLR0917 - a command's options
    context: Context,
    row: str,
    audio: Path,
    model: Path,
    gpus: bool,
    language: str | None,
    speakers: Path | None,
    form: str,
    tool: str,
    wish: str,
) -> None:
    """Transcribe AUDIO in the image of ROW, offline, and print it.

    `transcribe` in the image itself can do more: several recordings, models from the hub, --resume.
    """
    from builder import pipeline
    from builder.verify.transcribe import transcribe, transcribe_with

    if tool != "transcribe" and (speakers or form != "text"):
        raise click.UsageError(f"--with {tool} gives the text alone: leave out --speakers and --format")
    [chosen] = pipeline.rows(context.project, [row])
    engine = context.either(wish)
    if tool != "transcribe":
        click.echo(transcribe_with(engine, chosen, audio, model, tool=tool, gpus=gpus, language=language))
        return
    written, trouble = transcribe(
        engine, chosen, audio, model, gpus=gpus, language=language, speakers=speakers, form=form
    )
    click.echo(written, nl=False)
    if trouble:
        raise trouble


def _require_all_hold(rows: Sequence[Row], evidence: Sequence[Evidence]) -> None:
    """See that something passed, nothing failed, and no image is over its row's budget.

    Raises:
        CheckFailedError: It is not so, for all of them at once.
    """
    from builder.report.budgets import disk_faults

    faults = [
        Fault(
            place=f"evidence/{one.row}.json",
            cause=f"{check.name} failed: {check.reason}",
            fix=f"Run `cuvee test {one.row}` after mending it",
        )
        for one in evidence
        for check in one.checks
        if check.outcome == "failed"
    ]
    faults += [
        Fault(
            place=f"evidence/{one.row}.json",
            cause=one.lacking,
            fix=f"Run `cuvee test {one.row}` where its checks can run",
        )
        for one in evidence
        if one.lacking
    ]
    by_id = {row.id: row for row in rows}
    faults += [fault for one in evidence for fault in disk_faults(by_id[one.row], one)]
    if faults:
        raise CheckFailedError(*faults)
