"""Ten minutes of the sample voices, which a Whisper model hears alike each time."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from itertools import cycle, islice, permutations

from builder.verify.conversation import RATE, Part, conversation

MINUTES = 10
ROUND_S = 15
"""Seconds in which each sentence is said once: two rounds are in one of Whisper's windows.

With more of the same in a window, faster-whisper takes it for a model that repeats itself, and decodes it
again and again with lots drawn: then no two runs are alike.
"""

_BYTES = 2  # a sample


def recording(clips: Sequence[bytes], seconds: int = MINUTES * 60) -> bytes:
    """A 16-bit WAV file in which sentences follow each other, in all orders in turn.

    Args:
        clips: WAV files of a sentence each, as `conversation` takes them.
        seconds: How long it becomes: a multiple of `ROUND_S`.

    Raises:
        ValueError: The sentences take longer than a round.
    """
    rounds = islice(cycle(permutations(clips)), seconds // ROUND_S)
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(_BYTES)
        file.setframerate(RATE)
        file.writeframes(b"".join(_round(order) for order in rounds))
    return written.getvalue()


def _round(clips: tuple[bytes, ...]) -> bytes:
    spoken, _ = conversation([Part(speaker="all", clips=clips)])
    with wave.open(io.BytesIO(spoken)) as file:
        samples: bytes = file.readframes(file.getnframes())
    silence = ROUND_S * RATE * _BYTES - len(samples)
    if silence < 0:
        raise ValueError(f"the sentences take longer than {ROUND_S} s")
    return samples + bytes(silence)
