"""Which place this is: Colab, Kaggle, a container, somebody's machine."""

from __future__ import annotations

import os
import platform
import re
from typing import TYPE_CHECKING

from builder.doctor.patient.facts import Place

if TYPE_CHECKING:
    from builder.doctor.patient.sight import Sight

VARIABLES = re.compile(
    r"LD_(?:LIBRARY_PATH|PRELOAD)|GLIBC_TUNABLES|NVIDIA_(?:VISIBLE_DEVICES|DRIVER_CAPABILITIES|REQUIRE_CUDA"
    r"|DISABLE_REQUIRE)|CUDA_(?:VISIBLE_DEVICES|HOME|PATH|DEVICE_ORDER)|CT2_\w+|HF_HUB_OFFLINE|CONDA_PREFIX|VIRTUAL_ENV"
    r"|COLAB_RELEASE_TAG|KAGGLE_KERNEL_RUN_TYPE"
)
"""Variables that are told; none of them holds a secret."""

_SYSTEMS = {"Linux": "", "Windows": "windows", "Darwin": "macos"}


def place(sight: Sight, system: str = "") -> Place:
    """Where this is; `system` is what the kernel calls itself, `Linux`."""
    foreign = _SYSTEMS.get(system or platform.system(), "other")
    container = container_of(sight)
    return Place(
        kind=foreign or kind_of(sight, container),
        container=container,
        ci=any(sight.variables.get(name) for name in ("CI", "GITHUB_ACTIONS", "GITLAB_CI")),
        system=system_of(sight.text("/etc/os-release")) or f"{platform.system()} {platform.release()}",
        kernel=platform.release(),
        machine=platform.machine(),
        glibc=glibc(),
        variables={
            name: value for name, value in sorted(sight.variables.items()) if VARIABLES.fullmatch(name)
        },
    )


def kind_of(sight: Sight, container: str) -> str:
    """What is known to be special about this place."""
    variables = sight.variables
    if "COLAB_RELEASE_TAG" in variables or "COLAB_GPU" in variables:
        return "colab"
    if "KAGGLE_KERNEL_RUN_TYPE" in variables or "KAGGLE_URL_BASE" in variables:
        return "kaggle"
    if "RUNPOD_POD_ID" in variables:
        return "runpod"
    if container:
        return "container"
    return "wsl" if "microsoft" in sight.text("/proc/version").lower() else "machine"


def container_of(sight: Sight) -> str:
    """What made the container that this is, or ""."""
    if sight.variables.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if sight.exists("/run/.containerenv"):
        return "podman"
    if sight.exists("/.dockerenv"):
        return "docker"
    groups = sight.text("/proc/1/cgroup")
    found = re.search(r"docker|libpod|kubepods|containerd|lxc", groups)
    return {"docker": "docker", "libpod": "podman", "kubepods": "kubernetes"}.get(
        found[0] if found else "", "container" if found else ""
    )


def system_of(release: str) -> str:
    """Name and version of a Linux, from the text of /etc/os-release."""
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)"?$', release, re.MULTILINE)
    return found[1] if found else ""


def glibc() -> str:
    """The version of the C library, or "" where it is not glibc."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").replace("glibc ", "")
    except (AttributeError, ValueError, OSError):
        return ""
