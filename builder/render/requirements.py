"""Hash-locked requirements files: for pip users one an environment, one for each layer, one for the tools."""

from __future__ import annotations

from collections.abc import Iterable

from builder.lock.record import Environment, Lock, Package
from builder.plan import Plan

# No word of the row: rows with the same packages then share BuildKit's cached layer.
_HEAD = "# Generated from lock.json; do not edit. Python {python}, Linux x86-64.\n"


def requirements(lock: Lock, plan: Plan) -> dict[str, str]:
    """File names and texts: `requirements.txt` is the environment, `requirements-<layer>.txt` a part.

    With several environments there are `requirements-<environment>.txt` instead of the first.
    """
    head = _HEAD.format(python=lock.python)
    texts = {_whole_file(lock, part): _whole(head, lock, part) for part in lock.environments}
    texts["requirements-tools.txt"] = head + _lines(lock.tools)
    return texts | {layer.requirements_file: head + _lines(layer.packages) for layer in plan.layers}


def _whole_file(lock: Lock, part: Environment) -> str:
    return f"requirements-{part.name}.txt" if len(lock.environments) > 1 else "requirements.txt"


def _whole(head: str, lock: Lock, part: Environment) -> str:
    install = f"pip install --require-hashes --no-deps -r {_whole_file(lock, part)}"
    return f"{head}# The whole environment: {install}\n{_lines(part.packages)}"


def _lines(packages: Iterable[Package]) -> str:
    return "".join(f"{part.name}=={part.version} --hash=sha256:{part.sha256}\n" for part in packages)
