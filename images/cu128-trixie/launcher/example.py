"""Transcribe in one process and tell speakers apart in another, in a script of your own.

    python example.py meeting.wav MODEL PIPELINE

Each side has the Python and the libraries of its environment; this process has neither, and outlives both.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Iterator, List

from cuvee.isolation import Side, SideDiedError  # type: ignore[import-not-found]


def hear(audio: str, model: str) -> Iterator[List[Any]]:
    """In the side `asr`: each segment as [start, end, text], as soon as there is one."""
    whisper = importlib.import_module("faster_whisper").WhisperModel(model)
    segments, _ = whisper.transcribe(audio)
    for segment in segments:
        yield [segment.start, segment.end, segment.text]


def tell_apart(audio: str, pipeline: str) -> List[List[Any]]:
    """In the side `diarize`: turns as [start, end, speaker]."""
    loaded = importlib.import_module("pyannote.audio").Pipeline.from_pretrained(pipeline)
    found = loaded(audio)
    annotation = getattr(found, "speaker_diarization", found)
    return [[turn.start, turn.end, who] for turn, _, who in annotation.itertracks(yield_label=True)]


def main(audio: str, model: str, pipeline: str) -> None:
    """In this process: start both, print what they say."""
    with Side("asr") as asr:
        for start, end, text in asr.iterate("example:hear", audio, model):
            print("{:8.2f} {:8.2f} {}".format(start, end, text))
    try:
        with Side("diarize") as diarize:
            for start, end, speaker in diarize.call("example:tell_apart", audio, pipeline):
                print("{:8.2f} {:8.2f} {}".format(start, end, speaker))
    except SideDiedError as error:  # what was heard is printed already
        print(error, file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
