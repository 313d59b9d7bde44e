"""Command `transcribe`: real speech through the environment's own programs, without a network."""

from __future__ import annotations

import os
import tempfile
from typing import Any, Dict, List

from . import processes
from .child import merged
from .processes import Done, Manner

TIMEOUT = 6 * 3600.0


def run(words: List[str]) -> Dict[str, Any]:
    """Transcribe in a child, which may abort; `words` are the command's own arguments."""
    with tempfile.TemporaryDirectory(prefix="cuvee-probe-") as scratch:
        done = processes.child(Manner(TIMEOUT, env=environment(scratch)), "transcribe", *words)
    return report(done)


def environment(scratch: str) -> Dict[str, str]:
    """Variables for offline work, and a home where the user has none: WhisperX makes folders in it."""
    home = os.environ.get("HOME", "")
    homeless = {} if home and os.access(home, os.W_OK) else {"HOME": scratch}
    return {"HF_HUB_OFFLINE": "1", **homeless}


def report(done: Done) -> Dict[str, Any]:
    """What the child said, and how it ended."""
    said = merged(done.out)
    if not done.code:
        return {"outcome": "passed", "reason": "", **said}
    reason = said.pop("error", done.complaint)
    return {"outcome": "failed", "reason": reason, **said, "exit_code": done.code, "stderr": done.err}
