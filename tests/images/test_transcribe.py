"""`transcribe`, the command of every image: text with times, with speakers where the row has them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from builder.engines.container import Container
from builder.lock.record import Lock
from builder.places import HOME
from builder.verify.diarization import Turn, error_rate
from builder.verify.samples import Samples, SpeakerSamples, speaker_samples
from tests.images.conftest import Probe, that_has
from tests.images.test_speakers import HIGHEST_ERROR_RATE
from tests.images.test_speech import HIGHEST_WORD_ERROR_RATE, word_error_rate

PROGRAM = f"{HOME}/bin/transcribe"
CPU = ("--model", "/tmp/model", "--device", "cpu", "--compute-type", "int8", "--quiet")
ENGINE_FAILED, BAD_INPUT = 5, 2

Transcribe = Callable[..., Any]


@pytest.fixture(scope="session")
def transcribe(host: Any, container: Container, speech: Samples, lock: Lock) -> Transcribe:
    """Run the command as a user without rights or variables, whose home is a folder that is not there yet."""
    that_has(lock, "faster-whisper")
    for utterance in speech.utterances:
        container.copy_in(utterance.audio, "/tmp")
    container.copy_in(speech.model, "/tmp")

    def run(*words: str, threads: Sequence[str] = ("OMP_NUM_THREADS=1",)) -> Any:
        # The work is small: threads that wait for each other on a busy machine make it take far longer.
        given = ["env", "-i", "PATH=/usr/bin:/bin", "HOME=/tmp/home", "HF_HUB_OFFLINE=1", *threads]
        return host.run(shlex.join([*given, PROGRAM, *words]))

    return run


def test_it_writes_what_is_said_with_the_times_of_words(transcribe: Transcribe, speech: Samples) -> None:
    heard = []
    for utterance in speech.utterances:
        done = transcribe(f"/tmp/{utterance.audio.name}", *CPU, "--format", "json")
        assert done.rc == 0, done.stderr
        told = json.loads(done.stdout)
        words = [word for segment in told["segments"] for word in segment["words"]]
        assert all(0 <= word["start"] <= word["end"] <= told["duration"] + 0.1 for word in words)
        heard.append(" ".join(segment["text"].strip() for segment in told["segments"]))
    rate = word_error_rate([utterance.text for utterance in speech.utterances], heard)
    assert rate <= HIGHEST_WORD_ERROR_RATE, heard


def test_every_form_is_written(transcribe: Transcribe, host: Any, speech: Samples) -> None:
    audio = speech.utterances[-1].audio
    done = transcribe(
        f"/tmp/{audio.name}", *CPU, "--format", "text,srt,vtt,tsv,json", "--output", "/tmp/written"
    )
    assert done.rc == 0, done.stderr
    names = host.check_output("ls /tmp/written").split()
    assert sorted(name.rpartition(".")[2] for name in names) == ["json", "srt", "tsv", "txt", "vtt"]
    host.check_output("rm -r /tmp/written")


def test_who_says_what_is_told(
    transcribe: Transcribe, container: Container, lock: Lock, report: Any, tmp_path_factory: Any
) -> None:
    that_has(lock, "pyannote-audio")
    people: SpeakerSamples = speaker_samples(tmp_path_factory.mktemp("people"))
    for source in (people.recording, people.pipeline):
        container.copy_in(source, "/tmp")
    speakers = ("--speakers", f"/tmp/{people.pipeline.name}", "--format", "json")
    # How many threads there are is left to it here: both sides compute at a time, and must not wait for each
    # other's.
    done = transcribe(f"/tmp/{people.recording.name}", *CPU, *speakers, threads=())
    assert done.rc == 0, done.stderr
    told = json.loads(done.stdout)
    turns = [Turn(start=one["start"], end=one["end"], speaker=one["speaker"]) for one in told["turns"]]
    rate = error_rate(people.reference, turns)
    report.measured["transcribe with speakers"] = {"diarization_error_rate": round(rate, 3)}
    assert rate <= HIGHEST_ERROR_RATE, turns
    assert told["segments"]
    for segment in told["segments"]:
        assert segment["speaker"] == most_heard(turns, segment["start"], segment["end"]), segment


def most_heard(turns: Sequence[Turn], start: float, end: float) -> str | None:
    """Who speaks longest between two times; None where nobody does."""
    heard: dict[str, float] = {}
    for turn in turns:
        overlap = min(turn.end, end) - max(turn.start, start)
        if overlap > 0:
            heard[turn.speaker] = heard.get(turn.speaker, 0) + overlap
    return max(heard, key=lambda name: heard[name], default=None)


def test_a_side_that_dies_is_an_error_with_a_cause_and_not_a_crash(transcribe: Transcribe) -> None:
    """Without a GPU nothing can be loaded onto one: the side ends, and the command says why."""
    gpu = [word if word != "cpu" else "cuda" for word in CPU]
    done = transcribe("/tmp/hello_world.wav", *gpu)
    assert done.rc == ENGINE_FAILED, done.stderr
    assert "Traceback" not in done.stderr.splitlines()[-1]


def test_a_file_that_is_not_there_is_bad_input(transcribe: Transcribe) -> None:
    done = transcribe("/tmp/nothing.wav", *CPU)
    assert done.rc == BAD_INPUT
    assert "/tmp/nothing.wav" in done.stderr


def test_scripts_can_have_sides_of_their_own(probe: Probe, host: Any, environment: str) -> None:
    code = (
        "import os\nfrom cuvee.isolation import Side\n"
        f"with Side({environment!r}) as side: print(side.call('os:getpid') not in (0, os.getpid()))"
    )
    done = host.run(shlex.join(["env", "-i", f"{probe.prefix}/bin/python", "-I", "-c", code]))
    assert done.stdout.strip() == "True", done.stderr
