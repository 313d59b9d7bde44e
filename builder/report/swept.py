"""What became of the rows in a run over all of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What became of one row.

    Attributes:
        row: Its id.
        status: What it claims of itself.
        build_s: Seconds until its image was there.
        test_s: Seconds that its checks took, unpacking included.
        outcome: `passed`, `failed`, or `skipped` with the reason in `why`.
        why: What failed, or why it was skipped.
        disk: The most bytes that the whole run stood on while the row was under way: what the store held
            before the run, its wheels and all, and what had come since. Nothing, for a row that was skipped.
        ended_s: Seconds from the start of the run to the row's end; rows run side by side.
    """

    row: str
    status: str
    build_s: float
    test_s: float
    outcome: str
    why: str = ""
    disk: int = 0
    ended_s: float = 0
