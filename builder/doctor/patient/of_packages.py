"""Findings about packages: those that do not belong together, and those that do not import."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder.doctor.combinations import fitting
from builder.doctor.patient.case import BROKEN, NOTE, RISK, WILL_FAIL, Finding, cannot_open, version_key
from builder.doctor.patient.trying import AVUTIL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.doctor.combinations import Combination
    from builder.doctor.patient.case import Case
    from builder.doctor.patient.facts import Import

_STACK_SINCE = (2, 41)  # glibc's NEWS of 2.41: dlopen no longer makes the stack executable
_STACK_WORDS = "cannot enable executable stack as shared object requires: Invalid argument"
_GLIBC_WORDS = re.compile(r"version `(GLIBC(?:XX)?_[\d.]+)' not found")
_LACKING = re.compile(r"(?P<name>lib[\w+.-]+\.so[.\d]*): cannot open shared object file")
_OF_TORCH = ("torchaudio", "torchvision", "torchcodec")
_AGAIN = "Install {module} again, in the version that belongs to this torch"
_SIGNATURES = (
    (
        r"cuDNN version incompatibility",
        "cudnn-version-incompatible",
        "Take the other cuDNN out of LD_LIBRARY_PATH, and start Python again",
    ),
    (
        r"torchvision::nms does not exist",
        "torchvision-nms",
        "Uninstall torchvision, which speech does not need, or install the one of this torch",
    ),
    (r"libtorchcodec", "torchcodec-not-loaded", _AGAIN),
    (
        r"libcuda\.so[.\d]*: cannot open shared object",
        "libcuda-not-found",
        "Start the container with --gpus all, or install NVIDIA's driver",
    ),
    (
        r"lib[\w+.-]+\.so[.\d]*: cannot open shared object",
        "library-not-found",
        "Install what has this library, or install {module} again",
    ),
    (r"^torch(?:audio|vision|codec): (?s:.*)undefined symbol", "torch-extension-mismatch", _AGAIN),
    (
        r"no answer within",
        "import-hangs",
        "See what it waits for: a driver that hangs, or a folder on a slow network",
    ),
    (r"", "import-fails", "Install {module} again"),
)
"""The words of a failed import, as patterns: the first that fits names the failure and its fix."""


def combinations(case: Case) -> Iterator[Finding]:
    """The rules of `builder/data/combinations.yaml` that fit."""
    versions = {package.name: package.version for package in reversed(case.seen.packages) if package.version}
    versions.update(python=case.seen.python.version, glibc=case.seen.place.glibc)
    capabilities = {gpu.capability for gpu in case.seen.driver.gpus} or {""}
    found = {
        one.id: one
        for capability in sorted(capabilities)
        for one in fitting(case.knows.combinations, {**versions, **_named("compute-capability", capability)})
    }
    for one in found.values():
        yield _of_combination(case, one)


def executable_stack(case: Case) -> Iterator[Finding]:
    """Glibc 2.41 refuses libraries that ask for an executable stack, as CTranslate2's did before 4.6."""
    engine, place = case.seen.ctranslate2, case.seen.place
    allowed = "execstack=2" in place.variables.get("GLIBC_TUNABLES", "")
    if not (engine and engine.executable_stack) or allowed or version_key(place.glibc) < _STACK_SINCE:
        return
    yield Finding(
        id="executable-stack",
        severity=BROKEN,
        found=f"{case.engine} asks for an executable stack, which glibc {place.glibc} refuses",
        evidence=(*engine.executable_stack, f"glibc refuses since 2.41; this is {place.system}"),
        message=f"ImportError: {engine.executable_stack[0]}: {_STACK_WORDS}",
        fix="Install CTranslate2 4.6 or later, or take a system with an older glibc, such as Debian 12; "
        "until then, set GLIBC_TUNABLES=glibc.rtld.execstack=2 before Python starts",
        commands=(case.pip("ctranslate2>=4.6"),),
        sure="its libraries were read"
        + (", and the import was tried" if _import_error(case, "ctranslate2") else ""),
        install=("ctranslate2>=4.6",),
        source=("OpenNMT/CTranslate2#1849", "m-bain/whisperX#1038"),
    )


