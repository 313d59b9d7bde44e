"""`builder/launcher/causes.json`: the signatures for programs in images, which have neither YAML nor us."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from builder.explain.signatures import Signature, Step, load

FORMAT = 1


def causes() -> str:
    """The text of the file: a signature's id, patterns, cause, and the first step that helps in each place.

    Cases that look at the rest of a log are left out, and so are patterns of lines that were cut: a process
    that died has all of its words.
    """
    # A general signature claims only what no particular one does: it comes last.
    ordered = sorted(load().signatures.values(), key=lambda one: one.general)
    made = {"format": FORMAT, "causes": [_cause(one) for one in ordered]}
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _cause(one: Signature) -> dict[str, Any]:
    return {
        "id": one.id,
        "patterns": [pattern.expression.pattern for pattern in one.patterns if not pattern.cut],
        "defaults": dict(one.defaults),
        "cause": f"{one.telling.title}. {one.telling.cause}".rstrip("."),
        "fix": {place: _first(steps) for place, steps in one.telling.fixes.items()},
    }


def _first(steps: Sequence[Step]) -> str:
    step = steps[0]
    return f"{step.do}:\n{step.paste}" if step.paste else step.do
