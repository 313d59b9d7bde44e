"""Lock and facts ─▶ verdict: every proof, and the worst of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from operator import attrgetter

from builder.abi.facts import Binary
from builder.abi.library import Library
from builder.lock.record import Lock
from builder.matrix import Row
from builder.plan import minimum_driver
from builder.verdict import gpu, loading, mixing, packages, wheels
from builder.verdict.hosts import Host, limits
from builder.verdict.names import Account
from builder.verdict.record import ORDER, Finding, GpuRange, Verdict
from builder.verdict.setting import Setting, settings_of_row
from builder.verdict.tables import numbers

_CUDA_LIBRARY = re.compile(r"lib(cudart|cublas)\.so\.(?P<major>\d+)")


def prove(row: Row, lock: Lock, library: Library, host: Host | None = None) -> Verdict:
    """The verdict on a row, from recorded facts alone: neither network nor wheels are needed.

    Raises:
        BadInputError: Facts of its wheels or its base are not recorded.
    """
    settings = settings_of_row(row, lock, library)
    accounts = [
        Account(setting, gpus=part.cuda is not None)
        for setting, (_, part) in zip(settings, row.stacks(), strict=True)
    ]
    ranges = tuple(dict.fromkeys(one for setting in settings for one in gpu_ranges(setting)))
    verdict = Verdict(
        row=row.id,
        lock=lock.digest,
        binaries=sum(account.binaries for account in accounts),
        names=tuple(sorted(chain(*(account.names() for account in accounts)), key=attrgetter("name"))),
        findings=worst_first(
            *dict.fromkeys(
                finding
                for setting, account in zip(settings, accounts, strict=True)
                for finding in _of_environment(setting, account, row.python, host)
            )
        ),
        driver="",
    )
    if row.cuda is None:
        return verdict  # what its wheels could do with a GPU is nobody's concern
    oldest = minimum_driver(max((row.cuda, *chain(*map(cudas, settings))), key=numbers))
    low, high = gpu.common(ranges)
    drivers = gpu.drivers(ranges, oldest)
    verdict = replace(verdict, driver=oldest, drivers=drivers, gpus=ranges, low=low, high=high)
    return (
        replace(verdict, findings=worst_first(*verdict.findings, *limits(verdict, host))) if host else verdict
    )


def _of_environment(setting: Setting, account: Account, python: str, host: Host | None) -> Iterator[Finding]:
    yield from loading.findings(setting, account.asks)
    yield from mixing.findings(setting)
    yield from packages.findings(setting, python, host.gpu if host else None)
    yield from wheels.findings(setting, python)


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
