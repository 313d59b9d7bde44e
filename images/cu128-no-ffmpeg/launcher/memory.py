"""Whether both sides' models fit beside each other, into the GPU's memory or the machine's."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any, Callable, Optional

GIB = 1 << 30
SPEAKERS_BYTES = 3 * GIB
"""What pyannote.audio takes with its own batch of 32, torch's context and cuDNN's room included."""

WORKING_BYTES = 2 * GIB
"""What CTranslate2 takes beyond the model's weights: its context, and a beam of five."""

UNKNOWN_MODEL_BYTES = 3 * GIB
"""The weights of Whisper large in float16, when the model is not here to be weighed."""

_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def together(model: str, device: str, free: Optional[Callable[[str], Optional[int]]] = None) -> bool:
    """Whether to run both sides side by side: only where there is surely room for both."""
    there = (free or free_bytes)(device)
    return there is not None and there >= weight(model) + WORKING_BYTES + SPEAKERS_BYTES


def weight(model: str) -> int:
    """The bytes of a model's weights."""
    try:
        return (Path(model) / "model.bin").stat().st_size
    except OSError:
        return UNKNOWN_MODEL_BYTES


def free_bytes(device: str) -> Optional[int]:
    """What is free on the first GPU, or in the machine for `cpu`; None where it is not known."""
    gpu = None if device == "cpu" else gpu_bytes()
    return gpu if gpu is not None or device == "cuda" else host_bytes()


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpu_bytes() -> Optional[int]:
    """What NVML says is free on the GPU that comes first; it makes no context there.

    None where there is none, or `CUDA_VISIBLE_DEVICES` hides all.
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if first in {"", "-1"}:
        return None
    try:
        library: Any = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    device, memory = ctypes.c_void_p(), _Memory()
    if library.nvmlInit_v2():
        return None
    try:
        if first.isdigit():
            lacking = library.nvmlDeviceGetHandleByIndex_v2(int(first), ctypes.byref(device))
        else:
            lacking = library.nvmlDeviceGetHandleByUUID(first.encode(), ctypes.byref(device))
        if lacking:
            return None
        return None if library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) else int(memory.free)
    finally:
        library.nvmlShutdown()


def host_bytes() -> Optional[int]:
    """What the machine can still give, or the container's limit leaves, whichever is less."""
    lines = _text("/proc/meminfo").splitlines()
    amounts = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for limit, used in _LIMITS:
        if _text(limit).strip().isdigit() and _text(used).strip().isdigit():
            amounts.append(int(_text(limit)) - int(_text(used)))
    return min(amounts) if amounts else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""
