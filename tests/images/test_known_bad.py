"""A known-bad row fails as it is known to, and the suite says so if it starts to work."""

from __future__ import annotations

from typing import Any

import pytest

from builder import pipeline
from builder.engines.container import Container
from builder.explain.explaining import explain
from builder.matrix import FailsWith, Row
from builder.project import Project
from builder.verdict.record import Finding
from builder.verify.samples import Samples

ABORTED = 134  # 128 + SIGABRT, as a shell reports it


@pytest.fixture(scope="session")
def known(row: Row) -> FailsWith:
    """What the row says of its failure."""
    assert row.fails_with
    return row.fails_with


@pytest.fixture(scope="session")
def predicted(project: Project, row: Row, known: FailsWith) -> Finding:
    """What `cuvee check` says of it, before anything is built."""
    findings = pipeline.prove(project, row).findings
    return next(one for one in findings if one.outcome == "fails" and known.message in one.message)


@pytest.fixture(scope="session")
def said(request: pytest.FixtureRequest, probe: Any, known: FailsWith) -> dict[str, Any]:
    """What the check that must fail says."""
    if known.check == "transcribe":
        heard: dict[str, Any] = request.getfixturevalue("heard")
        return heard
    found: dict[str, Any] = probe.check(known.check)
    return found


@pytest.fixture(scope="session")
def heard(hearing: Any, container: Container, speech: Samples) -> dict[str, Any]:
    """What faster-whisper makes of a recording."""
    audio = speech.utterances[0].audio
    container.copy_in(audio, "/tmp")
    container.copy_in(speech.model, "/tmp")
    options = ("--model", "/tmp/model", "--device", "cpu", "--compute-type", "int8")
    found: dict[str, Any] = hearing.transcribe(f"/tmp/{audio.name}", *options)
    return found


@pytest.mark.known_bad
def test_it_fails_as_it_is_known_to(said: dict[str, Any], row: Row, known: FailsWith, report: Any) -> None:
    assert said["outcome"] == "failed", f"{row.id} is known to be bad, and it works: {said['reason']}"
    assert known.message in said["reason"]
    report.measured["fails_with"] = said["reason"]


@pytest.mark.known_bad
def test_who_pastes_what_it_says_is_told_what_was_predicted(said: dict[str, Any], predicted: Finding) -> None:
    assert predicted.signature in explain(said["reason"]).ids


@pytest.mark.known_bad
def test_a_cudnn_failure_ends_the_process(said: dict[str, Any], known: FailsWith) -> None:
    if known.check != "cudnn":
        pytest.skip(f"the row fails at {known.check}")
    assert said["details"]["exit_code"] == ABORTED


@pytest.mark.known_bad
def test_every_order_of_imports_fails(said: dict[str, Any], known: FailsWith) -> None:
    if known.check != "orders":
        pytest.skip(f"the row fails at {known.check}")
    assert len(said["details"]["faults"]) == said["details"]["orders"]


@pytest.mark.known_bad
def test_whisperx_dies_of_a_checkpoint_that_does_not_load(
    hearing: Any, container: Container, speech: Samples, predicted: Finding, known: FailsWith
) -> None:
    """Its voice detection loads the same checkpoint as the check `speakers`, on its own way."""
    if predicted.signature != "weights-only-load":
        pytest.skip(f"the row fails with {predicted.signature}")
    audio = speech.utterances[0].audio
    container.copy_in(audio, "/tmp")
    container.copy_in(speech.model, "/tmp")
    options = ("--with", "whisperx", "--model", "/tmp/model", "--device", "cpu", "--compute-type", "int8")
    heard = hearing.transcribe(f"/tmp/{audio.name}", *options)
    assert heard["outcome"] == "failed"
    assert known.message in heard["reason"]
