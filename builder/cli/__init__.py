"""The command line: one command a stage, in the order of the stages. Parse, call, print.

What a command needs is imported inside it: `cuvee --help` must not wait for the Docker SDK.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.cli import ci, images, proving
from builder.cli import wheels as travelling
from builder.cli.common import (
    Context,
    errors_of,
    has_lock,
    raise_all,
    rows_argument,
    run_all,
    say,
    with_lock,
)
from builder.doctor.command import doctor
from builder.errors import CuveeError, EngineOrNetworkError
from builder.explain.command import explain

if TYPE_CHECKING:
    from builder.matrix import Row
    from builder.project import Project
    from builder.verdict.record import Verdict

INTERRUPTED = 130
DISK_TROUBLES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What can happen to any file, a temporary one too."""

LOCKED_AT_ONCE = 4

_SELDOM = 200_000
"""Objects between two looks for garbage: a proof makes many records that all live until it ends, and looking
through them again and again took a quarter of its time.
"""


class Stages(click.Group):
    """A group that lists its commands in the order of the stages, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands as they were added."""
        del ctx
        return list(self.commands)


def main() -> None:
    """Run the command line, and end with the exit code of what went wrong."""
    gc.set_threshold(_SELDOM)
    asked_to_stop = _heed_interrupts()
    try:
        cli.main(prog_name="cuvee", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        code = _interrupted()
    except (CuveeError, click.ClickException, OSError) as error:
        # A terminal interrupts what we started, too: its end may be told before ours.
        code = _interrupted() if asked_to_stop() else _told(error)
    else:
        return
    sys.exit(code)


def _heed_interrupts() -> Callable[[], bool]:
    """Let a `kill` tidy up as Ctrl-C does: secrets, containers and half-written files.

    Returns:
        Whether there was one of the two: what tidies up may fail with an error of its own.
    """
    came: list[int] = []

    def stop(number: int, _frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where we run with `nohup … &`
        signal.signal(signal.SIGINT, stop)
    return lambda: bool(came)


def _interrupted() -> int:
    say("interrupted; nothing half-made is left behind")
    return INTERRUPTED


def _told(error: CuveeError | click.ClickException | OSError) -> int:
    """Tell it; returns its exit code.

    Raises:
        OSError: It is none that a user can mend.
    """
    if isinstance(error, CuveeError):
        for fault in error.faults:
            say(str(fault).replace(f"{Path.cwd()}{os.sep}", ""))
        return error.exit_code
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if error.errno not in DISK_TROUBLES:
        raise error
    place, fix = error.filename or "the disk", "Free some space there, or set TMPDIR or CUVEE_CACHE"
    say(f"{place}: cannot be written: {error.strerror}. {fix}.")
    return EngineOrNetworkError.exit_code


@click.group(cls=Stages, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cuvee")
@click.option(
    "-C",
    "--project",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=".",
    help="The folder with matrix.yaml, or one below it.",
)
@click.option("-v", "--verbose", is_flag=True, help="Echo every command that is started, and all it says.")
@click.pass_context
def cli(ctx: click.Context, folder: Path, verbose: bool) -> None:
    """Reproducible, proven CUDA environments for speech.

    Exit codes: 0 done, 1 a check failed, 2 bad input, 3 nothing selected, 4 cannot resolve, 5 the engine or
    the network failed.
    """
    from builder.shell import SYSTEM

    SYSTEM.echo = verbose
    ctx.obj = Context(folder, verbose=verbose)


@cli.command("list")
@rows_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a row.")
@click.pass_obj
def list_rows(context: Context, rows: tuple[str, ...], as_json: bool) -> None:
    """Show the rows of the matrix, their locks and what is proven of them."""
    from rich.console import Console

    from builder.report.state import listed
    from builder.report.tables import listing

    found = listed(context.project, rows)
    if as_json:
        click.echo(json.dumps([row.to_json() for row in found], indent=1))
    else:
        Console().print(listing(found))


@cli.command()
@rows_argument
@click.option("--check", is_flag=True, help="Change nothing; fail if a lock is not the matrix's any more.")
@click.pass_obj
def lock(context: Context, rows: tuple[str, ...], check: bool) -> None:
    """Resolve rows as of their day, and write their locks."""
    from builder import direct, pipeline

    project = context.project
    if check:
        chosen = with_lock(project, rows)
        run_all(partial(pipeline.check_lock, project, row) for row in chosen)
        run_all(partial(direct.check, project, row, say) for row in chosen)
        return
    with ThreadPoolExecutor(LOCKED_AT_ONCE) as pool:  # uv waits for the index most of the time
        raise_all(list(filter(None, pool.map(partial(_lock, project, rows), pipeline.rows(project, rows)))))


def _lock(project: Project, named: tuple[str, ...], row: Row) -> CuveeError | None:
    """Lock one row and say so; what went wrong is for the end, when all are through."""
    from builder import pipeline, rowfiles
    from builder.verdict import refusal

    try:
        if refusal.is_known(row):
            say(f"{row.id}: refused, as it is known to be: {pipeline.refusal(row)}")
        elif not named and (why := rowfiles.unlocked(project, row)):
            say(f"{row.id}: {why}")
        else:
            locked = pipeline.lock(project, row, say, again=True)
            say(f"{row.id}: {sum(1 for _ in locked.packages())} packages, {locked.digest}")
    except CuveeError as error:
        return error
    return None


@cli.command()
@rows_argument
@click.option("--base", "base", help="Record the libraries of this base instead.")
@click.option("--check", is_flag=True, help="Change nothing; fail if the records are not those of the locks.")
@click.pass_obj
def facts(context: Context, rows: tuple[str, ...], base: str | None, check: bool) -> None:
    """Record what the binaries of locked wheels say of themselves."""
    from builder import bases, pipeline

    project = context.project
    if check:
        pipeline.check_facts(project)
        return
    if base:
        bases.record_facts(project, bases.named(project, base), say)
        return
    for row in with_lock(project, rows):
        names = pipeline.facts(project, row, say)
        say(f"{row.id}: {len(names)} wheels read" if names else f"{row.id}: all facts are recorded")
    if not rows:
        for name in pipeline.forget_facts(project):
            say(f"facts/{name} deleted: no lock names it any more")


def _compute_capability(_: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """`8.6` as 86."""
    if text is None:
        return None
    major, dot, minor = text.removeprefix("sm_").partition(".")
    number = f"{major}{minor}" if dot else major
    if not number.isdigit() or not 2 <= len(number) <= 3:  # noqa: PLR2004 - 8.6 and 12.0
        raise click.BadParameter("write it as nvidia-smi does: 8.6", param=option)
    return int(number)


def _driver_version(_: click.Context, option: click.Parameter, text: str | None) -> str:
    if text and not all(part.isdigit() for part in text.split(".")):
        raise click.BadParameter("write it as nvidia-smi does: 535.104.05", param=option)
    return text or ""


@cli.command()
@rows_argument
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, every name in it; by builder/check.schema.json."
)
@click.option(
    "--driver", callback=_driver_version, help="Judge for this NVIDIA driver too, such as 535.104.05."
)
@click.option(
    "--gpu", callback=_compute_capability, help="Judge for this compute capability too, such as 8.6."
)
@click.pass_obj
def check(context: Context, rows: tuple[str, ...], as_json: bool, driver: str, gpu: int | None) -> None:
    """Prove from recorded facts that every library of rows is found, before anything is built."""
    from builder import pipeline
    from builder.verdict.hosts import Host

    project = context.project
    host = Host(driver=driver, gpu=gpu) if driver or gpu else None
    judged: list[tuple[Row, Verdict]] = []

    def prove(row: Row) -> None:
        judged.append((row, pipeline.prove(project, row, host)))

    def judge(row: Row, verdict: Verdict) -> None:
        pipeline.require_verdict(row, verdict, briefly=True)

    chosen = [
        row for row in pipeline.rows(project, rows) if row.status != "untested" or has_lock(project, row)
    ]
    proofs = [partial(prove, row) for row in chosen]
    errors = errors_of(proofs)  # what can be judged is shown, whatever the others lack
    if as_json:
        click.echo(json.dumps([verdict.to_json() for _, verdict in judged], indent=1))
    else:
        from rich.console import Console

        from builder.report.verdicts import show

        show(Console(), judged, detailed=bool(rows))
    weights = errors_of(partial(pipeline.require_budget, project, row) for row in chosen if row.budget)
    raise_all([*errors, *errors_of(partial(judge, row, verdict) for row, verdict in judged), *weights])


@cli.command()
@click.option("--base", default="bookworm", show_default=True, help="The base, by its name in the matrix.")
@click.option("--python", help="The Python, such as 3.12; the base's own when not given.")
@click.option("--update", is_flag=True, help="Ask the index for new releases first, and record their facts.")
@click.option(
    "--confirm", is_flag=True, help="Run a sample with the real loader, in containers (30 GB, 10 min)."
)
@click.option("--check", is_flag=True, help="Change nothing; fail if a file is not what would be written.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
@click.pass_obj
def survey(  # noqa: PLR0913, PLR0917 - a command's options
    context: Context,
    base: str,
    python: str | None,
    update: bool,
    confirm: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Prove every CTranslate2 release against every torch release, and write the table."""
    from datetime import UTC, datetime

    from builder import bases
    from builder.survey.files import survey_files

    files = survey_files(context.project, bases.named(context.project, base), python)
    if update:
        files.update(datetime.now(UTC).date(), say)
    if confirm:
        files.confirm(context.engine(), say)
        return
    table = files.table()
    if as_json:
        click.echo(table.data(), nl=False)
    elif check:
        files.check(table)
    else:
        for name in files.save(table):
            say(f"survey/{name} written")
        say(", ".join(f"{count} {word}" for word, count in table.counts().items()))


@cli.command()
@rows_argument
@click.option("--check", is_flag=True, help="Change nothing; fail if a file is not what would be written.")
@click.pass_obj
def render(context: Context, rows: tuple[str, ...], check: bool) -> None:
    """Write the Dockerfiles, the README's tables and the JSON Schema of the matrix."""
    from builder import pipeline

    project = context.project
    if check:
        of_rows = (partial(pipeline.check_render, project, row) for row in with_lock(project, rows))
        run_all((*of_rows, partial(pipeline.check_shared, project)))
        return
    for row in with_lock(project, rows):
        for name in pipeline.render(project, row):
            say(f"images/{row.id}/{name} written")
    for name in pipeline.render_shared(project):
        say(f"{name} written")


cli.add_command(images.base)


for command in (proving.build, proving.test):
    cli.add_command(command)
for command in (images.repro, images.load, images.push, travelling.wheels, images.diff):
    cli.add_command(command)
cli.add_command(proving.run)
cli.add_command(ci.ci)
cli.add_command(ci.drift)
cli.add_command(images.clean)
# What helps where something is broken already stands in modules of its own.
cli.add_command(explain)
cli.add_command(doctor)


@cli.group()
def engine() -> None:
    """A private Docker engine from Debian's packages, for machines without one."""


@engine.command()
@click.pass_obj
def start(context: Context) -> None:
    """Start it, unless an engine of yours answers."""
    from builder.engines import docker, private

    own = docker.reachable(context.project.engine)
    if own:
        say(f"engine: using the one at {own}")
        return
    say("engine: none answers; unpacking a private one from Debian's packages into .engine (once, 310 MB)")
    private.start(context.project.engine)
    say(
        f"engine: started at {context.project.engine.host}; nothing was installed into the system, "
        "and `make engine-stop` ends it"
    )


@engine.command()
@click.pass_obj
def stop(context: Context) -> None:
    """End it."""
    from builder.engines import private

    say("engine: ended" if private.stop(context.project.engine) else "engine: no private engine was running")
