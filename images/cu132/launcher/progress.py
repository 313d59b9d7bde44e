"""What is shown while work goes on: a bar on a terminal, sparse lines elsewhere, or lines of JSON."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from typing import Any, Dict, Optional, TextIO

from .formats import stamp

WIDTH = 24
SPARSE_S = 30.0
REDRAW_S = 0.2


class Progress:
    """Tells how far each side is, on standard error."""

    def __init__(self, stream: TextIO = sys.stderr, *, as_json: bool = False, quiet: bool = False) -> None:
        self._stream = stream
        self._json = as_json
        self._quiet = quiet
        self._bar = not as_json and not quiet and stream.isatty()
        self._drawn = ""
        self._last = float("-inf")
        self._stages: Dict[str, str] = {}

    def show(self, audio: str, side: str, stage: str, share: Optional[float], position: str = "") -> None:
        """Tell where a side is.

        Args:
            audio: The recording's name.
            side: `transcribe` or `speakers`.
            stage: What it does.
            share: How much of that is done, from 0 to 1, if that is known.
            position: The same in words.
        """
        if self._json:
            self._line(json.dumps({"audio": audio, "side": side, "stage": stage, "share": share}))
            return
        done = position or ("" if share is None else "{:.0%}".format(share))
        changed = stage != self._stages.get(side + "/stage")
        self._stages[side + "/stage"] = stage
        self._stages[side] = "{} {}".format(stage, done).strip()
        now = time.monotonic()
        if self._bar:
            if changed or now - self._last >= REDRAW_S:
                self._draw(audio, side, share)
                self._last = now
        elif not self._quiet and (changed or now - self._last >= SPARSE_S):
            self._line("{}: {}".format(audio, self._stages[side]))
            self._last = now

    def say(self, text: str) -> None:
        """Tell something that stays, faults above all."""
        self.clear()
        self._line(json.dumps({"message": text}) if self._json else text)

    def clear(self) -> None:
        """Take the bar away, so that something else can be written."""
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn = ""

    def _draw(self, audio: str, side: str, share: Optional[float]) -> None:
        filled = round(WIDTH * min(1.0, max(0.0, share or 0.0)))
        bar = "[{}{}]".format("#" * filled, "." * (WIDTH - filled)) if side == "transcribe" else ""
        sides = "; ".join(text for name, text in self._stages.items() if "/" not in name)
        line = " ".join(part for part in (audio, bar, sides) if part)
        self._drawn = line[: shutil.get_terminal_size().columns - 1]
        self._write("\r\x1b[K" + self._drawn)

    def _line(self, text: str) -> None:
        self._write(text + "\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody need look on
            self._stream.write(text)
            self._stream.flush()


def position(at: float, duration: float, started: float) -> str:
    """How far into a recording, and how many times faster than it is spoken."""
    passed = time.monotonic() - started
    speed = ", {:.1f}x".format(at / passed) if passed > 1 and at > 0 else ""
    return "{} of {}{}".format(stamp(at, ".")[:8], stamp(duration, ".")[:8], speed)


def event(said: Any) -> Dict[str, Any]:
    """What a side reported, if it is one of our events."""
    return said if isinstance(said, dict) else {}
