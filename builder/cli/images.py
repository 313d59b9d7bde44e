"""Commands about images as such: their bases, whether they are reproducible, and where they go."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from builder.cli.common import (
    Context,
    as_bytes,
    compression_option,
    rows_argument,
    say,
    some_rows_argument,
)

if TYPE_CHECKING:
    from builder.engines.direct.image import Compression


@click.command()
@click.argument("names", nargs=-1, metavar="[BASE]...")
@click.option("--update", is_flag=True, help="Make them of what Debian has today, and write their locks.")
@click.option("--from", "reference", help="Take them from this repository, which has an image on each.")
@click.option("--with", "also", multiple=True, help="A package of Debian on top, such as ffmpeg.")
@click.pass_obj
def base(
    context: Context, names: tuple[str, ...], update: bool, reference: str | None, also: tuple[str, ...]
) -> None:
    """Make the bases that rows lie on, as their locks name them."""
    from builder import bases

    if update and reference:
        raise click.UsageError("--update makes new bases, and --from takes the locked ones: give one of both")
    project = context.project
    for name in names or bases.names(project):
        chosen = bases.named(project, name)
        if reference:
            digest = bases.fetch(project, chosen, also, reference, say)
        else:
            make = bases.update if update else bases.provide
            digest = make(project, chosen, also, say)
        say(f"{name}: {digest}")


@click.command()
@some_rows_argument
@click.option("--base", "anew", is_flag=True, help="Make the base twice as well (a minute, from Debian).")
@click.pass_obj
def repro(context: Context, rows: tuple[str, ...], anew: bool) -> None:
    """Build rows twice from scratch without an engine, and see that both are the recorded image."""
    from builder import direct, pipeline

    for row in pipeline.rows(context.project, rows):
        digest = direct.repro(context.project, row, say, anew=anew)
        click.echo(f"{row.id} {digest}")


@click.command()
@some_rows_argument
@click.pass_obj
def load(context: Context, rows: tuple[str, ...]) -> None:
    """Bring the images of rows into a Docker engine; only layers that it lacks travel."""
    from builder import pipeline

    project = context.project
    chosen = pipeline.rows(project, rows)
    engine = context.engine()
    for row in chosen:
        done = pipeline.load(project, row, engine, say)
        sent = f"{done.sent} layers sent, {done.sent_bytes / 1e6:.0f} MB; {done.present} were there"
        say(f"{row.id}: {sent}; {done.id}")


@click.command()
@click.argument("row")
@click.argument("reference", metavar="REGISTRY/NAME[:TAG]")
@click.option("--mount-from", multiple=True, help="A repository of the same registry to take layers from.")
@click.option(
    "--layer", "layers", multiple=True, metavar="DIGEST", help="Send only this layer of it, and no image."
)
@compression_option
@click.pass_obj
def push(  # noqa: PLR0913, PLR0917 - a command's options
    context: Context,
    row: str,
    reference: str,
    mount_from: tuple[str, ...],
    layers: tuple[str, ...],
    compression: Compression,
) -> None:
    """Push the image of ROW to a registry, without an engine; only layers that it lacks travel."""
    from builder import pipeline

    [chosen] = pipeline.rows(context.project, [row])
    if layers:
        if mount_from:
            raise click.UsageError("--layer sends layers and mounts none: leave out --mount-from")
        done = pipeline.push_layers(context.project, chosen, reference, layers, say, compression=compression)
        say(f"{row}: {done.sent} layers sent, {done.sent_bytes / 1e6:.0f} MB; {done.present} were there")
        return
    pushed = pipeline.push(
        context.project, chosen, reference, say, compression=compression, mount_from=mount_from
    )
    sent = f"{pushed.sent} blobs sent, {pushed.sent_bytes / 1e6:.0f} MB"
    say(f"{row}: {sent}; {pushed.mounted} mounted, {pushed.present} were there")
    click.echo(f"{pushed.reference.name}@{pushed.digest}")


@click.command()
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def diff(context: Context, one: str, other: str, as_json: bool) -> None:
    """What a pull of image B costs who has image A, layer by layer, and why.

    An image is a row, a lock.json, the folder of an OCI layout (FOLDER:TAG), or a place in a registry.
    """
    from rich.console import Console

    from builder import direct
    from builder.report import tables

    found = direct.diff(context.project, one, other, say)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1))
    else:
        Console().print(tables.difference(found))


@click.command()
@rows_argument
@click.option("--cache", is_flag=True, help="Also delete BuildKit's cache, which other builds may use too.")
@click.option("--store", is_flag=True, help="Also delete all wheels and what was made of them.")
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Delete what was not used for so long."
)
@click.option(
    "--keep", callback=as_bytes, metavar="SIZE", help="Delete what is least used beyond this size: 20GB."
)
@click.pass_obj
def clean(  # noqa: PLR0913, PLR0917 - a command's options
    context: Context,
    rows: tuple[str, ...],
    cache: bool,
    store: bool,
    older_than: float | None,
    keep: int | None,
) -> None:
    """Delete the images of rows, what killed tests left behind, or what the store has too much of."""
    from builder import pipeline
    from builder.engines.clean import clean_engine, clean_store, clean_unpacked

    chosen = pipeline.rows(context.project, rows)
    bounded = older_than is not None or keep is not None
    if store or bounded:
        days = 0 if store else older_than
        clean_store(say, older_than=days, keep=keep)
    if rows or cache or not (store or bounded):
        clean_unpacked(chosen, say)
        engine = context.docker("auto")
        if engine:
            clean_engine(engine, chosen, say, cache=cache)
