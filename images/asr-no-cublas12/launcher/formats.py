"""A transcript as text, subtitles (SRT, WebVTT), a table (TSV) or JSON."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Iterable, Iterator, NamedTuple, Optional, Sequence, Tuple

from .joining import Segment, Turn

FORMAT = 1


class Transcript(NamedTuple):
    """What was said in a recording.

    Attributes:
        audio: The recording's name.
        model: What transcribed it.
        language: Its code, such as `en`.
        duration: In seconds.
        segments: In their order.
        turns: Who spoke when; None where speakers were not asked for or not found out.
        lacking: What could not be done, in words; None where nothing is missing.
    """

    audio: str
    model: str
    language: str
    duration: float
    segments: Sequence[Segment]
    turns: Optional[Sequence[Turn]]
    lacking: Optional[str] = None


def stamp(seconds: float, mark: str) -> str:
    """Hours, minutes, seconds and, after `mark`, milliseconds."""
    milliseconds = round(max(0.0, seconds) * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return "{:02d}:{:02d}:{:02d}{}{:03d}".format(
        minutes // 60, minutes % 60, milliseconds // 1000, mark, milliseconds % 1000
    )


def _line(text: str) -> str:
    """A text as one line: an empty one would end a subtitle."""
    return " ".join(text.split())


def _spoken(segment: Segment) -> str:
    text = _line(segment.text)
    return "{}: {}".format(segment.speaker, text) if segment.speaker else text


def text_piece(_: int, segment: Segment) -> str:
    """A segment as a line of text."""
    return _spoken(segment) + "\n"


def srt_piece(number: int, segment: Segment) -> str:
    """A segment as a subtitle of SubRip; `number` counts from 1."""
    times = "{} --> {}".format(stamp(segment.start, ","), stamp(segment.end, ","))
    return "{}\n{}\n{}\n\n".format(number, times, _spoken(segment).replace("-->", "->"))


def vtt_piece(_: int, segment: Segment) -> str:
    """A segment as a cue of WebVTT, with the speaker as its voice."""
    text = _line(segment.text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    voice = "<v {}>".format(segment.speaker) if segment.speaker else ""
    return "{} --> {}\n{}{}\n\n".format(stamp(segment.start, "."), stamp(segment.end, "."), voice, text)


def tsv_piece(_: int, segment: Segment) -> str:
    """A segment as a row: start and end in milliseconds, the speaker if there is one, the text."""
    times = [str(round(segment.start * 1000)), str(round(segment.end * 1000))]
    return "\t".join([*times, segment.speaker or "", _line(segment.text)]) + "\n"


class Form(NamedTuple):
    """A format made of pieces, which can be written as they come."""

    head: str
    piece: Callable[[int, Segment], str]


FORMS: Dict[str, Form] = {
    "text": Form("", text_piece),
    "srt": Form("", srt_piece),
    "vtt": Form("WEBVTT\n\n", vtt_piece),
    "tsv": Form("start\tend\tspeaker\ttext\n", tsv_piece),
}
ENDINGS = {"text": ".txt", "srt": ".srt", "vtt": ".vtt", "tsv": ".tsv", "json": ".json"}


def pieces(name: str, segments: Iterable[Segment]) -> Iterator[str]:
    """A transcript in a format of `FORMS`, piece by piece."""
    form = FORMS[name]
    if form.head:
        yield form.head
    for number, segment in enumerate(segments, 1):
        yield form.piece(number, segment)


def whole(name: str, transcript: Transcript) -> str:
    """A transcript in any format."""
    if name == "json":
        text = json.dumps(record(transcript), ensure_ascii=False) + "\n"
        # A file's name need not be text; Python's substitutes for its bytes are written as JSON's escapes.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(pieces(name, transcript.segments))


def record(transcript: Transcript) -> Dict[str, Any]:
    """What JSON has of a transcript."""
    turns = transcript.turns
    return {
        "format": FORMAT,
        "audio": transcript.audio,
        "model": transcript.model,
        "language": transcript.language,
        "duration": round(transcript.duration, 3),
        "text": " ".join(_line(one.text) for one in transcript.segments),
        "segments": [_segment(number, one) for number, one in enumerate(transcript.segments)],
        "speakers": None if turns is None else sorted({turn.speaker for turn in turns}),
        "turns": None if turns is None else [turn._asdict() for turn in turns],
        "lacking": transcript.lacking,
    }


def _segment(number: int, segment: Segment) -> Dict[str, Any]:
    words: Optional[Tuple[Dict[str, Any], ...]] = None
    if segment.words is not None:
        words = tuple({**word._asdict(), "text": word.text.strip()} for word in segment.words)
    return {
        "id": number,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text.strip(),
        "speaker": segment.speaker,
        "words": words,
    }
