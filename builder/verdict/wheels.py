"""Whether the wheels are made for this Python and this C library at all."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.utils import parse_wheel_filename

from builder.lock.files import supported_tags
from builder.verdict.record import Finding
from builder.verdict.setting import Setting


def findings(setting: Setting, python: str) -> tuple[Finding, ...]:
    """One finding for each wheel that pip would refuse to install."""
    return tuple(_findings(setting, python))


def _findings(setting: Setting, python: str) -> Iterator[Finding]:
    glibc = ".".join(str(number) for number in setting.base.glibc)
    supported = frozenset(supported_tags(python, glibc))
    for part in setting.parts:
        for package, _ in part.packages:
            if not package.is_source and not supported & parse_wheel_filename(package.file)[3]:
                yield Finding(
                    signature="no-wheel",
                    outcome="fails",
                    place=f"{package.name} {package.version}",
                    message=f"ERROR: {package.file} is not a supported wheel on this platform.",
                    cause=f"it is for another Python than {python}, or for a newer C library than {glibc}",
                    fix="Take another version of it, another Python, or a newer base",
                    sources=("PEP 425 and PEP 600, platform compatibility tags",),
                )
