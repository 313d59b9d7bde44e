"""Two sides on the same processors divide them, unless the user has said how many threads there shall be."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from builder.launcher import memory, threads
from builder.launcher.conducting import Conductor
from builder.launcher.orders import SPEAKERS, TRANSCRIBE
from builder.launcher.progress import Progress


@pytest.mark.parametrize(
    ("processors", "transcribe", "speakers"),
    [(1, 1, 1), (2, 1, 1), (3, 1, 2), (4, 2, 2), (8, 4, 4), (64, 4, 60)],
)
def test_processors_are_halved_but_transcribing_never_gets_more_than_it_takes_by_itself(
    processors: int, transcribe: int, speakers: int
) -> None:
    assert threads.shares(processors) == {"transcribe": transcribe, "speakers": speakers}


@pytest.mark.parametrize("lane", ["transcribe", "speakers"])
def test_a_side_on_processors_is_told_its_share(lane: str) -> None:
    assert threads.variables(lane, "cpu", {}, 2) == {"OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("own", ["8", "1", ""])
def test_what_the_user_has_set_stays(own: str) -> None:
    assert threads.variables("speakers", "cpu", {"OMP_NUM_THREADS": own}, 2) == {}


def test_sides_on_a_gpu_do_not_share_processors() -> None:
    assert threads.variables("speakers", "cuda", {}, 2) == {}


@pytest.mark.parametrize(("free", "told"), [(None, {"OMP_NUM_THREADS": "1"}), (1 << 30, {})])
def test_with_auto_it_depends_on_whether_there_is_a_gpu(
    free: int | None, told: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "gpu_bytes", lambda: free)
    assert threads.variables("speakers", "auto", {}, 2) == told


@pytest.mark.parametrize(
    ("quota", "there"),
    [
        ("max 100000\n", 8),
        ("", 8),
        ("nonsense", 8),
        ("200000 100000\n", 2),
        ("50000 100000\n", 1),
        ("9900000 100000\n", 8),
    ],
)
def test_a_container_s_limit_counts(quota: str, there: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert threads.available(quota) == there


def conductor(*, together: bool = True, transcribed: bool = False, diarized: bool = False) -> Conductor:
    options = cast("Any", SimpleNamespace(offline=True, device="cpu"))
    jobs = cast("Any", [SimpleNamespace(transcribed=transcribed, diarized=diarized)])
    return Conductor(
        options, jobs, (), Progress(), together=together, variables={}, told=lambda _job, _said: None
    )


def test_both_sides_get_their_share_when_they_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available", lambda: 6)
    both = conductor()
    assert both._laid_over(TRANSCRIBE) == {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "3"}
    assert both._laid_over(SPEAKERS) == {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "3"}


@pytest.mark.parametrize(
    "alone",
    [conductor(together=False), conductor(diarized=True), conductor(transcribed=True)],
    ids=["in turn", "no speakers to tell apart", "nothing to transcribe"],
)
def test_a_side_that_works_alone_is_left_as_it_is(alone: Conductor) -> None:
    assert alone._laid_over(TRANSCRIBE) == {"HF_HUB_OFFLINE": "1"}
    assert alone._laid_over(SPEAKERS) == {"HF_HUB_OFFLINE": "1"}
