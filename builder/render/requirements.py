"""Hash-locked requirements files: one for pip users, one for each layer, one for the build's own tools."""

from __future__ import annotations

from collections.abc import Iterable

from builder.lock.record import Lock, Package
from builder.plan import Plan

# No word of the row: rows with the same packages then share BuildKit's cached layer.
_HEAD = "# Generated from lock.json; do not edit. Python {python}, Linux x86-64.\n"


def requirements(lock: Lock, plan: Plan) -> dict[str, str]:
    """File names and texts: `requirements.txt` is the main environment, `requirements-<layer>.txt` a part."""
    head = _HEAD.format(python=lock.python)
    whole = f"{head}# The whole environment: pip install --require-hashes --no-deps -r requirements.txt\n"
    texts = {
        "requirements.txt": whole + _lines(lock.main.packages),
        "requirements-tools.txt": head + _lines(lock.tools),
    }
    return texts | {layer.requirements_file: head + _lines(layer.packages) for layer in plan.layers}


def _lines(packages: Iterable[Package]) -> str:
    return "".join(f"{part.name}=={part.version} --hash=sha256:{part.sha256}\n" for part in packages)
