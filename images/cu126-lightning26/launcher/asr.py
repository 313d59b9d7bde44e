"""In the side that hears: decode a recording once, and transcribe it with faster-whisper.

It does no more than faster-whisper itself, and hands on each segment as soon as there is one.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from .serving import report

RATE = 16_000
FRAMES_PER_SECOND = 100
"""Of Whisper's spectrogram, in which faster-whisper counts where a window begins."""

PROMPT_TOKENS = 223
"""Whisper reads no more of what was said before: half of its 448 tokens, less one."""

RESET_TEMPERATURE = 0.5
"""faster-whisper forgets what was said before after a window that needed more."""


class AudioError(Exception):
    """A recording cannot be decoded."""


class Settings(NamedTuple):
    """How to transcribe.

    Attributes:
        model: A folder, a size, or a name on the hub.
        device: `cpu`, `cuda` or `auto`.
        compute_type: CTranslate2's name.
        beam_size: How many hypotheses are kept.
        words: Whether times of words are wanted.
        offline: Use only models that are here.
    """

    model: str
    device: str
    compute_type: str
    beam_size: int
    words: bool
    offline: bool


def decode(audio: str, samples: Optional[str]) -> Any:
    """A recording as 16 kHz mono float32, written to the file `samples` too if one is named."""
    module = importlib.import_module("faster_whisper.audio")
    try:
        waveform = module.decode_audio(audio, sampling_rate=RATE)
    except Exception as error:
        raise AudioError("{}: {}".format(type(error).__name__, error)) from error
    if not len(waveform):
        raise AudioError("it has no samples")
    report({"decoded": len(waveform) / RATE, "lacking": _left(waveform, samples)})
    return waveform


def _left(waveform: Any, samples: Optional[str]) -> str:
    """Leave the samples for the other side; what keeps us from it keeps nobody from transcribing."""
    try:
        if samples:
            # Under another name until it is whole: the other side may be waiting for it.
            waveform.tofile(samples + ".part")
            Path(samples + ".part").replace(samples)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def prepare(audio: str, samples: str) -> None:
    """Decode for the other side alone."""
    decode(audio, samples)


def transcribe(
    audio: str,
    settings: List[Any],
    language: Optional[str] = None,
    samples: Optional[str] = None,
    start: Optional[Dict[str, Any]] = None,
) -> Iterator[Dict[str, Any]]:
    """Yield `decoded`, `loaded`, `info`, then each `segment`, and `settled` where a later run may begin.

    Args:
        audio: The recording.
        settings: `Settings`, as a list.
        language: What is spoken; detected when None.
        samples: Where to leave the decoded samples.
        start: `at`, in seconds, and the `tokens` before it, to go on from there.
    """
    waveform = decode(audio, samples)
    chosen = Settings(*settings)
    whisper = _model(chosen)
    yield {"loaded": {"device": whisper.model.device, "compute_type": whisper.model.compute_type}}
    options = {"language": language, "beam_size": chosen.beam_size, "word_timestamps": chosen.words}
    offset = 0.0
    if start:
        options["initial_prompt"] = start["tokens"] or None
        if "clip_timestamps" in inspect.signature(whisper.transcribe).parameters:
            options["clip_timestamps"] = "{:.2f}".format(start["at"])
        else:  # faster-whisper before 1.0.2
            offset = start["at"]
            waveform = waveform[round(offset * RATE) :]
    segments, info = whisper.transcribe(waveform, **options)
    yield {"info": {"language": info.language, "probability": info.language_probability}}
    yield from _told(segments, offset)


@functools.lru_cache(maxsize=1)
def _model(chosen: Settings) -> Any:
    """The model, loaded once for all recordings."""
    report({"stage": "loading the model"})
    module = importlib.import_module("faster_whisper")
    whisper = module.WhisperModel(
        chosen.model,
        device=chosen.device,
        compute_type=chosen.compute_type,
        local_files_only=chosen.offline,
    )
    encode = whisper.encode

    def encode_and_tell(features: Any) -> Any:
        # Once a window of at most 30 s: silence yields no segments, and is no hang.
        report({"alive": True})
        return encode(features)

    whisper.encode = encode_and_tell
    return whisper


def _told(segments: Any, offset: float) -> Iterator[Dict[str, Any]]:
    """Segments as plain data, and after the last one of a window, where the next window begins."""
    seek: Optional[int] = None
    begins_next = False
    for segment in segments:
        if segment.seek != seek:
            if seek is not None:
                # Before 1.1, `seek` is where the next window begins; since then, where its own does.
                yield {"settled": offset + (seek if begins_next else segment.seek) / FRAMES_PER_SECOND}
            seek = segment.seek
            begins_next = segment.seek / FRAMES_PER_SECOND > segment.start
        yield {"segment": plain(segment, offset)}


def plain(segment: Any, offset: float = 0.0) -> Dict[str, Any]:
    """A segment of faster-whisper as plain data; times in seconds of the whole recording."""
    words = None
    if segment.words is not None:
        words = [
            [round(one.start + offset, 3), round(one.end + offset, 3), one.word, round(one.probability, 4)]
            for one in segment.words
        ]
    return {
        "start": round(segment.start + offset, 3),
        "end": round(segment.end + offset, 3),
        "text": segment.text,
        "words": words,
        "tokens": list(segment.tokens),
        "reset": segment.temperature is not None and segment.temperature > RESET_TEMPERATURE,
    }


def prompt(segments: List[Dict[str, Any]]) -> List[int]:
    """The tokens that Whisper would have before it after these segments."""
    tokens: List[int] = []
    for segment in segments:
        tokens = [] if segment["reset"] else tokens + segment["tokens"]
        tokens = tokens[-PROMPT_TOKENS:]
    return tokens
