"""The probe's commands: `check`, `trace` and `transcribe`. Each prints one JSON object on standard output.

Exit codes: 0 nothing failed, 1 something failed, 2 the command line is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, List

from . import (
    copies,
    cudnn,
    libraries,
    opened,
    orders,
    processes,
    speakers,
    tracing,
    transcribe,
    transcribing,
    versions,
)
from .child import described, merged
from .finding import Finding, failed
from .place import Place, here

FORMAT = 1
GPU_TIMEOUT = 60.0

Check = Callable[[Place, argparse.Namespace], Finding]

CHECKS = {
    "libraries": lambda place, _: libraries.check(place),
    "opened": lambda place, _: opened.check(place),
    "cudnn": lambda place, _: cudnn.check(place),
    "orders": lambda place, options: orders.check(place, options.modules),
    "versions": lambda place, options: versions.check(place, options.expect),
    "copies": lambda place, _: copies.check(place),
    "speakers": lambda place, _: speakers.check(place),
}  # type: Dict[str, Check]


def main(arguments: List[str]) -> int:
    """Run one command and print what it found."""
    options = _parser().parse_args(arguments)
    report = {"format": FORMAT, **_surroundings(), **options.run(options, arguments[1:])}
    print(json.dumps(report, indent=1))
    outcomes = [report.get("outcome"), *(check["outcome"] for check in report.get("checks", []))]
    return 1 if "failed" in outcomes else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="probe", description="Looks at the environment of this Python.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="run checks; all of them unless some are named")
    check.add_argument("names", nargs="*", type=_check_name, metavar="NAME", help=", ".join(CHECKS))
    check.add_argument("--expect", type=Path, metavar="FILE", help="what should be installed where, as JSON")
    check.add_argument(
        "--also",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="one more file or folder for `libraries` and `copies`",
    )
    check.add_argument("--modules", type=_names, default=(), metavar="A,B", help="what `orders` imports")
    check.add_argument("--hide-cache", action="store_true", help="run children as if ld.so.cache were empty")
    check.set_defaults(run=_check)
    trace = commands.add_parser("trace", help="say where the loader finds what every ELF file needs")
    trace.set_defaults(run=lambda _options, _words: tracing.run(here()))
    speech = commands.add_parser("transcribe", help="transcribe sound files")
    transcribing.arguments(speech)
    speech.set_defaults(run=lambda _, words: transcribe.run(words))
    return parser


def _check_name(text: str) -> str:
    if text not in CHECKS:
        raise argparse.ArgumentTypeError("{!r} is none of {}".format(text, ", ".join(CHECKS)))
    return text


def _names(text: str) -> List[str]:
    return [name for name in text.split(",") if name]


def _check(options: argparse.Namespace, _words: List[str]) -> Dict[str, Any]:
    place = here(tuple(options.also), hide_cache=options.hide_cache)
    results = [_ended(name, place, options) for name in options.names or CHECKS]
    return {
        "prefix": str(place.prefix),
        "overlays": [str(path) for path in place.overlays],
        "checks": results,
    }


def _ended(name: str, place: Place, options: argparse.Namespace) -> Dict[str, Any]:
    """One check, run to its end whatever it meets."""
    started = time.monotonic()
    try:
        finding = CHECKS[name](place, options)
    except Exception as error:  # noqa: BLE001 - a check that breaks has not passed, and the others go on
        finding = failed("the check itself broke: " + described(error), traceback=traceback.format_exc())
    return {"name": name, **finding._asdict(), "seconds": round(time.monotonic() - started, 2)}


def _surroundings() -> Dict[str, Any]:
    done = processes.child(processes.Manner(GPU_TIMEOUT), "gpu")
    said = merged(done.out)
    gpu = said if "gpu" in said else {"gpu": None, "gpu_reason": said.get("error", done.complaint)}
    return {
        "python": platform.python_version(),
        "glibc": (os.confstr("CS_GNU_LIBC_VERSION") or "").replace("glibc ", ""),
        **gpu,
    }
