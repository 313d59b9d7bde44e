from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from builder.probe import child, processes, transcribe
from builder.probe.processes import Done

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ABORT = 134


def test_a_line_that_death_cut_short_is_left_out() -> None:
    assert child.facts('{"a": 1}\n{"b": 2}\n{"c":') == [{"a": 1}, {"b": 2}]


def test_facts_merge_into_one() -> None:
    assert child.merged('{"a": 1}\n{"a": 2, "b": 3}\n') == {"a": 2, "b": 3}


def test_a_child_reports_what_it_could_not_do(capfd: pytest.CaptureFixture[str]) -> None:
    kept = os.dup(1)
    assert child.main(["open"]) == 1
    os.dup2(kept, 1)
    os.close(kept)
    assert json.loads(capfd.readouterr().out) == {"error": "IndexError: list index out of range"}


def test_an_exit_code_is_what_a_shell_would_show() -> None:
    assert processes.exit_code(-6) == ABORT
    assert processes.exit_code(3) == 3


def test_an_exception_is_told_by_its_last_line() -> None:
    assert processes.complaint("Traceback …\n  File x\nValueError: no\n") == "ValueError: no"


def test_cudnn_9_needs_two_lines_to_say_what_is_wrong() -> None:
    words = "noise\nUnable to load any of {a, b}\nInvalid handle. Cannot load symbol x\n"
    assert processes.complaint(words) == "Unable to load any of {a, b}; Invalid handle. Cannot load symbol x"


def test_a_silent_death_is_told_by_its_exit_code() -> None:
    assert Done(139, "", "").complaint == "exit code 139"


def test_a_transcript_passes_with_what_the_child_said() -> None:
    report = transcribe.report(Done(0, '{"texts": ["Hello."], "device": "cpu"}\n', "chatter"))
    assert report == {"outcome": "passed", "reason": "", "texts": ["Hello."], "device": "cpu"}


def test_a_transcription_that_raised_fails_with_the_exception() -> None:
    out = '{"error": "RuntimeError: Library libcublas.so.12 is not found or cannot be loaded"}\n'
    report = transcribe.report(Done(1, out, "Traceback …"))
    assert report["outcome"] == "failed"
    assert report["reason"] == "RuntimeError: Library libcublas.so.12 is not found or cannot be loaded"


def test_a_transcription_that_aborted_fails_with_its_last_words() -> None:
    report = transcribe.report(Done(ABORT, "", "Could not load library libcudnn_ops_infer.so.8. …\n"))
    assert (report["outcome"], report["exit_code"]) == ("failed", ABORT)
    assert report["reason"].startswith("Could not load library")


def test_transcribing_stays_offline_and_finds_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HOME")
    assert transcribe.environment("/scratch") == {"HF_HUB_OFFLINE": "1", "HOME": "/scratch"}
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "HOME" not in transcribe.environment("/scratch")
