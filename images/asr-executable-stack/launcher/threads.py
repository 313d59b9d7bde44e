"""How many threads each side has while both compute on the same processors.

Left to themselves, torch takes every core and CTranslate2 up to four. Their threads then wait for each other
in loops, and both sides together take several times as long as with the cores divided.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, Mapping, Optional

from . import memory

VARIABLE = "OMP_NUM_THREADS"
"""Both torch and CTranslate2 go by it, and a user who has set it knows better."""

MOST_TO_TRANSCRIBE = 4
"""What CTranslate2 takes by itself at the most."""

_QUOTA = "/sys/fs/cgroup/cpu.max"


def shares(processors: int) -> Dict[str, int]:
    """The processors divided between the two sides; one is the least that a side can have."""
    transcribe = min(MOST_TO_TRANSCRIBE, max(1, processors // 2))
    return {"transcribe": transcribe, "speakers": max(1, processors - transcribe)}


def variables(
    lane: str, device: str, given: Mapping[str, str], processors: Optional[int] = None
) -> Dict[str, str]:
    """What to tell a side that runs beside the other one; nothing where they do not share processors.

    Args:
        lane: `transcribe` or `speakers`.
        device: `cpu`, `cuda` or `auto`, as it was asked for.
        given: Our variables.
        processors: How many there are for us; counted when None.
    """
    if VARIABLE in given or not on_processors(device):
        return {}
    return {VARIABLE: str(shares(processors or available())[lane])}


def on_processors(device: str) -> bool:
    """Whether there is no GPU to compute on, or none is wanted."""
    return device == "cpu" or (device == "auto" and memory.gpu_bytes() is None)


def available(quota: Optional[str] = None) -> int:
    """How many processors we may use: those that we may run on, or what the container's limit leaves.

    Args:
        quota: What the kernel says of the limit, as in `cpu.max` of cgroups; read when None.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    words = (_text(_QUOTA) if quota is None else quota).split()
    if len(words) == 2 and all(word.isdigit() for word in words):  # noqa: PLR2004 - microseconds, of how many
        return max(1, min(there, int(words[0]) // max(1, int(words[1]))))
    return there


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""
