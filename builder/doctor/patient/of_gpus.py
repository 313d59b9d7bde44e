"""Findings about the driver, and about GPUs that a library has no code for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder.doctor.patient.case import BROKEN, NOTE, RISK, WILL_FAIL, Finding, cannot_open, version_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.doctor.patient.case import Case
    from builder.doctor.patient.facts import Gpu

_NO_DEVICE = (
    "RuntimeError: CUDA failed with error CUDA driver version is insufficient for CUDA runtime version"
)
_FIRST_FLOAT16, _FIRST_INT8 = (7, 0), (6, 1)
_LATEST_GPU_OF_CUDA_12 = (7, 5)
_RENTED = ("colab", "kaggle", "runpod")


def driver_absent(case: Case) -> Iterator[Finding]:
    """No driver can be seen: a container without its GPUs, a machine without its driver, or no GPU at all."""
    driver = case.seen.driver
    if driver.gpus or driver.version or driver.cuda or driver.devices or case.for_gpu:
        return
    meant = case.seen.place.kind in _RENTED or driver.card
    yield Finding(
        id="driver-too-old-or-absent",
        severity=RISK if meant else NOTE,
        found="No NVIDIA driver is visible here"
        + (", though the machine has a card of NVIDIA's" if driver.card else ""),
        evidence=(f"nvidia-smi: {driver.smi}", f"libcuda.so.1: {driver.libcuda}"),
        message=_NO_DEVICE,
        fix=_bring_driver(case),
        sure="the same message also stands for an old driver, which this is not; on the CPU everything works",
        source=("SYSTRAN/faster-whisper#866",),
    )


def driver_too_old(case: Case) -> Iterator[Finding]:
    """The driver is older than a CUDA that is installed here."""
    present = case.seen.driver.version
    for what, cuda in _cudas(case).items():
        oldest = case.knows.minimum_driver.get(cuda.split(".")[0], "")
        if present and oldest and version_key(present) < version_key(oldest):
            yield Finding(
                id="driver-too-old-or-absent",
                severity=BROKEN,
                found=f"Driver {present} is too old for {what}, which is built for CUDA {cuda}",
                evidence=(f"CUDA {cuda.split('.')[0]} needs driver {oldest} or later",),
                message=_NO_DEVICE if what.startswith("CTranslate2") else _of_torch(case),
                fix=f"Update the driver of the host to {oldest} or later, or take a build for an older CUDA",
                sure="by NVIDIA's table of minor version compatibility",
                source=("SYSTRAN/faster-whisper#866",),
            )


def libcuda_not_found(case: Case) -> Iterator[Finding]:
    """GPUs are there, and the library that reaches them is not."""
    driver = case.seen.driver
    if "cannot open shared object file" not in driver.libcuda or not (driver.devices or driver.gpus):
        return
    yield Finding(
        id="libcuda-not-found",
        severity=BROKEN,
        found="The GPUs are visible here, and libcuda.so.1 is not",
        evidence=(*driver.devices, driver.libcuda),
        message=cannot_open("libcuda.so.1"),
        fix="Start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        if case.seen.place.container
        else "Let the loader find the driver's libraries: on WSL they lie in /usr/lib/wsl/lib",
        sure="the loader was asked",
        source=("elizaOS/eliza#17659",),
    )


def driver_refuses(case: Case) -> Iterator[Finding]:
    """The driver is there and does not work."""
    driver = case.seen.driver
    refusals = [
        words
        for words in (driver.libcuda, driver.smi)
        if re.search(r"cuInit returned|mismatch|no answer", words)
    ]
    hidden = case.seen.place.variables.get("CUDA_VISIBLE_DEVICES")
    if not refusals or hidden in {"", "-1"}:
        return
    yield Finding(
        id="driver-refuses",
        severity=BROKEN,
        found="NVIDIA's driver is here and does not work",
        evidence=tuple(refusals),
        message=refusals[0].splitlines()[0],
        fix="Restart the machine if its driver was just updated; take cuda-compat folders, which serve data "
        "center GPUs only, out of LD_LIBRARY_PATH",
        sure="the driver said so itself",
    )


def gpus_hidden(case: Case) -> Iterator[Finding]:
    """CUDA_VISIBLE_DEVICES hides every GPU."""
    hidden = case.seen.place.variables.get("CUDA_VISIBLE_DEVICES")
    if hidden in {"", "-1"} and (case.seen.driver.gpus or case.seen.driver.devices):
        yield Finding(
            id="gpus-hidden",
            severity=WILL_FAIL,
            found=f"CUDA_VISIBLE_DEVICES is {hidden!r}, which hides every GPU",
            message="RuntimeError: CUDA failed with error no CUDA-capable device is detected",
            fix="Unset CUDA_VISIBLE_DEVICES before Python starts, or set it to 0",
            sure="by CUDA's rules for that variable",
        )


def no_kernel_image(case: Case) -> Iterator[Finding]:
    """A library has no code for a GPU that is here."""
    for gpu in _kinds(case):
        for what, codes in _codes(case).items():
            if codes and not runs_on(codes, gpu.capability):
                yield _without_code(case, gpu, what, codes)


def ptx_too_new(case: Case) -> Iterator[Finding]:
    """A GPU for which CTranslate2 has PTX only, and a driver older than the compiler that made the PTX."""
    engine, driver = case.seen.ctranslate2, case.seen.driver
    cuda = case.knows.cuda_of_ptx.get(engine.ptx, "") if engine else ""
    if not engine or not cuda:
        return
    toolkit = case.knows.toolkit_driver.get(cuda, "")
    behind = bool(driver.cuda) and version_key(driver.cuda) < version_key(cuda)
    if not driver.cuda and driver.version and toolkit:
        behind = version_key(driver.version) < version_key(toolkit)
    for gpu in _kinds(case) if behind else ():
        if runs_on(engine.architectures, gpu.capability) == "ptx":
            yield Finding(
                id="ptx-too-new",
                severity=WILL_FAIL,
                found=f"The driver is older than the PTX that {case.engine} has for the {gpu.name}",
                evidence=(
                    f"its code: {' '.join(engine.architectures)}, the PTX made with CUDA {cuda}",
                    f"the GPU's compute capability: {gpu.capability}",
                    f"driver {driver.version or 'of unknown version'} serves CUDA {driver.cuda or '?'}",
                ),
                message="RuntimeError: parallel_for failed: cudaErrorUnsupportedPtxVersion: the provided PTX "
                "was compiled with an unsupported toolchain.",
                fix=f"Update the driver to {toolkit or 'that of CUDA ' + cuda} or later, or take a "
                "CTranslate2 that was made with an older CUDA: those before 4.6.3",
                sure="PTX is outside minor version compatibility, by NVIDIA's FAQ",
                source=("OpenNMT/CTranslate2#1978",),
            )


def float16_unsupported(case: Case) -> Iterator[Finding]:
    """CTranslate2 refuses float16 on GPUs without tensor cores for it."""
    if not case.seen.ctranslate2 or case.seen.place.variables.get("CT2_CUDA_ALLOW_FP16", "0") not in {
        "0",
        "",
    }:
        return
    for gpu in _kinds(case):
        if version_key(gpu.capability) < _FIRST_FLOAT16:
            types = "int8 or float32" if version_key(gpu.capability) >= _FIRST_INT8 else "float32"
            yield Finding(
                id="float16-unsupported",
                severity=WILL_FAIL if case.has("whisperx") else RISK,
                found=f"The {gpu.name} has compute capability {gpu.capability}, and float16 takes 7.0",
                evidence=("WhisperX asks for float16 unless told otherwise",) if case.has("whisperx") else (),
                message="ValueError: Requested float16 compute type, but the target device or backend do not "
                "support efficient float16 computation.",
                fix=f"Pass compute_type={types}",
                sure="CTranslate2's source: it takes compute capability 7.0 or more",
                source=("m-bain/whisperX#612", "MahmoudAshraf97/whisper-diarization#216"),
            )


def without_cuda(case: Case) -> Iterator[Finding]:
    """Builds without CUDA where there is a GPU."""
    engine, torch = case.seen.ctranslate2, case.seen.torch
    if engine and engine.library and not engine.cuda:
        arm = case.seen.place.machine == "aarch64"
        yield Finding(
            id="ctranslate2-without-cuda",
            severity=case.on_gpu(WILL_FAIL),
            found=f"{case.engine} here is built without CUDA",
            evidence=(f"{engine.library} holds no GPU code", f"the machine is {case.seen.place.machine}"),
            message="ValueError: This CTranslate2 package was not compiled with CUDA support",
            fix="Build CTranslate2 from source: its wheels for aarch64 are for the CPU alone"
            if arm
            else f"Install it from PyPI: {case.pip('ctranslate2')} --force-reinstall",
            sure="its library was read",
            source=("OpenNMT/CTranslate2#1908", "speaches-ai/speaches#620"),
        )
    if torch and torch.version and not torch.cuda:
        yield Finding(
            id="torch-without-cuda",
            severity=case.on_gpu(WILL_FAIL),
            found=f"torch {torch.version} here is built without CUDA",
            message="AssertionError: Torch not compiled with CUDA enabled",
            fix="Install torch again, in a build with CUDA; another package may have replaced it",
            sure="torch/version.py says so",
            source=("m-bain/whisperX#983", "m-bain/whisperX#1117"),
        )


def runs_on(codes: tuple[str, ...], capability: str) -> str:
    """How GPU code comes to run on a GPU: `code`, `ptx` (compiled by the driver), or "" where it does not.

    Machine code runs on its own major version from its own minor version on, `sm_90a` on that very GPU alone,
    `sm_100f` on its family; PTX on everything later.
    """
    gpu = version_key(capability)
    ways = []
    for code in codes:
        found = re.fullmatch(r"(?P<kind>sm|compute)_(?P<major>\d+)(?P<minor>\d)(?P<only>[af]?)", code)
        if not found:
            continue
        own = (int(found["major"]), int(found["minor"]))
        if found["only"] == "a":
            fits = own == gpu
        else:
            fits = own <= gpu and (own[0] == gpu[0] or (found["kind"] == "compute" and not found["only"]))
        if fits:
            ways.append("code" if found["kind"] == "sm" else "ptx")
    return min(ways, default="")


def _without_code(case: Case, gpu: Gpu, what: str, codes: tuple[str, ...]) -> Finding:
    old = all(version_key(gpu.capability) < _capability(code) for code in codes)
    name = "torch" if what.startswith("torch") else "ctranslate2"
    words = "no kernel image is available for execution on the device"
    by_engine = f"RuntimeError: parallel_for failed: cudaErrorNoKernelImageForDevice: {words}"
    return Finding(
        id="no-kernel-image",
        severity=BROKEN,
        found=f"{what} has no code for the {gpu.name}, whose compute capability is {gpu.capability}",
        evidence=(f"its code: {' '.join(codes)}", f"the GPU is {'older' if old else 'newer'} than all of it"),
        message=f"RuntimeError: CUDA error: {words}" if name == "torch" else by_engine,
        fix=_other_build(case, name, old=old),
        sure="the list in the library itself",
        source=("jhj0517/Whisper-WebUI#653", "SYSTRAN/faster-whisper#806"),
    )


def _other_build(case: Case, name: str, *, old: bool) -> str:
    del case
    if name == "ctranslate2":
        return (
            "Use this GPU with CTranslate2 3.24 (CUDA 11, from compute capability 5.0), or run it on the CPU"
        )
    if old:
        return "Install torch's cu126 build from PyTorch's own index, the last for Maxwell, Pascal and Volta"
    return "Install torch 2.7 or later, built for CUDA 12.8 or later"


def _bring_driver(case: Case) -> str:
    place = case.seen.place
    if place.kind == "colab":
        return "Choose a GPU under Runtime > Change runtime type"
    if place.kind == "kaggle":
        return "Choose a GPU under Settings > Accelerator"
    if place.kind == "wsl":
        return "Install NVIDIA's driver on Windows; inside WSL none is installed"
    if place.container:
        return "Start the container with --gpus all, on a host with NVIDIA's driver and container toolkit"
    if case.seen.driver.card:
        return "Install NVIDIA's driver, and restart"
    return "Nothing, if the CPU is meant; a GPU needs NVIDIA's driver"


def _cudas(case: Case) -> dict[str, str]:
    """Who here was built for which CUDA."""
    torch, engine = case.seen.torch, case.seen.ctranslate2
    found = {f"torch {torch.version}": torch.cuda} if torch and torch.cuda else {}
    for names in engine.opens if engine else ():
        if names[0].startswith("libcublas.so."):
            found[f"CTranslate2 {case.seen.version('ctranslate2')}"] = names[0].rpartition(".")[2]
    return found


def _codes(case: Case) -> dict[str, tuple[str, ...]]:
    torch, engine = case.seen.torch, case.seen.ctranslate2
    found = {f"torch {torch.version}": torch.architectures} if torch else {}
    if engine:
        found[f"CTranslate2 {case.seen.version('ctranslate2')}"] = engine.architectures
    return found


def _kinds(case: Case) -> list[Gpu]:
    """One GPU of each kind that is here."""
    return list({gpu.capability: gpu for gpu in case.seen.driver.gpus}.values())


def _capability(code: str) -> tuple[int, ...]:
    numbers = re.sub(r"\D", "", code)
    return int(numbers[:-1]), int(numbers[-1])


def _of_torch(case: Case) -> str:
    cuda = version_key(case.seen.driver.cuda) or (0, 0)
    found = f"{cuda[0] * 1000 + cuda[1] * 10}"
    return f"RuntimeError: The NVIDIA driver on your system is too old (found version {found})."
