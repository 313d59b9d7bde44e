"""The image transcribes real speech, offline, and on a GPU where there is one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jiwer
import pytest

from builder.engines.container import Container
from builder.lock.record import Lock
from builder.verify.samples import Samples
from tests.images.conftest import that_has

HIGHEST_WORD_ERROR_RATE = 0.1
"""Whisper tiny makes no error on these recordings; a broken decoder makes nothing but errors."""

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {str(number): word for number, word in enumerate(_WORDS)}
"""Whisper writes what it hears as it likes; `1` and `one` are one word, as Whisper's own measure has it."""

CPU = ("--device", "cpu", "--compute-type", "int8")
GPU = ("--device", "cuda", "--compute-type", "float16")
TOOLS = ("faster-whisper", "whisperx")


def word_error_rate(spoken: Sequence[str], heard: Sequence[str]) -> float:
    """Errors per spoken word, case and punctuation aside."""

    def plain(texts: Sequence[str]) -> list[str]:
        spelled = [re.sub(r"\d+", lambda found: NUMBERS.get(found[0], found[0]), text) for text in texts]
        return [re.sub(r"[^\w\s]", "", text).lower() for text in spelled]

    return float(jiwer.wer(plain(spoken), plain(heard)))


@pytest.fixture(scope="session")
def recordings(container: Container, speech: Samples) -> list[str]:
    for utterance in speech.utterances:
        container.copy_in(utterance.audio, "/tmp")
    container.copy_in(speech.model, "/tmp")
    return [f"/tmp/{utterance.audio.name}" for utterance in speech.utterances]


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest, lock: Lock) -> str:
    name: str = request.param
    that_has(lock, name)
    return name


def transcribe(probe: Any, recordings: list[str], tool: str, *options: str) -> dict[str, Any]:
    answer: dict[str, Any] = probe.transcribe(*recordings, "--model", "/tmp/model", "--with", tool, *options)
    return answer


def measured(heard: dict[str, Any], rate: float) -> dict[str, Any]:
    """What the evidence says of a transcription: errors, seconds, memory."""
    names = ("seconds", "first_words_seconds", "peak_mib", "gpu_memory_mib")
    return {"word_error_rate": round(rate, 3), **{name: heard[name] for name in names if name in heard}}


@pytest.mark.anywhere
def test_it_hears_what_is_said(
    hearing: Any, recordings: list[str], tool: str, speech: Samples, report: Any
) -> None:
    heard = transcribe(hearing, recordings, tool, *CPU)
    assert heard["outcome"] == "passed", heard["reason"]
    rate = word_error_rate([utterance.text for utterance in speech.utterances], heard["texts"])
    report.measured[f"{tool} cpu"] = measured(heard, rate)
    assert rate <= HIGHEST_WORD_ERROR_RATE


@pytest.mark.anywhere
def test_a_wrong_transcript_has_a_high_word_error_rate(speech: Samples) -> None:
    spoken = [utterance.text for utterance in speech.utterances]
    assert word_error_rate(spoken, spoken[1:] + spoken[:1]) > HIGHEST_WORD_ERROR_RATE


@pytest.mark.anywhere
def test_it_fails_rather_than_falls_back_when_the_gpu_is_hidden(
    hearing: Any, recordings: list[str], tool: str, gpus: bool
) -> None:
    if gpus:
        pytest.skip("there is a GPU; test_the_gpu_does_the_work shows that it is used")
    heard = transcribe(hearing, recordings, tool, *GPU)
    assert heard["outcome"] == "failed"
    assert "libcuda.so.1" in heard["reason"]
    assert not heard.get("texts")


@pytest.mark.anywhere
@pytest.mark.usefixtures("cuda")
def test_the_gpu_does_the_work(
    hearing: Any, recordings: list[str], tool: str, speech: Samples, report: Any, gpus: bool
) -> None:
    if not gpus:
        pytest.skip("no GPU was asked for: run `cuvee test ROW --gpus` on a machine that has one")
    report.gpu = hearing.surroundings()["gpu"]
    assert report.gpu, "--gpus was given, and there is no GPU in the container"
    heard = transcribe(hearing, recordings, tool, *GPU)
    assert heard["outcome"] == "passed", heard["reason"]
    assert heard["device"] == "cuda"
    rate = word_error_rate([utterance.text for utterance in speech.utterances], heard["texts"])
    report.measured[f"{tool} gpu"] = measured(heard, rate)
    assert rate <= HIGHEST_WORD_ERROR_RATE
