"""A row without an image: its wheels, for machines that neither images nor registries reach."""

from __future__ import annotations

from pathlib import Path

import click

from builder.cli.common import Context, as_bytes, say


@click.command()
@click.argument("row")
@click.option(
    "--pieces",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the pieces go, with a manifest and join.py: an empty folder, or one of earlier pieces.",
)
@click.option(
    "--size", callback=as_bytes, default="60MB", show_default=True, help="What a piece may weigh: 60MB, 1GB."
)
@click.pass_obj
def wheels(context: Context, row: str, folder: Path, size: int) -> None:
    """Write the wheels of ROW as pieces of a bounded size, which `join.py` installs elsewhere."""
    from builder import elsewhere, pipeline

    [chosen] = pipeline.rows(context.project, [row])
    done = elsewhere.pieces(context.project, chosen, folder, size, say)
    say(f"{row}: {len(done)} pieces, {sum(piece.size for piece in done) / 1e9:.2f} GB")
    say(f"there: python{chosen.python} join.py FOLDER; it tells how to go on")
