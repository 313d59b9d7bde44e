"""Findings about the place itself: the loader's variables, and systems that are not examined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.doctor.patient.case import NOTE, RISK, WILL_FAIL, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.doctor.patient.case import Case

_FOREIGN = {"windows": "Windows", "macos": "macOS", "other": "another system than Linux"}


def foreign_system(case: Case) -> Iterator[Finding]:
    """Windows, macOS and others are not examined."""
    name = _FOREIGN.get(case.seen.place.kind)
    if name:
        yield Finding(
            id="not-linux",
            severity=NOTE,
            found=f"This is {name}, and the doctor knows only Linux: nothing was examined",
            fix="On Windows, run it inside WSL; for a container, run it in the container",
            sure="the system says so",
        )


def set_too_late(case: Case) -> Iterator[Finding]:
    """LD_LIBRARY_PATH was changed in a running Python: the loader never looks again."""
    path = case.seen.path
    if path.now == path.started:
        return
    helped = ", ".join(path.late[:3]) + (f" and {len(path.late) - 3} more" if len(path.late) > 3 else "")  # noqa: PLR2004
    yield Finding(
        id="library-path-too-late",
        severity=case.on_gpu(WILL_FAIL) if path.late else NOTE,
        found="LD_LIBRARY_PATH was set after Python had started, and the loader reads it only then",
        evidence=(
            f"at the start: {path.started or 'empty'}",
            f"now: {path.now or 'empty'}",
            *([f"would be found, had it been there from the start: {helped}"] if path.late else []),
        ),
        fix="Leave it, and load libraries by their path, or do the work in a process of its own"
        if case.notebook
        else "Set it in the shell that starts Python, or in the Dockerfile (ENV)",
        sure="/proc/self/environ was compared with os.environ; only new processes see the change",
        source=("m-bain/whisperX's CUDNN_TROUBLESHOOTING.md recommends it",),
    )


def entries_missing(case: Case) -> Iterator[Finding]:
    """LD_LIBRARY_PATH names folders that do not exist: often those of another version of Python."""
    missing = case.seen.path.missing
    if missing:
        yield Finding(
            id="library-path-missing",
            severity=NOTE,
            found=f"LD_LIBRARY_PATH names {len(missing)} folders that do not exist"
            if len(missing) > 1
            else "LD_LIBRARY_PATH names a folder that does not exist",
            evidence=missing,
            fix="Correct or remove it: nothing is found there",
            sure="seen on disk",
        )


def stubs_first(case: Case) -> Iterator[Finding]:
    """The toolkit's stubs are for linking: whoever loads them has a driver that refuses everything."""
    stubs = case.seen.path.stubs
    taken = case.seen.found("libcuda.so.1")
    loaded = [folder for folder in stubs if taken.startswith(folder.rstrip("/") + "/")]
    if stubs:
        yield Finding(
            id="library-path-stubs",
            severity=case.on_gpu(WILL_FAIL) if loaded else RISK,
            found="LD_LIBRARY_PATH names the toolkit's stub libraries, which are for linking and do nothing",
            evidence=(*stubs, f"the loader takes libcuda.so.1 from {taken or 'nowhere'}"),
            message="CUDA driver is a stub library",
            fix="Take the stubs folder out of LD_LIBRARY_PATH",
            sure="the loader was asked",
        )


def preloads_missing(case: Case) -> Iterator[Finding]:
    """LD_PRELOAD names files that are not there."""
    lost = case.seen.path.lost
    if lost:
        yield Finding(
            id="preload-missing",
            severity=NOTE,
            found="LD_PRELOAD names a library that is not there",
            evidence=lost,
            message=f"ERROR: ld.so: object '{lost[0]}' from LD_PRELOAD cannot be preloaded "
            "(cannot open shared object file): ignored.",
            fix="Correct or unset LD_PRELOAD",
            sure="seen on disk",
        )


def host_refused(case: Case) -> Iterator[Finding]:
    """NVIDIA's base images declare which hosts may start them; others never do."""
    wanted = case.seen.place.variables.get("NVIDIA_REQUIRE_CUDA", "").split(" ")[0]
    waived = case.seen.place.variables.get("NVIDIA_DISABLE_REQUIRE", "")
    if wanted and not waived and not case.seen.driver.gpus:
        yield Finding(
            id="require-cuda-unsatisfied",
            severity=NOTE,
            found=f"This image starts only on hosts whose driver serves {wanted}",
            evidence=("the image sets NVIDIA_REQUIRE_CUDA, as NVIDIA's own do",),
            message=f"nvidia-container-cli: requirement error: unsatisfied condition: {wanted}, please "
            "update your driver to a newer version, or use an earlier cuda container",
            fix="Update the host's driver, or start it with NVIDIA_DISABLE_REQUIRE=1 where minor version "
            "compatibility is enough",
            sure="no driver is visible here to compare it with",
            source=("NVIDIA/nvidia-container-toolkit#152",),
        )
