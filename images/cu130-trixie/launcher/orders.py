"""What each side is told to do with a recording."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Tuple

from . import asr, speakers
from .arguments import Options
from .job import Job

TRANSCRIBE, SPEAKERS = "transcribe", "speakers"
Order = Tuple[str, Dict[str, Any]]
"""A function of a side and its arguments."""


def to_transcribe(options: Options, job: Job) -> Optional[Order]:
    """What the side that hears is to do with a recording; None where nothing is left."""
    if not left_to_transcribe(job):
        return None
    audio = str(job.audio.resolve())  # FFmpeg takes what is before a colon for a protocol
    samples = None if job.diarized else str(job.journal.samples)
    if job.transcribed:
        return ".asr:prepare", {"audio": audio, "samples": samples}
    settings = asr.Settings(
        options.model,
        options.device,
        options.compute_type,
        options.beam_size,
        options.words,
        options.offline,
    )
    return ".asr:transcribe", {
        "audio": audio,
        "settings": list(settings),
        "language": job.language or None,
        "samples": samples,
        "start": job.start(),
    }


def for_speakers(options: Options, job: Job) -> Optional[Order]:
    """The same for the side that tells speakers apart; it waits until the recording is decoded."""
    if job.diarized:
        return None
    job.decoded.wait()
    if not job.has_samples:
        return None
    settings = speakers.Settings(options.speakers or "", options.device, options.tf32)
    return ".speakers:diarize", {
        "samples": str(job.journal.samples),
        "settings": list(settings),
        "limits": options.limits,
    }


def left_to_transcribe(job: Job) -> bool:
    """Whether the side that hears still has something to do with a recording."""
    return not job.unheard and not (job.transcribed and (job.diarized or job.has_samples))


def left_for_speakers(job: Job) -> bool:
    """Whether the side that tells speakers apart still has something to do with a recording."""
    return not job.diarized and (job.has_samples or not job.decoded.is_set())


LEFT: Dict[str, Callable[[Job], bool]] = {TRANSCRIBE: left_to_transcribe, SPEAKERS: left_for_speakers}
