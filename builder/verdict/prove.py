"""Lock and facts ─▶ verdict: every proof, and the worst of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from builder.abi.facts import Binary
from builder.abi.library import Library
from builder.lock.record import Lock
from builder.matrix import Row
from builder.plan import minimum_driver
from builder.verdict import gpu, loading, mixing, packages, wheels
from builder.verdict.names import Account
from builder.verdict.record import ORDER, Finding, GpuRange, Verdict
from builder.verdict.setting import Setting, of_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What an environment shall run on, as far as it is known.

    Attributes:
        driver: The NVIDIA driver, `535.104.05`, or "".
        gpu: The GPU's compute capability, times ten: 86; or None.
    """

    driver: str = ""
    gpu: int | None = None


def prove(row: Row, lock: Lock, library: Library, host: Host | None = None) -> Verdict:
    """The verdict on a row, from recorded facts alone: neither network nor wheels are needed.

    Raises:
        BadInputError: Facts of its wheels or its base are not recorded.
    """
    setting = of_row(row, lock, library)
    account = Account(setting)
    ranges = gpu_ranges(setting)
    low, high = gpu.common(ranges)
    verdict = Verdict(
        row=row.id,
        lock=lock.digest,
        binaries=account.binaries,
        names=account.names(),
        findings=worst_first(
            *loading.findings(setting, account.asks),
            *mixing.findings(setting),
            *packages.findings(setting, row.python),
            *wheels.findings(setting, row.python),
        ),
        driver=minimum_driver(row.cuda),
        gpus=ranges,
        low=low,
        high=high,
    )
    limits = tuple(_limits(verdict, host)) if host else ()
    return replace(verdict, findings=worst_first(*verdict.findings, *limits))


def worst_first(*findings: Finding) -> tuple[Finding, ...]:
    """Findings, those that fail before those that may; else as they came."""
    return tuple(sorted(findings, key=lambda one: -ORDER.index(one.outcome)))


def gpu_ranges(setting: Setting) -> tuple[GpuRange, ...]:
    """The range of every package that carries GPU code."""
    found = (
        gpu.gpu_range(f"{package.name} {package.version}", *_code(facts.gpu, facts.binaries))
        for part in setting.parts
        for package, facts in part.packages
        if facts
    )
    return tuple(one for one in found if one)


def _code(whole: Sequence[str], binaries: Sequence[Binary]) -> tuple[tuple[str, ...], str]:
    """A wheel's GPU code, as it says itself or as its binaries have it, and the toolkit behind it."""
    inside = {code: None for one in binaries for code in one.gpu}
    newest = max((one.gpu_cuda for one in binaries), key=_number, default="")
    return tuple(whole) or tuple(inside), newest


def _limits(verdict: Verdict, host: Host) -> Iterator[Finding]:
    """What this host's driver and GPU are not enough for."""
    if host.driver and _number(host.driver) < _number(verdict.driver):
        yield _driver_too_old(verdict, host.driver)
    if host.gpu is None:
        return
    for one in verdict.gpus:
        inside = one.low <= host.gpu and (one.high is None or host.gpu <= one.high)
        if not inside or host.gpu in one.gaps:
            yield _no_kernel(one, host.gpu)
        elif (
            host.gpu > one.native_high
            and host.driver
            and _number(host.driver) < _number(one.jit_driver or "0")
        ):
            yield _ptx_too_new(one, host)


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


def _no_kernel(one: GpuRange, number: int) -> Finding:
    span = f"{gpu.named(one.low)} to {gpu.named(one.high)}"
    return Finding(
        signature="no-kernel-image",
        outcome="fails",
        place=one.library,
        message="CUDA error: no kernel image is available for execution on the device",
        cause=f"its GPU code runs on {span}, not on {gpu.named(number)}",
        fix=f"Take a row that runs on it: `cuvee check --gpu {number // 10}.{number % 10}` names them",
        sources=("pytorch/pytorch#172352", "jhj0517/Whisper-WebUI#653"),
    )


def _ptx_too_new(one: GpuRange, host: Host) -> Finding:
    return Finding(
        signature="ptx-too-new",
        outcome="fails",
        place=one.library,
        message="the provided PTX was compiled with an unsupported toolchain.",
        cause=(
            f"for {gpu.named(host.gpu)} it has PTX alone, which driver {host.driver} is too old to compile: "
            f"that takes {one.jit_driver}"
        ),
        fix=f"Update the driver to {one.jit_driver}, or take a version that was built with an older CUDA",
        sources=("OpenNMT/CTranslate2#1978",),
    )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
