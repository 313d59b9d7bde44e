"""NVIDIA's driver and its GPUs, asked in three ways, for each of them may be missing, broken or hang."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder.doctor.patient.facts import Driver, Gpu
from builder.doctor.patient.running import NoChildError

if TYPE_CHECKING:
    from builder.doctor.patient.running import Done, Runner
    from builder.doctor.patient.sight import Sight

QUERY = (
    "nvidia-smi",
    "--query-gpu=name,driver_version,compute_cap,memory.total",
    "--format=csv,noheader,nounits",
)
TIMEOUT = 10.0
NVIDIA = "0x10de"

_LINE = re.compile(r"(?P<name>[^,]+), (?P<driver>[\d.]+), (?P<capability>\d+\.\d), (?P<memory>\d+|\[N/A\])")
_MODULE = re.compile(r"Kernel Module[^\n]*?\s(?P<version>\d{3}\.[\d.]+)")


def driver(sight: Sight, runner: Runner) -> Driver:
    """All that can be seen of the driver from here."""
    version, gpus, trouble = smi(runner.run(QUERY, TIMEOUT))
    cuda, shown, complaint = _libcuda(runner)
    return Driver(
        version=version or of_module(sight.text("/proc/driver/nvidia/version")),
        cuda=cuda,
        gpus=gpus or shown,
        smi=trouble,
        libcuda=complaint,
        devices=devices(sight),
        card=any(
            sight.text(f"/sys/bus/pci/devices/{name}/vendor").strip() == NVIDIA
            for name in sight.names("/sys/bus/pci/devices")
        ),
    )


def smi(done: Done) -> tuple[str, tuple[Gpu, ...], str]:
    """What nvidia-smi said: the driver's version, the GPUs, and why there are none."""
    lines = [found for found in map(_LINE.fullmatch, map(str.strip, done.out.splitlines())) if found]
    gpus = tuple(Gpu(line["name"], line["capability"], _number(line["memory"])) for line in lines)
    if gpus and not done.code:
        return lines[0]["driver"], gpus, ""
    said = " ".join((done.err or done.out).split())[:300]
    return "", (), said or f"it said nothing and ended with exit code {done.code}"


def of_module(text: str) -> str:
    """The driver's version in the text of /proc/driver/nvidia/version, or ""."""
    found = _MODULE.search(text)
    return found["version"] if found else ""


def devices(sight: Sight) -> tuple[str, ...]:
    """The device files of GPUs: those of Linux, and the one that WSL has instead."""
    named = (f"/dev/{name}" for name in sight.names("/dev"))
    return tuple(name for name in named if re.fullmatch(r"/dev/(?:nvidia\d+|nvidiactl|nvgpu|dxg)", name))


def _libcuda(runner: Runner) -> tuple[str, tuple[Gpu, ...], str]:
    try:
        done, said = runner.child("driver", (), TIMEOUT * 2)
    except NoChildError as error:
        return "", (), f"not asked: {error}"
    cuda = "".join(fact["cuda"] for fact in said if "cuda" in fact)
    gpus = tuple(Gpu(fact["gpu"], fact["capability"], fact["memory_mib"]) for fact in said if "gpu" in fact)
    complaints = [fact["error"] for fact in said if "error" in fact]
    last = done.err.splitlines()[-1:] or [f"exit code {done.code}"]
    return cuda, gpus, "; ".join(complaints or (last if done.code else []))


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
