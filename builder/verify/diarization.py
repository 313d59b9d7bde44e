"""Who speaks when, and how wrong an answer to that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Somebody speaks without a pause.

    Attributes:
        start: When, in seconds from the recording's beginning.
        end: Until when, in seconds.
        speaker: Who; names of a hypothesis need not be those of the reference.
    """

    start: float
    end: float
    speaker: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of time in which nobody begins or ends.

    Attributes:
        seconds: Its length.
        reference: Who speaks.
        hypothesis: Who is said to speak.
    """

    seconds: float
    reference: frozenset[str]
    hypothesis: frozenset[str]


def error_rate(reference: Sequence[Turn], hypothesis: Sequence[Turn], *, collar: float = 0.0) -> float:
    """The diarization error rate as NIST defines it (RT-09 evaluation plan, section 6.1).

    Speech that was missed, speech that nobody said and speech of somebody else, in seconds, by the seconds of
    speech there are; two who speak at once count twice. The names are matched so that most of it is right.

    Args:
        reference: Who speaks when.
        hypothesis: What is to be judged.
        collar: Seconds before and after each boundary of the reference that do not count. The `collar` of
            pyannote.metrics is both sides together, twice as long.

    Returns:
        0.0 for a perfect answer; it may exceed 1.

    Raises:
        ValueError: Nobody speaks in the reference, or only within the collars.
    """
    pieces = list(_pieces(_joined(reference), _joined(hypothesis), collar))
    spoken = sum(piece.seconds * len(piece.reference) for piece in pieces)
    if spoken <= 0:
        raise ValueError("nobody speaks in the reference")
    at_most = sum(piece.seconds * max(len(piece.reference), len(piece.hypothesis)) for piece in pieces)
    return max(0.0, at_most - _most_in_common(pieces)) / spoken


def _joined(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with those of one speaker joined that touch or overlap: there is no boundary between them."""
    joined: list[Turn] = []
    for turn in sorted(turns, key=lambda one: (one.speaker, one.start)):
        last = joined[-1] if joined else None
        if last and last.speaker == turn.speaker and turn.start <= last.end:
            joined[-1] = replace(last, end=max(last.end, turn.end))
        else:
            joined.append(turn)
    return joined


def _pieces(reference: Sequence[Turn], hypothesis: Sequence[Turn], collar: float) -> Iterator[_Piece]:
    """The scored time, cut wherever somebody begins or ends."""
    edges = sorted({edge for turn in reference for edge in (turn.start, turn.end)})
    cuts = {edge + shift for edge in edges for shift in (-collar, 0.0, collar)}
    cuts |= {cut for turn in hypothesis for cut in (turn.start, turn.end)}
    ordered = sorted(cuts)
    for start, end in pairwise(ordered):
        middle = (start + end) / 2
        if all(abs(middle - edge) >= collar for edge in edges):
            yield _Piece(end - start, _speaking(reference, middle), _speaking(hypothesis, middle))


def _speaking(turns: Sequence[Turn], moment: float) -> frozenset[str]:
    return frozenset(turn.speaker for turn in turns if turn.start <= moment < turn.end)


def _most_in_common(pieces: Sequence[_Piece]) -> float:
    """Seconds of right speech under the best one-to-one matching of names.

    Every matching is tried, each set of names in use once: good for a dozen speakers, not for a hundred.
    """
    names = sorted({name for piece in pieces for name in piece.reference})
    others = sorted({name for piece in pieces for name in piece.hypothesis})

    def common(name: str, other: str) -> float:
        return sum(piece.seconds for piece in pieces if name in piece.reference and other in piece.hypothesis)

    shared = {(name, other): common(name, other) for name in names for other in others}

    @cache
    def best(index: int, used: frozenset[str]) -> float:
        if index == len(names):
            return 0.0
        matched = (
            shared[names[index], other] + best(index + 1, used | {other})
            for other in others
            if other not in used
        )
        return max(best(index + 1, used), *matched, 0.0)  # or this name is nobody's

    return best(0, frozenset())
