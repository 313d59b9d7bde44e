"""Findings about cuDNN and cuBLAS: what CTranslate2 opens by name, and what the loader gives it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder.doctor.patient import remedies
from builder.doctor.patient.case import BROKEN, NOTE, RISK, WILL_FAIL, Finding, cannot_open, version_key
from builder.doctor.patient.facts import Opened
from builder.doctor.patient.trying import BEGUN
from builder.probe.cudnn import wants_driver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.doctor.patient.case import Case
    from builder.doctor.patient.facts import Trial
    from builder.doctor.patient.remedies import Fix

_ABORTS = "it aborts the process: no `try` catches it, and a notebook says that its session crashed"
_FUNCTIONS = {
    "libcudnn_ops": "cudnnCreateTensorDescriptor",
    "libcudnn_cnn": "cudnnCreateConvolutionDescriptor",
    "libcudnn_graph": "cudnnCreate",
    "libcudnn_adv": "cudnnCreateRNNDescriptor",
}


def cudnn_not_found(case: Case) -> Iterator[Finding]:
    """CTranslate2's front of cuDNN finds nothing behind it."""
    engine = case.seen.ctranslate2
    trial = _trial(case, "ctranslate2")
    missing = _missing(case, "libcudnn")
    if not (engine and engine.front and missing) or (trial and not trial.code):
        return
    major = engine.cudnn
    fix = remedies.cudnn_8_beside(case) if major == "8" and _stays(case) else _found_or_without(case, major)
    yield Finding(
        id=f"cudnn{major}-not-found",
        severity=case.on_gpu(WILL_FAIL),
        found=f"{case.engine} opens cuDNN {major} by name, and the loader finds none",
        evidence=(
            _several([names[0] for names in missing]),
            *_lying_about(case, "libcudnn", major),
            *_helped_by_torch(case),
        ),
        message=_loading_words(trial.words if trial else "") or _words_for(missing, major),
        sure=f"tried here: exit code {trial.code}; {_ABORTS}"
        if trial
        else f"by the loader's answers; {_ABORTS}",
        **fix._asdict(),
        source=("m-bain/whisperX#1027", "m-bain/whisperX#902", "OpenNMT/CTranslate2#1806"),
    )


def cublas_not_found(case: Case) -> Iterator[Finding]:
    """CTranslate2 opens cuBLAS at the first computation."""
    for names in _missing(case, "libcublas."):
        name, major = names[0], names[0].rpartition(".")[2]
        if case.seen.imported.get(name, Opened()).path:
            continue  # importing CTranslate2 imports torch, and that brings it
        by_torch = bool(case.seen.torch and name in case.seen.torch.libraries)
        yield Finding(
            id="cublas-not-found",
            severity=case.on_gpu(RISK if by_torch else WILL_FAIL),
            found=f"{case.engine} opens {name}, and the loader finds none",
            evidence=(
                case.seen.loader[name].error,
                *_lying_about(case, "libcublas", major),
                *(f"torch here is built for CUDA {case.seen.torch.cuda}" for _ in [0] if case.seen.torch),
            ),
            message=f"RuntimeError: Library {name} is not found or cannot be loaded",
            sure=_once_torch_is_there(name)
            if by_torch
            else "the loader was asked; it raises at the first encode",
            **remedies.cublas(case, major, present=bool(case.copies(name)))._asdict(),
            source=("SYSTRAN/faster-whisper#1431", "OpenNMT/CTranslate2#1933"),
        )


def cublaslt_not_found(case: Case) -> Iterator[Finding]:
    """CuDNN 8 opens cuBLASLt by name, which may be missing where cuBLAS is there."""
    engine = case.seen.ctranslate2
    if not (engine and engine.cudnn == "8") or _missing(case, "libcudnn"):
        return
    for names in engine.opens:
        name = names[0].replace("libcublas.", "libcublasLt.")
        answer = case.seen.loader.get(name)
        if names[0].startswith("libcublas.") and answer and not answer.path:
            yield Finding(
                id="cublaslt-not-found",
                severity=case.on_gpu(WILL_FAIL),
                found=f"cuDNN 8 opens {name}, and the loader finds none",
                evidence=(answer.error, *_lying_about(case, "libcublasLt", name.rpartition(".")[2])),
                message=f"Could not load library {name}. Error: {cannot_open(name)}",
                sure="the loader was asked",
                **remedies.cublas(case, name.rpartition(".")[2], present=bool(case.copies(name)))._asdict(),
                source=("SYSTRAN/faster-whisper#1017", "OpenNMT/CTranslate2#1315"),
            )


