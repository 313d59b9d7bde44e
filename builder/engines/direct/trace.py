"""Traces: a few characters for each file, enough to find the first that differs without all hashes.

Two characters tell an entry from others in 4,095 of 4,096 cases; the digests beside a trace are never wrong.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from itertools import zip_longest
from typing import Final

STEP: Final = 2
"""Characters of a trace that tell of one entry."""


def mark(header: bytes, content_sha256: bytes) -> str:
    """An entry's part of a trace: the first 12 bits of a hash of its header and its content's hash."""
    return base64.b64encode(hashlib.sha256(header + content_sha256).digest()[:3]).decode()[:STEP]


def first_difference(ours: str, theirs: str) -> int | None:
    """The number of the first entry in which two traces differ; None where they tell no difference."""
    pairs = zip_longest(_steps(ours), _steps(theirs))
    return next((number for number, (one, other) in enumerate(pairs) if one != other), None)


def _steps(trace: str) -> Iterator[str]:
    return (trace[start : start + STEP] for start in range(0, len(trace), STEP))
