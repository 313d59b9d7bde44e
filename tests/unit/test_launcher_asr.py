"""The side that hears does what faster-whisper does, and tells where a later run may begin."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from builder.launcher import asr, serving


class Said(NamedTuple):
    """A segment as faster-whisper gives it."""

    seek: int
    start: float
    end: float
    text: str = " x"
    tokens: tuple[int, ...] = (1,)
    temperature: float = 0.0
    words: Any = None


SINCE_1_1 = [Said(0, 0.0, 9.0), Said(0, 9.5, 28.0), Said(2800, 28.0, 40.0), Said(5500, 55.0, 60.0)]
BEFORE_1_1 = [Said(2800, 0.0, 9.0), Said(2800, 9.5, 28.0), Said(5500, 28.0, 40.0), Said(6000, 55.0, 60.0)]


@pytest.mark.parametrize("segments", [SINCE_1_1, BEFORE_1_1])
def test_a_window_is_settled_when_the_next_one_speaks(segments: list[Said]) -> None:
    told = [next(iter(event.items())) for event in asr._told(segments, 0.0)]
    assert [name for name, _ in told] == ["segment", "segment", "settled", "segment", "settled", "segment"]
    assert [value for name, value in told if name == "settled"] == [28.0, 55.0]


def test_a_later_beginning_is_added_to_all_times() -> None:
    words = [SimpleNamespace(start=0.5, end=1.0, word=" hi", probability=0.5)]
    [told] = asr._told([Said(0, 0.5, 1.0, words=words)], 100.0)
    assert (told["segment"]["start"], told["segment"]["end"]) == (100.5, 101.0)
    assert told["segment"]["words"] == [[100.5, 101.0, " hi", 0.5]]


def test_the_prompt_is_what_whisper_would_have_before_it() -> None:
    def said(tokens: list[int], *, reset: bool = False) -> dict[str, Any]:
        return {"tokens": tokens, "reset": reset}

    assert asr.prompt([said([1, 2]), said([3])]) == [1, 2, 3]
    assert asr.prompt([said([1]), said([2], reset=True), said([3])]) == [3]
    assert asr.prompt([said(list(range(500)))]) == list(range(277, 500))
    assert asr.prompt([]) == []


# With a faster-whisper of ten lines


class Samples(list[float]):
    """As much of an array as is needed."""

    def tofile(self, path: str) -> None:
        Path(path).write_bytes(b"\0" * 4 * len(self))

    def __getitem__(self, part: Any) -> Any:
        return Samples(super().__getitem__(part))


class OldWhisper:
    """faster-whisper 0.10: it cannot begin in the middle."""

    made: int = 0

    def __init__(self, model: str, **options: Any) -> None:
        type(self).made += 1
        self.name = model
        self.model = SimpleNamespace(device=options["device"], compute_type="int8")
        self.asked: dict[str, Any] = {}

    def encode(self, features: Any) -> Any:
        return features

    def transcribe(self, audio: Any, language: Any = None, initial_prompt: Any = None, **_: Any) -> Any:
        return self._done(audio, language=language, initial_prompt=initial_prompt)

    def _done(self, audio: Any, **asked: Any) -> Any:
        OldWhisper.asked_last = {"seconds": len(audio) / asr.RATE, **asked}  # type: ignore[attr-defined]
        self.encode("features")
        return iter([Said(0, 0.0, 1.0)]), SimpleNamespace(language="en", language_probability=0.9)


class Whisper(OldWhisper):
    def transcribe(
        self,
        audio: Any,
        language: Any = None,
        initial_prompt: Any = None,
        clip_timestamps: str = "0",
        **_: Any,
    ) -> Any:
        return self._done(
            audio, language=language, initial_prompt=initial_prompt, clip_timestamps=clip_timestamps
        )


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the side reports besides what it yields, with a faster-whisper whose recordings last 60 s."""
    items: list[Any] = []
    monkeypatch.setattr(asr, "report", items.append)
    audio = ModuleType("faster_whisper.audio")
    audio.decode_audio = lambda _path, sampling_rate: Samples([0.0] * 60 * sampling_rate)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", SimpleNamespace(WhisperModel=Whisper))
    monkeypatch.setitem(sys.modules, "faster_whisper.audio", audio)
    asr._model.cache_clear()
    return items


SETTINGS = ["m", "cpu", "int8", 5, False, True]


def test_it_yields_where_it_runs_what_is_spoken_and_segments(reported: list[Any]) -> None:
    told = list(asr.transcribe("a.wav", SETTINGS))
    assert [*told[0], *told[1], *told[2]] == ["loaded", "info", "segment"]
    assert {"decoded": 60.0, "lacking": ""} in reported


def test_every_window_is_a_sign_of_life(reported: list[Any]) -> None:
    list(asr.transcribe("a.wav", SETTINGS))
    assert {"alive": True} in reported


def test_the_model_is_loaded_once_for_all_recordings(reported: list[Any]) -> None:
    del reported
    before = Whisper.made
    for name in ("a.wav", "b.wav"):
        list(asr.transcribe(name, SETTINGS))
    assert Whisper.made == before + 1


def test_a_later_run_begins_within_the_whole_recording(reported: list[Any]) -> None:
    del reported
    list(asr.transcribe("a.wav", SETTINGS, "en", None, {"at": 28.5, "tokens": [7]}))
    asked = OldWhisper.asked_last  # type: ignore[attr-defined]
    assert asked["clip_timestamps"] == "28.50"
    assert (asked["initial_prompt"], asked["seconds"], asked["language"]) == ([7], 60.0, "en")


def test_an_old_release_gets_the_rest_of_the_recording(
    reported: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    del reported
    monkeypatch.setitem(sys.modules, "faster_whisper", SimpleNamespace(WhisperModel=OldWhisper))
    told = list(asr.transcribe("a.wav", SETTINGS, "en", None, {"at": 28.5, "tokens": []}))
    asked = OldWhisper.asked_last  # type: ignore[attr-defined]
    assert (asked["seconds"], asked["initial_prompt"]) == (31.5, None)
    assert told[-1]["segment"]["start"] == 28.5


def test_samples_are_whole_when_they_are_there(reported: list[Any], tmp_path: Path) -> None:
    asr.prepare("a.wav", str(tmp_path / "samples"))
    assert (tmp_path / "samples").stat().st_size == 60 * asr.RATE * 4
    assert [path.name for path in tmp_path.iterdir()] == ["samples"]
    assert reported[0]["lacking"] == ""


def test_a_disk_that_does_not_take_the_samples_keeps_nobody_from_transcribing(
    reported: list[Any], tmp_path: Path
) -> None:
    told = list(asr.transcribe("a.wav", SETTINGS, None, str(tmp_path / "absent" / "samples")))
    assert "No such file" in reported[0]["lacking"]
    assert "segment" in told[-1]


def test_what_cannot_be_decoded_is_the_recordings_fault(
    reported: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    del reported

    def fail(*_: Any, **__: Any) -> None:
        raise IndexError("no audio")

    monkeypatch.setattr(sys.modules["faster_whisper.audio"], "decode_audio", fail)
    with pytest.raises(asr.AudioError, match="IndexError: no audio"):
        next(asr.transcribe("a.wav", SETTINGS))
    monkeypatch.setattr(sys.modules["faster_whisper.audio"], "decode_audio", lambda *_, **__: Samples())
    with pytest.raises(asr.AudioError, match="no samples"):
        next(asr.transcribe("a.wav", SETTINGS))


def test_outside_a_side_reports_go_nowhere() -> None:
    serving.report({"anything": 1})