def cudnn_mixed(case: Case) -> Iterator[Finding]:
    """CuDNN dies in an order of use, though it was found: two copies of one major meet."""
    alone = {trial.order[0] for trial in case.seen.trials if len(trial.order) == 1 and trial.code}
    if alone == {"ctranslate2"} and _missing(case, "libcudnn"):
        return  # nothing is mixed where nothing is found: `cudnn_not_found` has said so
    failed = [
        trial
        for trial in case.seen.trials
        if trial.code and _loading_words(trial.words) and not wants_driver(trial.words)
    ]
    worst = sorted(failed, key=lambda trial: (len(trial.order), trial.order[0].endswith(BEGUN)))[:1]
    for trial in worst:
        major = _major_of_trial(case, trial)
        yield Finding(
            id=f"cudnn{major}-mixed",
            severity=_gravity(case, trial),
            found=f"Two different cuDNN {major} meet in one process, and their parts do not fit each other",
            evidence=(
                f"{_in_words(trial)}: exit code {trial.code}",
                *_lying_about(case, "libcudnn", major, all_=True),
            ),
            message=_loading_words(trial.words),
            sure=f"tried here, {_in_words(trial)}; {_ABORTS}",
            **remedies.one_cudnn(case, major, trial)._asdict(),
            source=("MahmoudAshraf97/whisper-diarization#343", "m-bain/whisperX#1297"),
        )


def cudnn_of_two_folders(case: Case) -> Iterator[Finding]:
    """One process has parts of one major of cuDNN from two folders, which went well without a GPU."""
    for trial in case.seen.trials:
        folders = {} if trial.code else _folders(trial)
        for major, found in folders.items():
            versions = {
                copy.version for copy in case.seen.copies if copy.path in trial.files and copy.version
            }
            if len(found) > 1 and len(versions) != 1:
                yield Finding(
                    id="cudnn-sublibrary-mismatch",
                    severity=case.on_gpu(RISK),
                    found=f"One process has parts of cuDNN {major} from {len(found)} folders",
                    evidence=(_in_words(trial), *sorted(found)),
                    message="RuntimeError: cuDNN error: CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH",
                    sure="seen in a process here; whether it fails depends on which parts are used together",
                    **remedies.one_cudnn(case, major, trial)._asdict(),
                    source=("m-bain/whisperX#1027", "MahmoudAshraf97/whisper-diarization#282"),
                )
                return


def cudnn_of_another_version(case: Case) -> Iterator[Finding]:
    """Torch compares the cuDNN that it finds with the one that it was built with."""
    trial, torch = _trial(case, "torch"), case.seen.torch
    if not (trial and torch and trial.version and torch.cudnn):
        return
    built, runtime = version_key(torch.cudnn)[:3], version_key(trial.version)[:3]
    if (built[0] == runtime[0] and built[1] <= runtime[1]) or _torch_has_compared(case):
        return
    yield Finding(
        id="cudnn-version-incompatible",
        severity=WILL_FAIL,
        found=f"torch demands cuDNN {torch.cudnn} and finds {trial.version}",
        evidence=(f"LD_LIBRARY_PATH is {case.seen.path.started or 'empty'}", *trial.files[:4]),
        message=f"RuntimeError: cuDNN version incompatibility: PyTorch was compiled  against {_tuple(built)} "
        f"but found runtime version {_tuple(runtime)}.",
        fix="Take the folder with the older cuDNN out of LD_LIBRARY_PATH: torch finds its own by its RPATH",
        sure="cudnnGetVersion was asked through torch's own front; the import itself gave no answer",
        source=("m-bain/whisperX#1297", "m-bain/whisperX#1302"),
    )


def several_copies(case: Case) -> Iterator[Finding]:
    """Different copies of one library: no harm in itself, and the soil of much."""
    for name in sorted({copy.name for copy in case.seen.copies}):
        copies = case.copies(name)
        versions = {copy.version for copy in copies}
        if re.fullmatch(r"lib(cudnn|cublas)\.so\.\d+", name) and len(copies) > 1 and len(versions) > 1:
            taken = case.seen.found(name)
            by_torch = (case.seen.torch.libraries if case.seen.torch else {}).get(name, "")
            yield Finding(
                id="several-copies",
                severity=NOTE,
                found=f"{name} is here in {len(versions)} versions",
                evidence=(
                    *(f"{copy.path}: {copy.version or 'version unknown'}" for copy in copies),
                    f"the loader takes {taken or 'none of them by name'}",
                    *([f"torch takes {by_torch}"] if by_torch else []),
                ),
                fix="Nothing, as long as no finding above speaks of it",
                sure="seen on disk",
            )


def _missing(case: Case, start: str) -> list[tuple[str, ...]]:
    """What CTranslate2 opens under names that begin so, where no name of it opens."""
    opens = case.seen.ctranslate2.opens if case.seen.ctranslate2 else ()
    asked = [names for names in opens if names[0].startswith(start) and names[0] in case.seen.loader]
    return [names for names in asked if not any(case.seen.found(name) for name in names)]


