"""Lock and facts ─▶ verdict: every proof, and the worst of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from builder.abi.facts import Binary
from builder.abi.library import Library
from builder.lock.record import Lock
from builder.matrix import Row
from builder.plan import minimum_driver
from builder.verdict import gpu, loading, mixing, packages, wheels
from builder.verdict.hosts import Host, limits
from builder.verdict.names import Account
from builder.verdict.record import ORDER, Finding, GpuRange, Verdict
from builder.verdict.setting import Setting, of_row
from builder.verdict.tables import numbers

_CUDA_LIBRARY = re.compile(r"lib(cudart|cublas)\.so\.(?P<major>\d+)")


def prove(row: Row, lock: Lock, library: Library, host: Host | None = None) -> Verdict:
    """The verdict on a row, from recorded facts alone: neither network nor wheels are needed.

    Raises:
        BadInputError: Facts of its wheels or its base are not recorded.
    """
    setting = of_row(row, lock, library)
    account = Account(setting)
    ranges = gpu_ranges(setting)
    low, high = gpu.common(ranges)
    oldest = minimum_driver(max((row.cuda, *cudas(setting)), key=numbers))
    verdict = Verdict(
        row=row.id,
        lock=lock.digest,
        binaries=account.binaries,
        names=account.names(),
        findings=worst_first(
            *loading.findings(setting, account.asks),
            *mixing.findings(setting),
            *packages.findings(setting, row.python, host.gpu if host else None),
            *wheels.findings(setting, row.python),
        ),
        driver=oldest,
        drivers=gpu.drivers(ranges, oldest),
        gpus=ranges,
        low=low,
        high=high,
    )
    return (
        replace(verdict, findings=worst_first(*verdict.findings, *limits(verdict, host))) if host else verdict
    )


def cudas(setting: Setting) -> Iterator[str]:
    """The CUDA releases that an environment is made of, by its binaries."""
    for path in setting.owners:
        if match := _CUDA_LIBRARY.fullmatch(path.rpartition("/")[2]):
            yield match["major"]
    for part in setting.parts:
        yield from (facts.cuda for _, facts in part.packages if facts and facts.cuda)


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
    newest = max((one.gpu_cuda for one in binaries), key=numbers, default="")
    return tuple(whole) or tuple(inside), newest
