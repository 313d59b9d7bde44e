"""Packages that do not go together, whatever the loader finds: by the rules of `data/combinations.yaml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from packaging.specifiers import SpecifierSet

from builder.doctor.combinations import Combination, fitting
from builder.known import data
from builder.verdict.record import Finding, Outcome
from builder.verdict.setting import Setting

_OUTCOMES: Mapping[str, Outcome] = {"will-fail": "fails", "broken": "fails", "risk": "risk"}
"""What a rule's severity means for an environment; a note means nothing for it."""


def findings(setting: Setting, python: str, gpu: int | None = None) -> tuple[Finding, ...]:
    """The rules that fit the environment's versions, and the GPU where one is asked for."""
    versions = {
        **setting.versions(),
        "python": python,
        "glibc": ".".join(str(number) for number in setting.base.glibc),
        **({"compute-capability": f"{gpu // 10}.{gpu % 10}"} if gpu else {}),
    }
    return (*_findings(fitting(_rules(), versions)), *_of_another_torch(setting, versions.get("torch", "")))


def _of_another_torch(setting: Setting, torch: str) -> Iterator[Finding]:
    """What was built for another torch, as its own metadata says: an override may have put it here."""
    for part in setting.parts:
        for package, facts in part.packages:
            if torch and facts and not SpecifierSet(facts.torch).contains(torch, prereleases=True):
                yield Finding(
                    signature="torch-extension-mismatch",
                    outcome="fails",
                    place=f"{package.name} {package.version} with torch {torch}",
                    message="undefined symbol: _ZN3c10",
                    cause=f"it was built for torch {facts.torch}, as its own metadata says",
                    fix=f"Take the {package.name} that belongs to torch {torch}, without an override",
                    sources=("PyPI, Requires-Dist of the wheel",),
                )


@cache
def _rules() -> Mapping[str, Any]:
    rules: Mapping[str, Any] = data("combinations.yaml")
    return rules


def _findings(combinations: list[Combination]) -> Iterator[Finding]:
    for one in combinations:
        if one.severity in _OUTCOMES:
            yield Finding(
                signature=one.signature,
                outcome=_OUTCOMES[one.severity],
                place=" with ".join(f"{name} {version}" for name, version in one.packages),
                message=one.message,
                cause=one.cause,
                fix=one.fix,
                sources=one.source,
            )
