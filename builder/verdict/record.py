"""The verdict on an environment: frozen records and their JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Outcome: TypeAlias = Literal["holds", "risk", "fails"]
"""From good to bad: the worst of several is the row's."""

ORDER: tuple[Outcome, ...] = ("holds", "risk", "fails")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that does not hold.

    Attributes:
        signature: Its kind, by the ids of `builder/data/signatures.yaml`: `cudnn8-not-found`.
        outcome: `fails` where it must, `risk` where it depends on what a process does first.
        place: The file that asks, or the packages that do not go together.
        message: The very words that running it prints.
        cause: Why, in one sentence without a full stop at its end.
        fix: What to do, likewise.
        chain: Who asked for whom, from what is opened first to what is missing.
        sources: Where this is known from: threads as `owner/repo#number`, or documents.
    """

    signature: str
    outcome: Outcome
    place: str
    message: str
    cause: str
    fix: str
    chain: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A name that some binary needs or opens, and where it leads.

    Attributes:
        name: As it is given to the loader: `libcublas.so.12`.
        by: The files that ask for it, relative to the environment's site-packages.
        how: `needed`, `opened`, or both, joined by a plus sign.
        leads_to: The file it resolves to, `driver`, or "" where it is missing.
        rule: By which of the loader's rules it was found.
        brings: What is loaded with it in turn, as file names.
        waived: Why it may be missing, or "".
    """

    name: str
    by: tuple[str, ...]
    how: str
    leads_to: str
    rule: str = ""
    brings: tuple[str, ...] = ()
    waived: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRange:
    """The GPUs that one library's code runs on.

    Attributes:
        library: The distribution, `torch 2.4.1`.
        code: The code in it: `sm_50 sm_60 ... compute_86`.
        low: The lowest compute capability it runs on, times ten: 50.
        high: The highest, or None where its PTX serves all that are newer.
        native_high: The highest that needs no compiling by the driver.
        gaps: Compute capabilities in between that it does not run on.
        jit_driver: The oldest driver that can compile its PTX, as far as that is known (see
            `tables.toolkit_driver`); "" where it has none, or its compiler is not known.
    """

    library: str
    code: tuple[str, ...]
    low: int
    high: int | None
    native_high: int
    gaps: tuple[int, ...] = ()
    jit_driver: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDriver:
    """The oldest driver with which an environment runs on a GPU.

    Attributes:
        gpu: Its compute capability, times ten.
        driver: `535.54.03`.
    """

    gpu: int
    driver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the proof of an environment says.

    Attributes:
        row: The row's id, or the survey's name of the combination.
        lock: The digest of the lock that was judged.
        binaries: How many ELF files were accounted for.
        names: Every name that is needed or opened, sorted.
        findings: What does not hold, worst first.
        driver: The oldest driver that runs it at all, by CUDA's minor-version compatibility; "" where the row
            is for processors alone, of which nothing below is said either.
        drivers: The same for each GPU from `low` to `high`: PTX wants a driver as new as its compiler.
        gpus: The range of each library that carries GPU code.
        low: The lowest compute capability that all of them run on.
        high: The highest, or None for any newer.
    """

    row: str
    lock: str
    binaries: int
    names: tuple[Name, ...]
    findings: tuple[Finding, ...]
    driver: str
    drivers: tuple[GpuDriver, ...] = ()
    gpus: tuple[GpuRange, ...] = ()
    low: int | None = None
    high: int | None = None

    @property
    def outcome(self) -> Outcome:
        """The worst of its findings."""
        return max((finding.outcome for finding in self.findings), key=ORDER.index, default="holds")

    @property
    def signatures(self) -> frozenset[str]:
        """The kinds of its findings."""
        return frozenset(finding.signature for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """A plain dict, as `cuvee check --json` prints it."""
        return {
            "row": self.row,
            "outcome": self.outcome,
            **{k: v for k, v in asdict(self).items() if k != "row"},
        }
