"""The host's NVIDIA driver, as a container needs it: its devices and its own libraries."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from builder.engines.direct.sandbox.box import Mount
from builder.errors import EngineOrNetworkError, Fault
from builder.shell import Shell

FOLDER = "/run/cuvee-driver"
"""Where the container finds the libraries, through its loader's cache."""

NEEDED = "libcuda.so.1"
ALSO = ("libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1", "libnvidia-nvvm.so.4")
"""Taken where they are: NVML, and what compiles PTX for a GPU newer than the wheels."""

_CACHED = re.compile(r"^\s*(\S+) \(([^)]*)\) => (\S+)$", re.MULTILINE)
_DEVICES = Path("/dev")


def driver(shell: Shell, name: str, devices: Path = _DEVICES) -> tuple[Mount, ...]:
    """What a container must see to use the host's GPUs.

    Args:
        shell: What starts `ldconfig`.
        name: The image, for the error.
        devices: Where the host has its devices.

    Raises:
        EngineOrNetworkError: The host has no GPU, or no driver.
    """
    nodes = sorted(devices.glob("nvidia*"))
    if not nodes:
        raise _none(name, f"this machine has no {devices}/nvidia*")
    libraries = _libraries(shell)
    if NEEDED not in libraries:
        raise _none(name, f"the loader of this machine knows no {NEEDED}")
    smi = shutil.which("nvidia-smi")
    files = {**libraries, **({"nvidia-smi": Path(smi)} if smi else {})}
    return (
        *(Mount(source=node, target=f"/dev/{node.name}", device=True) for node in nodes),
        *(Mount(source=path.resolve(), target=f"{FOLDER}/{file}") for file, path in sorted(files.items())),
    )


def _libraries(shell: Shell) -> dict[str, Path]:
    """The driver's libraries for x86-64 in the cache of the host's loader; the first of a name counts."""
    said = shell.run(["/sbin/ldconfig", "-p"]).out
    found: dict[str, Path] = {}
    for name, about, path in _CACHED.findall(said):
        if name in (NEEDED, *ALSO) and "x86-64" in about:
            found.setdefault(name, Path(path))
    return found


def _none(name: str, cause: str) -> EngineOrNetworkError:
    fix = "Install the NVIDIA driver, or leave out --gpus"
    return EngineOrNetworkError(Fault(place=name, cause=f"the container gets no GPU: {cause}", fix=fix))