def glibc_too_old(case: Case) -> Iterator[Finding]:
    """Libraries that ask for a newer glibc than the one here; and systems without glibc."""
    place, engine, torch = case.seen.place, case.seen.ctranslate2, case.seen.torch
    asked = {"CTranslate2": engine.glibc if engine else "", "torch": torch.glibc if torch else ""}
    for what, wanted in asked.items():
        if wanted and place.glibc and version_key(wanted) > version_key(place.glibc):
            yield Finding(
                id="glibc-too-old",
                severity=BROKEN,
                found=f"{what} asks for glibc {wanted}, and this is {place.glibc}",
                evidence=(f"{what} {case.seen.version(what.lower())}", place.system),
                message=f"/lib/{place.machine}-linux-gnu/libc.so.6: version `GLIBC_{wanted}' not found",
                fix="Take a newer system, such as Debian 12 or Ubuntu 22.04, or an older version of it",
                sure="its libraries were read",
            )
    if not place.glibc and place.kind not in {"windows", "macos", "other"}:
        yield Finding(
            id="no-wheel",
            severity=WILL_FAIL,
            found="This system has no glibc, which the wheels of torch need",
            evidence=(place.system,),
            message="ERROR: No matching distribution found for ctranslate2",
            fix="Take a system with glibc, such as Debian's image instead of Alpine's",
            sure="by the wheels on PyPI",
        )


def codec_without_ffmpeg(case: Case) -> Iterator[Finding]:
    """Torchcodec brings no FFmpeg, and needs its shared libraries and not its program."""
    ffmpeg = case.seen.ffmpeg
    if not case.has("torchcodec") or not ffmpeg.builds or set(ffmpeg.builds) & set(ffmpeg.libraries):
        return
    used = case.has("pyannote-audio", ">=4")
    there = " and ".join(str(major) for major in ffmpeg.libraries) or "none"
    yield Finding(
        id="torchcodec-not-loaded",
        severity=WILL_FAIL if used else RISK,
        found="torchcodec finds no FFmpeg that it has a build for",
        evidence=(
            f"its builds are for FFmpeg {', '.join(map(str, ffmpeg.builds))}; shared libraries here: {there}",
            *(
                cannot_open(f"libavutil.so.{AVUTIL[major]}")
                for major in ffmpeg.builds[-1:]
                if major in AVUTIL
            ),
            *(
                [f"the program {ffmpeg.program} is no help: it is another thing than the libraries"]
                * bool(ffmpeg.program)
            ),
        ),
        message="Could not load libtorchcodec. Likely causes:\n"
        "1. FFmpeg is not properly installed in your environment."
        + ("\nNameError: name 'AudioDecoder' is not defined" if used else ""),
        fix="Install FFmpeg of the system, whose package has the shared libraries too"
        + ("" if used else "; or nothing, if only the program is used, as WhisperX does"),
        commands=("!" * case.notebook + "apt-get install -y ffmpeg",),
        sure="the loader was asked"
        + (", and the import was tried" if _import_error(case, "torchcodec") else ""),
        source=("pyannote/pyannote-audio#1979", "m-bain/whisperX#1468"),
    )


def imports(case: Case) -> Iterator[Finding]:
    """What was imported here and failed, if no other finding says why."""
    for one in case.seen.imports:
        if one.error and not _said_elsewhere(case, one):
            yield _of_import(case, one)


def twice_installed(case: Case) -> Iterator[Finding]:
    """One distribution, installed in two versions."""
    for name in sorted({package.name for package in case.seen.packages}):
        copies = [package for package in case.seen.packages if package.name == name]
        if len({package.version for package in copies}) > 1:
            same = len({package.folder for package in copies}) < len(copies)
            yield Finding(
                id="installed-twice",
                severity=RISK if same else NOTE,
                found=f"{name} is installed {len(copies)} times; {copies[0].version} is the one that counts"
                if not same
                else f"{name} has the metadata of {len(copies)} versions in one folder",
                evidence=tuple(f"{package.version} in {package.folder}" for package in copies),
                fix=f"pip uninstall {name}, as often as it finds one, and install it again"
                if same
                else "Nothing, if the first is the one that is meant",
                sure="seen on disk",
            )


