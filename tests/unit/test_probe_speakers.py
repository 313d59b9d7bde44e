from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.probe import listening, processes, speakers
from builder.probe.place import Place
from builder.probe.processes import Done, Manner


def lines(*facts: dict[str, Any]) -> str:
    return "".join(json.dumps(fact) + "\n" for fact in facts)


STEPS = ({"step": "import"}, {"step": "read"}, {"step": "load"}, {"step": "ask"})


def place(folder: Path, *files: str) -> Place:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return Place(folder, (folder,), ())


# The check


def test_all_steps_that_end_well_pass() -> None:
    finding = speakers.judge(Done(0, lines(*STEPS), ""))
    assert finding.outcome == "passed"
    assert finding.reason == "4 steps work: import, read, load, ask"


def test_a_step_that_raises_is_named_with_all_that_it_said() -> None:
    words = "RuntimeError: Could not load libtorchcodec. Likely causes:\n\n  1. FFmpeg is not installed\n"
    finding = speakers.judge(Done(1, lines(*STEPS[:2], {"error": words}), "Traceback …"))
    assert finding.outcome == "failed"
    assert finding.reason == (
        "read: RuntimeError: Could not load libtorchcodec. Likely causes:; 1. FFmpeg is not installed"
    )
    assert finding.details["error"] == words


def test_a_step_that_kills_the_process_is_named_with_its_last_words() -> None:
    finding = speakers.judge(Done(134, lines(*STEPS[:1]), "Could not load library x\n"))
    assert finding.reason == "import: Could not load library x"
    assert finding.details["exit_code"] == 134


def test_without_pyannote_there_is_nothing_to_check(tmp_path: Path) -> None:
    assert speakers.check(place(tmp_path)).outcome == "skipped"


def test_a_checkpoint_is_loaded_where_there_is_one_and_all_is_quiet_and_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def child(manner: Manner, *words: str) -> Done:
        assert manner.env
        assert manner.env["HF_HUB_OFFLINE"] == "1"
        assert manner.env["PYANNOTE_METRICS_ENABLED"] == "0"
        asked.append(words)
        return Done(0, lines(*STEPS), "")

    monkeypatch.setattr(processes, "child", child)
    speakers.check(place(tmp_path / "bare", "pyannote/audio/__init__.py"))
    speakers.check(place(tmp_path / "whole", "pyannote/audio/__init__.py", speakers.CHECKPOINT))
    bare, whole = asked
    assert bare[0] == whole[0] == "speakers"
    assert len(bare) == 2
    assert whole[2:] == (str(tmp_path / "whole" / speakers.CHECKPOINT),)


# The child


class LocalEntryNotFoundError(Exception):
    """As huggingface_hub has it."""


class Library:
    """pyannote.audio as far as the check goes."""

    def __init__(self, *, raises: Exception | None = None, rate: int = listening.RATE) -> None:
        self.raises, self.rate = raises, rate
        self.loaded: list[str] = []
        self.given: dict[str, str] = {}
        self.Model = SimpleNamespace(from_pretrained=self.loaded.append)

    def Audio(self) -> Any:  # noqa: N802 - pyannote.audio's name
        return lambda _path: (SimpleNamespace(shape=(1, listening.RATE)), self.rate)


class Three(Library):
    """Version 3."""

    @property
    def Pipeline(self) -> Any:  # noqa: N802
        def from_pretrained(name: str, use_auth_token: str | None = None) -> None:
            self.given = {name: f"use_auth_token={use_auth_token}"}
            if self.raises:
                raise self.raises

        return SimpleNamespace(from_pretrained=from_pretrained)


class Four(Library):
    """Version 4."""

    @property
    def Pipeline(self) -> Any:  # noqa: N802
        def from_pretrained(name: str, token: str | None = None) -> None:
            self.given = {name: f"token={token}"}
            if self.raises:
                raise self.raises

        return SimpleNamespace(from_pretrained=from_pretrained)


def act(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch, *checkpoints: str
) -> list[dict[str, Any]]:
    monkeypatch.setitem(sys.modules, "pyannote.audio", library)
    said: list[dict[str, Any]] = []
    listening.act([str(folder), *checkpoints], said.append)
    return said


@pytest.mark.parametrize(("library", "argument"), [(Three(), "use_auth_token"), (Four(), "token")])
def test_each_version_is_asked_as_its_manual_says(
    library: Library, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = act(library, tmp_path, monkeypatch, "model.bin")
    assert [fact["step"] for fact in said] == ["import", "read", "load", "ask"]
    assert library.loaded == ["model.bin"]
    assert library.given == {listening.MODEL: f"{argument}={listening.TOKEN}"}


def test_a_model_that_is_not_here_is_the_right_end_of_a_right_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act(Three(raises=LocalEntryNotFoundError("offline")), tmp_path, monkeypatch)


def test_an_argument_that_is_not_known_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = TypeError("hf_hub_download() got an unexpected keyword argument 'use_auth_token'")
    with pytest.raises(TypeError, match="use_auth_token"):
        act(Three(raises=wrong), tmp_path, monkeypatch)


def test_a_file_that_is_read_as_another_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(listening.NotReadError, match="at 8000 Hz"):
        act(Four(rate=8000), tmp_path, monkeypatch)


def test_a_torchcodec_that_is_there_has_to_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchcodec.py").write_text("raise RuntimeError('Could not load libtorchcodec')", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torchcodec", raising=False)
    with pytest.raises(RuntimeError, match="Could not load libtorchcodec"):
        act(Four(), tmp_path, monkeypatch)
