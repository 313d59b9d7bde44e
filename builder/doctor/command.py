"""`cuvee doctor`, to be mounted on the command line: `cli.add_command(doctor)`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from builder.doctor.host import Consultation


@click.command()
@click.option("--image", metavar="REF", help="Examine an image, without running what it is for.")
@click.option(
    "--python",
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="Examine an environment: its Python, or its folder.",
)
@click.option("--gpus", is_flag=True, help="With --image: let it see the GPUs; else it is judged for any.")
@click.option(
    "--for-gpu", is_flag=True, help="Judge as if a GPU were here; an image without --gpus always is."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, by builder/doctor.schema.json.")
@click.pass_obj
def doctor(  # noqa: PLR0913, PLR0917 - a command's options
    context: Any, image: str | None, python: Path | None, gpus: bool, for_gpu: bool, as_json: bool
) -> None:
    """Examine this machine, an image or an environment: what will fail there, why, and what helps.

    Ends with 1 if something will fail.
    """
    if image and python:
        raise click.UsageError("--image and --python are two patients: give one")
    if gpus and not image:
        raise click.UsageError("--gpus goes with --image: everything else sees the GPUs anyway")
    if gpus and for_gpu:
        raise click.UsageError("--gpus shows the GPUs, --for-gpu pretends one: give one")
    from builder.doctor import host

    if image:
        found = host.examine_image(context.engine(), image, gpus=gpus)
    elif python:
        found = host.examine_python(python, for_gpu=for_gpu)
    else:
        found = host.examine_here(for_gpu=for_gpu)
    _print(found, as_json=as_json)
    if found.report.serious:
        sys.exit(1)


def _print(found: Consultation, *, as_json: bool) -> None:
    from builder.doctor.patient.telling import told

    click.echo(json.dumps(found.data, indent=1) if as_json else told(found.report).rstrip("\n"))
