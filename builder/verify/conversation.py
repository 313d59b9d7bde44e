"""A recording of several voices, made of sound files of one voice each: so its right answer is known."""

from __future__ import annotations

import io
import struct
import sys
import wave
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from builder.verify.diarization import Turn

RATE = 16_000
"""Samples a second, of the sound files and of the recording."""

PAUSE_S = 1.0
"""Seconds of silence around turns; the segmentation model takes shorter digital silence for speech."""

BREATH_S = 0.2
"""Seconds of silence between two clips of one turn."""

LOUDEST = 0.5
SILENT = 0.02
"""What a clip's loudest sample becomes, of full scale; what, of that sample, is silence at a clip's ends."""

_FLOAT = 3
_MONO = 1
_BITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What somebody says without leaving the word to others.

    Attributes:
        speaker: Who.
        clips: WAV files, 16 kHz, one channel, 32-bit floats.
    """

    speaker: str
    clips: tuple[bytes, ...]


def conversation(parts: Sequence[Part]) -> tuple[bytes, tuple[Turn, ...]]:
    """The recording, a 16-bit WAV file, and who speaks in it when; the same clips give the same bytes.

    Raises:
        ValueError: A clip is not such a WAV file, or silent.
    """
    sound = _silence(PAUSE_S)
    turns = []
    for part in parts:
        start = len(sound)
        for number, clip in enumerate(part.clips):
            sound += (_silence(BREATH_S) if number else array("h")) + _spoken(clip)
        turns.append(Turn(start=start / RATE, end=len(sound) / RATE, speaker=part.speaker))
        sound += _silence(PAUSE_S)
    return _wave(sound), tuple(turns)


def _silence(seconds: float) -> array[int]:
    return array("h", bytes(2 * round(seconds * RATE)))


def _spoken(clip: bytes) -> array[int]:
    """A clip's samples, without the silence at its ends, as loud as all others."""
    samples = _samples(clip)
    peak = max(map(abs, samples), default=0.0)
    if not peak:
        raise ValueError("a sound file is silent")
    loud = [place for place, sample in enumerate(samples) if abs(sample) > SILENT * peak]
    scale = LOUDEST * 32767 / peak
    return array("h", (round(sample * scale) for sample in samples[loud[0] : loud[-1] + 1]))


def _samples(clip: bytes) -> array[float]:
    """The samples of a WAV file of floats, which the `wave` module of this Python does not read."""
    if clip[:4] != b"RIFF" or clip[8:12] != b"WAVE":
        raise ValueError("not a WAV file")
    form, place = None, 12
    while place + 8 <= len(clip):
        name, size = struct.unpack_from("<4sI", clip, place)
        body = clip[place + 8 : place + 8 + size]
        if name == b"fmt ":
            form = struct.unpack_from("<HHIIHH", body)
        if name == b"data":
            _require(form)
            return _native(array("f", body[: len(body) // 4 * 4]))
        place += 8 + size + size % 2
    raise ValueError("a WAV file without sound")


def _require(form: tuple[int, ...] | None) -> None:
    if not form or (form[0], form[1], form[2], form[5]) != (_FLOAT, _MONO, RATE, _BITS):
        raise ValueError(f"not 16 kHz, one channel, 32-bit floats: {form}")


def _native(samples: array[float]) -> array[float]:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _wave(sound: array[int]) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(sound.tobytes())  # the module swaps bytes where it must
    return written.getvalue()
