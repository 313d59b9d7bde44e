"""The Dockerfile of a plan, and the loader's configuration that it installs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from builder.plan import Plan

TEMPLATES = Path(__file__).parents[2] / "templates"


def dockerfile(plan: Plan) -> dict[str, str]:
    """File names and texts: `Dockerfile` and `loader.conf`."""
    chain = [layer for layer in plan.layers if layer.kind == "chain"]
    beside = [layer for layer in plan.layers if layer.kind == "beside"]
    text = _templates().get_template("Dockerfile.j2").render(plan=plan, chain=chain, beside=beside)
    return {"Dockerfile": text, "loader.conf": "".join(f"{folder}\n" for folder in plan.loader)}


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - Dockerfiles, not HTML
    )
