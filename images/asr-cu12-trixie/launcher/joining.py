"""Who said it: words and speakers joined by the time that they share."""

from __future__ import annotations

import math
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

NEAR_S = 1.0
"""A word that no turn covers belongs to the nearest one within this: turns often end a little early."""


class Turn(NamedTuple):
    """A speaker's turn, in seconds."""

    start: float
    end: float
    speaker: str


class Word(NamedTuple):
    """A word, with the blank before it; times in seconds."""

    start: float
    end: float
    text: str
    probability: float
    speaker: Optional[str] = None


class Segment(NamedTuple):
    """A piece of a transcript; times in seconds, and `words` None where they were not asked for."""

    start: float
    end: float
    text: str
    words: Optional[Tuple[Word, ...]]
    speaker: Optional[str] = None


class Turns:
    """Turns, found by time."""

    def __init__(self, turns: Iterable[Turn]) -> None:
        self._by_second: Dict[int, List[Turn]] = {}
        for turn in turns:
            for second in range(math.floor(turn.start), math.floor(turn.end) + 1):
                self._by_second.setdefault(second, []).append(turn)

    def speaker(self, start: float, end: float, before: Optional[str]) -> Optional[str]:
        """Who speaks most of the time between two moments.

        Of several who speak as much, the one who spoke before goes on, or else the one whose turn began
        first. Where nobody speaks, it is who speaks nearest to it, within `NEAR_S`.

        Args:
            start: In seconds.
            end: In seconds; may be `start`.
            before: Who spoke just before.
        """
        near = self._near(start - NEAR_S, end + NEAR_S)
        shared: Dict[str, float] = {}
        for turn in near:
            # A word without length lies in a turn or it does not.
            length = min(end, turn.end) - max(start, turn.start)
            if length > 0 or (start == end and length == 0):
                shared[turn.speaker] = shared.get(turn.speaker, 0.0) + length
        if shared:
            return _first(shared, max(shared.values()), before)
        gaps: Dict[str, float] = {}
        for turn in near:
            gap = max(turn.start - end, start - turn.end)
            if gap <= NEAR_S:
                gaps[turn.speaker] = min(gap, gaps.get(turn.speaker, gap))
        return _first(gaps, min(gaps.values()), before) if gaps else None

    def _near(self, start: float, end: float) -> List[Turn]:
        seconds = range(math.floor(start), math.floor(end) + 1)
        found = {turn for second in seconds for turn in self._by_second.get(second, ())}
        return sorted(found)


def _first(values: Dict[str, float], best: float, before: Optional[str]) -> str:
    tied = [speaker for speaker, value in values.items() if math.isclose(value, best, abs_tol=1e-6)]
    return before if before in tied else tied[0]


def join(segments: Sequence[Segment], turns: Iterable[Turn]) -> List[Segment]:
    """The segments with their speakers, cut where the speaker changes if they have words."""
    found = Turns(turns)
    joined: List[Segment] = []
    before: Optional[str] = None
    for segment in segments:
        for piece in _pieces(segment, found, before):
            joined.append(piece)
            before = piece.speaker or before
    return joined


def _pieces(segment: Segment, turns: Turns, before: Optional[str]) -> Iterator[Segment]:
    if not segment.words:
        yield segment._replace(speaker=turns.speaker(segment.start, segment.end, before))
        return
    words: List[Word] = []
    for word in segment.words:
        speaker = turns.speaker(word.start, word.end, before)
        if words and speaker != words[0].speaker:
            yield _piece(words)
            words = []
        words.append(word._replace(speaker=speaker))
        before = speaker or before
    yield _piece(words)


def _piece(words: List[Word]) -> Segment:
    text = "".join(word.text for word in words)
    return Segment(words[0].start, words[-1].end, text, tuple(words), words[0].speaker)