def nothing_installed(case: Case) -> Iterator[Finding]:
    """Neither torch nor CTranslate2 is here: perhaps another Python was meant."""
    if case.seen.torch or case.seen.ctranslate2 or case.has("torch") or case.has("ctranslate2"):
        return
    yield Finding(
        id="nothing-installed",
        severity=NOTE,
        found="Neither torch nor CTranslate2 is installed for this Python",
        evidence=(
            f"{case.seen.python.executable or 'a Python inside another program'}, {case.seen.python.version}",
        ),
        fix="Run the doctor with the Python that runs your program",
        sure="seen on disk",
    )


def _of_combination(case: Case, one: Combination) -> Finding:
    works = _works_here(case, one)
    named = " and ".join(f"{name} {version}" for name, version in one.packages)
    return Finding(
        id=one.signature,
        severity=NOTE if works else one.severity,
        found=f"{named} do not go together: {one.cause}" if one.severity != NOTE else f"{named}: {one.cause}",
        evidence=(f"rule {one.id} of cuvee",),
        message=_import_error(case, _module(one)) or one.message,
        fix=one.fix,
        commands=(case.pip(*one.install),) if one.install else (),
        sure="its import was tried here and went well, so this may be harmless" if works else "by versions",
        install=() if works else one.install,
        source=one.source,
    )


def _module(one: Combination) -> str:
    """The package of torch's family that a rule is about, or ""."""
    return next((name for name, _ in one.packages if name in _OF_TORCH), "")


def _works_here(case: Case, one: Combination) -> bool:
    """Whether a rule says that libraries do not fit, and they were imported here all the same."""
    name = _module(one)
    loads = {"torch-extension-mismatch", "torchvision-nms", "torchcodec-not-loaded"}
    return one.signature in loads and any(
        done.module == name and not done.error for done in case.seen.imports
    )


def _import_error(case: Case, module: str) -> str:
    return next((done.error for done in case.seen.imports if done.module == module), "")


def _said_elsewhere(case: Case, one: Import) -> bool:
    """Whether the very cause of a failed import has a finding of its own."""
    versions = {package.name: package.version for package in case.seen.packages if package.version}
    ruled = any(_module(rule) == one.module for rule in fitting(case.knows.combinations, versions))
    no_ffmpeg = one.module == "torchcodec" and not set(case.seen.ffmpeg.builds) & set(
        case.seen.ffmpeg.libraries
    )
    return ruled or no_ffmpeg or _STACK_WORDS in one.error or bool(_GLIBC_WORDS.search(one.error))


def _of_import(case: Case, one: Import) -> Finding:
    signature, fix = signature_of(one)
    lacking = _LACKING.search(one.error)
    return Finding(
        id=signature,
        severity=BROKEN if one.module in {"torch", "ctranslate2"} else WILL_FAIL,
        found=f"`import {one.module}` fails" + (f" for want of {lacking['name']}" if lacking else ""),
        evidence=(f"{one.module} {case.seen.version(one.module)}",)
        + ((f"exit code {one.code}",) if one.code else ()),
        message=_shortened(one.error),
        fix=fix,
        commands=(f"pip install --force-reinstall --no-deps {one.module}",)
        if signature == "import-fails"
        else (),
        sure="tried here, in a process of its own",
    )


def signature_of(one: Import) -> tuple[str, str]:
    """The kind of failure that an import's words tell, and what helps."""
    words = f"{one.module}: {one.error}"
    found = next((signature, fix) for pattern, signature, fix in _SIGNATURES if re.search(pattern, words))
    return found[0], found[1].format(module=one.module)


def _shortened(words: str, lines: int = 4) -> str:
    kept = [line.rstrip() for line in words.splitlines() if line.strip()]
    return "\n".join([*kept[:lines], "…"] if len(kept) > lines else kept)


def _named(name: str, version: str) -> dict[str, str]:
    return {name: version} if version else {}
