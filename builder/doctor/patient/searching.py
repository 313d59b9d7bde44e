"""LD_LIBRARY_PATH: the loader read it when the process started, and never again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.doctor.patient.facts import SearchPath

if TYPE_CHECKING:
    from builder.doctor.patient.sight import Sight

NAME = "LD_LIBRARY_PATH"


def started_with(sight: Sight) -> dict[str, str]:
    """The variables that this process was started with; those it has now where /proc does not tell."""
    pairs = [entry.partition("=") for entry in sight.text("/proc/self/environ").split("\0") if "=" in entry]
    return {name: value for name, _, value in pairs} or dict(sight.variables)


def search_path(sight: Sight) -> SearchPath:
    """What LD_LIBRARY_PATH was and is."""
    at_start = started_with(sight)
    entries = [entry for entry in at_start.get(NAME, "").split(":") if entry]
    return SearchPath(
        started=at_start.get(NAME, ""),
        now=sight.variables.get(NAME, ""),
        missing=tuple(entry for entry in entries if not sight.exists(entry)),
        stubs=tuple(entry for entry in entries if is_stubs(sight, entry)),
        preload=at_start.get("LD_PRELOAD", ""),
        lost=tuple(name for name in preloads(at_start) if name.startswith("/") and not sight.exists(name)),
    )


def preloads(variables: dict[str, str]) -> list[str]:
    """What LD_PRELOAD names, divided by colons or spaces."""
    return variables.get("LD_PRELOAD", "").replace(":", " ").split()


def is_stubs(sight: Sight, folder: str) -> bool:
    """Whether a folder holds the toolkit's stubs: libraries to link with, without anything in them."""
    return "stubs" in folder.rstrip("/").split("/")[-1] and any(
        name.startswith("libcuda.so") for name in sight.names(folder)
    )
