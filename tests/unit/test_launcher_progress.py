"""Progress is a bar on a terminal, sparse lines elsewhere, and never a reason to fail."""

from __future__ import annotations

import ctypes
import io
import json
import time
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from builder.launcher import memory, progress
from builder.launcher.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_a_terminal_has_a_bar_of_both_sides_on_one_line() -> None:
    screen = Terminal()
    shown = Progress(screen)
    shown.show("a.wav", "transcribe", "transcribing", 0.5, "00:05:00 of 00:10:00")
    shown.show("a.wav", "speakers", "embeddings", 0.25)
    last = screen.getvalue().rsplit("\r", 1)[-1]
    assert "embeddings 25%" in last
    assert "transcribing 00:05:00 of 00:10:00" in last
    assert "\n" not in screen.getvalue()


def test_the_bar_goes_before_anything_else_is_said() -> None:
    screen = Terminal()
    shown = Progress(screen)
    shown.show("a.wav", "transcribe", "transcribing", 0.5)
    shown.say("a.wav: it died")
    assert screen.getvalue().endswith("\r\x1b[Ka.wav: it died\n")


def test_elsewhere_there_is_a_line_for_a_stage_and_then_few() -> None:
    log = io.StringIO()
    shown = Progress(log)
    for share in range(100):
        shown.show("a.wav", "transcribe", "transcribing", share / 100)
    assert log.getvalue() == "a.wav: transcribing 0%\n"


def test_programs_get_lines_of_json() -> None:
    log = io.StringIO()
    shown = Progress(log, as_json=True)
    shown.show("a.wav", "speakers", "embeddings", 0.25)
    shown.say("done")
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert lines[0] == {"audio": "a.wav", "side": "speakers", "stage": "embeddings", "share": 0.25}
    assert lines[1] == {"message": "done"}


def test_quiet_tells_faults_alone() -> None:
    screen = Terminal()
    shown = Progress(screen, quiet=True)
    shown.show("a.wav", "transcribe", "transcribing", 0.5)
    shown.say("a.wav: it died")
    assert screen.getvalue() == "a.wav: it died\n"


def test_that_nobody_looks_on_is_no_failure() -> None:
    Progress(Closed()).say("hello")


def test_the_position_has_its_speed_once_there_is_one() -> None:
    assert progress.position(30.0, 60.0, time.monotonic()) == "00:00:30 of 00:01:00"
    assert progress.position(30.0, 60.0, time.monotonic() - 10) == "00:00:30 of 00:01:00, 3.0x"


# Side by side, where memory allows


@pytest.mark.parametrize(("free_gib", "both"), [(24, True), (5, False), (None, False)])
def test_both_sides_run_at_a_time_where_there_is_surely_room(free_gib: int | None, both: bool) -> None:
    free = None if free_gib is None else free_gib * memory.GIB
    assert memory.together("large-v3", "cuda", lambda _: free) is both


def test_a_model_that_is_here_is_weighed(tmp_path: object) -> None:
    assert memory.weight(str(tmp_path)) == memory.UNKNOWN_MODEL_BYTES


def test_the_machines_memory_is_known() -> None:
    assert (memory.host_bytes() or 0) > 0
    assert memory.free_bytes("cpu") is not None


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_is_hidden_has_no_memory(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_library(_: str) -> NoReturn:
        raise AssertionError("it was asked for all the same")

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    monkeypatch.setattr(ctypes, "CDLL", open_library)
    assert memory.gpu_bytes() is None


@pytest.mark.parametrize(("visible", "asked"), [(None, 0), ("1,0", 1), ("GPU-8932f937", b"GPU-8932f937")])
def test_the_first_gpu_that_is_seen_counts(
    visible: str | None, asked: int | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[int | bytes] = []

    def handle(of: int | bytes, _: Any) -> int:
        asked_for.append(of)
        return 0

    nvml = SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlShutdown=lambda: 0,
        nvmlDeviceGetHandleByIndex_v2=handle,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetMemoryInfo=lambda *_: 0,
    )
    monkeypatch.setattr(ctypes, "CDLL", lambda _: nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert memory.gpu_bytes() == 0
    assert asked_for == [asked]
