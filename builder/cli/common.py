"""What all commands share: how they talk, what they work on, and the options that several have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.errors import CuveeError

if TYPE_CHECKING:
    from builder.engines.container import Engine
    from builder.engines.docker import DockerEngine
    from builder.matrix import Row
    from builder.project import Project


def say(text: str) -> None:
    """Tell a person something; standard output is for data."""
    click.echo(text, err=True)


rows_argument = click.argument("rows", nargs=-1, metavar="[ROW]...")
some_rows_argument = click.argument("rows", nargs=-1, required=True, metavar="ROW...")
engine_option = click.option(
    "--engine",
    "wish",
    type=click.Choice(["auto", "docker", "direct"]),
    default="auto",
    show_default=True,
    envvar="CUVEE_ENGINE",
    help="What makes the image: Docker, or cuvee itself without one; auto takes Docker where one answers.",
)
compression_option = click.option(
    "--compression",
    type=click.Choice(["passthrough", "zstd", "none"]),
    default="passthrough",
    show_default=True,
    help="Of layers: the wheels' own; zstd's, which is smaller and recorded in the lock too; or none.",
)


def as_bytes(_: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """`20` or `20GB` as bytes."""
    if text is None:
        return None
    number, units = text.strip().upper().removesuffix("B"), {"M": 1e6, "G": 1e9, "T": 1e12}
    factor = units.get(number[-1:], 1e9)
    try:
        return int(float(number.rstrip("MGT")) * factor)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter("write it as 20GB or 500MB", param=option) from error


class Context:
    """What all commands share."""

    def __init__(self, folder: Path, *, verbose: bool) -> None:
        self._folder = folder
        self.verbose = verbose

    @property
    def project(self) -> Project:
        """The project that the command works in."""
        from builder.project import find

        return find(self._folder)

    def verdicts(self) -> dict[str, frozenset[str]]:
        """The kinds of failure that each good row is proven to give, for `explain`; usually none."""
        from builder import pipeline

        return pipeline.signatures(self.project)

    def engine(self) -> DockerEngine:
        """The Docker engine to use."""
        from builder.engines.docker import connect

        return connect(self.project.engine)

    def docker(self, wish: str) -> DockerEngine | None:
        """The Docker engine that the user wishes for, or None where the direct engine does the work."""
        from builder.engines.docker import reachable

        if wish == "direct" or (wish == "auto" and reachable(self.project.engine) is None):
            return None
        return self.engine()

    def either(self, wish: str) -> Engine:
        """The engine to test and run with."""
        from builder import direct

        return self.docker(wish) or direct.engine(self.project, say)


def has_lock(project: Project, row: Row) -> bool:
    """Whether a row has a lock, or should have one."""
    from builder import rowfiles

    return not rowfiles.unlocked(project, row)


def with_lock(project: Project, rows: Sequence[str]) -> list[Row]:
    """The rows asked for, or all, but for those that rightly have no lock; a word is said of each such."""
    from builder import pipeline, rowfiles

    chosen = pipeline.rows(project, rows)
    for row in chosen:
        if why := rowfiles.unlocked(project, row):
            say(f"{row.id}: {why}")
    return [row for row in chosen if has_lock(project, row)]


def run_all(checks: Iterable[Callable[[], None]]) -> None:
    """Run all checks, and tell all their faults at once."""
    raise_all(errors_of(checks))


def errors_of(checks: Iterable[Callable[[], None]]) -> list[CuveeError]:
    """Run all checks; what they raised."""
    errors: list[CuveeError] = []
    for check in checks:
        try:
            check()
        except CuveeError as error:
            errors.append(error)
    return errors


def raise_all(errors: Sequence[CuveeError]) -> None:
    """Tell the faults of all errors, with the worst exit code."""
    if errors:
        worst = max(errors, key=lambda error: error.exit_code)
        raise type(worst)(*(fault for error in errors for fault in error.faults))
