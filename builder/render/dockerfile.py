"""The Dockerfile of a plan, and what it installs beside packages: loader's configuration and launcher."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from builder.places import HOME
from builder.plan import Plan
from builder.render.launcher import LIBRARY, launcher

TEMPLATES = Path(__file__).parents[2] / "templates"


def dockerfile(plan: Plan) -> dict[str, str]:
    """File names and texts: `Dockerfile`, `loader.conf`, and those of the launcher."""
    chain = [layer for layer in plan.layers if layer.kind == "chain"]
    beside = [layer for layer in plan.layers if layer.kind == "beside"]
    text = (
        _templates()
        .get_template("Dockerfile.j2")
        .render(plan=_safe(plan), chain=chain, beside=beside, home=HOME, library=LIBRARY)
    )
    loader = "".join(f"{folder}\n" for folder in plan.loader)
    return {"Dockerfile": text, "loader.conf": loader, **launcher(plan)}


def _safe(plan: Plan) -> Plan:
    """The plan with the texts that people wrote so that a Dockerfile takes them as they are."""
    labels = tuple((name, _quoted(value)) for name, value in plan.labels)
    return dataclasses.replace(plan, summary=_one_line(plan.summary), labels=labels)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _quoted(text: str) -> str:
    """A text for between double quotes, where a backslash, a quote and a dollar mean something."""
    return re.sub(r'([\\"$])', r"\\\1", _one_line(text))


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
