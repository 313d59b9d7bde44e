"""Known messages and what they mean: `causes.json`, made from cuvee's signatures by `cuvee render`."""

from __future__ import annotations

import functools
import json
import re
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

FILE = Path(__file__).resolve().parent / "causes.json"
_NAME = re.compile(r"\{\{(\w+)\}\}")
_PLAIN = re.compile(r"[\w.+/-]+")

OWN_FIXES = {
    "out-of-memory": (
        "Take --compute-type int8 or a smaller model, run both sides --in-turn, or go on with --device cpu; "
        "with --resume nothing that was finished is done again"
    ),
}
"""Where `transcribe` itself has the remedy."""


class Cause(NamedTuple):
    """What is known of a message.

    Attributes:
        id: The name of the signature, as `cuvee explain` shows it.
        cause: What it means, without a full stop at its end.
        fix: What helps, without a full stop at its end.
    """

    id: str
    cause: str
    fix: str


def find(text: str) -> Optional[Cause]:
    """The cause nearest to the machine of which a text has the message, if any is known."""
    text = " ".join(text.split())
    for written in _book():
        for pattern in written["patterns"]:
            match = re.search(pattern, text)
            if match:
                return _filled(written, match)
    return None


@functools.lru_cache(maxsize=1)
def _book() -> List[Dict[str, Any]]:
    try:
        known: List[Dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["causes"]
    except (OSError, ValueError, KeyError):
        return []  # without it the last words are still told
    return known


def _filled(written: Dict[str, Any], match: "re.Match[str]") -> Cause:
    # What a log has goes into a command too: only plain names do.
    caught = {key: value for key, value in match.groupdict().items() if value and _PLAIN.fullmatch(value)}
    values = {**written.get("defaults", {}), **caught}

    def fill(text: str) -> str:
        return _NAME.sub(lambda name: str(values.get(name[1], name[1])), text)

    fixes = written["fix"]
    fix = OWN_FIXES.get(written["id"]) or fill(fixes.get(place()) or next(iter(fixes.values())))
    return Cause(written["id"], fill(written["cause"]).rstrip("."), fix.rstrip("."))


def place() -> str:
    """Where we are, in the words of the signatures: in a container, in Colab, or in some environment."""
    if "google.colab" in sys.modules or Path("/content").is_dir():
        return "colab"
    return "docker" if Path("/.dockerenv").exists() or "/opt/cuvee" in str(FILE) else "venv"