def _trial(case: Case, *order: str) -> Trial | None:
    return next((trial for trial in case.seen.trials if trial.order == order), None)


def _helped_by_torch(case: Case) -> list[str]:
    trial = _trial(case, "torch", "ctranslate2")
    begun = _trial(case, "torch" + BEGUN, "ctranslate2")
    if not trial or trial.code:
        return []
    limits = " wholly, and fails where torch has only begun" if begun and begun.code else ""
    return [f"it works in a process where torch has used its own cuDNN before{limits}"]


def _lying_about(case: Case, stem: str, major: str, *, all_: bool = False) -> list[str]:
    """The copies of a library that are on disk, told where the loader does not take them."""
    name = f"{stem}.so.{major}"
    taken = case.seen.found(name)
    copies = [copy for copy in case.copies(name) if all_ or copy.path != taken]
    where = "" if all_ else ", where the loader does not look"
    return [f"{stem[3:]} {copy.version or major} lies in {copy.path}{where}" for copy in copies]


def _loading_words(words: str) -> str:
    """The lines of a process's last words that users search for."""
    wanted = re.compile(
        r"Could not load|Unable to load any of|Invalid handle|undefined symbol|^cudnn\w+ returned \d+$"
    )
    return "\n".join(line.strip() for line in words.splitlines() if wanted.search(line))


def _words_for(missing: list[tuple[str, ...]], major: str) -> str:
    """What the front will say, by its own pattern; CTranslate2 needs a tensor descriptor first, from ops."""
    names = next((names for names in missing if names[0].startswith("libcudnn_ops")), missing[0])
    if major == "8":
        return f"Could not load library {names[0]}. Error: {cannot_open(names[0])}"
    function = _FUNCTIONS.get(names[0].split(".so")[0], "cudnnCreateTensorDescriptor")
    return f"Unable to load any of {{{', '.join(names)}}}\nInvalid handle. Cannot load symbol {function}"


def _several(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more} cannot be opened"


def _stays(case: Case) -> bool:
    """Whether a package here demands the CTranslate2 that is here."""
    return case.has("whisperx", "<3.5") or not _python_has_wheels(case)


def _python_has_wheels(case: Case) -> bool:
    """Whether a CTranslate2 without cuDNN has wheels for this Python."""
    return version_key(case.seen.python.version or "3.11")[:2] >= (3, 9)


def _found_or_without(case: Case, major: str) -> Fix:
    """CuDNN 9 is often here, in torch's wheels; a CTranslate2 without is better still, if Python has one."""
    if major == "9" and case.copies("libcudnn.so.9") and not _python_has_wheels(case):
        return remedies.found_by_loader(case, "cuDNN 9", "nvidia/cudnn/lib", "libcudnn_*.so.9")
    return remedies.without_cudnn(case)


def _torch_has_compared(case: Case) -> bool:
    """Whether importing torch had an end here: then torch itself has compared the two, and has said so."""
    ends = [one.error for one in case.seen.imports if one.module == "torch"]
    return any(not error or "cuDNN version incompatibility" in error for error in ends)


def _gravity(case: Case, trial: Trial) -> str:
    if trial.order == ("torch",):
        return BROKEN
    return case.on_gpu(RISK if trial.order[0].endswith(BEGUN) else WILL_FAIL)


def _major_of_trial(case: Case, trial: Trial) -> str:
    found = re.search(r"libcudnn\w*\.so\.(\d+)", trial.words)
    engine = case.seen.ctranslate2
    return found[1] if found else engine.cudnn if engine and engine.cudnn else "9"


def _in_words(trial: Trial) -> str:
    names = {"torch": "torch", "ctranslate2": "CTranslate2"}
    said = [
        names[one.replace(BEGUN, "")] + (" (a first call only)" if one.endswith(BEGUN) else "")
        for one in trial.order
    ]
    return f"cuDNN used by {' and then by '.join(said)}"


def _folders(trial: Trial) -> dict[str, set[str]]:
    """The folders that the parts of each major came from, CTranslate2's bundled front aside."""
    folders: dict[str, set[str]] = {}
    for path in trial.files:
        found = re.fullmatch(r"(?P<folder>.*)/libcudnn(?:_[a-z_]+)?\.so\.(?P<major>\d+)[.\d]*", path)
        if found:
            folders.setdefault(found["major"], set()).add(found["folder"])
    return folders


def _once_torch_is_there(name: str) -> str:
    return f"it works once torch is imported, which brings {name}; importing CTranslate2 alone does not do so"


def _tuple(numbers: tuple[int, ...]) -> str:
    return "({})".format(", ".join(str(number) for number in numbers))
