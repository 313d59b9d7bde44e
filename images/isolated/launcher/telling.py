"""What failed in a side, as a fault: with the cause if it is known, and the exact step if there is one."""

from __future__ import annotations

import re
from typing import Mapping

from . import causes, hub
from .asr import AudioError
from .faults import BAD_INPUT, FAILED, Fault, LauncherError
from .isolation import RemoteError, SideDiedError

_INPUT = (
    (re.compile(r"is not a valid language code"), "Give a code such as en or de with --language"),
    (
        re.compile(r"Invalid compute type"),
        "Take default, auto, int8, int8_float16, float16 or float32 with --compute-type",
    ),
)
_DEVICE_FIX = "Run `cuvee doctor` to see what the GPU lacks, or take --device cpu"


def is_audio(error: LauncherError) -> bool:
    """Whether it is one recording's fault, so that the side can go on with the next."""
    return isinstance(error, RemoteError) and error.type.endswith("." + AudioError.__name__)


def fault(error: LauncherError, audio: str, model: str, variables: Mapping[str, str]) -> Fault:
    """What to tell of an error in a side.

    Args:
        error: It.
        audio: The recording that the side was at.
        model: The side's model, as it was asked for.
        variables: Of the environment.
    """
    if isinstance(error, SideDiedError):
        place = "{}, side {}".format(audio, error.side)
        return Fault(place, "{}; {}".format(error.death.told(), error.death.why()), error.death.fix(), FAILED)
    if not isinstance(error, RemoteError):
        return error.faults[0]
    if is_audio(error):
        return Fault(
            audio,
            "it is no recording that FFmpeg can read ({})".format(error.text),
            "Convert it first",
            BAD_INPUT,
        )
    return _remote(error, audio, model, variables)


def _remote(error: RemoteError, audio: str, model: str, variables: Mapping[str, str]) -> Fault:
    said = "{}: {}".format(error.type, error.text)
    place = "{}, side {}".format(audio, error.side)
    for pattern, fix in _INPUT:
        if pattern.search(error.text):
            return Fault(place, error.text, fix, BAD_INPUT)
    own = "{}\n{}".format(said, error.trace)
    cause = causes.find(said)
    found = hub.fault(own, model, variables)
    if not (found or cause):
        # What was printed counts too: pyannote.audio 3 prints why it has no model, and then trips over None.
        found = hub.fault("{}\n{}".format(own, error.words), model, variables)
    if found:
        return found
    cause = cause or causes.find(error.words)
    if cause:
        return Fault(place, "{} ({})".format(cause.cause, said), cause.fix, FAILED)
    fix = (
        _DEVICE_FIX
        if "CUDA" in error.text
        else "Give these words to `cuvee explain`:\n" + error.trace.rstrip()
    )
    return Fault(place, said, fix, FAILED)
