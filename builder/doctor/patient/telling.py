"""A report for people: the verdict in one line, then the findings, then the facts. It fits 80 columns."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from builder.doctor.patient.case import BROKEN, NOTE, RISK, WILL_FAIL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.doctor.patient.case import Finding
    from builder.doctor.patient.facts import Examination
    from builder.doctor.patient.report import Report

WIDTH = 80
_LABEL = 11
_TITLES = {BROKEN: "BROKEN", WILL_FAIL: "WILL FAIL", RISK: "RISK", NOTE: "NOTE"}
_PLACES = {
    "colab": "on Google Colab",
    "kaggle": "on Kaggle",
    "runpod": "on RunPod",
    "container": "in a container",
    "wsl": "in WSL",
    "machine": "on this machine",
    "windows": "on Windows",
    "macos": "on macOS",
    "other": "on this system",
}


def told(report: Report) -> str:
    """The report as text, with a line break at its end."""
    lines = [*_wrapped(verdict(report)), ""]
    for finding in report.findings:
        lines += [*_finding(finding), ""]
    lines += [*_advice(report), "", *_facts(report.seen)]
    return "\n".join(lines) + "\n"


def verdict(report: Report) -> str:
    """All of it in one sentence."""
    place = _PLACES.get(report.seen.place.kind, "here")
    counts = {name: sum(one.severity == name for one in report.findings) for name in _TITLES}
    if report.serious:
        several = len(report.serious)
        count = f"{several} finding{'s' * (several > 1)}, the first is {report.serious[0].id}"
        return f"Something will fail {place}: {count}."
    more = [f"{counts[RISK]} risk{'s' * (counts[RISK] > 1)}"] if counts[RISK] else []
    more += [f"{counts[NOTE]} note{'s' * (counts[NOTE] > 1)}"] if counts[NOTE] else []
    rest = f" ({' and '.join(more)})" if more else ""
    examined = report.seen.torch or report.seen.ctranslate2
    return (
        f"Nothing that the doctor knows will fail {place}{rest}."
        if examined
        else f"There is nothing to examine {place}{rest}."
    )


def _finding(finding: Finding) -> Iterator[str]:
    yield from _wrapped(f"{_TITLES[finding.severity]}  {finding.id}")
    yield from _wrapped(finding.found + ".", 2)
    if finding.message:
        yield "  message:"
        # Verbatim: wrapped, nobody could search for it.
        yield from (f"    {line}" for line in finding.message.splitlines())
    yield from _labelled("fix:", finding.fix)
    yield from (f"    {line}" for line in finding.commands)
    yield from _labelled("sure:", finding.sure)
    for fact in finding.evidence:
        yield from _labelled("seen:", fact)
    if finding.source:
        yield from _labelled("see:", ", ".join(finding.source))


def _advice(report: Report) -> Iterator[str]:
    advice = report.advice
    if report.advice.cell:
        yield "A cell that mends it:"
        yield from (f"  {line}" for line in advice.cell.splitlines())
        yield ""
    yield from _wrapped(f"Row to use: {advice.row or 'none'} ({advice.why})")
    yield from (f"  {line}" for line in advice.how)
    for limit in advice.limits:
        yield from _labelled("not:", limit)


def _facts(seen: Examination) -> Iterator[str]:
    yield "Facts"
    for name, value in (*_machine(seen), *_software(seen), *_libraries(seen)):
        yield from _labelled(name, value)


def _machine(seen: Examination) -> Iterator[tuple[str, str]]:
    place, driver = seen.place, seen.driver
    yield (
        "place",
        ", ".join([place.kind, place.system, place.machine, f"kernel {place.kernel}"]),
    )
    yield "glibc", place.glibc or "another C library"
    cuda = f", serves CUDA {driver.cuda}" if driver.cuda else ""
    yield "driver", (driver.version or "none visible") + cuda
    for gpu in driver.gpus:
        yield "GPU", f"{gpu.name}, compute capability {gpu.capability}, {gpu.memory_mib} MiB"


def _software(seen: Examination) -> Iterator[tuple[str, str]]:
    python, torch, engine = seen.python, seen.torch, seen.ctranslate2
    kind = "virtual environment" if python.venv else "conda" if python.conda else "the system's own"
    yield "Python", f"{python.version}, {python.executable or 'inside another program'} ({kind})"
    if torch:
        yield "torch", f"{torch.version}, CUDA {torch.cuda or 'none'}, code {_spelled(torch.architectures)}"
    if engine:
        yield "CTranslate2", f"{seen.version('ctranslate2')}, code {_spelled(engine.architectures)}"
    others = [one for one in seen.packages if not re.match(r"torch$|ctranslate2$|nvidia-", one.name)]
    if others:
        yield "packages", ", ".join(f"{one.name} {one.version}" for one in others)
    ffmpeg = seen.ffmpeg
    libraries = " and ".join(str(major) for major in ffmpeg.libraries) or "none"
    yield "FFmpeg", f"program {ffmpeg.version or 'none'}; shared libraries of FFmpeg {libraries}"


def _libraries(seen: Examination) -> Iterator[tuple[str, str]]:
    for copy in seen.copies:
        name = re.match(r"lib(cudnn|cublas|cudart)\.so", copy.name)
        if name:
            yield name[1], f"{copy.version or 'version unknown'} {copy.path}"
    path = seen.path
    later = f"; later set to {path.now or 'nothing'}" if path.now != path.started else ""
    yield "LD path", (path.started or "not set") + later
    for trouble in seen.troubles:
        yield "trouble", trouble
    yield "took", f"{seen.seconds:.1f} s"


def _spelled(architectures: tuple[str, ...]) -> str:
    return " ".join(architectures) or "none"


def _labelled(label: str, text: str) -> list[str]:
    lines = _wrapped(text, _LABEL + 3) or [""]
    first = f"  {label:<{_LABEL}} {lines[0].strip()}"
    # A path that is too long for the rest of a line gets one of its own.
    return [first, *lines[1:]] if len(first) <= WIDTH else [f"  {label}", *lines]


def _wrapped(text: str, indent: int = 0) -> list[str]:
    """A text in lines of the width. Paths and commands are not broken: they are there to be copied."""
    space = " " * indent
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=space,
        subsequent_indent=space,
        break_long_words=False,
        break_on_hyphens=False,
    )
