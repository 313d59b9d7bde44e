"""The image tells speakers apart, offline, on a recording whose answer is known."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from builder.engines.container import Container
from builder.lock.record import Lock
from builder.places import HOME
from builder.verify.diarization import Turn, error_rate
from builder.verify.samples import INSIDE, SpeakerSamples, speaker_samples
from tests.images.conftest import that_has

HIGHEST_ERROR_RATE = 0.1
"""3 % are measured, all of it within 0.25 s of where turns begin and end; all as one voice's is 50 %."""

COLLAR_S = 0.25
HIGHEST_BETWEEN_BOUNDARIES = 0.02


@dataclass(frozen=True)
class Answer:
    """What the pipeline said."""

    turns: tuple[Turn, ...]
    told: dict[str, Any]


@pytest.fixture(scope="session")
def python(lock: Lock) -> str:
    """The interpreter of the environment that has pyannote.audio; isolated rows have one for it."""
    return f"{HOME}/{that_has(lock, 'pyannote-audio')}/bin/python"


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> SpeakerSamples:
    return speaker_samples(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="session")
def diarize(python: str, people: SpeakerSamples, container: Container, host: Any) -> Callable[[str], Answer]:
    """Who speaks when in a sound file of the samples, said by a user without rights, home or variables."""
    for source in (people.recording, people.monologue, people.pipeline, INSIDE / "diarize.py"):
        container.copy_in(source, "/tmp")

    def run(audio: str) -> Answer:
        words = [python, "-I", "/tmp/diarize.py", f"/tmp/{people.pipeline.name}/config.yaml", f"/tmp/{audio}"]
        done = host.run(shlex.join(["env", "-i", "PATH=/usr/bin:/bin", *words]))
        assert done.rc == 0, done.stderr
        told = json.loads(done.stdout.splitlines()[-1])  # libraries may talk before
        turns = (Turn(start=start, end=end, speaker=who) for start, end, who in told["turns"])
        return Answer(tuple(turns), told)

    return run


@pytest.mark.anywhere
def test_it_says_who_speaks_when(
    diarize: Callable[[str], Answer], people: SpeakerSamples, report: Any
) -> None:
    answer = diarize(people.recording.name)
    rate = error_rate(people.reference, answer.turns)
    report.measured["pyannote.audio cpu"] = {
        "diarization_error_rate": round(rate, 3),
        "seconds": answer.told["seconds"],
    }
    assert rate <= HIGHEST_ERROR_RATE, answer.turns
    assert error_rate(people.reference, answer.turns, collar=COLLAR_S) <= HIGHEST_BETWEEN_BOUNDARIES
    assert len({turn.speaker for turn in answer.turns}) == 2


@pytest.mark.anywhere
def test_it_listens_to_voices_and_not_to_pauses(
    diarize: Callable[[str], Answer], people: SpeakerSamples
) -> None:
    answer = diarize(people.monologue.name)
    assert len({turn.speaker for turn in answer.turns}) == 1


def mixed_up(turns: Sequence[Turn]) -> list[Turn]:
    """The last two turns, each in the other one's mouth."""
    *before, one, other = turns
    return [*before, replace(one, speaker=other.speaker), replace(other, speaker=one.speaker)]


@pytest.mark.anywhere
def test_a_wrong_answer_has_a_high_error_rate(people: SpeakerSamples) -> None:
    right = people.reference
    assert error_rate(right, right) == 0
    assert error_rate(right, [replace(turn, speaker="all") for turn in right]) > HIGHEST_ERROR_RATE
    assert error_rate(right, mixed_up(right)) > HIGHEST_ERROR_RATE
    assert error_rate(right, right[1:]) > HIGHEST_ERROR_RATE
    assert error_rate(right, []) == 1
