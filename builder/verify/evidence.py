"""Evidence: a machine-written record that checks ran on an image, on what, and with what result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

FORMAT = 2
Outcome = Literal["passed", "failed", "skipped"]
Level = Literal["proved", "loaded", "cpu", "gpu"]
"""From little to much: the proof alone, the real loader, speech on a processor, speech on a GPU."""

LEVELS: tuple[Level, ...] = get_args(Level)

SHOWN_BY: Mapping[Level, str] = {
    "loaded": "test_every_elf_file_finds_what_it_needs",
    "cpu": "test_it_hears_what_is_said",
    "gpu": "test_the_gpu_does_the_work",
}
"""The check of `tests/images` that reaches a level, in whatever environment and with whatever tool."""

FAILS = "test_it_fails_as_it_is_known_to"
"""The check that a known-bad row passes by failing as it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check that ended.

    Attributes:
        name: The test's name, a claim.
        outcome: A skip is not a pass, and has a reason.
        seconds: How long it took.
        reason: Why it failed or was skipped; empty for a pass.
    """

    name: str
    outcome: Outcome
    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What `cuvee test` found.

    Attributes:
        row: The row's id.
        status: What the row claims of itself, `good` or `known-bad`.
        where: What the checks ran on: an `image`, a `root` file system unpacked by somebody, or an installed
            `environment`, of which only what lies in it is the row's.
        lock: The digest of the lock that the image was built from.
        base: The base's id, and the digest of its layer where the direct engine made it.
        image: Tag, id, digest of the manifest in its lock where the id is that one or the one with zstd's
            layers ("" else), bytes on disk, bytes to pull as it is published, and number of layers; of an
            environment nothing.
        host: The engine's version, storage driver and system; its kernel and processors.
        gpu: The GPU that the checks ran on, with its driver, or None.
        command: The command that wrote this.
        date: When, in UTC, to the second.
        measured: Numbers that the checks measured: word error rates, seconds, counts.
        checks: In the order they ran.
    """

    row: str
    status: str
    where: str = "image"
    lock: str
    base: dict[str, str] = field(default_factory=dict)
    image: dict[str, str | int]
    host: dict[str, str]
    gpu: dict[str, Any] | None
    command: str
    date: str
    measured: dict[str, Any] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()

    def count(self, outcome: Outcome) -> int:
        """How many checks ended so."""
        return sum(check.outcome == outcome for check in self.checks)

    @property
    def holds(self) -> bool:
        """Whether something passed and nothing failed."""
        return self.count("passed") > 0 and self.count("failed") == 0

    @property
    def lacking(self) -> str:
        """Why nothing is shown of the row although nothing failed; "" where something is, or failed."""
        if self.count("failed"):
            return ""
        if not self.count("passed"):
            return "nothing passed, and a skip is not a pass"
        if self.status == "known-bad" and not self._passed(FAILS):
            return "it was not seen to fail, which is what it claims"
        return ""

    @property
    def level(self) -> Level | None:
        """The highest level that was reached; nothing counts where something failed.

        A known-bad row reaches none; what it shows is that it fails as it says (`fails_as_recorded`).
        """
        if not self.holds or self.status != "good":
            return None
        reached = [level for level, check in SHOWN_BY.items() if self._passed(check)]
        return reached[-1] if reached else None

    @property
    def fails_as_recorded(self) -> bool:
        """Whether a known-bad row was seen to fail with its own message."""
        return self.holds and self.status == "known-bad" and self._passed(FAILS)

    @property
    def first_words(self) -> float | None:
        """Seconds from the start of faster-whisper to its first words, on the GPU where there was one."""
        for device in ("gpu", "cpu"):
            told = self.measured.get(f"faster-whisper {device}", {})
            if "first_words_seconds" in told:
                return float(told["first_words_seconds"])
        return None

    def require_readable(self) -> None:
        """See that what others read of it can be read.

        Raises:
            ValueError, LookupError, TypeError or AttributeError: It cannot.
        """
        int(self.image["bytes"] if self.image else 0)
        float(self.first_words or 0)

    def _passed(self, name: str) -> bool:
        return any(
            check.name.partition("[")[0] == name and check.outcome == "passed" for check in self.checks
        )

    def text(self) -> str:
        """The text of `evidence/<row>.json`."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"


def read(path: Path) -> Evidence | None:
    """The evidence in a file, or None where there is none, or none of this format."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("format") != FORMAT:
            return None
        found = Evidence(**{**data, "checks": tuple(Check(**check) for check in data["checks"])})
        found.require_readable()
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return found


def outdone(found: Evidence, present: Evidence | None) -> str:
    """Why evidence may not replace what is there of the same lock, which holds; "" where it may.

    Args:
        found: What was found now.
        present: What is there.
    """
    if present is None or not present.holds or (present.lock, present.status) != (found.lock, found.status):
        return ""
    if found.where == "environment" and present.where != "environment":
        return "it tells of an image, which shows more"
    if present.gpu and not found.gpu:
        return "it tells of a GPU, and here was none"
    return ""
