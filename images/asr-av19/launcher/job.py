"""One recording on its way through both sides."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

from . import asr, joining
from .arguments import Options
from .faults import Fault
from .formats import Transcript
from .joining import Segment, Turn, Word
from .journal import Heard, Journal


class Job:
    """A recording, and what is known of it so far."""

    def __init__(self, audio: Path, options: Options, journal: Journal, kept: Heard) -> None:
        self.audio = audio
        self.name = audio.name
        self.journal = journal
        self.kept = kept
        self.heard = list(kept.segments) if kept.at is not None or kept.done else []
        self.language = kept.language or options.language or ""
        self.duration = kept.duration
        self.transcribed = kept.done
        self.unheard = False  # the side that hears has given it up
        self.speakers = journal.speakers() if options.speakers and options.resume else None
        self.diarized = bool(self.speakers) or not options.speakers
        self.faults: List[Fault] = []
        self.decoded = threading.Event()
        self.has_samples = False
        self.began = time.monotonic()
        self._options = options
        self._turns: Optional[List[Turn]] = None

    @property
    def complete(self) -> bool:
        """Whether nothing more will come of it."""
        return self.diarized and (self.transcribed or self.unheard)

    @property
    def needs_decoding(self) -> bool:
        """Whether the side that hears has anything to do with it."""
        return not self.transcribed or not self.diarized

    def start(self) -> Optional[Dict[str, Any]]:
        """Where a transcription goes on, or None for the beginning."""
        if self.kept.at is None or self.kept.done:
            return None
        return {"at": self.kept.at, "tokens": asr.prompt(self.heard)}

    def segments(self) -> List[Segment]:
        """What was heard so far."""
        return [segment(one) for one in self.heard]

    def transcript(self) -> Transcript:
        """All that is known, joined."""
        turns = exclusive = None
        if self.speakers:
            turns = [Turn(*one) for one in self.speakers["turns"]]
            # Without overlaps, where pyannote.audio gives it: it is made for transcripts.
            exclusive = [Turn(*one) for one in self.speakers["exclusive"] or self.speakers["turns"]]
        segments = self.segments()
        return Transcript(
            audio=str(self.audio),
            model=self._options.model,
            language=self.language,
            duration=self.duration,
            segments=segments if exclusive is None else joining.join(segments, exclusive),
            turns=turns,
            lacking="; ".join(str(fault) for fault in self.faults) or None,
        )


def segment(said: Dict[str, Any]) -> Segment:
    """A segment as the side that hears tells it."""
    words = None if said["words"] is None else tuple(Word(*one) for one in said["words"])
    return Segment(said["start"], said["end"], said["text"], words)
