"""The doctor as a program, from standard input, or pasted into a cell of a notebook."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from builder.doctor.patient.case import Case
from builder.doctor.patient.examining import Scene, examine
from builder.doctor.patient.report import Report, as_json, reported
from builder.doctor.patient.running import Runner
from builder.doctor.patient.searching import started_with
from builder.doctor.patient.sight import Sight
from builder.doctor.patient.telling import told

if TYPE_CHECKING:
    from builder.doctor.patient.case import Knowledge

USAGE = """usage: python doctor.py [--json] [--for-gpu]

Examines this Python and its machine, and says what of CUDA, torch and CTranslate2 will fail here, and what
helps.

  --json     print everything as JSON
  --for-gpu  judge as if a GPU were here: for images that are built without one

Exit codes: 0 nothing will fail, 1 something will, 2 the command line is wrong.
"""
OPTIONS = {"--json", "--for-gpu"}


def start(knowledge: Knowledge, own_file: str) -> None:
    """Examine this place and tell what was found; as a program, end with its exit code.

    Args:
        knowledge: What the doctor knows.
        own_file: The bundle's `__file__`, or "" where it has none. Only as a program or from standard input
            does it have arguments of its own, and an exit code: those of a notebook are its kernel's.
    """
    program = bool(own_file) or sys.argv[:1] == ["-"]
    code = main(knowledge, sys.argv[1:] if program else [])
    if program:
        sys.exit(code)


def main(knowledge: Knowledge, arguments: list[str]) -> int:
    """Do what the arguments say, and return the exit code."""
    if set(arguments) - OPTIONS:
        sys.stderr.write(USAGE)
        return 0 if {"-h", "--help"} & set(arguments) else 2
    report = examined(knowledge, for_gpu="--for-gpu" in arguments, quiet="--json" in arguments)
    text = json.dumps(as_json(report), indent=1) + "\n" if "--json" in arguments else told(report)
    sys.stdout.write(text)
    sys.stdout.flush()
    return 1 if report.serious else 0


def examined(knowledge: Knowledge, *, for_gpu: bool, quiet: bool) -> Report:
    """Examine this place and judge it."""
    sight = Sight(Path("/"), dict(os.environ))
    runner = Runner(knowledge.child, sys.executable or "", started_with(sight))

    def tell(what: str) -> None:
        if not quiet and sys.stderr.isatty():
            sys.stderr.write(f"\r\033[Klooking at {what} …")

    seen = examine(Scene(sight, runner), tell)
    if not quiet and sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    return reported(Case(seen, knowledge, for_gpu))
