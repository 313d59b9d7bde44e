"""What helps against a library that is not found, or found twice, in the form that each place takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from builder.doctor.patient.case import WITHOUT_CUDNN

if TYPE_CHECKING:
    from builder.doctor.patient.case import Case
    from builder.doctor.patient.facts import Trial

_CUDNN_8 = "nvidia-cudnn-cu12>=8.9,<9"
_NUMBERED_UP_TO = 12  # since CUDA 13 the names of NVIDIA's wheels have no number


class Fix(NamedTuple):
    """A fix, in the fields that a finding has for it.

    Attributes:
        fix: In one sentence.
        commands: Lines to type, or to write after RUN in a Dockerfile.
        install: Requirements for pip.
        preload: Libraries to load by path in a notebook, as patterns below a folder of packages, or absolute.
    """

    fix: str
    commands: tuple[str, ...] = ()
    install: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()


def without_cudnn(case: Case) -> Fix:
    """A CTranslate2 that needs no cuDNN."""
    wanted = (WITHOUT_CUDNN,)
    return Fix("Install a CTranslate2 that needs no cuDNN, 4.6.3 or later", (case.pip(*wanted),), wanted)


def cudnn_8_beside(case: Case) -> Fix:
    """For a CTranslate2 that has to stay: cuDNN 8 in a folder of its own, lest it replace torch's cuDNN 9."""
    if case.seen.torch and case.seen.torch.cudnn.startswith("8."):
        return found_by_loader(case, "cuDNN 8, which torch has", "nvidia/cudnn/lib", "libcudnn_*.so.8")
    target = "/content/cudnn8" if case.seen.place.kind == "colab" else "/opt/cudnn8"
    libraries = f"{target}/nvidia/cudnn/lib"
    install = case.pip(_CUDNN_8).replace("install", f"install --no-deps --target {target}", 1)
    return Fix(
        "Install cuDNN 8 into a folder of its own, lest it replace torch's cuDNN 9, and let the "
        + _where(case),
        (install, *_shown(case, libraries)),
        preload=(f"{libraries}/libcudnn_*.so.8",),
    )


def found_by_loader(case: Case, what: str, part: str, *files: str, wheel: str = "") -> Fix:
    """A library in a wheel of NVIDIA's, brought before the loader's eyes.

    Args:
        case: The patient.
        what: The library, in words.
        part: The folder in the wheel, below the folder of packages.
        files: The libraries in it, as patterns.
        wheel: The requirement that brings it; "" if it is here.
    """
    install = f"Install {what}, and let the " if wheel else f"{what} is here: let the "
    commands = (
        *([case.pip(wheel)] if wheel and not case.notebook else []),
        *_shown(case, f"{case.packages}/{part}"),
    )
    preload = tuple(f"{part}/{name}" for name in files)
    return Fix(install + _where(case), commands, (wheel,) if wheel else (), preload)


def cublas(case: Case, major: str, *, present: bool) -> Fix:
    """CuBLAS of a major version of CUDA."""
    numbered = not major.isdigit() or int(major) <= _NUMBERED_UP_TO
    wheel = f"nvidia-cublas-cu{major}" if numbered else f"nvidia-cublas=={major}.*"
    files = (f"libcublasLt.so.{major}", f"libcublas.so.{major}")
    return found_by_loader(
        case, f"cuBLAS {major}", "nvidia/cublas/lib", *files, wheel="" if present else wheel
    )


def one_cudnn(case: Case, major: str, trial: Trial) -> Fix:
    """One cuDNN of a major version, where two met in a trial."""
    engine = case.seen.ctranslate2
    if engine and engine.cudnn == major and trial.order != ("torch",):
        return without_cudnn(case)._replace(
            fix="Install a CTranslate2 that needs no cuDNN, 4.6.3 or later: torch's is then the only one"
        )
    return Fix(
        "Take the folder with the other cuDNN out of LD_LIBRARY_PATH: torch finds its own by its RPATH"
    )


def _where(case: Case) -> str:
    if case.notebook:
        return "cell below load it by its path, before CTranslate2 is used"
    if case.seen.place.container or case.for_gpu:
        return "loader's cache have its folder (in a Dockerfile after RUN, or in a shell as root)"
    return "loader find its folder, which has to be said before Python starts"


def _shown(case: Case, folder: str) -> tuple[str, ...]:
    """How a folder is shown to the loader in this place."""
    if case.notebook:
        return ()
    if case.seen.place.container or case.for_gpu:
        return (f"echo {folder} > /etc/ld.so.conf.d/cuvee.conf && ldconfig",)
    return (f"export LD_LIBRARY_PATH={folder}",)
