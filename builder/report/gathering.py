"""Gathering facts with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from builder.abi.facts import WheelFacts
from builder.abi.gather import Wanted, gather
from builder.abi.library import Library, cache_folder, text
from builder.lock.record import Package
from builder.project import write


def gather_all(
    packages: Sequence[Package], folder: Path, say: Callable[[str], None], most: int | None = None
) -> None:
    """Bring the facts of wheels into a folder, one file a wheel; this machine harvests each wheel once.

    Args:
        packages: Which.
        folder: Where the records go.
        say: Told what is read.
        most: See `Wanted.most`.

    Raises:
        CuveeError: See `gather`.
    """
    known = Library(folders=(cache_folder(),))
    wanted = []
    for package in packages:
        facts = known.wheel(package.file, package.sha256)
        if facts and (facts.complete or most):
            _keep(folder, facts)
        else:
            wanted.append(_wanted(package, most))
    if not wanted:
        return
    total = sum(one.size for one in wanted)
    count = f"{len(wanted)} wheel{'' if len(wanted) == 1 else 's'}"
    say(f"facts: reading {count}{'' if most else f', {total / 1e9:.1f} GB'}, once")
    with _bar() as progress:
        task = progress.add_task("wheels", total=total)
        gather(wanted, partial(_keep_both, folder), lambda one: progress.advance(task, one.size))


def _bar() -> Progress:
    """On standard error, and only where a person watches."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _keep_both(folder: Path, facts: WheelFacts) -> None:
    _keep(cache_folder(), facts)
    _keep(folder, facts)


def _keep(folder: Path, facts: WheelFacts) -> None:
    write(folder / f"{facts.file}.json", text(facts))


def _wanted(package: Package, most: int | None) -> Wanted:
    return Wanted(
        name=package.name,
        version=package.version,
        file=package.file,
        sha256=package.sha256,
        size=package.size,
        most=most,
    )
