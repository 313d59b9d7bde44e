"""Check `speakers`: pyannote.audio reads a file, loads a checkpoint, and asks the hub as its manual says."""

from __future__ import annotations

import tempfile

from . import processes, transcribe
from .child import facts
from .finding import Finding, judged, skipped
from .place import Place
from .processes import Done, Manner

CHECKPOINT = "whisperx/assets/pytorch_model.bin"
"""pyannote's segmentation model, which WhisperX brings for its voice detection."""

TIMEOUT = 600.0


def check(place: Place) -> Finding:
    """Do it in a child; where WhisperX is not installed, there is no checkpoint to load."""
    if not place.matching("pyannote/audio/__init__.py"):
        return skipped("pyannote.audio is not installed")
    checkpoints = [str(path) for path in place.matching(CHECKPOINT)]
    with tempfile.TemporaryDirectory(prefix="cuvee-probe-") as scratch:
        # pyannote.audio 4 would tell its makers of each use, and both look for what the hub gave before
        quiet = {"PYANNOTE_METRICS_ENABLED": "0", "HF_HOME": scratch, "PYANNOTE_CACHE": scratch}
        env = {**transcribe.environment(scratch), **quiet, "MPLCONFIGDIR": scratch}
        return judge(
            processes.child(Manner(TIMEOUT, place.hide_cache, env=env), "speakers", scratch, *checkpoints)
        )


def judge(done: Done) -> Finding:
    """Every step has to end well."""
    said = facts(done.out)
    steps = [str(fact["step"]) for fact in said if "step" in fact]
    error = next((str(fact["error"]) for fact in said if "error" in fact), done.complaint)
    words = "; ".join(line.strip() for line in error.splitlines() if line.strip())
    return judged(
        "{}: {}".format(steps[-1] if steps else "start", words) if done.code else "",
        "{} steps work: {}".format(len(steps), ", ".join(steps)),
        steps=steps,
        exit_code=done.code,
        error=error if done.code else "",
        stderr=done.err,
    )
