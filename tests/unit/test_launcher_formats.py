"""A transcript as text, SRT, WebVTT, TSV and JSON."""

from __future__ import annotations

import json

import pytest

from builder.launcher.formats import ENDINGS, FORMS, Transcript, pieces, stamp, whole
from builder.launcher.joining import Segment, Turn, Word

HELLO = Segment(0.0, 1.5, " Hello <world>.", (Word(0.0, 1.5, " Hello", 0.9, "ANNA"),), "ANNA")
ARROW = Segment(3661.0, 3662.25, " a --> b\n\n& c\td ", None)


def transcript(*segments: Segment, turns: list[Turn] | None = None) -> Transcript:
    return Transcript("a.wav", "tiny", "en", 4000.0, segments, turns)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "00:00:00,000"), (59.9996, "00:01:00,000"), (3661.0015, "01:01:01,002"), (360_000, "100:00:00,000")],
)
def test_times_are_rounded_to_milliseconds_and_carried_over(seconds: float, shown: str) -> None:
    assert stamp(seconds, ",") == shown


def test_a_time_before_the_beginning_is_the_beginning() -> None:
    assert stamp(-0.02, ".") == "00:00:00.000"


def test_text_has_a_line_for_each_segment_with_its_speaker() -> None:
    assert whole("text", transcript(HELLO, ARROW)) == "ANNA: Hello <world>.\na --> b & c d\n"


def test_srt_counts_from_one_and_has_no_arrow_or_empty_line_in_its_words() -> None:
    assert whole("srt", transcript(HELLO, ARROW)) == (
        "1\n00:00:00,000 --> 00:00:01,500\nANNA: Hello <world>.\n\n"
        "2\n01:01:01,000 --> 01:01:02,250\na -> b & c d\n\n"
    )


def test_vtt_has_voices_and_escapes_what_would_be_markup() -> None:
    assert whole("vtt", transcript(HELLO, ARROW)) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n<v ANNA>Hello &lt;world&gt;.\n\n"
        "01:01:01.000 --> 01:01:02.250\na --&gt; b &amp; c d\n\n"
    )


def test_tsv_has_four_columns_in_every_row() -> None:
    rows = whole("tsv", transcript(HELLO, ARROW)).splitlines()
    assert rows[0] == "start\tend\tspeaker\ttext"
    assert rows[1] == "0\t1500\tANNA\tHello <world>."
    assert {row.count("\t") for row in rows} == {3}


def test_json_has_words_with_times_and_speakers() -> None:
    read = json.loads(whole("json", transcript(HELLO, turns=[Turn(0.0, 2.0, "ANNA")])))
    assert read["speakers"] == ["ANNA"]
    assert read["turns"] == [{"start": 0.0, "end": 2.0, "speaker": "ANNA"}]
    word = {"start": 0.0, "end": 1.5, "text": "Hello", "probability": 0.9, "speaker": "ANNA"}
    assert read["segments"][0]["words"] == [word]


def test_json_tells_no_speakers_from_speakers_that_were_not_asked_for() -> None:
    assert json.loads(whole("json", transcript(HELLO, turns=[])))["speakers"] == []
    assert json.loads(whole("json", transcript(HELLO)))["speakers"] is None


@pytest.mark.parametrize("name", FORMS)
def test_written_as_it_comes_it_is_the_same(name: str) -> None:
    assert "".join(pieces(name, [HELLO, ARROW])) == whole(name, transcript(HELLO, ARROW))


@pytest.mark.parametrize("name", ENDINGS)
def test_silence_has_a_transcript_too(name: str) -> None:
    assert isinstance(whole(name, transcript()), str)


def test_a_file_whose_name_is_no_text_is_named_so_that_it_can_be_found() -> None:
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    written = whole("json", transcript(HELLO)._replace(audio=name))
    assert written.encode("utf-8").decode("utf-8") == written
    assert json.loads(written)["audio"] == name
