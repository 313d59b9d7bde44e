"""faster-whisper in one process, as its own page shows it: `alone.py AUDIO MODEL OUTPUT`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from faster_whisper import WhisperModel  # type: ignore[import-not-found]  # it is in images only


def main(audio: str, model: str, output: str) -> None:
    """Write what is heard as JSON; all that is not named is as `transcribe` leaves it."""
    whisper = WhisperModel(model, device="cpu")
    heard, info = whisper.transcribe(audio, beam_size=5, word_timestamps=True)
    segments = [
        {
            "start": segment.start,
            "end": segment.end,
            "text": segment.text,
            "temperature": segment.temperature,
            "words": [
                {"start": word.start, "end": word.end, "text": word.word, "probability": word.probability}
                for word in segment.words
            ],
        }
        for segment in heard
    ]
    told = {"duration": info.duration, "segments": segments}
    Path(output).write_text(json.dumps(told) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
