"""What a host's driver and GPU are not enough for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from builder.verdict.gpu import named, serves, to_compile
from builder.verdict.record import Finding, GpuRange, Verdict
from builder.verdict.tables import numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What an environment shall run on, as far as it is known.

    Attributes:
        driver: The NVIDIA driver, `535.104.05`, or "".
        gpu: The GPU's compute capability, times ten: 86; or None.
    """

    driver: str = ""
    gpu: int | None = None


def limits(verdict: Verdict, host: Host) -> tuple[Finding, ...]:
    """What does not fit; where the driver is too old at all, nothing else matters."""
    if host.driver and numbers(host.driver) < numbers(verdict.driver):
        return (_driver_too_old(verdict, host.driver),)
    return tuple(_of_gpu(verdict, host, host.gpu)) if host.gpu is not None else ()


def _of_gpu(verdict: Verdict, host: Host, number: int) -> Iterator[Finding]:
    foreign = [one for one in verdict.gpus if not serves(one, number)]
    if foreign:
        yield _no_kernel(foreign, number)
    late = [
        one
        for one in verdict.gpus
        if host.driver and to_compile(one, number) and numbers(host.driver) < numbers(one.jit_driver)
    ]
    if late:
        yield _ptx_too_new(late, host.driver, number)


def _driver_too_old(verdict: Verdict, driver: str) -> Finding:
    return Finding(
        signature="driver-too-old-or-absent",
        outcome="fails",
        place=f"driver {driver}",
        message="CUDA driver version is insufficient for CUDA runtime version",
        cause=f"this CUDA needs driver {verdict.driver} or newer",
        fix=f"Update the driver to {verdict.driver}, or take a row with an older CUDA",
        sources=("CUDA Compatibility, minor-version compatibility",),
    )


def _no_kernel(foreign: list[GpuRange], number: int) -> Finding:
    spans = ", ".join(f"{one.library} on {named(one.low)} to {named(one.high)}" for one in foreign)
    return Finding(
        signature="no-kernel-image",
        outcome="fails",
        place=", ".join(one.library for one in foreign),
        message="CUDA error: no kernel image is available for execution on the device",
        cause=f"{named(number)} is asked for, and these run elsewhere: {spans}",
        fix="Take a row whose GPUs, as `cuvee check` lists them, include this one",
        sources=("pytorch/pytorch#172352", "jhj0517/Whisper-WebUI#653"),
    )


def _ptx_too_new(late: list[GpuRange], driver: str, number: int) -> Finding:
    enough = max((one.jit_driver for one in late), key=numbers)
    return Finding(
        signature="ptx-too-new",
        outcome="fails",
        place=", ".join(one.library for one in late),
        message="the provided PTX was compiled with an unsupported toolchain.",
        cause=f"for {named(number)} they have PTX alone, which driver {driver} is too old to compile",
        fix=f"Update the driver to {enough}, or take versions that were built with an older CUDA",
        sources=("OpenNMT/CTranslate2#1978",),
    )
