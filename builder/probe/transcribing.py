"""In a child: transcribe speech with the environment's own programs, and show what did the work."""

from __future__ import annotations

import argparse
import importlib
import resource
import time
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Tuple

from .gpu import Driver

if TYPE_CHECKING:
    from .child import Say

LEAST_DROP_MIB = 50
"""The smallest Whisper takes more of a GPU than this; a GPU that nobody uses, nothing."""

Transcriber = Callable[[str, Optional[str]], str]
"""From a sound file and its language, or None to have it detected, to the text."""


class NotOnGpuError(Exception):
    """Something transcribed, and it was not the GPU."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command `transcribe` and the child's verb understand."""
    parser.add_argument("audio", nargs="+", help="sound files")
    parser.add_argument("--model", required=True, help="folder of a Whisper model in CTranslate2's format")
    parser.add_argument("--with", dest="tool", choices=sorted(LOADERS), default="faster-whisper")
    parser.add_argument("--language", help="what is spoken, such as en; detected when not given")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compute-type", default="default", help="int8, float16, …; CTranslate2's names")


def act(words: List[str], say: Say) -> None:
    """Transcribe, then say `texts`, `seconds`, and the `device` and `compute_type` that CTranslate2 used.

    `first_words_seconds` are from here to the first recording's text: imports and the model are in it.
    """
    parser = argparse.ArgumentParser()
    arguments(parser)
    options = parser.parse_args(words)
    driver = Driver() if options.device == "cuda" else None
    free = driver.free_mib() if driver else 0
    started = time.monotonic()
    transcribe, engine = LOADERS[options.tool](options.model, options.device, options.compute_type)
    loaded = time.monotonic()
    texts = [transcribe(options.audio[0], options.language)]
    first = time.monotonic()
    texts += [transcribe(audio, options.language) for audio in options.audio[1:]]
    ended = time.monotonic()
    say({"texts": texts, "seconds": round(ended - loaded, 2), "load_seconds": round(loaded - started, 2)})
    say({"first_words_seconds": round(first - started, 2), "peak_mib": peak_mib()})
    say({"with": options.tool, "device": engine.device, "compute_type": engine.compute_type})
    if driver:
        say({"gpu_memory_mib": proven(driver, free, engine.device)})


def peak_mib() -> int:
    """The most memory of the machine that this process has had, in MiB (getrusage(2): Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def proven(driver: Driver, free_before: int, device: str) -> int:
    """How many MiB of the GPU the model takes; NotOnGpuError if that does not prove that it ran there."""
    if device != "cuda":
        raise NotOnGpuError("CTranslate2 ran on {!r}".format(device))
    if not driver.in_use():
        raise NotOnGpuError("this process has no context on the GPU: the work was done elsewhere")
    drop = free_before - driver.free_mib()
    if drop < LEAST_DROP_MIB:
        raise NotOnGpuError("the GPU's free memory fell by {} MiB only: the model is not there".format(drop))
    return drop


def _faster_whisper(model: str, device: str, compute_type: str) -> Tuple[Transcriber, Any]:
    """Without voice detection: it could decide that there is no speech, and the encoder would never run."""
    module = importlib.import_module("faster_whisper")
    whisper = module.WhisperModel(model, device=device, compute_type=compute_type, local_files_only=True)

    def transcribe(audio: str, language: Optional[str]) -> str:
        segments, _ = whisper.transcribe(audio, language=language, vad_filter=False)
        return joined(segment.text for segment in segments)

    return transcribe, whisper.model


def _whisperx(model: str, device: str, compute_type: str) -> Tuple[Transcriber, Any]:
    """With its voice detection, which is pyannote on torch and comes in WhisperX's wheel."""
    module = importlib.import_module("whisperx")
    pipeline = module.load_model(model, device, compute_type=compute_type)
    engine = pipeline.model.model
    # A model for English alone cannot detect languages, and WhisperX would ask it to.
    only = None if engine.is_multilingual else "en"

    def transcribe(audio: str, language: Optional[str]) -> str:
        result = pipeline.transcribe(module.load_audio(audio), batch_size=4, language=language or only)
        return joined(segment["text"] for segment in result["segments"])

    return transcribe, engine


def joined(pieces: Any) -> str:
    """The pieces of a transcript as one line."""
    return " ".join(piece.strip() for piece in pieces)


LOADERS = {"faster-whisper": _faster_whisper, "whisperx": _whisperx}
